"""Objects told apart: from maps of foreground and depth to numbered objects."""

import heapq

import numba
import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

Numbered = npt.NDArray[np.int32]


def instances_of(
    answer: torch.Tensor,
    foreground: float = 0.5,
    core: float = 0.5,
    least_px: float = 12,
) -> Numbered:
    """Give numbered objects from a map of foreground and one of depth, both logits (2, r, c).

    Depth is 0 at the border of an object and 1 in its middle. Every connected piece deeper than
    `core` begins an object, which then takes the foreground around it, deep pixels first
    (watershed, Meyer 1994). Objects below `least_px` pixels are dropped. Numbers start at 1.
    """
    inside, depth = answer.sigmoid().numpy()
    found = inside > foreground
    seeds, _ = ndimage.label(found & (depth > core))
    # Small objects may be nowhere deep enough: what has no seed begins by itself.
    pieces, _ = ndimage.label(found)
    alone = found & np.isin(pieces, np.unique(pieces[seeds > 0]), invert=True)
    extra, _ = ndimage.label(alone)
    seeds = np.where(alone, extra + seeds.max(), seeds).astype(np.int32)
    return _renumbered(_flooded(depth.astype(np.float32), found, seeds), least_px)


def _renumbered(objects: Numbered, least_px: float) -> Numbered:
    sizes = np.bincount(objects.ravel())
    kept = np.flatnonzero(sizes >= least_px)
    kept = kept[kept > 0]
    names = np.zeros(len(sizes), np.int32)
    names[kept] = np.arange(1, len(kept) + 1)
    numbered: Numbered = names[objects]
    return numbered


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _flooded(
    depth: npt.NDArray[np.float32], found: npt.NDArray[np.bool_], seeds: Numbered
) -> Numbered:
    objects = seeds.copy()
    rows, columns = depth.shape
    queue = [(np.float32(0.0), 0, 0, 0)]
    queue.clear()
    order = 0
    for row in range(rows):
        for column in range(columns):
            if objects[row, column] > 0:
                heapq.heappush(queue, (-depth[row, column], order, row, column))
                order += 1
    while len(queue) > 0:
        _, _, row, column = heapq.heappop(queue)
        for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            r, c = row + down, column + right
            if 0 <= r < rows and 0 <= c < columns and found[r, c] and objects[r, c] == 0:
                objects[r, c] = objects[row, column]
                heapq.heappush(queue, (-depth[r, c], order, r, c))
                order += 1
    return objects
