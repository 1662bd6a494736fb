"""A network asked about mirrored copies of its input as well."""

from collections.abc import Sequence

import torch
from torch import nn


class FlipAverage(nn.Module):
    """Class probabilities of a segmentation network, averaged over mirrored inputs.

    `flips` lists spatial axes, 0 to 2, each giving one mirrored view beside the input itself;
    (N, C, x, y, z) to (N, classes, x, y, z).
    """

    def __init__(self, network: nn.Module, flips: Sequence[int] = ()) -> None:
        super().__init__()
        self.network = network
        self.views: list[list[int]] = [[], *([axis + 2] for axis in flips)]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Give the mean of the probabilities, each mirrored back."""
        answers = [self.network(image.flip(axes)).softmax(dim=1).flip(axes) for axes in self.views]
        return torch.stack(answers).mean(dim=0)
