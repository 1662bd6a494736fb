"""A network asked about mirrored copies of its input as well."""

from collections.abc import Sequence

import torch
from torch import nn


class FlipMean(nn.Module):
    """The mean answer of a network to an input and its mirrored copies.

    `flips` lists spatial axes, from 0, each giving one mirrored view beside the input itself.
    Maps (N, C, x, y...) are mirrored back first; answers without a place (N, C) are as they are.
    """

    def __init__(self, network: nn.Module, flips: Sequence[int] = ()) -> None:
        super().__init__()
        self.network = network
        self.divisor = int(getattr(network, "divisor", 1))
        self.views: list[list[int]] = [[], *([axis + 2] for axis in flips)]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Give the mean of what comes back."""
        answers = []
        for axes in self.views:
            answer = self.network(image.flip(axes))
            answers.append(answer.flip(axes) if answer.ndim == image.ndim else answer)
        return torch.stack(answers).mean(dim=0)


class FlipAverage(FlipMean):
    """Class probabilities of a segmentation network, averaged over mirrored inputs.

    (N, C, x, y...) to (N, classes, x, y...).
    """

    def __init__(self, network: nn.Module, flips: Sequence[int] = ()) -> None:
        super().__init__(nn.Sequential(network, nn.Softmax(dim=1)), flips)
        self.divisor = int(getattr(network, "divisor", 1))
