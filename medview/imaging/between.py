"""Filling between slices: a structure drawn in some slices, interpolated in those between.

Shape-based interpolation (Raya and Udupa, IEEE TMI 9, 1990): signed distances to the outline are
interpolated, not voxels. Outlines are first brought over each other by their centres, so that a
structure which leans does not vanish between slices that do not overlap.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import ndimage

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
            here = (1 - part) * _moved(first, centre - start)
            here += part * _moved(second, centre - stop)
            result[n] = here > 0
        known.pop(low, None)
    return np.ascontiguousarray(np.moveaxis(result, 0, axis))


def _signed_mm(outline: Mask, pixel_mm: tuple[float, float]) -> Float:
    """Distance in mm to the border half-way between pixels: above 0 inside, below 0 outside."""
    both = np.stack([outline, ~outline])
    to_inside, to_outside = np.sqrt(squared_mm(both, (1.0, *pixel_mm), in_plane=True))
    half = np.float32(min(pixel_mm) / 2)
    signed: Float = np.where(outline, to_outside - half, half - to_inside).astype(np.float32)
    return signed


def _moved(signed: Float, by_pixels: npt.NDArray[np.float64]) -> Float:
    """Distances with their outline moved; what comes in from beyond is as at the edge."""
    if np.abs(by_pixels).max() < 1e-6:
        return signed
    moved: Float = ndimage.shift(signed, by_pixels, order=1, mode="nearest")
    return moved
