"""Slices to pictures of the screen's own pixels: grey or colour, and labels over them.

These are the plain versions, in numpy. `medview.imaging.kernels` has the same three functions
compiled, many times faster and slow to import; a `Pens` holds whichever is there.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from medview.core.segmentation import Segmentation
from medview.core.views import SegmentDisplay
from medview.core.volume import Volume
from medview.imaging.windowing import LookupTable

_LOG = logging.getLogger(__name__)

Picture = npt.NDArray[np.uint32]
#: Takes screen pixels to in-plane index: (row, column) = matrix[:, :2] @ (y, x) + matrix[:, 2].
PixelMatrix = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LabelInk:
    """How each label is drawn, indexed by label: `colors` (n, 3), `fill` 0-1, `outline` 0 or 1."""

    colors: npt.NDArray[np.float64]
    fill: npt.NDArray[np.float64]
    outline: npt.NDArray[np.bool_]

    @property
    def shows_anything(self) -> bool:
        """Whether any label would leave a mark."""
        return bool(self.outline.any() or (self.fill > 0).any())


def label_ink(segmentation: Segmentation, display: Mapping[int, SegmentDisplay]) -> LabelInk:
    """The ink of a segmentation whose segments are displayed as `display` says, by number."""
    count = 1 + max((segment.number for segment in segmentation.segments), default=0)
    ink = LabelInk(np.zeros((count, 3)), np.zeros(count), np.zeros(count, dtype=np.bool_))
    for segment in segmentation.segments:
        how = display.get(segment.number, SegmentDisplay())
        if how.visible:
            ink.colors[segment.number] = segment.color_rgb
            ink.fill[segment.number] = how.opacity
            ink.outline[segment.number] = how.outline
    return ink


def _indices(shape: tuple[int, int], matrix: PixelMatrix) -> tuple[Any, Any]:
    """Row and column of each pixel; of each line alone where they run along the screen."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    row, column = matrix[0, 0] * y, matrix[1, 1] * x
    if matrix[0, 1] or matrix[1, 0]:
        row, column = row + matrix[0, 1] * x, matrix[1, 0] * y + column
    return row + matrix[0, 2], column + matrix[1, 2]


def _nearest(
    size: tuple[int, int], out_shape: tuple[int, int], matrix: PixelMatrix, shift: tuple[int, int]
) -> tuple[Any, Any, Any]:
    """Row and column of the nearest source pixel, and whether there is one."""
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ shift
    row, column = (np.floor(v + 0.5).astype(np.intp) for v in _indices(out_shape, moved))
    inside = (row >= 0) & (row < size[0]) & (column >= 0) & (column < size[1])
    return np.clip(row, 0, size[0] - 1), np.clip(column, 0, size[1] - 1), inside


