"""Borders in images: a brush that keeps to them, lines that follow them, areas they enclose."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from medview.core.findings import Point
from medview.core.volume import Volume
from medview.imaging.edit import Brush, Mask, Patch, grey_values, stroke

Float = npt.NDArray[np.float64]
Pixel = tuple[int, int]

#: Values within so many standard deviations of those under the middle of the brush are alike.
_ALIKE = 2.5
#: The middle of the brush, as a share of its radius.
_MIDDLE = 0.4
#: What a step across a flat place costs beside one along the strongest border.
_FLAT = 1.0
_BORDER = 0.02


def edge_stroke(volume: Volume, points_lps_mm: Sequence[Point], brush: Brush) -> Patch | None:
    """A stroke that keeps to what looks like the voxels under the middle of the brush.

    Of each piece of the stroke those voxels are taken that are alike (mean and spread of the
    middle) and joined to the middle by voxels that are.
    """
    points = list(points_lps_mm)
    pieces = [(points[0], points[0]), *pairwise(points)]
    middle = Brush(max(brush.radius_mm * _MIDDLE, 0.1), brush.normal)
    whole: Patch | None = None
    for pair in pieces:
        reach = stroke(volume.geometry, pair, brush)
        core = stroke(volume.geometry, pair, middle)
        piece = None if reach is None or core is None else _alike(volume, reach, core)
        if piece is not None:
            whole = piece if whole is None else whole.union(piece)
    return whole


def _alike(volume: Volume, reach: Patch, core: Patch) -> Patch:
    """The part of a patch that looks like its core and is joined to it."""
    values = np.asarray(grey_values(volume, reach.box), dtype=np.float64)
    seeds = np.zeros(reach.box.shape, dtype=np.bool_)
    inner = tuple(
        slice(a - o, b - o)
        for a, b, o in zip(core.box.start, core.box.stop, reach.box.start, strict=True)
    )
    seeds[inner] = core.mask
    seeds &= reach.mask
    under = values[seeds]
    # A brush over noise alone knows no spread: one step of the stored values is the least.
    spread = max(_ALIKE * float(under.std()), abs(volume.slope))
    fits = reach.mask & (np.abs(values - float(np.median(under))) <= spread)
    joined = ndimage.binary_propagation(seeds & fits, mask=fits)
    return Patch(reach.box, np.asarray(ndimage.binary_closing(joined) & reach.mask | joined))


def traced(values: npt.NDArray[np.floating], place: Pixel) -> Mask | None:
    """What the line of equal values through a pixel encloses: brighter or darker, whole.

    The pixel's own level cuts the slice; of what is at least as bright, and at least as dark, the
    part that holds the pixel is filled, and the one that keeps off the rim is taken, the smaller
    if both do. None where both run out of the slice.
    """
    level = values[place]
    found = []
    for part in (values >= level, values <= level):
        parts, _ = ndimage.label(part)
        area = np.asarray(ndimage.binary_fill_holes(parts == parts[place]), dtype=np.bool_)
        rim = area[0].any() or area[-1].any() or area[:, 0].any() or area[:, -1].any()
        if not rim:
            found.append(area)
    return min(found, key=np.count_nonzero) if found else None


class LiveWire:
    """Lines along the borders of a picture, from an anchor to wherever the pointer is.

    Shortest paths over pixels (Dijkstra), where a step costs less the steeper the picture is
    there (Barrett and Mortensen, Medical Image Analysis 1, 1997). `pixel_mm` is the size of a
    pixel down and across. Only `reach` pixels around the anchor are looked at.
    """

    def __init__(
        self, values: npt.NDArray[np.floating], pixel_mm: tuple[float, float], reach: int = 96
    ) -> None:
        self._values = np.asarray(values, dtype=np.float64)
        self._pixel_mm = pixel_mm
        self._reach = reach
        self._start: Pixel = (0, 0)
        self._shape: Pixel = (1, 1)
        self._before = np.full(1, -9999, dtype=np.int32)

    def anchor(self, place: Pixel) -> None:
        """Begin at a pixel: the paths to all around are worked out at once."""
        rows, columns = self._values.shape
        low = max(place[0] - self._reach, 0), max(place[1] - self._reach, 0)
        high = min(place[0] + self._reach + 1, rows), min(place[1] + self._reach + 1, columns)
        around = self._values[low[0] : high[0], low[1] : high[1]]
        self._start, self._shape = low, around.shape
        source = (place[0] - low[0]) * around.shape[1] + place[1] - low[1]
        graph = _steps(_costs(around, self._pixel_mm), self._pixel_mm)
        _, before = csgraph.dijkstra(graph, indices=source, return_predecessors=True)
        self._before = before

    def path(self, place: Pixel) -> list[Pixel]:
        """The pixels from the anchor to a place, both included; held to what was looked at."""
        row = min(max(place[0] - self._start[0], 0), self._shape[0] - 1)
        column = min(max(place[1] - self._start[1], 0), self._shape[1] - 1)
        at, found = row * self._shape[1] + column, []
        while at >= 0:
            found.append(
                (at // self._shape[1] + self._start[0], at % self._shape[1] + self._start[1])
            )
            at = int(self._before[at])
        return found[::-1]


def _costs(values: Float, pixel_mm: tuple[float, float]) -> Float:
    """What it costs to stand on a pixel: little on strong borders."""
    if min(values.shape) < 2:
        return np.full(values.shape, _FLAT)
    smooth = ndimage.gaussian_filter(values, 1.0)
    down, across = np.gradient(smooth, *pixel_mm)
    steep = np.hypot(down, across)
    top = float(np.percentile(steep, 98)) or 1.0
    return np.asarray(_BORDER + (_FLAT - _BORDER) * (1 - np.minimum(steep / top, 1)) ** 2)


def _steps(costs: Float, pixel_mm: tuple[float, float]) -> sparse.csr_array:
    """The graph of steps to the eight neighbours, each costing its length by what it crosses."""
    rows, columns = costs.shape
    number = np.arange(rows * columns).reshape(rows, columns)
    starts, stops, weights = [], [], []
    for down, across in ((0, 1), (1, 0), (1, 1), (1, -1)):
        one = number[: rows - down, max(0, -across) : columns - max(0, across)].reshape(-1)
        other = number[down:, max(0, across) : columns - max(0, -across)].reshape(-1)
        length = float(np.hypot(down * pixel_mm[0], across * pixel_mm[1]))
        flat = costs.reshape(-1)
        starts.append(one)
        stops.append(other)
        weights.append(length * (flat[one] + flat[other]) / 2)
    one, other, weight = (np.concatenate(parts) for parts in (starts, stops, weights))
    shape = (costs.size, costs.size)
    both = (np.concatenate([one, other]), np.concatenate([other, one]))
    return sparse.csr_array((np.concatenate([weight, weight]), both), shape=shape)
