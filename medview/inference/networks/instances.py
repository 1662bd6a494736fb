"""Objects told apart: from maps of foreground and depth to numbered objects."""

import numba
import numpy as np
import numpy.typing as npt
import torch

Numbered = npt.NDArray[np.int32]


def instances_of(
    answer: torch.Tensor,
    foreground: float = 0.5,
    prominence: float = 0.1,
    least_px: float = 12,
) -> Numbered:
    """Give numbered objects from a map of foreground and one of depth, both logits (2, r, c).

    Depth is 0 at the border of an object and 1 in its middle. A peak of depth within the
    foreground is an object if the way to any deeper peak leads down by `prominence` at least, and
    has the pixels around it that lie uphill towards it: the watershed of the depth without its
    shallow maxima (Soille: Morphological Image Analysis (2004), 6.3.4). Objects below `least_px`
    pixels are dropped. Numbers start at 1.
    """
    inside, depth = answer.sigmoid().numpy()
    found = inside > foreground
    return _renumbered(_peaks(depth.astype(np.float32), found, np.float32(prominence)), least_px)


def _renumbered(objects: Numbered, least_px: float) -> Numbered:
    sizes = np.bincount(objects.ravel())
    kept = np.flatnonzero(sizes >= least_px)
    kept = kept[kept > 0]
    names = np.zeros(len(sizes), np.int32)
    names[kept] = np.arange(1, len(kept) + 1)
    numbered: Numbered = names[objects]
    return numbered


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _peaks(
    depth: npt.NDArray[np.float32], found: npt.NDArray[np.bool_], prominence: np.float32
) -> Numbered:
    """Number the pixels of each peak, from 1; deep pixels first, so that peaks grow downhill.

    Where two peaks meet, the lower one goes into the other if it is less than `prominence` above
    the place where they meet.
    """
    padded = np.zeros((depth.shape[0] + 2, depth.shape[1] + 2), np.int32)
    objects = padded[1:-1, 1:-1]
    owner = np.arange(found.sum() + 1).astype(np.int32)  # the peak that each went into, or itself
    heights = np.zeros(len(owner), np.float32)
    count = 0
    for place in np.argsort(-depth.ravel(), kind="mergesort"):
        row, column = place // depth.shape[1], place % depth.shape[1]
        if not found[row, column]:
            continue
        around = _neighbours(padded, row, column)
        # Of the neighbours that have a number, the one whose peak is highest takes the pixel.
        best = 0
        for number in around:
            if number > 0 and (best == 0 or heights[_last(owner, number)] > heights[best]):
                best = _last(owner, number)
        if best == 0:
            count += 1
            best = count
            heights[best] = depth[row, column]
        objects[row, column] = best
        for number in around:
            other = _last(owner, number)
            if number > 0 and heights[other] - depth[row, column] < prominence:
                owner[other] = best
    for row in range(depth.shape[0]):
        for column in range(depth.shape[1]):
            objects[row, column] = _last(owner, objects[row, column])
    return objects


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _neighbours(padded: Numbered, row: int, column: int) -> tuple[int, int, int, int]:
    """Give what is above, left, right and below of a pixel, in a map with an edge of 0 around."""
    return (
        padded[row, column + 1],
        padded[row + 1, column],
        padded[row + 1, column + 2],
        padded[row + 2, column + 1],
    )


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _last(owner: Numbered, peak: int) -> int:
    """Give the peak that a peak went into in the end."""
    while owner[peak] != peak:
        owner[peak] = owner[owner[peak]]
        peak = owner[peak]
    return peak
