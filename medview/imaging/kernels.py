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
    """A contiguous read-only array of that kind."""
    return types.Array(kind, dimensions, "C", readonly=True)


# Every kind costs seconds to compile the first time: slices of others are converted, which costs
# a tenth of a millisecond and makes them contiguous besides.
_TABLE = types.Tuple((types.Array(types.uint32, 1, "C"), _F8, _F8, types.uint32))
_GREY = [
    types.void(_plane(kind), _MATRIX, _TABLE, types.boolean, _PICTURE)
    for kind in (types.int16, types.float32)
]
_RGB = [types.void(_plane(types.uint8, 3), _MATRIX, types.boolean, _PICTURE)]
_INK = types.Tuple(
    (types.Array(_F8, 2, "C"), types.Array(_F8, 1, "C"), types.Array(types.boolean, 1, "C"))
)
_LABELS = [types.void(_plane(types.uint16), _MATRIX, _INK, types.intp, _PICTURE)]


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
def _columns(matrix, columns, width, smooth):  # type: ignore[no-untyped-def]
    """Where each column of the picture lies between columns of the image, and which lie on it."""
    first, stop = width, 0
    left, beside = np.zeros(width, np.intp), np.zeros(width, np.intp)
    share = np.zeros(width, np.float32)
    for x in range(width):
        column = matrix[1, 1] * x + matrix[1, 2]
        if -0.5 <= column < columns - 0.5:
            first, stop = min(first, x), x + 1
            left[x], beside[x], part = _between(column, columns, smooth)
            share[x] = part
    return first, stop, left, beside, share


@numba.njit(cache=True, nogil=True)
def _hold(image, row, held, numbers):  # type: ignore[no-untyped-def]
    """Keep a row of the image in the place of its parity: neighbours never share one."""
    if numbers[row % 2] != row:
        numbers[row % 2] = row
        for column in range(image.shape[1]):
            held[row % 2, column] = image[row, column]


@numba.njit(cache=True, nogil=True)
def _grey_straight(image, matrix, table, smooth, out):  # type: ignore[no-untyped-def]
    """Rows and columns of the image run along the screen.

    Each column is placed once. Two rows of the image are held as they are mixed, so that an image
    whose rows are not contiguous is read only once.
    """
    colors, scale, offset, blank = table
    # Away from the first entry first: large values in a narrow window keep their digits so.
    scale, origin, half = np.float32(scale), np.float32(-offset / scale), np.float32(0.5)
    rows, columns = image.shape
    last = np.float32(colors.size - 1)
    first, stop, left, beside, share = _columns(matrix, columns, out.shape[1], smooth)
    held = np.empty((2, columns), np.float32)
    numbers = np.full(2, -1)
    mixed = np.empty(columns, np.float32)
    for y in range(out.shape[0]):
        row = matrix[0, 0] * y + matrix[0, 2]
        out[y] = blank
        if not -0.5 <= row < rows - 0.5:
            continue
        top, below, part = _between(row, rows, smooth)
        _hold(image, top, held, numbers)
        _hold(image, below, held, numbers)
        upper, lower, down = held[top % 2], held[below % 2], np.float32(part)
        for i in range(columns):
            mixed[i] = upper[i] + (lower[i] - upper[i]) * down
        for x in range(first, stop):
            # Unsigned places spare the check for negative ones.
            value = mixed[np.uintp(left[x])]
            value += (mixed[np.uintp(beside[x])] - value) * share[x]
            place = (value - origin) * scale + half
            if place - place == 0:  # a finite number
                place = place if place > 0 else np.float32(0)
                place = place if place < last else last
                out[y, x] = colors[np.uintp(np.int32(place))]


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


@numba.njit(cache=True, nogil=True)
def _is_edge(labels, matrix, row, column, width_px):  # type: ignore[no-untyped-def]
    """Whether another label is `width_px` away above, below, left or right."""
    label = _label_at(labels, row, column)
    dy_row, dy_column = matrix[0, 0] * width_px, matrix[1, 0] * width_px
    dx_row, dx_column = matrix[0, 1] * width_px, matrix[1, 1] * width_px
    return (
        _label_at(labels, row - dy_row, column - dy_column) != label
        or _label_at(labels, row + dy_row, column + dy_column) != label
        or _label_at(labels, row - dx_row, column - dx_column) != label
        or _label_at(labels, row + dx_row, column + dx_column) != label
    )


