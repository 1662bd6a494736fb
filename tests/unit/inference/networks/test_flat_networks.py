"""Networks for flat pictures: shapes, sizes, and that several answer as one."""

import pytest
import torch
from torch import nn

from medview.core.errors import ModelError
from medview.inference.networks.averaging import FlipAverage, FlipMean
from medview.inference.networks.building import build_network
from medview.inference.networks.centres import CentreDetector
from medview.inference.networks.classifiers import ResidualClassifier, TextbookCnn
from medview.inference.networks.ensemble import Ensemble
from medview.inference.networks.unet import UNet2d
from medview.inference.networks.windows import Windowed


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_the_textbook_network_is_the_one_of_the_books():
    network = TextbookCnn()
    kinds = [type(layer).__name__ for layer in network if not isinstance(layer, nn.ReLU)]
    assert kinds == [
        *("Conv2d", "MaxPool2d", "Conv2d", "MaxPool2d", "Conv2d", "Flatten", "Linear", "Linear")
    ]
    # 3x3 weights and one bias a channel; the last grid is 3 x 3.
    counts = [9 * 32 + 32, 9 * 32 * 64 + 64, 9 * 64 * 64 + 64, 9 * 64 * 64 + 64, 64 * 2 + 2]
    assert sum(p.numel() for p in network.parameters()) == sum(counts)
    assert network(random(3, 1, 28, 28)).shape == (3, 2)
    with pytest.raises(ValueError, match="too small"):
        TextbookCnn(side=16)


@pytest.mark.parametrize("halve", [True, False])
def test_a_residual_classifier_takes_any_size(halve):
    network = ResidualClassifier(3, 4, (8, 12), halve=halve).eval()
    for sides in ((28, 28), (61, 40)):
        assert network(random(2, 3, *sides)).shape == (2, 4)
    assert network.features(random(1, 3, 32, 48)).shape == (1, 12, *((8, 12), (16, 24))[not halve])


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_a_flat_unet_answers_on_the_grid_it_was_given(norm):
    network = UNet2d(3, 5, (8, 12, 16), norm=norm).eval()
    assert network(random(2, 3, 16, 24)).shape == (2, 5, 16, 24)
    assert network.divisor == 4
    with pytest.raises(ValueError, match="norm must be"):
        UNet2d(norm="layer")
    with pytest.raises(ValueError, match="two levels"):
        UNet2d(widths=(8,))


def test_flat_pictures_of_any_size_are_asked_in_windows():
    network = UNet2d(1, 2, (8, 12)).eval()
    with torch.inference_mode():
        whole = Windowed(network, (16, 16))(random(1, 1, 47, 30))
        padded = nn.functional.pad(random(1, 1, 47, 30), (0, 0, 0, 1), mode="replicate")
        torch.testing.assert_close(whole, network(padded)[:, :, :47])


def test_a_detector_answers_in_cells_of_four_pixels():
    network = CentreDetector(3, 2, (16, 24, 32)).eval()
    answer = network(random(1, 3, 64, 48))
    assert answer.shape == (1, 6, 16, 12)
    assert network.divisor == 16
    assert answer[:, :2].sigmoid().mean() < 0.1  # before training it expects next to nothing


def test_an_ensemble_is_the_mean_of_its_members():
    name = "medview.inference.networks.unet.UNet2d"
    network = Ensemble(name, {"widths": [4, 8, 8]}, 3).eval()
    image = random(1, 1, 8, 8)
    expected = sum(member(image) for member in network.members) / 3
    torch.testing.assert_close(network(image), expected)
    assert network.divisor == 4
    assert not torch.equal(network.members[0].head.weight, network.members[1].head.weight)
    with pytest.raises(ModelError, match="neither one of medview's own"):
        Ensemble("os.system", {}, 2)
    with pytest.raises(ModelError, match="cannot be built"):
        build_network(
            "medview.inference.networks.ensemble.Ensemble",
            {"network": name, "arguments": {}, "count": 0},
        )


class Corner(nn.Module):
    """A map that is the picture's first row, and so not alike when the picture is mirrored."""

    divisor = 2

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        answer = torch.zeros_like(image)
        answer[:, :, 0] = image[:, :, 0]
        return answer


def test_mirrored_answers_are_mirrored_back():
    image = random(1, 1, 4, 4)
    answer = FlipMean(Corner(), flips=(0,))(image)
    expected = torch.zeros_like(image)
    expected[:, :, 0], expected[:, :, 3] = image[:, :, 0] / 2, image[:, :, 3] / 2
    torch.testing.assert_close(answer, expected)
    assert FlipMean(Corner()).divisor == 2
    total = FlipAverage(UNet2d(1, 3, (4, 8)).eval(), (0, 1))(image).sum(dim=1)
    torch.testing.assert_close(total, torch.ones_like(total))


def test_answers_without_a_place_are_averaged_as_they_are():
    class Sum(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            weight = torch.arange(4.0)
            return (image[:, 0, 0] * weight).sum(dim=1, keepdim=True)

    image = random(2, 1, 4, 4)
    answer = FlipMean(Sum(), flips=(1,))(image)
    torch.testing.assert_close(answer[:, 0], 1.5 * image[:, 0, 0].sum(dim=1))
