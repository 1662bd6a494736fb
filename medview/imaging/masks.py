"""Shutters and overlay planes as labels on the pixels of an image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medview.core.graphics import Bitmap, Graphics, Place, Shutter
from medview.imaging.rendering import LabelInk

#: Labels of what is laid over an image.
HIDDEN, DRAWN = 1, 2
_WHITE = (255, 255, 255)


def hidden_by(shutter: Shutter, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Pixels of an image that a shutter hides: all that lies outside any of its shapes."""
    row, column = np.ogrid[: shape[0], : shape[1]]
    hidden = np.zeros(shape, dtype=np.bool_)
    if shutter.box is not None:
        top, left, bottom, right = shutter.box
        hidden |= (row < top) | (row > bottom) | (column < left) | (column > right)
    if shutter.circle is not None:
        y, x, radius = shutter.circle
        hidden |= (row - y) ** 2 + (column - x) ** 2 > radius**2
    if shutter.polygon:
        hidden |= ~inside_polygon(shutter.polygon, shape)
    if shutter.bitmap is not None:
        hidden |= on_image(shutter.bitmap, shape)
    return hidden


def inside_polygon(corners: tuple[Place, ...], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Pixels whose middle lies inside a polygon, by the parity of edges to their left."""
    column = np.arange(shape[1])
    inside = np.zeros(shape, dtype=np.bool_)
    ends = np.array(corners)
    starts = np.roll(ends, 1, axis=0)
    for row in range(shape[0]):
        crosses = (starts[:, 0] > row) != (ends[:, 0] > row)
        a, b = starts[crosses], ends[crosses]
        at = a[:, 1] + (row - a[:, 0]) / (b[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
        inside[row] = (at[None, :] <= column[:, None]).sum(axis=1) % 2 == 1
    return inside


def on_image(bitmap: Bitmap, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The part of an overlay plane that lies on an image of that shape."""
    result = np.zeros(shape, dtype=np.bool_)
    mask = bitmap.mask
    (top, left), (rows, columns) = bitmap.origin, bitmap.shape
    low, high = max(top, 0), min(top + rows, shape[0])
    first, last = max(left, 0), min(left + columns, shape[1])
    if high > low and last > first:
        result[low:high, first:last] = mask[low - top : high - top, first - left : last - left]
    return result


def graphics_labels(
    graphics: Graphics, shape: tuple[int, int], *, overlays: bool = True
) -> npt.NDArray[np.uint16]:
    """HIDDEN where a shutter lies, DRAWN where an overlay plane does, else 0."""
    labels = np.zeros(shape, dtype=np.uint16)
    if graphics.shutter is not None:
        labels[hidden_by(graphics.shutter, shape)] = HIDDEN
    if overlays:
        for bitmap in graphics.bitmaps:
            labels[on_image(bitmap, shape)] = DRAWN
    return labels


def graphics_ink(graphics: Graphics) -> LabelInk:
    """A shutter in its grey, overlay planes in white, both opaque."""
    ink = LabelInk(np.zeros((3, 3)), np.zeros(3), np.zeros(3, dtype=np.bool_))
    ink.fill[[HIDDEN, DRAWN]] = 1.0
    ink.colors[DRAWN] = _WHITE
    if graphics.shutter is not None:
        ink.colors[HIDDEN] = round(graphics.shutter.grey * 255)
    return ink