@numba.njit(cache=True, nogil=True)
def _mixed(under, color, alpha):  # type: ignore[no-untyped-def]
    """A colour over 0xFFRRGGBB."""
    under, rest = np.uint32(under), 1 - alpha
    red = np.uint32((under >> np.uint32(16) & np.uint32(0xFF)) * rest + color[0] * alpha + 0.5)
    green = np.uint32((under >> np.uint32(8) & np.uint32(0xFF)) * rest + color[1] * alpha + 0.5)
    blue = np.uint32((under & np.uint32(0xFF)) * rest + color[2] * alpha + 0.5)
    return np.uint32(0xFF000000) | red << np.uint32(16) | green << np.uint32(8) | blue


@numba.njit(cache=True, nogil=True)
def _nearest_line(scale, start, count, length, margin):  # type: ignore[no-untyped-def]
    """Nearest index of each pixel of a line, with `margin` pixels more at both ends; or -1."""
    found = np.empty(length + 2 * margin, np.intp)
    for n in range(found.size):
        index = math.floor(scale * (n - margin) + start + 0.5)
        found[n] = index if 0 <= index < count else -1
    return found


@numba.njit(cache=True, nogil=True)
def _picked(labels, row, columns, line):  # type: ignore[no-untyped-def]
    """The labels of one row at those columns, into `line`; whether there is one."""
    found = False
    for n in range(columns.size):
        line[n] = 0
        if row >= 0 and columns[n] >= 0:
            line[n] = labels[np.uintp(row), np.uintp(columns[n])]
            found = found or line[n] != 0
    return found


@numba.njit(cache=True, nogil=True)
def _labels_straight(labels, matrix, ink, width_px, out):  # type: ignore[no-untyped-def]
    """Rows and columns of the labels run along the screen: each is looked up once."""
    colors, fill, outline = ink
    rows = _nearest_line(matrix[0, 0], matrix[0, 2], labels.shape[0], out.shape[0], width_px)
    columns = _nearest_line(matrix[1, 1], matrix[1, 2], labels.shape[1], out.shape[1], width_px)
    above, here, below = np.zeros((3, columns.size), labels.dtype)
    for y in range(out.shape[0]):
        row = rows[y + width_px]
        if y == 0 or row != rows[y + width_px - 1]:
            any_here = _picked(labels, row, columns, here)
        if not any_here:
            continue
        _picked(labels, rows[y], columns, above)
        _picked(labels, rows[y + 2 * width_px], columns, below)
        for x in range(out.shape[1]):
            n = x + width_px
            label = here[n]
            if label == 0 or label >= fill.size:
                continue
            alpha = fill[label]
            if outline[label] and (
                above[n] != label
                or below[n] != label
                or here[x] != label
                or here[n + width_px] != label
            ):
                alpha = 1.0
            if alpha > 0:
                out[y, x] = _mixed(out[y, x], colors[label], alpha)


@numba.njit(cache=True, nogil=True)
def _labels_sheared(labels, matrix, ink, width_px, out):  # type: ignore[no-untyped-def]
    colors, fill, outline = ink
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            row = matrix[0, 0] * y + matrix[0, 1] * x + matrix[0, 2]
            column = matrix[1, 0] * y + matrix[1, 1] * x + matrix[1, 2]
            label = _label_at(labels, row, column)
            if label == 0 or label >= fill.size:
                continue
            alpha = fill[label]
            if outline[label] and _is_edge(labels, matrix, row, column, width_px):
                alpha = 1.0
            if alpha > 0:
                out[y, x] = _mixed(out[y, x], colors[label], alpha)


@numba.njit(_LABELS, cache=True, nogil=True)
def _draw_labels(labels, matrix, ink, width_px, out):  # type: ignore[no-untyped-def]
    if matrix[0, 1] == 0 and matrix[1, 0] == 0:
        _labels_straight(labels, matrix, ink, width_px, out)
    else:
        _labels_sheared(labels, matrix, ink, width_px, out)


