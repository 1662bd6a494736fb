"""The network that answers marks, in plain arrays: as torch computes it, or refused by name."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from medview.core.errors import ModelError
from medview.core.models import Task
from medview.imaging.prompts import SIDE, Hints, Question, Slice, View, answered
from medview.inference.marks import CHANNELS, open_answerer, to_channels
from medview.inference.networks.unet import ShuffledUNet2d

WIDTHS = (8, 12, 20)


def network() -> nn.Module:
    """Any weights, and norms that have seen something."""
    torch.manual_seed(3)
    made = ShuffledUNet2d(CHANNELS, 1, WIDTHS, "batch")
    for part in made.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2.0)
            part.weight.data.normal_()
            part.bias.data.normal_()
    return made.eval()


def folder_of(made: dict[str, torch.Tensor], folder: Path) -> Path:
    """A model folder with these weights."""
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    content = safetensors.torch.save(made)
    (folder / "models" / "model.safetensors").write_bytes(content)
    told = {
        "version": "2.1.0",
        "name": "Pointer",
        "intended_use": "Tests",
        "medview": {
            "id": "pointer",
            "engine": "marks",
            "weights": {
                "file": "models/model.safetensors",
                "sha256": hashlib.sha256(content).hexdigest(),
            },
            "limits": ["Not for clinical use."],
            "licence": "CC0-1.0",
            "scope": {"modality": ["CT"]},
            "outputs": [
                {
                    "index": 1,
                    "label": "Object",
                    "code": {"value": "1", "scheme": "99TEST", "meaning": "Object"},
                    "color_rgb": [1, 2, 3],
                }
            ],
        },
    }
    (folder / "configs" / "metadata.json").write_text(json.dumps(told), encoding="utf-8")
    return folder


def view() -> View:
    rng = np.random.default_rng(5)
    image = rng.normal(size=(SIDE, SIDE)).astype(np.float32)
    marks = rng.random((3, SIDE, SIDE)) < 0.02
    before = rng.random((SIDE, SIDE)).astype(np.float32)
    return View(image, marks[0], marks[1], before, marks[2])


def test_it_answers_as_torch_does(tmp_path: Path) -> None:
    made = network()
    with torch.inference_mode():
        wanted = made(torch.from_numpy(to_channels(view()))[None])[0, 0].sigmoid().numpy()
    found = open_answerer(folder_of(made.state_dict(), tmp_path / "one")).likely(view())
    assert np.ptp(wanted) > 0.1
    np.testing.assert_allclose(found, wanted, atol=2e-6)


def test_the_channels_are_image_marks_answer_and_box() -> None:
    one = view()
    channels = to_channels(one)
    assert channels.shape == (CHANNELS, SIDE, SIDE)
    for channel, part in zip(
        channels, (one.image, one.adds, one.takes, one.before, one.box), strict=True
    ):
        np.testing.assert_array_equal(channel, part.astype(np.float32))


@pytest.mark.parametrize("seed", range(4))
def test_the_one_that_comes_along_outlines_a_ball_at_the_first_click(
    resources: Path, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    answerer = open_answerer(resources / "prompts" / "clicks")
    assert answerer.card.task is Task.MARKS
    assert not answerer.card.clinical_use
    assert answerer.card.metrics is not None
    rows, columns = np.mgrid[:150, :180]
    middle, radius = rng.uniform(50, 100, 2), rng.uniform(10, 30)
    truth = np.hypot(rows - middle[0], (columns - middle[1]) * 1.3) < radius
    picture = 100 + 60 * truth + rng.normal(0, 12, truth.shape)
    where = Slice(picture.astype(np.float32), (1.0, 1.0))
    found = answered(Question(where, Hints((middle[None],))), answerer)
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.85


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    folder = folder_of(network().state_dict(), tmp_path / "one")
    path = folder / "models" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ModelError, match="not the ones it was released with"):
        open_answerer(folder)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 64])
def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = folder_of(network().state_dict(), tmp_path / "one")
    (folder / "models" / "model.safetensors").write_bytes(content)
    path = folder / "configs" / "metadata.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    told["medview"]["weights"]["sha256"] = hashlib.sha256(content).hexdigest()
    path.write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(ModelError, match="The weights of Pointer cannot be read"):
        open_answerer(folder)


@pytest.mark.parametrize("name", ["body.stem.0.weight", "body.head.bias", "body.down.1.norm1.bias"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, name: str, value: float) -> None:
    made = network().state_dict()
    made[name].view(-1)[0] = value
    with pytest.raises(ModelError, match="The weights of Pointer are not all numbers"):
        open_answerer(folder_of(made, tmp_path / "one"))


@pytest.mark.parametrize("outputs", [2, 3])
def test_a_network_of_several_outputs_is_refused(tmp_path: Path, outputs: int) -> None:
    made = ShuffledUNet2d(CHANNELS, outputs, WIDTHS, "batch").state_dict()
    with pytest.raises(ModelError, match="Pointer are not those of a network for marks"):
        open_answerer(folder_of(made, tmp_path / "one"))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    folder = folder_of({"layer.weight": torch.zeros(2, 2)}, tmp_path / "one")
    with pytest.raises(ModelError, match="Pointer are not those of a network for marks"):
        open_answerer(folder)
