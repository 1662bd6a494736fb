"""Filling between slices: a structure drawn in some slices, interpolated in those between.

Shape-based interpolation (Raya and Udupa, IEEE TMI 9, 1990): signed distances to the outline are
interpolated, not voxels. Outlines are first brought over each other by their centres, so that a
structure which leans does not vanish between slices that do not overlap.
"""

from __future__ import annotations

from itertools import pairwise

import numba
import numpy as np
import numpy.typing as npt

from medview.imaging.distances import squared_mm

Mask = npt.NDArray[np.bool_]
Float = npt.NDArray[np.float32]


def filled_between(mask: Mask, axis: int, pixel_mm: tuple[float, float]) -> Mask:
    """The mask with the empty slices between drawn ones filled; drawn slices stay as they are.

    `pixel_mm` is the size of a pixel along the two remaining axes, in their order.
    """
    stack = np.moveaxis(mask, axis, 0)
    drawn = np.flatnonzero(stack.any(axis=(1, 2)))
    result = stack.copy()
    known: dict[int, tuple[Float, npt.NDArray[np.float64]]] = {}
    for low, high in pairwise(int(n) for n in drawn):
        if high == low + 1:
            continue
        for n in (low, high):
            if n not in known:
                known[n] = _signed_mm(stack[n], pixel_mm), np.argwhere(stack[n]).mean(axis=0)
        (first, start), (second, stop) = known[low], known[high]
        for n in range(low + 1, high):
            part = (n - low) / (high - low)
            centre = start + part * (stop - start)
            ways = [
                tuple(_places(size, by) for size, by in zip(first.shape, apart, strict=True))
                for apart in (centre - start, centre - stop)
            ]
            _fill(first, second, *ways, np.float32(part), result[n])
        known.pop(low, None)
    return np.ascontiguousarray(np.moveaxis(result, 0, axis))


def _signed_mm(outline: Mask, pixel_mm: tuple[float, float]) -> Float:
    """Distance in mm to the border half-way between pixels: above 0 inside, below 0 outside."""
    both = np.stack([outline, ~outline])
    to_inside, to_outside = np.sqrt(squared_mm(both, (1.0, *pixel_mm), in_plane=True))
    half = np.float32(min(pixel_mm) / 2)
    signed: Float = np.where(outline, to_outside - half, half - to_inside).astype(np.float32)
    return signed


def _places(count: int, by: float) -> Float:
    """Where the pixels of a line come from that is moved by some pixels: at the edge from beyond.

    For each the pixel before, the one after, and how far it is from the former.
    """
    at = np.clip(np.arange(count) - by, 0, count - 1)
    before = np.floor(at)
    return np.stack([before, np.minimum(before + 1, count - 1), at - before]).astype(np.float32)


@numba.njit(cache=True, nogil=True)
def _fill(first, second, of_first, of_second, part, out):  # type: ignore[no-untyped-def]
    """Where the mean of two moved maps, the second counting `part`, is above 0."""
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            one = _linear(first, of_first, j, i)
            two = _linear(second, of_second, j, i)
            out[j, i] = (1 - part) * one + part * two > 0


@numba.njit(cache=True, nogil=True)
def _linear(values, places, j, i):  # type: ignore[no-untyped-def]
    rows, columns = places
    top, bottom = int(rows[0, j]), int(rows[1, j])
    left, right = int(columns[0, i]), int(columns[1, i])
    along = columns[2, i]
    upper = values[top, left] + along * (values[top, right] - values[top, left])
    lower = values[bottom, left] + along * (values[bottom, right] - values[bottom, left])
    return upper + rows[2, j] * (lower - upper)
