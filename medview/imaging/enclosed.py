"""Voxels that a closed surface encloses."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from medview.imaging.edit import Mask

Floats = npt.NDArray[np.float64]
#: Lines through the middles of voxels are moved so far, that none meets a corner or an edge.
_ASIDE = np.array([1.3e-6, 2.9e-6])


def enclosed(corners: Floats, shape: tuple[int, int, int]) -> Mask:
    """Which voxels have their middle inside a closed surface, by the even-odd rule.

    `corners` (triangles, 3, 3) are voxel indices (k, j, i), in any order and turned any way.
    Along each line of voxels the surface is crossed once into, once out of what it encloses.
    ValueError for a surface that is not closed.
    """
    crossings = np.zeros((shape[0], shape[1], shape[2] + 1), dtype=np.uint8)
    for (k, j), depth in _crossed(corners, shape[:2]):
        first = np.clip(np.ceil(depth), 0, shape[2]).astype(np.intp)
        np.add.at(crossings, (k, j, first), 1)
    np.cumsum(crossings, axis=2, dtype=np.uint8, out=crossings)
    crossings &= 1  # what overflows loses no parity
    if crossings[:, :, -1].any():
        raise ValueError("The surface is not closed")
    return crossings[:, :, :-1].view(np.bool_)


def _crossed(
    corners: Floats, shape: tuple[int, int]
) -> Iterator[tuple[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]], Floats]]:
    """Lines (k, j) that triangles meet, and where along them.

    The lines within the bounds of each triangle are tried by their place there: all first ones,
    all second ones, and so on, for ever fewer triangles that are large.
    """
    flat = corners[:, :, :2] - _ASIDE
    low = np.maximum(np.ceil(flat.min(axis=1)), 0).astype(np.intp)
    high = np.minimum(np.floor(flat.max(axis=1)), np.array(shape) - 1).astype(np.intp)
    count = high - low + 1
    down = np.flatnonzero((count > 0).all(axis=1))
    for a in range(int(count[down, 0].max(initial=0))):
        down = down[count[down, 0] > a]
        across = down
        for b in range(int(count[across, 1].max(initial=0))):
            across = across[count[across, 1] > b]
            line = low[across] + (a, b)
            inside, depth = _met(flat[across], corners[across, :, 2], line.astype(np.float64))
            yield (line[inside, 0], line[inside, 1]), depth[inside]


def _met(flat: Floats, depths: Floats, line: Floats) -> tuple[Mask, Floats]:
    """Whether a line meets each triangle, and at which depth, by barycentric coordinates."""
    apart = flat - line[:, None]
    following = np.roll(apart, -1, axis=1)
    areas = apart[..., 0] * following[..., 1] - apart[..., 1] * following[..., 0]
    weights = np.roll(areas, -1, axis=1)  # of a corner: the area over against it
    whole = weights.sum(axis=1)
    inside: Mask = np.logical_or((areas > 0).all(axis=1), (areas < 0).all(axis=1))
    depth = (weights * depths).sum(axis=1) / np.where(inside, whole, 1.0)
    return inside, depth
