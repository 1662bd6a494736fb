"""A detector without anchors: where objects have their middle, and how far they reach."""

from collections.abc import Sequence

import torch
from torch import nn

from medview.inference.networks.layers import Parts
from medview.inference.networks.unet import UNet2d, UNet3d

#: Cells of the answer are this many pixels of the input apart.
STRIDE = 4


class CentreDetector(nn.Module):
    """(N, C, rows, columns) to (N, classes + 4, rows / 4, columns / 4).

    The first channels are logits of a middle being there, by class; the last four are, as
    logarithms of pixels, how far the box reaches up, left, down and right of the cell's middle.
    Two strided convolutions and a U-Net on a quarter of the grid. In three `dimensions` it takes
    (N, C, x, y, z) and the last six channels are how far the box reaches, down the axes and up.
    After Zhou et al., arXiv:1904.07850, and Liu et al., arXiv:1909.00700.
    """

    def __init__(
        self,
        in_channels: int = 3,
        classes: int = 1,
        widths: Sequence[int] = (32, 64, 128, 192),
        dimensions: int = 2,
    ) -> None:
        super().__init__()
        parts = Parts(dimensions, "batch")
        unet = UNet2d if dimensions == 2 else UNet3d
        self.classes = classes
        self.stem = nn.Sequential(
            parts.plain(in_channels, widths[0] // 2, 3, 2, padding=1, bias=False),
            parts.norm(widths[0] // 2),
            nn.LeakyReLU(0.01, inplace=True),
        )
        self.reduce = parts.plain(widths[0] // 2, widths[0], 3, 2, padding=1)
        self.body = unet(widths[0], widths[0], widths, norm="batch")
        self.divisor = STRIDE * self.body.divisor
        self.head = nn.Sequential(
            nn.LeakyReLU(0.01, inplace=True),
            parts.plain(widths[0], 2 * widths[0], 3, padding=1, bias=False),
            parts.norm(2 * widths[0]),
            nn.LeakyReLU(0.01, inplace=True),
        )
        self.middles = parts.plain(2 * widths[0], classes, 1)
        self.reaches = parts.plain(2 * widths[0], 2 * dimensions, 1)
        if self.middles.bias is not None and self.reaches.bias is not None:
            nn.init.constant_(self.middles.bias, -4.0)  # middles are rare: begin by expecting few
            nn.init.constant_(self.reaches.bias, 2.5)

    @property
    def places(self) -> nn.Module:
        """The last layer before middles and reaches are told apart."""
        return self.head

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Give the maps of middles and reaches."""
        found = self.head(self.body(self.reduce(self.stem(image))))
        return torch.cat([self.middles(found), self.reaches(found)], dim=1)
