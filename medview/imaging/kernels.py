"""The hot loops, compiled: drawing slices, and sampling volumes off their grid.

Importing this module loads numba and its compiled code (compiling it the first time), which takes
seconds: it is named by string and loaded after the first paint. Results equal those of
`medview.imaging.rendering` and of scipy.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from numba import types

from medview.imaging.rendering import LabelInk, Pens, Picture, PixelMatrix
from medview.imaging.windowing import LookupTable

_F8 = types.float64
_MATRIX = types.Array(_F8, 2, "C", readonly=True)
_PICTURE = types.Array(types.uint32, 2, "C")


def _plane(kind: Any, dimensions: int = 2) -> Any:
    """Any strided read-only array of that kind, which contiguous ones match too."""
    return types.Array(kind, dimensions, "A", readonly=True)


_GREY_KINDS = (types.int16, types.uint16, types.uint8, types.float32)
_TABLE = types.Tuple((types.Array(types.uint32, 1, "C"), _F8, _F8, types.uint32))
_GREY = [types.void(_plane(kind), _MATRIX, _TABLE, types.boolean, _PICTURE) for kind in _GREY_KINDS]
_RGB = [types.void(_plane(types.uint8, 3), _MATRIX, types.boolean, _PICTURE)]
_LABELS = [
    types.void(
        _plane(kind), _MATRIX, types.Array(_F8, 2, "C", readonly=True),
        types.Array(_F8, 1, "C", readonly=True), types.Array(types.boolean, 1, "C", readonly=True),
        types.intp, _PICTURE,
    )
    for kind in (types.uint8, types.uint16)
]  # fmt: skip


@numba.njit(cache=True, nogil=True)
def _between(place, count, smooth):  # type: ignore[no-untyped-def]
    """The two neighbours of a place on a line of `count` values, and the share of the second."""
    if not smooth:
        place = math.floor(place + 0.5)
    place = min(max(place, 0.0), count - 1.0)
    first = int(place)
    # On a value itself the next one, which may be no number, has no say.
    return first, first if place == first else first + 1, place - first


@numba.njit(cache=True, nogil=True)
def _grey_straight(image, matrix, table, smooth, out):  # type: ignore[no-untyped-def]
    """Rows and columns of the image run along the screen: each column is placed once."""
    colors, scale, offset, blank = table
    rows, columns = image.shape
    last, width = colors.size - 1, out.shape[1]
    first, stop = width, 0
    left, beside = np.zeros(width, np.intp), np.zeros(width, np.intp)
    right = np.zeros(width, np.float32)
    for x in range(width):
        column = matrix[1, 1] * x + matrix[1, 2]
        if -0.5 <= column < columns - 0.5:
            first, stop = min(first, x), x + 1
            left[x], beside[x], share = _between(column, columns, smooth)
            right[x] = share
    for y in range(out.shape[0]):
        row = matrix[0, 0] * y + matrix[0, 2]
        out[y] = blank
        if not -0.5 <= row < rows - 0.5:
            continue
        top, below, down = _between(row, rows, smooth)
        down = np.float32(down)
        for x in range(first, stop):
            i, j, share = left[x], beside[x], right[x]
            a, b = np.float32(image[top, i]), np.float32(image[below, i])
            a += (np.float32(image[top, j]) - a) * share
            b += (np.float32(image[below, j]) - b) * share
            place = (a + (b - a) * down) * scale + offset
            if math.isfinite(place):
                out[y, x] = colors[int(min(max(place + 0.5, 0.0), last))]


@numba.njit(cache=True, nogil=True)
def _grey_sheared(image, matrix, table, smooth, out):  # type: ignore[no-untyped-def]
    colors, scale, offset, blank = table
    rows, columns = image.shape
    last = colors.size - 1
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            row = matrix[0, 0] * y + matrix[0, 1] * x + matrix[0, 2]
            column = matrix[1, 0] * y + matrix[1, 1] * x + matrix[1, 2]
            out[y, x] = blank
            if not (-0.5 <= row < rows - 0.5 and -0.5 <= column < columns - 0.5):
                continue
            top, below, down = _between(row, rows, smooth)
            left, beside, right = _between(column, columns, smooth)
            upper = image[top, left] * (1 - right) + image[top, beside] * right
            lower = image[below, left] * (1 - right) + image[below, beside] * right
            place = (upper * (1 - down) + lower * down) * scale + offset
            if math.isfinite(place):
                out[y, x] = colors[int(min(max(place + 0.5, 0.0), last))]


@numba.njit(_GREY, cache=True, nogil=True)
def _draw_grey(image, matrix, table, smooth, out):  # type: ignore[no-untyped-def]
    if matrix[0, 1] == 0 and matrix[1, 0] == 0:
        _grey_straight(image, matrix, table, smooth, out)
    else:
        _grey_sheared(image, matrix, table, smooth, out)


@numba.njit(_RGB, cache=True, nogil=True)
def _draw_rgb(image, matrix, smooth, out):  # type: ignore[no-untyped-def]
    rows, columns = image.shape[:2]
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            row = matrix[0, 0] * y + matrix[0, 1] * x + matrix[0, 2]
            column = matrix[1, 0] * y + matrix[1, 1] * x + matrix[1, 2]
            color = 0xFF
            inside = -0.5 <= row < rows - 0.5 and -0.5 <= column < columns - 0.5
            top, below, down = _between(row, rows, smooth)
            left, beside, right = _between(column, columns, smooth)
            for channel in range(3):
                value = 0.0
                if inside:
                    upper = (
                        image[top, left, channel] * (1 - right)
                        + image[top, beside, channel] * right
                    )
                    lower = (
                        image[below, left, channel] * (1 - right)
                        + image[below, beside, channel] * right
                    )
                    value = upper * (1 - down) + lower * down
                color = color << 8 | int(value + 0.5)
            out[y, x] = color


@numba.njit(cache=True, nogil=True)
def _label_at(labels, row, column):  # type: ignore[no-untyped-def]
    r, c = math.floor(row + 0.5), math.floor(column + 0.5)
    if 0 <= r < labels.shape[0] and 0 <= c < labels.shape[1]:
        return labels[int(r), int(c)]
    return labels.dtype.type(0)


@numba.njit(_LABELS, cache=True, nogil=True)
def _draw_labels(labels, matrix, colors, fill, outline, width_px, out):  # type: ignore[no-untyped-def]
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            row = matrix[0, 0] * y + matrix[0, 1] * x + matrix[0, 2]
            column = matrix[1, 0] * y + matrix[1, 1] * x + matrix[1, 2]
            label = _label_at(labels, row, column)
            if label == 0 or label >= fill.size:
                continue
            alpha = fill[label]
            if outline[label]:
                dy_row, dy_column = matrix[0, 0] * width_px, matrix[1, 0] * width_px
                dx_row, dx_column = matrix[0, 1] * width_px, matrix[1, 1] * width_px
                if (
                    _label_at(labels, row - dy_row, column - dy_column) != label
                    or _label_at(labels, row + dy_row, column + dy_column) != label
                    or _label_at(labels, row - dx_row, column - dx_column) != label
                    or _label_at(labels, row + dx_row, column + dx_column) != label
                ):
                    alpha = 1.0
            if alpha <= 0:
                continue
            under = out[y, x]
            color = 0xFF
            for channel in range(3):
                below = (under >> (16 - 8 * channel)) & 0xFF
                value = below * (1 - alpha) + colors[label, channel] * alpha
                color = color << 8 | int(value + 0.5)
            out[y, x] = color


def draw_grey(
    image: npt.NDArray[Any],
    matrix: PixelMatrix,
    table: LookupTable,
    out: Picture,
    *,
    smooth: bool = True,
) -> None:
    """Fill `out` with a grey slice (rows, columns): bilinear, or nearest if not `smooth`."""
    drawn = image if image.dtype in (np.int16, np.uint16, np.uint8) else image.astype(np.float32)
    entries = (table.colors, float(table.scale), float(table.offset), np.uint32(table.blank))
    _draw_grey(drawn, matrix, entries, smooth, out)


def draw_rgb(
    image: npt.NDArray[Any], matrix: PixelMatrix, out: Picture, *, smooth: bool = True
) -> None:
    """Fill `out` with an 8-bit colour slice (rows, columns, 3): bilinear, or nearest."""
    _draw_rgb(image.astype(np.uint8, copy=False), matrix, smooth, out)


def draw_labels(
    labels: npt.NDArray[Any], matrix: PixelMatrix, ink: LabelInk, width_px: int, out: Picture
) -> None:
    """Lay labels (rows, columns) over `out`: nearest, with an inner outline `width_px` wide."""
    _draw_labels(labels, matrix, ink.colors, ink.fill, ink.outline, width_px, out)


def pens() -> Pens:
    """The compiled drawing functions."""
    return Pens(draw_grey, draw_rgb, draw_labels)


# Sampling off the grid. `matrix` (3x4) takes an output place (n, y, x, 1) to index (k, j, i).


@numba.njit(cache=True, nogil=True)
def _linear_at(voxels, k, j, i, outside):  # type: ignore[no-untyped-def]
    shape = voxels.shape
    if not (
        -0.5 <= k <= shape[0] - 0.5 and -0.5 <= j <= shape[1] - 0.5 and -0.5 <= i <= shape[2] - 0.5
    ):
        return outside
    k = min(max(k, 0.0), shape[0] - 1.0)
    j = min(max(j, 0.0), shape[1] - 1.0)
    i = min(max(i, 0.0), shape[2] - 1.0)
    k0, j0, i0 = int(k), int(j), int(i)
    k1, j1, i1 = min(k0 + 1, shape[0] - 1), min(j0 + 1, shape[1] - 1), min(i0 + 1, shape[2] - 1)
    a, b, c = k - k0, j - j0, i - i0
    near = (voxels[k0, j0, i0] * (1 - c) + voxels[k0, j0, i1] * c) * (1 - b) + (
        voxels[k0, j1, i0] * (1 - c) + voxels[k0, j1, i1] * c
    ) * b
    far = (voxels[k1, j0, i0] * (1 - c) + voxels[k1, j0, i1] * c) * (1 - b) + (
        voxels[k1, j1, i0] * (1 - c) + voxels[k1, j1, i1] * c
    ) * b
    return near * (1 - a) + far * a


@numba.njit(cache=True, nogil=True, parallel=True)
def sample_linear(voxels, matrix, outside, out):  # type: ignore[no-untyped-def]
    """Fill `out` (n, y, x) with trilinear values; `outside` half a voxel beyond the grid."""
    for line in numba.prange(out.shape[0] * out.shape[1]):
        n, y = line // out.shape[1], line % out.shape[1]
        for x in range(out.shape[2]):
            k = matrix[0, 0] * n + matrix[0, 1] * y + matrix[0, 2] * x + matrix[0, 3]
            j = matrix[1, 0] * n + matrix[1, 1] * y + matrix[1, 2] * x + matrix[1, 3]
            i = matrix[2, 0] * n + matrix[2, 1] * y + matrix[2, 2] * x + matrix[2, 3]
            out[n, y, x] = _linear_at(voxels, k, j, i, outside)


@numba.njit(cache=True, nogil=True, parallel=True)
def sample_nearest(voxels, matrix, out):  # type: ignore[no-untyped-def]
    """Fill `out` (n, y, x) with the nearest voxels; 0 beyond the grid."""
    for line in numba.prange(out.shape[0] * out.shape[1]):
        n, y = line // out.shape[1], line % out.shape[1]
        for x in range(out.shape[2]):
            k = math.floor(
                matrix[0, 0] * n + matrix[0, 1] * y + matrix[0, 2] * x + matrix[0, 3] + 0.5
            )
            j = math.floor(
                matrix[1, 0] * n + matrix[1, 1] * y + matrix[1, 2] * x + matrix[1, 3] + 0.5
            )
            i = math.floor(
                matrix[2, 0] * n + matrix[2, 1] * y + matrix[2, 2] * x + matrix[2, 3] + 0.5
            )
            inside = (
                0 <= k < voxels.shape[0] and 0 <= j < voxels.shape[1] and 0 <= i < voxels.shape[2]
            )
            out[n, y, x] = voxels[int(k), int(j), int(i)] if inside else 0


@numba.njit(cache=True, nogil=True, parallel=True)
def project_linear(voxels, matrix, count, mode, outside, out):  # type: ignore[no-untyped-def]
    """Fill `out` (y, x) with the maximum (mode 1), minimum (-1) or mean (0) of `count` layers.

    Layers beyond the grid are left out; `outside` where none is inside.
    """
    for y in numba.prange(out.shape[0]):
        for x in range(out.shape[1]):
            k = matrix[0, 1] * y + matrix[0, 2] * x + matrix[0, 3]
            j = matrix[1, 1] * y + matrix[1, 2] * x + matrix[1, 3]
            i = matrix[2, 1] * y + matrix[2, 2] * x + matrix[2, 3]
            result, total, met = outside, 0.0, 0
            for n in range(count):
                value = _linear_at(
                    voxels, k + matrix[0, 0] * n, j + matrix[1, 0] * n, i + matrix[2, 0] * n, np.nan
                )
                if math.isnan(value):
                    continue
                if met == 0 or mode * value > mode * result:
                    result = value
                total += value
                met += 1
            out[y, x] = total / met if mode == 0 and met > 0 else result
