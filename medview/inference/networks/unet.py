"""Residual U-Nets in plain torch."""

from collections.abc import Sequence
from itertools import pairwise
from types import EllipsisType

import torch
from torch import nn

from medview.inference.networks.layers import Parts


class _ResidualBlock(nn.Module):
    """Two normalised 3x3 convolutions beside a short cut; the first may halve the grid."""

    def __init__(self, parts: Parts, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = parts.plain(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.norm1 = parts.norm(out_channels)
        self.conv2 = parts.plain(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = parts.norm(out_channels)
        self.act = nn.LeakyReLU(0.01, inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = parts.plain(in_channels, out_channels, 1)
        # Taken before the convolution, not by it: see `picture_form` in learning/loop.py.
        every = slice(None, None, stride)
        self._met: tuple[EllipsisType | slice, ...] = (..., *[every] * parts.dimensions)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.act(self.norm1(self.conv1(x)))
        out: torch.Tensor = self.act(self.norm2(self.conv2(hidden)) + self.shortcut(x[self._met]))
        return out


class _UNet(nn.Module):
    """A residual U-Net in two or three dimensions.

    The full grid is touched by one convolution going in and one coming out, which keeps it quick
    on a processor; skip connections add. Each level halves the grid, so every side of the input
    must be a multiple of `divisor`; other sizes are refused by torch where the levels meet.
    After Çiçek et al., arXiv:1606.06650, and He et al., arXiv:1512.03385.
    """

    def __init__(
        self, parts: Parts, in_channels: int, out_channels: int, widths: Sequence[int]
    ) -> None:
        super().__init__()
        if len(widths) < 2:
            raise ValueError("a U-Net needs at least two levels")
        self.divisor = 2 ** (len(widths) - 1)
        self.stem = parts.convolution(in_channels, widths[0])
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        self.merge = nn.ModuleList()
        for level, (narrow, wide) in enumerate(pairwise(widths)):
            self.down.append(_ResidualBlock(parts, narrow, wide, stride=2))
            self.up.append(parts.transposed(wide, narrow, 2, 2))
            self.merge.append(
                _ResidualBlock(parts, narrow, narrow)
                if level
                else parts.convolution(narrow, narrow)
            )
        self.head = parts.plain(widths[0], out_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Give logits on the grid of the input."""
        x = self.stem(x)
        skips: list[torch.Tensor] = []
        for down in self.down:
            skips.append(x)
            x = down(x)
        for up, merge in zip(reversed(self.up), reversed(self.merge), strict=True):
            x = merge(up(x) + skips.pop())
        logits: torch.Tensor = self.head(x)
        return logits


class UNet3d(_UNet):
    """Residual 3D U-Net; (N, C, x, y, z) to logits (N, classes, x, y, z)."""

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        widths: Sequence[int] = (16, 32, 64, 192),
        norm: str = "instance",
    ) -> None:
        super().__init__(Parts(3, norm), in_channels, out_channels, widths)


class UNet2d(_UNet):
    """Residual 2D U-Net; (N, C, rows, columns) to logits (N, classes, rows, columns)."""

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        widths: Sequence[int] = (16, 32, 64, 128, 192),
        norm: str = "instance",
    ) -> None:
        super().__init__(Parts(2, norm), in_channels, out_channels, widths)


class ShuffledUNet2d(nn.Module):
    """Residual 2D U-Net on a coarser grid; (N, C, rows, columns) to (N, classes, rows, columns).

    Every `step` x `step` pixels become channels of one cell, and each cell's answer is spread over
    its pixels again: no detail is thrown away, and the costly full grid is never convolved
    (Shi et al., arXiv:1609.05158). On a processor several times as quick as the full grid.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        widths: Sequence[int] = (16, 32, 64, 96),
        norm: str = "batch",
        step: int = 2,
    ) -> None:
        super().__init__()
        cells = step * step
        self.gather = nn.PixelUnshuffle(step)
        self.body = UNet2d(cells * in_channels, cells * out_channels, widths, norm)
        self.spread = nn.PixelShuffle(step)
        self.divisor = step * self.body.divisor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Give logits on the grid of the input."""
        logits: torch.Tensor = self.spread(self.body(self.gather(x)))
        return logits
