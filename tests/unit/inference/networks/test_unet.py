"""The network: shapes, size, and mirrored views."""

import pytest
import torch

from medview.inference.networks.averaging import FlipAverage
from medview.inference.networks.unet import ShuffledUNet2d, UNet3d


def test_logits_lie_on_the_grid_of_the_input():
    network = UNet3d(1, 3, (4, 8, 16))
    assert network(torch.zeros(2, 1, 8, 12, 16)).shape == (2, 3, 8, 12, 16)
    assert network.divisor == 4


def test_every_weight_takes_part():
    network = UNet3d(1, 3, (4, 8, 16))
    network(torch.randn(1, 1, 8, 8, 8)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_one_level_is_no_unet():
    with pytest.raises(ValueError, match="two levels"):
        UNet3d(1, 3, (4,))


def test_a_brighter_scan_gives_the_same_answer():
    """Instance norm after the first convolution takes gain away, but for its tiny epsilon."""
    torch.manual_seed(0)
    network = UNet3d(1, 3, (4, 8)).eval()
    image = torch.randn(1, 1, 8, 8, 8)
    torch.testing.assert_close(network(image), network(7 * image), atol=2e-3, rtol=2e-3)


def test_mirrored_views_make_the_answer_mirror_with_the_image():
    torch.manual_seed(0)
    network = FlipAverage(UNet3d(1, 3, (4, 8)), flips=(0,)).eval()
    image = torch.randn(1, 1, 8, 8, 8)
    torch.testing.assert_close(network(image.flip(2)), network(image).flip(2))
    assert network(image).sum(dim=1).allclose(torch.ones(1, 8, 8, 8))


def test_without_flips_it_is_the_network_itself():
    torch.manual_seed(0)
    inner = UNet3d(1, 3, (4, 8)).eval()
    image = torch.randn(1, 1, 8, 8, 8)
    torch.testing.assert_close(FlipAverage(inner)(image), inner(image).softmax(dim=1))


def test_a_coarser_grid_loses_no_pixel():
    """Gathered and spread again, every pixel is where it was; its neighbours see it, no other."""
    torch.manual_seed(0)
    network = ShuffledUNet2d(3, 2, (4, 8), step=2).eval()
    assert network.divisor == 4
    image = torch.randn(1, 3, 16, 24)
    assert network(image).shape == (1, 2, 16, 24)
    torch.testing.assert_close(network.spread(network.gather(image)), image)
    other = image.clone()
    other[0, 0, 5, 7] += 1.0
    assert not torch.equal(network(other), network(image))
