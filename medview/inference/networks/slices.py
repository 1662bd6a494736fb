"""A network of slices asked about a volume: every slice with its neighbours as channels."""

from collections.abc import Sequence

import torch
from torch import nn

#: Slices that are asked about at once.
_AT_ONCE = 8


def slice_axis(patch: Sequence[int]) -> int | None:
    """Give the axis that a network of slices is asked across: a patch of a volume is 1 thick there.

    None for a network of volumes or of flat pictures.
    """
    return tuple(patch).index(1) if len(patch) == 3 and 1 in patch else None


def within_slices(axes: Sequence[int], axis: int) -> tuple[int, ...]:
    """Give axes of a volume as axes of its slices across `axis`, which itself is left out."""
    return tuple(other - (other > axis) for other in axes if other != axis)


class Slicewise(nn.Module):
    """Logits of a network of slices over volumes: (N, 1, x, y, z) to (N, classes, x, y, z).

    The network takes (N, 1 + 2 * neighbours, a, b): a slice across `axis` in the middle of its
    neighbours, those before it first; beyond the ends the last slice is repeated.
    """

    def __init__(self, network: nn.Module, axis: int, neighbours: int = 0) -> None:
        super().__init__()
        self.network = network
        self.axis = axis
        self.neighbours = neighbours

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Give logits on the grid of the input."""
        slices = image[:, 0].movedim(self.axis + 1, 1)
        count = slices.shape[1]
        around = torch.arange(-self.neighbours, self.neighbours + 1, device=image.device)
        places = torch.arange(count, device=image.device)[:, None] + around
        stacks = slices[:, places.clamp(0, count - 1)].flatten(0, 1)
        answers = torch.cat([self.network(few) for few in torch.split(stacks, _AT_ONCE)])
        whole = answers.reshape(-1, count, *answers.shape[1:])
        return whole.movedim(1, self.axis + 2)