def draw_grey(
    image: npt.NDArray[Any],
    matrix: PixelMatrix,
    table: LookupTable,
    out: Picture,
    *,
    smooth: bool = True,
) -> None:
    """Fill `out` with a grey slice (rows, columns): bilinear, or nearest if not `smooth`."""
    kind = np.int16 if image.dtype in (np.int16, np.uint8) else np.float32
    drawn = np.ascontiguousarray(image, dtype=kind)
    entries = (table.colors, float(table.scale), float(table.offset), np.uint32(table.blank))
    _draw_grey(drawn, matrix, entries, smooth, out)


def draw_rgb(
    image: npt.NDArray[Any], matrix: PixelMatrix, out: Picture, *, smooth: bool = True
) -> None:
    """Fill `out` with an 8-bit colour slice (rows, columns, 3): bilinear, or nearest."""
    _draw_rgb(np.ascontiguousarray(image, dtype=np.uint8), matrix, smooth, out)


def draw_labels(
    labels: npt.NDArray[Any], matrix: PixelMatrix, ink: LabelInk, width_px: int, out: Picture
) -> None:
    """Lay labels (rows, columns) over `out`: nearest, with an inner outline `width_px` wide."""
    drawn = np.ascontiguousarray(labels, dtype=np.uint16)
    _draw_labels(drawn, matrix, (ink.colors, ink.fill, ink.outline), width_px, out)


def pens() -> Pens:
    """The compiled drawing functions."""
    return Pens(draw_grey, draw_rgb, draw_labels)


# Sampling off the grid. `matrix` (3x4) takes an output place (n, y, x, 1) to index (k, j, i).


@numba.njit(cache=True, nogil=True)
def _mix(voxels, k, j, i):  # type: ignore[no-untyped-def]
    """Trilinear value at a place that has all eight neighbours."""
    # Unsigned places spare the check for negative ones.
    k0, j0, i0 = np.uintp(np.int64(k)), np.uintp(np.int64(j)), np.uintp(np.int64(i))
    k1, j1, i1 = k0 + np.uintp(1), j0 + np.uintp(1), i0 + np.uintp(1)
    a, b, c = np.float32(k - k0), np.float32(j - j0), np.float32(i - i0)
    v00, v01 = np.float32(voxels[k0, j0, i0]), np.float32(voxels[k0, j1, i0])
    v10, v11 = np.float32(voxels[k1, j0, i0]), np.float32(voxels[k1, j1, i0])
    v00 += (np.float32(voxels[k0, j0, i1]) - v00) * c
    v01 += (np.float32(voxels[k0, j1, i1]) - v01) * c
    v10 += (np.float32(voxels[k1, j0, i1]) - v10) * c
    v11 += (np.float32(voxels[k1, j1, i1]) - v11) * c
    near, far = v00 + (v01 - v00) * b, v10 + (v11 - v10) * b
    return near + (far - near) * a


@numba.njit(cache=True, nogil=True)
def _is_amid(shape, k, j, i):  # type: ignore[no-untyped-def]
    """Whether a place has all eight neighbours."""
    return 0 <= k < shape[0] - 1 and 0 <= j < shape[1] - 1 and 0 <= i < shape[2] - 1


@numba.njit(cache=True, nogil=True)
def _linear_at(voxels, k, j, i, outside):  # type: ignore[no-untyped-def]
    """Trilinear value anywhere; edge voxels reach half a voxel outwards."""
    shape = voxels.shape
    if _is_amid(shape, k, j, i):
        return _mix(voxels, k, j, i)
    if not (
        -0.5 <= k <= shape[0] - 0.5 and -0.5 <= j <= shape[1] - 0.5 and -0.5 <= i <= shape[2] - 0.5
    ):
        return np.float32(outside)
    k0, k1, a = _between(k, shape[0], True)
    j0, j1, b = _between(j, shape[1], True)
    i0, i1, c = _between(i, shape[2], True)
    near = (voxels[k0, j0, i0] * (1 - c) + voxels[k0, j0, i1] * c) * (1 - b) + (
        voxels[k0, j1, i0] * (1 - c) + voxels[k0, j1, i1] * c
    ) * b
    far = (voxels[k1, j0, i0] * (1 - c) + voxels[k1, j0, i1] * c) * (1 - b) + (
        voxels[k1, j1, i0] * (1 - c) + voxels[k1, j1, i1] * c
    ) * b
    return np.float32(near * (1 - a) + far * a)


