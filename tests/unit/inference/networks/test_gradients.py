"""Histograms of edge directions against pictures whose edges are known."""

import math

import pytest
import torch

from medview.inference.networks.gradients import GradientHistograms

SIDE = 64


def waves(angle_deg: float) -> torch.Tensor:
    """A picture whose gradients all point along one direction, counted from the columns' axis."""
    rows, columns = torch.meshgrid(*[torch.arange(float(SIDE))] * 2, indexing="ij")
    angle = math.radians(angle_deg)
    return torch.sin(0.3 * (columns * math.cos(angle) + rows * math.sin(angle)))[None, None]


def strongest(picture: torch.Tensor, bins: int) -> torch.Tensor:
    """The share of each direction in the blocks, summed over places: (bins,)."""
    network = GradientHistograms(cells=4, bins=bins).eval()
    # A weight of 1 on one direction reads its histogram, less what all directions alike would be.
    shares = []
    for number in range(bins):
        with torch.no_grad():
            network.places.weight.zero_()
            network.places.weight[1].unflatten(0, (bins, 4))[number] = 1.0
            shares.append(network(picture)[0, 1].item())
    return torch.tensor(shares)


@pytest.mark.parametrize(("angle_deg", "number"), [(0, 0), (45, 3), (90, 6), (135, 9), (150, 10)])
def test_edges_of_one_direction_fill_its_own_bin(angle_deg: float, number: int) -> None:
    found = strongest(waves(angle_deg), 12)
    assert found.argmax() == number
    others = torch.cat([found[:number], found[number + 1 :]])
    assert found[number] > 3 * others.max()


def test_an_edge_counts_alike_from_dark_to_light_and_from_light_to_dark() -> None:
    torch.testing.assert_close(strongest(waves(30), 6), strongest(-waves(30), 6))


def test_brightness_adds_nothing_and_contrast_little() -> None:
    torch.manual_seed(0)
    network = GradientHistograms(cells=4).eval()
    torch.nn.init.normal_(network.places.weight)
    picture = torch.randn(1, 1, SIDE, SIDE)
    with torch.no_grad():
        plain = network(picture)
        torch.testing.assert_close(network(picture + 7.0), plain, rtol=1e-4, atol=1e-3)
        assert (network(2 * picture) - plain).norm() < 0.01 * plain.norm()


def test_the_mean_of_the_evidence_is_the_answer_on_pictures_of_any_size() -> None:
    torch.manual_seed(0)
    network = GradientHistograms(classes=3).eval()
    torch.nn.init.normal_(network.places.weight)
    torch.nn.init.normal_(network.bias)
    picture = torch.randn(2, 1, 97, 80)
    with torch.no_grad():
        evidence = network.evidence(picture)
        assert evidence.shape == (2, 3, 7, 7)
        torch.testing.assert_close(evidence.mean(dim=(2, 3)), network(picture))


def test_colour_is_refused() -> None:
    with pytest.raises(ValueError, match="grey"):
        GradientHistograms(in_channels=3)


FINDER = {
    "network": "medview.inference.networks.unet.UNet2d",
    "arguments": {"out_channels": 2, "widths": [2, 4], "norm": "batch"},
    "size_px": 32,
}


def test_what_a_finder_frames_has_its_share_in_the_answer_and_in_the_evidence() -> None:
    torch.manual_seed(0)
    network = GradientHistograms(classes=3, finder=FINDER, framed_px=48).eval()
    for places in (network.places, network.framed):
        torch.nn.init.normal_(places.weight)
    torch.nn.init.normal_(network.bias)
    picture = torch.randn(2, 1, 97, 80)
    with torch.no_grad():
        answer = network(picture)
        torch.testing.assert_close(network.evidence(picture).mean(dim=(2, 3)), answer)
        network.framed.weight.zero_()
        assert not torch.allclose(network(picture), answer)


def test_pictures_that_look_as_all_did_have_no_share_anywhere() -> None:
    torch.manual_seed(0)
    network = GradientHistograms(cells=4)
    torch.nn.init.normal_(network.places.weight)
    usual, other = waves(20), waves(80)
    for _ in range(300):
        network(usual)
    network.eval()
    with torch.no_grad():
        assert network.evidence(usual).abs().max() < 1e-3 * network.evidence(other).abs().max()
