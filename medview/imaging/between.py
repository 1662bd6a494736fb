"""Filling between slices: a structure drawn in some slices, interpolated in those between.

Shape-based interpolation (Raya and Udupa, IEEE TMI 9, 1990): signed distances to the outline are
interpolated, not voxels. Outlines are first brought over each other by their centres, so that a
structure which leans does not vanish between slices that do not overlap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numba
import numpy as np
import numpy.typing as npt

from medview.imaging.distances import squared_mm

Mask = npt.NDArray[np.bool_]
Float = npt.NDArray[np.floating]


def filled_between(mask: Mask, axis: int, pixel_mm: tuple[float, float]) -> Mask:
    """The mask with the empty slices between drawn ones filled; drawn slices stay as they are.

    `pixel_mm` is the size of a pixel along the two remaining axes, in their order.
    """
    stack = np.moveaxis(mask, axis, 0)
    drawn = [int(n) for n in np.flatnonzero(stack.any(axis=(1, 2)))]
    gaps = [(low, high) for low, high in pairwise(drawn) if high > low + 1]
    centres = {n: _centre(stack[n]) for n in {n for gap in gaps for n in gap}}
    outlines: dict[int, _Outline] = {}
    result = stack.copy()
    for low, high in gaps:
        for n in (low, high):
            if n not in outlines:
                joined = {m: centres[m] for gap in gaps if n in gap for m in gap}
                outlines[n] = _Outline.of(stack, n, joined, pixel_mm)
        first, second = outlines.pop(low), outlines[high]
        inside = first.inside(stack.shape[1:])
        corner = np.array([one.start for one in inside])
        for n in range(low + 1, high):
            part = (n - low) / (high - low)
            centre = first.centre + part * (second.centre - first.centre)
            moved = [centre - one.centre - (corner - one.corner) for one in (first, second)]
            _fill(first.signed_mm, second.signed_mm, *moved, np.float32(part), result[n][inside])
    return np.ascontiguousarray(np.moveaxis(result, 0, axis))


@dataclass(frozen=True, eq=False)
class _Outline:
    """What is drawn in a slice: its centre, and the distance to its border around it.

    The map reaches as far as this outline and those it is joined to are moved over each other,
    so that it is never sampled beside itself where that matters, and beyond the slice where the
    drawing does: what is not in the picture is not in the structure. `corner` is its first pixel.
    """

    centre: Float
    corner: npt.NDArray[np.intp]
    signed_mm: Float

    @staticmethod
    def of(
        stack: Mask, number: int, joined: Mapping[int, Float], pixel_mm: tuple[float, float]
    ) -> _Outline:
        """The outline in a slice, from the centres of all that it is joined to, itself included."""
        own = joined[number]
        reach = np.max([np.abs(other - own) for other in joined.values()], axis=0)
        margin = np.ceil(reach).astype(int) + 1
        held = stack[sorted(joined)]
        hit = [np.flatnonzero(held.any(axis=axes)) for axes in ((0, 2), (0, 1))]
        shown = stack[number][tuple(slice(one[0], one[-1] + 1) for one in hit)]
        padded = np.pad(shown, [(n, n) for n in margin])
        corner = np.array([one[0] for one in hit]) - margin
        return _Outline(own, corner, _signed_mm(padded, pixel_mm))

    def inside(self, shape: tuple[int, ...]) -> tuple[slice, ...]:
        """The part of a slice that the map covers."""
        ends = zip(self.corner, self.signed_mm.shape, shape, strict=True)
        return tuple(slice(max(at, 0), min(at + size, whole)) for at, size, whole in ends)


def _signed_mm(outline: Mask, pixel_mm: tuple[float, float]) -> Float:
    """Distance in mm to the border half-way between pixels: above 0 inside, below 0 outside."""
    to_inside, to_outside = squared_mm(
        np.stack([outline, ~outline]), (1.0, *pixel_mm), in_plane=True
    )
    away = np.sqrt(np.where(outline, to_outside, to_inside)) - np.float32(min(pixel_mm) / 2)
    signed: Float = np.where(outline, away, -away).astype(np.float32)
    return signed


def _centre(outline: Mask) -> Float:
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
    start = min(max(0, -whole), line.size)
    stop = max(min(line.size, columns - 1 - whole), 0)
    upper, lower = values[top], values[bottom]
    for i in range(start):
        line[i] = upper[0] + down * (lower[0] - upper[0])
    for i in range(start, stop):  # neighbours in memory: several at a time
        left = upper[i + whole] + down * (lower[i + whole] - upper[i + whole])
        right = upper[i + whole + 1] + down * (lower[i + whole + 1] - upper[i + whole + 1])
        line[i] = left + share * (right - left)
    for i in range(max(start, stop), line.size):
        line[i] = upper[-1] + down * (lower[-1] - upper[-1])