@numba.njit(cache=True, nogil=True, parallel=True)
def sample_linear(voxels, matrix, outside, out):  # type: ignore[no-untyped-def]
    """Fill `out` (n, y, x) with trilinear values; `outside` half a voxel beyond the grid."""
    for line in numba.prange(out.shape[0] * out.shape[1]):
        n, y = line // out.shape[1], line % out.shape[1]
        k = matrix[0, 0] * n + matrix[0, 1] * y + matrix[0, 3]
        j = matrix[1, 0] * n + matrix[1, 1] * y + matrix[1, 3]
        i = matrix[2, 0] * n + matrix[2, 1] * y + matrix[2, 3]
        dk, dj, di = matrix[0, 2], matrix[1, 2], matrix[2, 2]
        last = out.shape[2] - 1
        ends = _is_amid(voxels.shape, k, j, i)
        if ends and _is_amid(voxels.shape, k + dk * last, j + dj * last, i + di * last):
            for x in range(out.shape[2]):
                out[n, y, x] = _mix(voxels, k + dk * x, j + dj * x, i + di * x)
        else:
            for x in range(out.shape[2]):
                out[n, y, x] = _linear_at(voxels, k + dk * x, j + dj * x, i + di * x, outside)


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


@numba.njit(cache=True, nogil=True)
def _project_amid(voxels, start, step, count, mode):  # type: ignore[no-untyped-def]
    """One ray that has all neighbours everywhere."""
    result = _mix(voxels, start[0], start[1], start[2])
    total = result
    for n in range(1, count):
        value = _mix(voxels, start[0] + step[0] * n, start[1] + step[1] * n, start[2] + step[2] * n)
        if mode * value > mode * result:
            result = value
        total += value
    return total / count if mode == 0 else result


@numba.njit(cache=True, nogil=True)
def _project_edge(voxels, start, step, count, mode):  # type: ignore[no-untyped-def]
    """One ray that leaves the grid somewhere: layers beyond it are left out."""
    result, total, met = np.float32(np.nan), np.float32(0), 0
    for n in range(count):
        value = _linear_at(
            voxels, start[0] + step[0] * n, start[1] + step[1] * n, start[2] + step[2] * n, np.nan
        )
        if math.isnan(value):
            continue
        if met == 0 or mode * value > mode * result:
            result = value
        total += value
        met += 1
    return total / met if mode == 0 and met > 0 else result


@numba.njit(cache=True, nogil=True, parallel=True)
def project_linear(voxels, matrix, count, mode, out):  # type: ignore[no-untyped-def]
    """Fill `out` (y, x) with the maximum (mode 1), minimum (-1) or mean (0) of `count` layers.

    Layers beyond the grid are left out; not-a-number where none is inside.
    """
    step = (matrix[0, 0], matrix[1, 0], matrix[2, 0])
    for y in numba.prange(out.shape[0]):
        for x in range(out.shape[1]):
            k = matrix[0, 1] * y + matrix[0, 2] * x + matrix[0, 3]
            j = matrix[1, 1] * y + matrix[1, 2] * x + matrix[1, 3]
            i = matrix[2, 1] * y + matrix[2, 2] * x + matrix[2, 3]
            last = count - 1
            amid = _is_amid(voxels.shape, k, j, i) and _is_amid(
                voxels.shape, k + step[0] * last, j + step[1] * last, i + step[2] * last
            )
            if amid:
                out[y, x] = _project_amid(voxels, (k, j, i), step, count, mode)
            else:
                out[y, x] = _project_edge(voxels, (k, j, i), step, count, mode)
