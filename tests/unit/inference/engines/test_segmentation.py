"""Model folders of ours on whole images: what is found, how it is named, measured and mapped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from medview.core.errors import ModelError
from medview.core.geometry import Calibration, Geometry
from medview.core.maps import MapKind
from medview.core.volume import Volume
from medview.inference.catalog import load_card
from medview.inference.engines import planes, windowed
from medview.inference.engines.segmentation import Engine
from tests.helpers.heads import stored
from tests.helpers.run_context import RunContext
from tests.helpers.training import write_dataset
from tests.unit.learning.test_model_folder import write_model


class Thirds(nn.Module):
    """Three equal shares of values have z-scores of -1.22, 0 and 1.22: classes 0, 1 and 2."""

    divisor = 1

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(()))  # says where the network lies

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        levels = torch.tensor([-1.2247, 0.0, 1.2247]).reshape(1, -1, *[1] * (image.ndim - 2))
        return -20 * (image.mean(dim=1, keepdim=True) - levels).abs()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("model")
    write_model(base, write_dataset(base / "data", patients=3))
    return base / "balls"


@pytest.fixture
def engine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setattr(windowed, "load_trained", lambda *_: Thirds())
    made = Engine(load_card(folder), folder)
    made.load("cpu")
    return made


def layered(shape: tuple[int, int, int] = (30, 24, 27)) -> tuple[Volume, np.ndarray]:
    """Three layers along the slices, and what is the first layer's among them: an island."""
    geometry = replace(stored("HPL", 1.0, 30.0, (0.0, 0.0, 0.0)), shape=shape)
    truth = np.repeat(np.arange(3), shape[0] // 3)[:, None, None] * np.ones(shape, int)
    truth[2:5, 3:6, 3:6], truth[12:15, 3:6, 3:6] = 1, 0  # shares stay thirds
    voxels = np.array([100, 400, 700], np.int16)[truth]
    return Volume("v", "s", geometry, voxels), truth


def test_a_whole_volume_is_segmented_named_and_measured(engine):
    volume, truth = layered()
    result = engine.run(volume, None, None, RunContext())
    (proposal,) = result.segmentations
    truth[2:5, 3:6, 3:6] = 0  # the card keeps the largest piece alone
    np.testing.assert_array_equal(proposal.labels, truth)
    assert [part.label for part in proposal.segments] == ["Large ball", "Small ball"]
    assert all(part.probability > 0.99 for part in proposal.segments)
    for number, finding in enumerate(result.findings, start=1):
        assert finding.segment_ref.number == number
        expected = (truth == number).sum() / 1000
        assert finding.measurements[0].value == pytest.approx(expected)
    assert result.fallbacks == ()
    assert result.maps == ()
    assert result.device == "cpu"


def test_maps_are_given_where_they_are_wished_for(engine):
    volume, truth = layered()
    result = engine.run(
        volume, None, None, RunContext(parameters={"maps": ["probability", "uncertainty"]})
    )
    by_name = {(one.kind, one.subject): one for one in result.maps}
    large = by_name[MapKind.PROBABILITY, "Large ball"]
    np.testing.assert_allclose(large.values, truth == 1, atol=0.01)
    assert by_name[MapKind.UNCERTAINTY, ""].values.max() < 0.1
    assert large.geometry.agrees_with(volume.geometry)
    assert {one.volume_uid for one in result.maps} == {"v"}


def changed(folder: Path, target: Path, **own: Any) -> Path:
    """A copy of the folder's metadata with another medview block, and its weights."""
    metadata = json.loads((folder / "configs" / "metadata.json").read_text())
    preprocess = own.pop("preprocess", {})
    metadata["medview"] |= own
    metadata["medview"]["preprocess"] |= preprocess
    (target / "configs").mkdir(parents=True)
    (target / "configs" / "metadata.json").write_text(json.dumps(metadata))
    (target / "models").mkdir()
    weights = folder / "models" / "model.safetensors"
    (target / "models" / weights.name).write_bytes(weights.read_bytes())
    return target


def loaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    for engines in (planes, windowed):
        monkeypatch.setattr(engines, "load_trained", lambda *_: Thirds())
    made = Engine(load_card(folder), folder)
    made.load("cpu")
    return made


def test_a_network_of_pictures_is_asked_about_every_slice(folder, tmp_path, monkeypatch):
    flat = changed(
        folder,
        tmp_path / "flat",
        patch=[16, 16],
        classes=["large", "small"],
        flips=[],
        preprocess={"orientation": None, "spacing_mm": None, "size_px": [], "channels": 1},
    )
    made = loaded(flat, monkeypatch)
    volume, truth = layered((24, 30, 27))
    volume = replace(
        volume,
        geometry=replace(volume.geometry, shape=(30, 24, 27), calibration=Calibration.DETECTOR),
        voxels=np.ascontiguousarray(volume.voxels.transpose(1, 0, 2)),
        empty_slices=(4,),
    )
    wrong = changed(flat, tmp_path / "wrong", classes=["large", "small", "third"])
    with pytest.raises(ModelError, match="names 2 outputs"):
        loaded(wrong, monkeypatch)
    truth = truth.transpose(1, 0, 2).copy()
    truth[4] = 0
    (proposal,) = made.run(volume, None, None, RunContext()).segmentations
    np.testing.assert_array_equal(proposal.labels, truth)
    brightest_dark = replace(volume, voxels=800 - volume.voxels, inverted=True)
    (proposal,) = made.run(brightest_dark, None, None, RunContext()).segmentations
    np.testing.assert_array_equal(proposal.labels, truth)


def test_neighbouring_slices_are_channels_where_the_card_says_so(folder, tmp_path, monkeypatch):
    network = {"class": "medview.inference.networks.unet.UNet2d", "args": {"in_channels": 3}}
    beside = changed(folder, tmp_path / "beside", patch=[16, 16, 1], network=network, flips=[])
    volume, truth = layered()
    truth[2:5, 3:6, 3:6] = 0
    (proposal,) = loaded(beside, monkeypatch).run(volume, None, None, RunContext()).segmentations
    assert (proposal.labels == truth).mean() > 0.97  # layers meet across three slices
    even = {**network, "args": {"in_channels": 2}}
    two = changed(folder, tmp_path / "two", patch=[16, 16, 1], network=even)
    with pytest.raises(ModelError, match="2 images at once"):
        loaded(two, monkeypatch).run(volume, None, None, RunContext())


def test_what_cannot_be_run_is_refused_in_words(folder, engine, tmp_path, monkeypatch):
    volume, _ = layered()
    with pytest.raises(ModelError, match="not loaded"):
        Engine(load_card(folder), folder).run(volume, None, None, RunContext())
    engine.unload()
    with pytest.raises(ModelError, match="not loaded"):
        engine.run(volume, None, None, RunContext())
    nowhere = Geometry(volume.geometry.shape, volume.geometry.affine, "", Calibration.NONE)
    with pytest.raises(ModelError, match="where in the patient"):
        loaded(folder, monkeypatch).run(replace(volume, geometry=nowhere), None, None, RunContext())
    without = changed(folder, tmp_path / "without", patch=[])
    with pytest.raises(ModelError, match="which patches"):
        loaded(without, monkeypatch).run(volume, None, None, RunContext())
