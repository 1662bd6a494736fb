"""Networks that give one answer for a whole picture."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import torch
from torch import nn

from medview.inference.networks.layers import Parts


class TextbookCnn(nn.Sequential):
    """The first network of every course; (N, C, side, side) to logits (N, classes).

    Three 3x3 convolutions (32, 64, 64 channels, ReLU, no padding), a 2x2 max-pool after the first
    and second, a dense layer of 64, a dense output. `side` is the one size it takes, in pixels.
    """

    def __init__(self, in_channels: int = 1, classes: int = 2, side: int = 28) -> None:
        left = ((side - 2) // 2 - 2) // 2 - 2
        if left < 1:
            raise ValueError(f"pictures of {side} pixels are too small for three convolutions")
        super().__init__(
            nn.Conv2d(in_channels, 32, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 64, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * left * left, 64),
            nn.ReLU(),
            nn.Linear(64, classes),
        )


class Explains(Protocol):
    """A classifier that can tell where in a picture its answer comes from."""

    def evidence(self, image: torch.Tensor) -> torch.Tensor:
        """Give the share of every place in the logits, (N, classes, r, c)."""
        ...


class _PreactivationBlock(nn.Module):
    """Norm and ReLU before each of two 3x3 convolutions, beside a short cut."""

    def __init__(
        self, parts: Parts, in_channels: int, out_channels: int, stride: int, dropout: float
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(
            parts.norm(in_channels),
            nn.ReLU(),
            parts.plain(in_channels, out_channels, 3, stride, padding=1, bias=False),
            parts.norm(out_channels),
            nn.ReLU(),
            parts.dropout(dropout),
            parts.plain(out_channels, out_channels, 3, padding=1, bias=False),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                parts.mean(stride, ceil_mode=True) if stride > 1 else nn.Identity(),
                parts.plain(in_channels, out_channels, 1, bias=False),
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.shortcut(x) + self.body(x)
        return out


class ResidualClassifier(nn.Module):
    """A small residual network; (N, C, rows, columns) of any size to logits (N, classes).

    The stem halves the grid when `halve` is set, every width after the first halves it again.
    The mean over the last grid is classified, so every place of it has its own share in an answer
    (`evidence`). In three `dimensions` it takes (N, C, x, y, z). After He et al., arXiv:1603.05027.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 2,
        widths: Sequence[int] = (16, 32, 64, 128),
        dropout: float = 0.1,
        *,
        halve: bool = True,
        dimensions: int = 2,
    ) -> None:
        super().__init__()
        parts = Parts(dimensions, "batch")
        stride = 2 if halve else 1
        blocks = [_PreactivationBlock(parts, widths[0], widths[0], 1, dropout)]
        blocks += [_PreactivationBlock(parts, a, b, 2, dropout) for a, b in pairwise(widths)]
        self.features = nn.Sequential(
            parts.plain(
                in_channels, widths[0], 5 if halve else 3, stride, padding=2 if halve else 1
            ),
            *blocks,
            parts.norm(widths[-1]),
            nn.ReLU(),
        )
        self.dropout = nn.Dropout(3 * dropout)
        self.output = nn.Linear(widths[-1], classes)

    @property
    def places(self) -> nn.Module:
        """The last layer whose maps still have places."""
        return self.features

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Give logits."""
        found = self.features(image).flatten(2).mean(dim=2)
        logits: torch.Tensor = self.output(self.dropout(found))
        return logits

    def evidence(self, image: torch.Tensor) -> torch.Tensor:
        """Give the share of every place in the logits, (N, classes, r, c); they are its mean.

        The class activation map of Zhou et al., arXiv:1512.04150, which is Grad-CAM for a network
        that ends in a mean and one layer (Selvaraju et al., arXiv:1610.02391).
        """
        found = self.features(image)
        shares = torch.einsum("nf...,cf->nc...", found, self.output.weight)
        bias: torch.Tensor = self.output.bias.reshape(-1, *[1] * (found.ndim - 2))
        return shares + bias
