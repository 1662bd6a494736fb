"""A network asked more than once: about mirrored copies, member by member, with neurons left out.

Its mean answer is better than one; how far the answers lie apart tells how unsure it is.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from medview.inference.networks.ensemble import Ensemble

#: How often a network with dropout is asked, where there are neither views nor members.
_DRAWS = 12


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

    def each(self, image: torch.Tensor) -> torch.Tensor:
        """Give what comes back of every view, (views, N, C...)."""
        answers = []
        for axes in self.views:
            answer = self.network(image.flip(axes))
            answers.append(answer.flip(axes) if answer.ndim == image.ndim else answer)
        return torch.stack(answers)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Give the mean of what comes back."""
        return self.each(image).mean(dim=0)


class FlipAverage(FlipMean):
    """Class probabilities of a segmentation network, averaged over mirrored inputs.

    (N, C, x, y...) to (N, classes, x, y...).
    """

    def __init__(self, network: nn.Module, flips: Sequence[int] = ()) -> None:
        super().__init__(nn.Sequential(network, nn.Softmax(dim=1)), flips)
        self.divisor = int(getattr(network, "divisor", 1))


class Opinions(nn.Module):
    """The single answers whose mean is taken, (N, opinions, C...) instead of (N, C...).

    Of every member of an ensemble about every mirrored view; of one network without views, what it
    answers when dropout takes part (Gal and Ghahramani, arXiv:1506.02142), the same for the same
    `seed`. A network that offers none of these has one opinion.
    """

    def __init__(self, network: nn.Module, flips: Sequence[int] = (), seed: int = 0) -> None:
        super().__init__()
        self.members = nn.ModuleList(
            network.members if isinstance(network, Ensemble) else [network]
        )
        self.divisor = int(getattr(network, "divisor", 1))
        self.flips = tuple(flips)
        self.seed = seed

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Give what every single one says."""
        said = torch.cat([FlipMean(member, self.flips).each(image) for member in self.members])
        if len(said) == 1 and _dropouts(self):
            with dropout_at_work(self, self.seed):
                said = torch.stack([self.members[0](image) for _ in range(_DRAWS)])
        return said.movedim(0, 1)


def opinions(
    network: nn.Module, image: torch.Tensor, flips: Sequence[int] = (), seed: int = 0
) -> torch.Tensor:
    """Give the single answers (opinions, classes) of a classifier about one (C, x, y...)."""
    device = next(network.parameters()).device
    with torch.inference_mode():
        said: torch.Tensor = Opinions(network, flips, seed)(image[None].to(device))
    return said[0].float().cpu()


def unsureness(probabilities: torch.Tensor) -> torch.Tensor:
    """Give the entropy of class probabilities (C, x, y...) over its largest value, 0 to 1.

    0 where one class is certain, 1 where all are as probable. Of the mean of several opinions it is
    the whole uncertainty: that of each and their disagreement (Kendall and Gal, arXiv:1703.04977).
    """
    entropy: torch.Tensor = torch.special.entr(probabilities).sum(dim=0)
    return entropy / math.log(len(probabilities))


def _dropouts(network: nn.Module) -> list[nn.Module]:
    kinds = (nn.Dropout, nn.Dropout2d, nn.Dropout3d)
    return [part for part in network.modules() if isinstance(part, kinds) and part.p > 0]


@contextmanager
def dropout_at_work(network: nn.Module, seed: int) -> Iterator[None]:
    """Leave neurons out at random, as in training, from a seed; all else stays as it is."""
    parts = _dropouts(network)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for part in parts:
            part.train()
        try:
            yield
        finally:
            for part in parts:
                part.eval()