def _interpolated(
    image: npt.NDArray[Any], shape: tuple[int, int], matrix: PixelMatrix, *, smooth: bool
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Values, bilinear if `smooth`, and where the picture lies on the image."""
    rows, columns = image.shape[:2]
    row, column = _indices(shape, matrix)
    inside = (row >= -0.5) & (row < rows - 0.5) & (column >= -0.5) & (column < columns - 0.5)
    if not smooth:
        row, column = np.floor(row + 0.5), np.floor(column + 0.5)
    row, column = np.clip(row, 0, rows - 1), np.clip(column, 0, columns - 1)
    top, left = row.astype(np.intp), column.astype(np.intp)
    down, right = row - top, column - left
    # On a value itself the next one, which may be no number, has no say.
    below, beside = top + (down > 0), left + (right > 0)
    if image.ndim == 3:
        down, right = down[..., None], right[..., None]
    source = image.astype(np.float64)
    if row.shape[1] == 1:
        lines = source[top[:, 0]] * (1 - down) + source[below[:, 0]] * down
        return lines[:, left[0]] * (1 - right) + lines[:, beside[0]] * right, inside
    upper = source[top, left] * (1 - right) + source[top, beside] * right
    lower = source[below, left] * (1 - right) + source[below, beside] * right
    return upper * (1 - down) + lower * down, inside


def draw_grey(
    image: npt.NDArray[Any],
    matrix: PixelMatrix,
    table: LookupTable,
    out: Picture,
    *,
    smooth: bool = True,
) -> None:
    """Fill `out` with a grey slice (rows, columns): bilinear, or nearest if not `smooth`."""
    shape = (out.shape[0], out.shape[1])
    values, inside = _interpolated(image, shape, matrix, smooth=smooth)
    out[...] = np.where(inside, table.colors_of(values), np.uint32(table.blank))


def draw_rgb(
    image: npt.NDArray[Any], matrix: PixelMatrix, out: Picture, *, smooth: bool = True
) -> None:
    """Fill `out` with an 8-bit colour slice (rows, columns, 3): bilinear, or nearest."""
    shape = (out.shape[0], out.shape[1])
    values, inside = _interpolated(image[..., :3], shape, matrix, smooth=smooth)
    red, green, blue = np.moveaxis((values + 0.5).astype(np.uint32), -1, 0)
    color = red << 16 | green << 8 | blue
    out[...] = np.where(inside, color, 0) | np.uint32(0xFF000000)


def draw_labels(
    labels: npt.NDArray[Any], matrix: PixelMatrix, ink: LabelInk, width_px: int, out: Picture
) -> None:
    """Lay labels (rows, columns) over `out`: nearest, with an inner outline `width_px` wide."""
    if not labels.any():
        return
    shape = (out.shape[0], out.shape[1])
    found = _labels_at(labels, shape, matrix, (0, 0))
    found[found >= ink.fill.size] = 0
    edge = np.zeros(shape, dtype=np.bool_)
    for shift in ((-width_px, 0), (width_px, 0), (0, -width_px), (0, width_px)):
        edge |= _labels_at(labels, shape, matrix, shift) != found
    alpha = np.where(edge & ink.outline[found], 1.0, ink.fill[found])
    alpha[found == 0] = 0
    marked = alpha > 0
    strength, color = alpha[marked], ink.colors[found[marked]]
    under = out[marked]
    mixed = np.zeros_like(under)
    for channel, shift_bits in enumerate((16, 8, 0)):
        below = (under >> np.uint32(shift_bits)) & np.uint32(0xFF)
        value = below * (1 - strength) + color[:, channel] * strength
        mixed |= (value + 0.5).astype(np.uint32) << np.uint32(shift_bits)
    out[marked] = mixed | np.uint32(0xFF000000)


def _labels_at(
    labels: npt.NDArray[Any], shape: tuple[int, int], matrix: PixelMatrix, shift: tuple[int, int]
) -> npt.NDArray[np.intp]:
    row, column, inside = _nearest((labels.shape[0], labels.shape[1]), shape, matrix, shift)
    return np.where(inside, labels[row, column], 0).astype(np.intp)


class DrawGrey(Protocol):
    """As `draw_grey`."""

    def __call__(
        self,
        image: npt.NDArray[Any],
        matrix: PixelMatrix,
        table: LookupTable,
        out: Picture,
        *,
        smooth: bool = True,
    ) -> None:
        """Fill `out` with a grey slice."""


class DrawRgb(Protocol):
    """As `draw_rgb`."""

    def __call__(
        self, image: npt.NDArray[Any], matrix: PixelMatrix, out: Picture, *, smooth: bool = True
    ) -> None:
        """Fill `out` with a colour slice."""


@dataclass(frozen=True)
class Pens:
    """The three drawing functions, plain or compiled."""

    grey: DrawGrey = draw_grey
    rgb: DrawRgb = draw_rgb
    labels: Callable[[npt.NDArray[Any], PixelMatrix, LabelInk, int, Picture], None] = draw_labels


def drawable(volume: Volume, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Pixels of a slice as the pens take them: padding among float values is no number there.

    Among whole numbers of 16 bits the table itself knows padding.
    """
    if volume.padding is None or (pixels.dtype.kind in "iu" and pixels.dtype.itemsize <= 2):
        return pixels
    return np.where(volume.is_padding(pixels), np.float32(np.nan), pixels.astype(np.float32))


def shrink(image: npt.NDArray[Any], factor: int) -> npt.NDArray[Any]:
    """Means of blocks of `factor` x `factor` pixels, in the type of the image.

    For showing an image at less than half its size, where single values would alias. Rows and
    columns beyond the last whole block are left out; a factor that leaves nothing is lowered.
    """
    rows, columns = image.shape[:2]
    factor = max(1, min(factor, rows, columns))
    if factor == 1:
        return image
    rows, columns = rows // factor, columns // factor
    # Slices across a stack lie scattered in memory: gathered once, then added up in order.
    cut = np.ascontiguousarray(image[: rows * factor, : columns * factor])
    total = np.zeros((rows, columns, *image.shape[2:]), dtype=np.float32)
    for row in range(factor):
        for column in range(factor):
            total += cut[row::factor, column::factor]
    mean = total / np.float32(factor * factor)
    whole = mean if image.dtype.kind == "f" else np.rint(mean)
    result: npt.NDArray[Any] = whole.astype(image.dtype)
    return result


def compiled_pens() -> Pens:
    """The compiled pens, by name: the first call takes seconds and belongs on a worker thread.

    The plain ones where the compiler is missing or cannot work: pictures are the same, slower.
    """
    try:
        kernels = importlib.import_module("medview.imaging.kernels")
    except (ImportError, RuntimeError) as error:
        _LOG.warning("drawing stays uncompiled: %s", type(error).__name__)
        return Pens()
    pens: Pens = kernels.pens()
    return pens
