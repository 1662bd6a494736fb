"""A network asked piece by piece, in windows of the size it was trained on."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import EllipsisType

import torch
from torch import nn

#: Images up to this many times a training patch are asked in windows of its size.
_NEAR = 1.5
#: The least that a voxel of a window counts, against its middle.
_LEAST_IMPORTANCE = 1e-3


class Windowed(nn.Module):
    """Logits of a network on a grid of any size; close crops are seen as in training.

    Instance norm makes a network depend on how much surrounds a structure. An image not much
    larger than the training patches (under 1.5 times along every axis) is therefore asked in
    windows of just that size, spread evenly from end to end, logits averaged where they meet.
    A larger image is asked as a whole: windows would show the structure in pieces. Sides that the
    network cannot divide are continued by their own edge.
    (N, C, x, y...) to (N, classes, x, y...).
    """

    def __init__(self, network: nn.Module, patch: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.patch = tuple(patch)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Give logits on the grid of the input."""
        sizes = image.shape[2:]
        divisor = int(getattr(self.network, "divisor", 1))
        sides = [math.ceil(size / divisor) * divisor for size in sizes]
        near = all(n < _NEAR * side for n, side in zip(sizes, self.patch, strict=True))
        window = [min(pair) for pair in zip(sides, self.patch, strict=True)] if near else sides
        image = continued(image, window)
        places: list[tuple[EllipsisType | slice, ...]] = [
            (..., *(slice(start, start + side) for start, side in zip(corner, window, strict=True)))
            for corner in corners(image.shape[2:], window)
        ]
        answers = [self.network(image[place]) for place in places]
        total = answers[0].new_zeros((*answers[0].shape[:2], *image.shape[2:]))
        count = torch.zeros_like(total)
        for place, logits in zip(places, answers, strict=True):
            total[place] += logits
            count[place] += 1
        answer: torch.Tensor = (total / count)[(..., *(slice(0, size) for size in sizes))]
        return answer


def spread(size: int, window: int, overlap: float = 0.0) -> list[int]:
    """Give where windows begin so that they cover all of `size`, evenly spread.

    As few as overlap by this share of a window at least; `size` is a window or more.
    """
    step = max(1, int(window * (1 - overlap)))
    count = math.ceil((size - window) / step) + 1
    return [round(i * (size - window) / max(count - 1, 1)) for i in range(count)]


def corners(
    sizes: Sequence[int], window: Sequence[int], overlap: float = 0.0
) -> list[tuple[int, ...]]:
    """Give where windows begin that cover a grid, along each of its axes as `spread` says."""
    axes = [spread(size, side, overlap) for size, side in zip(sizes, window, strict=True)]
    return list(itertools.product(*axes))


def importance(window: Sequence[int]) -> torch.Tensor:
    """Give how much the voxels of a window count: a Gaussian, 1 in the middle, 0.001 at least.

    Its standard deviation is an eighth of each side (Isensee et al., nnU-Net,
    doi:10.1038/s41592-020-01008-z).
    """
    total = torch.ones(tuple(window))
    for axis, side in enumerate(window):
        place = torch.arange(side, dtype=torch.float32) - (side - 1) / 2
        shape = [-1 if other == axis else 1 for other in range(len(window))]
        total *= torch.exp(-0.5 * (place / (side / 8)) ** 2).reshape(shape)
    return total.clamp(min=_LEAST_IMPORTANCE)


@dataclass(frozen=True)
class Window:
    """A part of a grid, and the part of that which no other window sees better."""

    place: tuple[slice, ...]
    core: tuple[slice, ...]


def windows_over(
    sizes: Sequence[int], window: Sequence[int], overlap: float = 0.0, step: int = 1
) -> list[Window]:
    """Give windows that cover a grid, each sharing at least this part with the next.

    They begin at multiples of `step`; at the end they may be shorter. Cores meet in the middle of
    what two windows share, and together are the grid.
    """
    axes = []
    for size, side in zip(sizes, window, strict=True):
        most = max(step, (side - math.ceil(side * overlap)) // step * step)
        starts = list(range(0, max(1, size - side + most), most))
        stops = [min(start + side, size) for start in starts]
        meet = [(b + a) // 2 for a, b in zip(stops[:-1], starts[1:], strict=True)]
        places = [slice(a, b) for a, b in zip(starts, stops, strict=True)]
        cores = [slice(a, b) for a, b in zip([0, *meet], [*meet, size], strict=True)]
        axes.append(list(zip(places, cores, strict=True)))
    return [
        Window(tuple(place for place, _ in pairs), tuple(core for _, core in pairs))
        for pairs in itertools.product(*axes)
    ]


def continued(image: torch.Tensor, sides: Sequence[int]) -> torch.Tensor:
    """Give (N, C, x, y...) of at least these sides: what is missing at the ends is their edge."""
    missing = [max(0, side - size) for side, size in zip(sides, image.shape[2:], strict=True)]
    if not any(missing):
        return image
    after = [number for short in reversed(missing) for number in (0, short)]
    return nn.functional.pad(image, after, mode="replicate")
