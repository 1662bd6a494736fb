"""A scalar map over the picture, in colours of its own, and the bar that says what they mean."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PyQt6.QtCore import QPointF, QRectF
from PyQt6.QtGui import QColor, QImage, QLinearGradient, QPainter, QPixmap, QTransform

from medview.core.maps import MapKind, ScalarMap
from medview.imaging.heat import RAMPS, colors, slice_values
from medview.ui.viewport import Viewport

_FORMAT = QImage.Format.Format_ARGB32_Premultiplied
_TITLES = {
    MapKind.PROBABILITY: "Probability",
    MapKind.UNCERTAINTY: "Uncertainty of the model",
    MapKind.SALIENCY: "Saliency",
    MapKind.QUANTITY: "Values",
}
_CAPTION_LETTERS = 28
_FRAME = QColor(226, 230, 234)


@dataclass(frozen=True)
class Bar:
    """A colour bar: which colours, what they run from and to, and what is to be said of them."""

    kind: MapKind
    low: str
    high: str
    lines: tuple[str, ...]


def bar_of(maps: Sequence[ScalarMap]) -> Bar:
    """The bar of maps that are shown together: what they are of stands above the caption."""
    one = maps[0]
    low, high = (f"{value:.2g}" for value in one.value_range)
    about = f": {one.subject}" if one.subject and len(maps) == 1 else ""
    # Lines so short that no view cuts off what a caption says last.
    words = textwrap.wrap(one.caption, _CAPTION_LETTERS)
    return Bar(one.kind, low, high, (_TITLES[one.kind] + about, *words))


def bar_pixmap(kind: MapKind, width: int, height: int, ratio: float) -> QPixmap:
    """The colours of a bar from its high end at the top to its low end, framed."""
    made = QPixmap(round(width * ratio), round(height * ratio))
    made.setDevicePixelRatio(ratio)
    fill = QLinearGradient(QPointF(0, height), QPointF(0, 0))
    ramp = RAMPS[kind]
    for place, color in enumerate(ramp):
        fill.setColorAt(place / (len(ramp) - 1), QColor(*color))
    painter = QPainter(made)
    painter.fillRect(QRectF(0, 0, width, height), fill)
    painter.setPen(_FRAME)
    painter.drawRect(QRectF(0, 0, width - 1, height - 1))
    painter.end()
    return made


class MapPainter:
    """Draws the map on show over one view; the last slice is kept as colours."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._pixels: npt.NDArray[Any] = np.zeros((1, 1, 4), np.uint8)
        self._step = 1

    def paint(self, painter: QPainter, port: Viewport, one: ScalarMap, opacity: float) -> None:
        """Draw it, clipped to the image."""
        key = (one.uid, port.frame, port.number)
        if key != self._key:
            values, self._step = slice_values(one, port.frame, port.number)
            self._pixels = np.ascontiguousarray(colors(values, one.kind, one.value_range))
            self._key = key
        rows, columns = self._pixels.shape[:2]
        image = QImage(self._pixels.data, columns, rows, 4 * columns, _FORMAT)  # type: ignore[call-overload]
        left, top, right, bottom = port.covered_px()
        painter.save()
        painter.setClipRect(QRectF(left, top, right - left, bottom - top))
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.setOpacity(opacity)
        painter.setTransform(_placed(port, self._step))
        painter.drawImage(QPointF(0, 0), image)
        painter.restore()


def _placed(port: Viewport, step: int) -> QTransform:
    """From (x, y) of the colours, whose first pixel is the slice's, to pixels of the view."""

    # The middle of pixel n of the colours, at n + 0.5, is the middle of pixel n * step.
    def at(column: float, row: float) -> npt.NDArray[np.float64]:
        place = ((row - 0.5) * step, (column - 0.5) * step)
        x, y = port.frame.index_to_mm @ place
        return np.array(port.to_px(float(x), float(y)))

    origin = at(0, 0)
    across, down = at(1, 0) - origin, at(0, 1) - origin
    return QTransform(*(float(v) for v in (*across, *down, *origin)))
