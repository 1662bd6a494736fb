"""The command line as the contract has it: names, JSON, exit codes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import highdicom
import jsonschema
import nibabel
import numpy as np
import pydicom
import pytest

from tests.end2end.command_line import medview
from tests.helpers.dicom_phantoms import write_ct, write_projection
from tests.helpers.phantoms import Phantom


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return Phantom()


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory, phantom: Phantom) -> Path:
    folder = tmp_path_factory.mktemp("ct")
    write_ct(folder, phantom)
    (folder / "notes.txt").write_text("not an image")
    return folder


def schema(resources: Path, name: str) -> dict[str, object]:
    loaded: dict[str, object] = json.loads((resources / "schemas" / name).read_text())
    return loaded


def test_info_describes_geometry_and_values(
    tmp_path: Path, ct: Path, phantom: Phantom, resources: Path
) -> None:
    outcome = medview("info", ct, "--json", profile=tmp_path)
    assert outcome.code == 0, outcome.err
    jsonschema.validate(outcome.json, schema(resources, "info.schema.json"))
    [patient] = outcome.json["patients"]
    [series] = patient["studies"][0]["series"]
    [volume] = series["volumes"]
    assert patient["id"] == "PHANTOM-1"
    assert volume["shape"] == list(phantom.shape)
    assert np.allclose(volume["affine_lps"], phantom.affine, atol=1e-4)
    assert volume["mean"] == pytest.approx(float(phantom.values().mean()), abs=1e-2)
    assert (volume["min"], volume["max"]) == (-1000, 700)
    assert volume["unit"] == "[hnsf'U]"


def test_info_in_words_names_the_series(tmp_path: Path, ct: Path) -> None:
    outcome = medview("info", ct, profile=tmp_path)
    assert outcome.code == 0
    assert "CT Phantom: volume" in outcome.out
    assert "16 x 40 x 48" in outcome.out


def test_nothing_readable_is_3_and_names_the_file(tmp_path: Path) -> None:
    junk = tmp_path / "junk.dcm"
    junk.write_bytes(b"not DICOM" * 100)
    outcome = medview("info", junk, "--json", profile=tmp_path / "p")
    assert outcome.code == 3
    [problem] = outcome.json["problems"]
    assert problem["path"].endswith("junk.dcm")
    assert problem["reason"]
    assert medview("info", tmp_path / "absent", profile=tmp_path / "p").code == 3


@pytest.mark.parametrize(
    "words", [["info"], ["models"], ["analyze", "x"], ["--colour"], ["convert", "x", "--out", "y"]]
)
def test_wrong_usage_is_2(tmp_path: Path, words: list[str]) -> None:
    assert medview(*words, profile=tmp_path).code == 2


def test_convert_keeps_geometry_and_values(tmp_path: Path, ct: Path, phantom: Phantom) -> None:
    uid = pydicom.dcmread(next(ct.glob("ct*"))).SeriesInstanceUID
    out = tmp_path / "ct.nii.gz"
    outcome = medview("convert", ct, "--series", uid, "--out", out, profile=tmp_path / "p")
    assert outcome.code == 0, outcome.err
    image = nibabel.load(out)
    # The same voxel at the same place, whatever order the file has: follow the world position.
    index = np.array([(3, 20, 30), (8, 20, 24), (15, 38, 2)])
    world_ras = (phantom.affine @ np.c_[index, np.ones(3)].T)[:3].T * [-1, -1, 1]
    there = nibabel.affines.apply_affine(np.linalg.inv(image.affine), world_ras)
    assert np.allclose(there, np.rint(there), atol=1e-3)
    values = np.asarray(image.dataobj)[tuple(np.rint(there).astype(int).T)]
    assert values.tolist() == phantom.values()[tuple(index.T)].tolist()
    wrong = medview("convert", ct, "--series", "1.2", "--out", out, profile=tmp_path / "p")
    assert wrong.code == 3


def test_models_are_listed_shown_and_verified(tmp_path: Path, resources: Path) -> None:
    listed = medview("models", "list", "--json", profile=tmp_path)
    assert listed.code == 0
    ids = [model["id"] for model in listed.json["models"]]
    assert "threshold_body" in ids
    shown = medview("models", "show", "threshold_body", profile=tmp_path)
    assert shown.code == 0
    assert "not for clinical use" in shown.out
    assert medview("models", "show", "nothing", profile=tmp_path).code == 4
    verified = medview("models", "verify", "--json", profile=tmp_path)
    assert verified.code == 0
    jsonschema.validate(listed.json, schema(resources, "models.schema.json"))
    jsonschema.validate(verified.json, schema(resources, "verify.schema.json"))
    assert all(verdict["ok"] for verdict in verified.json["models"])
    offers = medview("models", "offers", "--json", profile=tmp_path)
    jsonschema.validate(offers.json, schema(resources, "offers.schema.json"))
    assert "totalsegmentator_total_3mm" in [offer["id"] for offer in offers.json["offers"]]


def test_one_changed_byte_is_refused(tmp_path: Path, resources: Path) -> None:
    own = tmp_path / "models" / "mine"
    shutil.copytree(resources / "models" / "threshold_body", own)
    metadata = own / "configs" / "metadata.json"
    metadata.write_text(metadata.read_text().replace('"id": "threshold_body"', '"id": "mine"'))
    weights = own / "models" / "rules.json"
    weights.write_bytes(weights.read_bytes() + b" ")
    verified = medview("models", "verify", "--json", profile=tmp_path)
    assert verified.code == 4
    assert {v["id"]: v["ok"] for v in verified.json["models"]}["mine"] is False


def test_models_are_added_exported_and_removed(tmp_path: Path, resources: Path) -> None:
    given = tmp_path / "mine"
    shutil.copytree(resources / "models" / "threshold_body", given)
    metadata = given / "configs" / "metadata.json"
    metadata.write_text(metadata.read_text().replace('"id": "threshold_body"', '"id": "mine"'))
    profile, change = tmp_path / "profile", schema(resources, "model_change.schema.json")
    added = medview("models", "add", given, "--json", profile=profile)
    exported = medview(
        "models", "export", "mine", "--out", tmp_path / "o", "--json", profile=profile
    )
    removed = medview("models", "remove", "mine", "--json", profile=profile)
    for done, action in ((added, "added"), (exported, "exported"), (removed, "removed")):
        assert done.code == 0, done.err
        jsonschema.validate(done.json, change)
        assert (done.json["action"], done.json["id"]) == (action, "mine")
    assert (tmp_path / "o" / "configs" / "metadata.json").read_text() == metadata.read_text()
    assert medview("models", "show", "mine", profile=profile).code == 4
    assert medview("models", "add", "http://127.0.0.1:9/x.zip", profile=profile).code == 2
    assert medview("models", "add", tmp_path / "nothing", profile=profile).code == 3
    assert medview("models", "remove", "threshold_body", profile=profile).code == 4


def test_analyze_writes_the_whole_folder(
    tmp_path: Path, ct: Path, phantom: Phantom, resources: Path
) -> None:
    out = tmp_path / "out"
    outcome = medview(
        "analyze", ct, "--model", "threshold_body", "--out", out, "--accept-all",
        "--reader", "Dr. Example", "--json", profile=tmp_path / "p",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    result = json.loads((out / "result.json").read_text())
    assert outcome.json == result
    jsonschema.validate(result, schema(resources, "result.schema.json"))
    [finding] = result["findings"]
    assert finding["state"] == "accepted"
    assert finding["by"] == "Dr. Example"
    volume = next(m for m in finding["measurements"] if m["unit"] == "mL")
    assert volume["value"] == pytest.approx(phantom.volume_ml, rel=0.02)
    for name in ("report.pdf", "key-01.png", "segmentation.dcm", "report.dcm", "report_pdf.dcm"):
        assert (out / name).is_file(), name
    segmentation = highdicom.seg.segread(out / "segmentation.dcm")
    voxels = segmentation.get_volume(combine_segments=True)
    assert int((voxels.array > 0).sum()) == int(phantom.sphere().sum())
    report = pydicom.dcmread(out / "report.dcm")
    assert report.VerificationFlag == "UNVERIFIED"


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not installed")
def test_exports_satisfy_dciodvfy(tmp_path: Path, ct: Path) -> None:
    out = tmp_path / "out"
    done = medview(
        "analyze", ct, "--model", "threshold_body", "--out", out, "--accept-all",
        "--reader", "Dr. Example", profile=tmp_path / "p",
    )  # fmt: skip
    assert done.code == 0, done.err
    for name in ("segmentation.dcm", "report.dcm", "report_pdf.dcm"):
        verdict = subprocess.run(
            ["dciodvfy", str(out / name)], capture_output=True, text=True, check=False
        )
        assert not re.findall(r"^Error.*", verdict.stderr + verdict.stdout, re.MULTILINE), name


def test_without_a_reader_nothing_is_accepted(tmp_path: Path, ct: Path) -> None:
    words = ("analyze", ct, "--model", "threshold_body", "--out", tmp_path / "out")
    assert medview(*words, "--accept-all", profile=tmp_path / "p").code == 2
    done = medview(*words, "--json", profile=tmp_path / "p")
    assert done.code == 0, done.err
    assert {finding["state"] for finding in done.json["findings"]} == {"proposed"}


def test_what_does_not_fit_is_refused_with_the_reason(tmp_path: Path) -> None:
    picture = tmp_path / "chest.dcm"
    write_projection(picture)
    done = medview(
        "analyze", picture, "--model", "threshold_body", "--out", tmp_path / "out",
        profile=tmp_path / "p",
    )  # fmt: skip
    assert done.code == 4
    assert done.err.strip()
    unknown = medview(
        "analyze", picture, "--model", "nothing", "--out", tmp_path / "out", profile=tmp_path / "p"
    )
    assert unknown.code == 4


def test_training_commands_pass_their_verdict_on(tmp_path: Path) -> None:
    absent = medview("train", tmp_path / "no.toml", "--out", tmp_path, profile=tmp_path / "p")
    assert absent.code == 3
    measured = medview(
        "evaluate", "nothing", tmp_path, "--out", tmp_path / "m.json", profile=tmp_path / "p"
    )
    assert measured.code == 4


def test_selftest_tries_every_part(tmp_path: Path, resources: Path) -> None:
    done = medview("selftest", "--json", profile=tmp_path)
    assert done.code == 0, done.out + done.err
    jsonschema.validate(done.json, schema(resources, "selftest.schema.json"))
    assert {check["name"] for check in done.json["checks"]} >= {"models", "reading", "profile"}
