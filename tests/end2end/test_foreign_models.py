"""Models of others through the command line, on the real weights and images beside the checkout."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from tests.end2end.command_line import medview

pytestmark = [pytest.mark.shared, pytest.mark.slow]

EXPORTS = {"result.json", "findings.csv", "report.pdf", "report.html", "segmentation.nii.gz"}


@pytest.fixture(scope="module")
def weights(shared: Path) -> Path:
    folder = shared / "train" / "third_party_weights"
    if not folder.is_dir():
        pytest.skip("needs the published weights (shared/train/third_party_weights)")
    return folder


def test_vessels_by_torchscript_once_it_is_trusted(
    weights: Path, shared: Path, tmp_path: Path
) -> None:
    """A photograph of CHASE_DB1, whose mean Dice for this network is published as 0.750."""
    image = shared / "train" / "retina_vessels_chasedb1" / "images" / "Image_01L.jpg"
    if not image.is_file():
        pytest.skip("needs the photographs (shared/train/retina_vessels_chasedb1)")
    profile, out = tmp_path / "profile", tmp_path / "out"
    asked = ("analyze", image, "--model", "lwnet_drive", "--out", out)
    added = medview("models", "add", weights / "lwnet_drive", profile=profile)
    assert added.code == 0, added.err
    assert "runs only after" in added.err
    refused = medview(*asked, profile=profile)
    assert refused.code == 4
    assert "medview models trust lwnet_drive" in refused.err
    assert not out.exists()
    medview("models", "trust", "lwnet_drive", "--reader", "Dr A", profile=profile)
    done = medview(*asked, "--json", profile=profile, seconds=900)
    assert done.code == 0, done.err
    assert {path.name for path in out.iterdir()} >= EXPORTS | {"key-01.png"}
    (finding,) = done.json["findings"]
    assert finding["code"]["value"] == "59820001"
    assert done.json["models"][0]["out_of_scope"]  # a JPEG does not say how it was made
    found = np.asarray(nibabel.load(out / "segmentation.nii.gz").dataobj)[..., 0].T > 0
    with Image.open(image.with_name("Image_01L_1stHO.png")) as drawn:
        truth = np.asarray(drawn.convert("L")) > 127
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.75


def test_a_bundle_that_makes_pictures_is_named_and_refused(weights: Path, tmp_path: Path) -> None:
    folder = weights / "monai_bundle_mednist_gan"
    for action in ("show", "add"):
        told = medview("models", action, folder, profile=tmp_path)
        assert told.code == 4
        assert "MedNIST GAN" in told.err
        assert "MONAI bundle that generates pictures" in told.err
        assert "64 latent numbers" in told.err
    assert not any(tmp_path.glob("models/*"))


def test_brain_networks_say_what_they_find(weights: Path, tmp_path: Path) -> None:
    """Cards of MeshNets whose runs take minutes: labels and codes of every structure."""
    shown = medview("models", "show", weights / "brainchop_subcortical", "--json", profile=tmp_path)
    assert shown.code == 0, shown.err
    found = {one["label"]: one["code"]["value"] for one in shown.json["outputs"]["channels"]}
    assert len(found) == 17
    assert (found["Hippocampus"], found["Thalamus"]) == ("5366008", "42695009")
    assert [name for name, code in found.items() if code == "91723000"] == ["VentralDC"]
    grey = medview("models", "show", weights / "brainchop_model5_gw_ae", "--json", profile=tmp_path)
    labels = [one["label"] for one in json.loads(grey.out)["outputs"]["channels"]]
    assert labels == ["White matter", "Grey matter"]
