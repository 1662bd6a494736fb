"""Answers about flat pictures, from networks whose answer is known."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from medview.core.errors import ModelError
from medview.inference.networks.classifiers import ResidualClassifier
from medview.inference.networks.ensemble import Ensemble
from medview.inference.networks.readings import (
    FlatRecipe,
    boxes_in,
    class_logits,
    class_map,
    class_probabilities,
    evidence_map,
    flat_recipe,
    object_maps,
    write_answers,
)

PLAIN = {"method": "percentile_zscore", "low_percent": 0, "high_percent": 100}


class Bright(nn.Module):
    """Two classes: background, and what is brighter than the mean; sides divide by 8."""

    divisor = 8

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        assert image.shape[2] % 8 == image.shape[3] % 8 == 0
        return self.scale * torch.cat([-image, image], dim=1)


class BrightShare(Bright):
    """The same, for the picture as a whole."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return super().forward(image)[:, :, :, 0].mean(dim=2)


class OneBox(nn.Module):
    """A detector that sees one box, 8 to 24 by 16 to 40 pixels of what it is given."""

    divisor = 16

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        answer = torch.full((1, 5, image.shape[2] // 4, image.shape[3] // 4), -9.0)
        answer[0, 0, 4, 7] = 3.0
        answer[0, 1:, 4, 7] = torch.tensor([10.0, 14.0, 6.0, 10.0]).log()
        return answer * self.scale


def picture() -> np.ndarray:
    array = np.zeros((50, 70), np.uint8)
    array[20:40, 10:30] = 200
    return array


def test_a_map_of_classes_lies_on_the_picture():
    recipe = FlatRecipe(("spot",), intensity=PLAIN, flips=(0, 1))
    assert np.array_equal(class_map(Bright(), picture(), recipe), picture() > 0)
    smaller = FlatRecipe(("spot",), size_px=(32, 32), intensity=PLAIN)
    found = class_map(Bright(), picture(), smaller)
    assert found.shape == (50, 70)
    assert np.mean(found == (picture() > 0)) > 0.95


def test_probabilities_follow_the_temperature():
    recipe = FlatRecipe(("a", "b"), intensity=PLAIN)
    cold = class_probabilities(BrightShare(), picture(), recipe)
    warm = FlatRecipe(("a", "b"), intensity=PLAIN, temperature=2.0)
    soft = class_probabilities(BrightShare(), picture(), warm)
    assert cold.sum() == soft.sum() == pytest.approx(1.0)
    odds, softer = np.log(cold[1] / cold[0]), np.log(soft[1] / soft[0])
    assert softer == pytest.approx(odds / 2)


@pytest.mark.parametrize("members", [1, 3])
def test_evidence_adds_up_to_the_answer(members):
    """Over places that the network weighs alike, the map's mean is the difference of logits."""
    arguments = {"widths": [8, 8], "halve": False}
    name = "medview.inference.networks.classifiers.ResidualClassifier"
    torch.manual_seed(0)
    network = Ensemble(name, arguments, members).eval()
    noise = np.random.default_rng(0).normal(size=(40, 60))
    recipe = FlatRecipe(("a", "b"), margin=0.1, intensity=PLAIN, flips=(1,))
    logits = class_logits(network, noise, recipe)
    seen = evidence_map(network, noise, recipe, 1)
    assert seen.shape == (40, 60)
    assert not seen[:4].any()
    assert not seen[:, -6:].any()
    assert seen[4:-4, 6:-6].mean() == pytest.approx(logits[1] - logits[0], rel=1e-3, abs=1e-5)
    against = evidence_map(network, noise, recipe, 0)
    np.testing.assert_allclose(against, -seen, atol=1e-5)


def test_evidence_lies_where_the_answer_comes_from():
    network = ResidualClassifier(1, 2, (8, 8), halve=False).eval()
    with torch.no_grad():  # a network that looks for brightness and nothing else
        network.features = nn.Sequential(nn.Conv2d(1, 8, 1), nn.ReLU())
        network.features[0].weight.fill_(1.0)
        network.features[0].bias.zero_()
        network.output.weight.copy_(torch.tensor([[-1.0], [1.0]]).expand(2, 8))
    spot = evidence_map(network, picture(), FlatRecipe(("n", "p"), intensity=PLAIN), 1)
    inside = picture() > 0
    assert spot[inside].min() > spot[~inside].max()


def test_boxes_come_in_the_pixels_of_the_picture():
    large = np.kron(picture(), np.ones((2, 2), np.uint8))
    found = boxes_in(OneBox(), large, FlatRecipe(("x",), size_px=(50, 70), intensity=PLAIN))
    assert found.boxes[0].tolist() == pytest.approx([16, 32, 48, 80], abs=1e-3)
    assert found.numbers.tolist() == [0]
    tiny = boxes_in(OneBox(), picture()[:20, :36], FlatRecipe(("x",), intensity=PLAIN))
    assert tiny.boxes[0].tolist() == pytest.approx([8, 16, 20, 36], abs=1e-3)  # cut at the edge


@pytest.mark.parametrize("strange", [float("nan"), float("inf"), -float("inf")])
def test_answers_that_are_not_finite_are_refused_before_anything_is_read_from_them(strange):
    """A likeliest class and a highest cell can be found among numbers that mean nothing."""
    recipe = FlatRecipe(("a", "b"), intensity=PLAIN)
    for network, read in (
        (Bright(), class_map),
        (BrightShare(), class_probabilities),
        (Bright(), object_maps),
        (OneBox(), boxes_in),
    ):
        read(network, picture(), recipe)
        with torch.no_grad():
            network.scale.fill_(strange)
        with pytest.raises(ModelError, match="not finite"):
            read(network, picture(), recipe)


def metadata(classes: list[str]) -> dict[str, object]:
    preprocess = {"channels": 1, "size_px": [], "margin": 0.0, "intensity": PLAIN}
    return {"medview": {"classes": classes, "preprocess": preprocess, "temperature": None}}


def test_answers_are_written_under_the_names_of_the_pictures(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(picture()).save(path)
    out = str(tmp_path / "out")
    assert flat_recipe(metadata(["x"])).temperature == 1.0
    write_answers("segmentation", Bright(), metadata(["x"]), [str(path)], out)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out/a.png")), picture() > 0)
    write_answers("instances", Bright(), metadata(["x"]), [str(path)], out)
    assert np.asarray(Image.open(tmp_path / "out/a.png")).max() >= 1
    write_answers("classification", BrightShare(), metadata(["n", "p"]), [str(path)], out)
    assert set(json.loads((tmp_path / "out/a.json").read_text())) == {"n", "p"}
    write_answers("detection", OneBox(), metadata(["x"]), [str(path)], out)
    written = json.loads((tmp_path / "out/a.json").read_text())
    assert written["boxes"][0] == pytest.approx([8, 16, 24, 40], abs=1e-3)
