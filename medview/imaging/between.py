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
                known[n] = _signed_mm(stack[n], pixel_mm), _centre(stack[n])
        (first, start), (second, stop) = known[low], known[high]
        for n in range(low + 1, high):
            part = (n - low) / (high - low)
            centre = start + part * (stop - start)
            _fill(first, second, centre - start, centre - stop, np.float32(part), result[n])
        known.pop(low, None)
    return np.ascontiguousarray(np.moveaxis(result, 0, axis))


def _signed_mm(outline: Mask, pixel_mm: tuple[float, float]) -> Float:
    """Distance in mm to the border half-way between pixels: above 0 inside, below 0 outside."""
    to_inside, to_outside = squared_mm(
        np.stack([outline, ~outline]), (1.0, *pixel_mm), in_plane=True
    )
    away = np.sqrt(np.where(outline, to_outside, to_inside)) - np.float32(min(pixel_mm) / 2)
    signed: Float = np.where(outline, away, -away).astype(np.float32)
    return signed


def _centre(outline: Mask) -> npt.NDArray[np.float64]:
    """The mean row and column of its pixels."""
    lines = [outline.sum(axis=other) for other in (1, 0)]
    return np.array([np.dot(np.arange(len(one)), one) / one.sum() for one in lines])


@numba.njit(cache=True, nogil=True)
def _fill(first, second, of_first, of_second, part, out):  # type: ignore[no-untyped-def]
    """Where the mean of two moved maps, the second counting `part`, is above 0."""
    one, two = np.empty(out.shape[1], np.float32), np.empty(out.shape[1], np.float32)
    for j in range(out.shape[0]):
        _moved(first, of_first, j, one)
        _moved(second, of_second, j, two)
        for i in range(out.shape[1]):
            out[j, i] = (1 - part) * one[i] + part * two[i] > 0


@numba.njit(cache=True, nogil=True)
def _moved(values, by, j, line):  # type: ignore[no-untyped-def]
    """A row of a map that is moved by some pixels, between its pixels; at the edge from beyond."""
    rows, columns = values.shape
    place = min(max(j - by[0], 0.0), rows - 1.0)
    top = int(place)
    bottom, down = min(top + 1, rows - 1), np.float32(place - top)
    whole = int(np.floor(-by[1]))
    share = np.float32(-by[1] - whole)
    start, stop = min(max(0, -whole), columns), max(min(columns, columns - 1 - whole), 0)
    upper, lower = values[top], values[bottom]
    for i in range(start):
        line[i] = upper[0] + down * (lower[0] - upper[0])
    for i in range(start, stop):  # neighbours in memory: several at a time
        left = upper[i + whole] + down * (lower[i + whole] - upper[i + whole])
        right = upper[i + whole + 1] + down * (lower[i + whole + 1] - upper[i + whole + 1])
        line[i] = left + share * (right - left)
    for i in range(max(start, stop), columns):
        line[i] = upper[-1] + down * (lower[-1] - upper[-1])
