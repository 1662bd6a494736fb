"""Gradients of strided convolutions of single pixels come back, whatever the processor."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medview.inference.networks.unet import UNet2d, UNet3d
from medview.learning.loop import picture_form


@pytest.mark.parametrize(
    ("layer", "form"),
    [
        (nn.Conv2d(8, 16, 1, 2), torch.contiguous_format),
        (nn.Conv2d(8, 16, 1), torch.channels_last),
        (nn.Conv2d(8, 16, 3, 2), torch.channels_last),
        (UNet2d(3, 2, (8, 16)), torch.channels_last),
    ],
)
def test_only_steps_of_single_pixels_keep_channels_first(
    layer: nn.Module, form: torch.memory_format
) -> None:
    assert picture_form(nn.Sequential(nn.ReLU(), layer)) is form


@pytest.mark.parametrize("unet", [UNet2d, UNet3d])
def test_a_short_cut_is_a_strided_convolution(unet: type[UNet2d | UNet3d]) -> None:
    torch.manual_seed(0)
    block = unet(1, 1, (4, 6)).down[0]
    sides = (8, 6) if unet is UNet2d else (8, 6, 4)
    x = torch.randn(2, 4, *sides)
    strided = (nn.functional.conv2d if unet is UNet2d else nn.functional.conv3d)(
        x, block.shortcut.weight, block.shortcut.bias, stride=2
    )
    zero = {"weight": 0.0, "bias": 0.0}
    for name, value in zero.items():
        nn.init.constant_(getattr(block.norm2, name), value)
    torch.testing.assert_close(block(x), block.act(strided))
