"""What is drawn over a slice in sharp lines and letters: nothing here knows voxels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PyQt6.QtCore import QPointF, QRectF, Qt
from PyQt6.QtGui import QColor, QFont, QFontMetricsF, QPainter, QPen

from medview.core.views import Plane
from medview.imaging.reslice import EdgeLetters
from medview.ui.slice_text import Corners

PLANE_COLORS = {
    Plane.AXIAL: QColor(229, 92, 86),
    Plane.SAGITTAL: QColor(228, 200, 78),
    Plane.CORONAL: QColor(104, 190, 112),
    Plane.ACQUIRED: QColor(150, 160, 170),
}
_TEXT = QColor(226, 230, 234)
_FAINT = QColor(150, 158, 166)
_CAUTION = QColor(240, 190, 90)
_PROPOSED = QColor(205, 170, 255)
_ACCENT = QColor(79, 179, 217)
_SHADOW = QColor(0, 0, 0, 210)
_EDGE = 8.0
_GAP_PX = 14.0


@dataclass(frozen=True)
class Line:
    """One line of the crosshair: through a point along a direction, both in pixels."""

    color: QColor
    through: tuple[float, float]
    along: tuple[float, float]


@dataclass(frozen=True)
class Ruler:
    """A scale: how many pixels one unit is, in `mm` or `px`, and what it rests on."""

    px_per_unit: float
    unit: str
    note: str = ""

    def length(self, room_px: float) -> float:
        """The longest round length (1, 2 or 5 times a power of ten) that fits into the room."""
        most = room_px / self.px_per_unit
        power = 10.0 ** math.floor(math.log10(most))
        return max(step * power for step in (1, 2, 5) if step * power <= most)

    def label(self, length: float) -> str:
        """The length in words: centimetres from 10 mm on."""
        if self.unit == "mm" and length >= 10:
            return f"{length / 10:g} cm"
        return f"{length:g} {self.unit}"


@dataclass(frozen=True)
class Dressing:
    """Everything drawn over one slice."""

    plane: Plane
    corners: Corners
    letters: EdgeLetters
    warnings: tuple[str, ...] = ()
    ai_notice: str = ""
    ruler: Ruler | None = None
    crosshair: tuple[Line, ...] = ()
    position: float | None = None
    ring: tuple[float, float, float] | None = None
    is_active: bool = False


def font_px(width: float, height: float) -> int:
    """Letters of 13 pixels, smaller in small views."""
    return int(min(13, max(9, min(width / 34, height / 26))))


def paint_dressing(painter: QPainter, area: QRectF, font: QFont, dressing: Dressing) -> None:
    """Draw it over a view that covers `area`."""
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, on=True)
    sized = QFont(font)
    sized.setPixelSize(font_px(area.width(), area.height()))
    painter.setFont(sized)
    for line in dressing.crosshair:
        _paint_line(painter, area, line)
    if dressing.ring is not None:
        _paint_ring(painter, *dressing.ring)
    if dressing.ruler is not None:
        _paint_rulers(painter, area, dressing.ruler)
    if dressing.position is not None:
        _paint_position(painter, area, dressing.position, PLANE_COLORS[dressing.plane])
    _paint_letters(painter, area, dressing.letters)
    _paint_corners(painter, area, dressing)
    if dressing.is_active:
        painter.setPen(QPen(_ACCENT, 1))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRect(area.adjusted(0.5, 0.5, -0.5, -0.5))


def paint_message(painter: QPainter, area: QRectF, font: QFont, lines: Sequence[str]) -> None:
    """Words in the middle of an empty view: the first large, the others below."""
    sized = QFont(font)
    for number, line in enumerate(lines):
        sized.setPixelSize(18 if number == 0 else 13)
        painter.setFont(sized)
        painter.setPen(_TEXT if number == 0 else _FAINT)
        place = area.adjusted(16, 0, -16, 0).translated(0, number * 28 - 14 * (len(lines) - 1))
        flags = int(Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap)
        painter.drawText(place, flags, line)


def _text(painter: QPainter, x: float, baseline: float, text: str, color: QColor) -> None:
    """Letters with a dark edge, readable on any grey."""
    painter.setPen(_SHADOW)
    for dx, dy in ((1, 1), (-1, 0), (0, -1)):
        painter.drawText(QPointF(x + dx, baseline + dy), text)
    painter.setPen(color)
    painter.drawText(QPointF(x, baseline), text)


def _paint_line(painter: QPainter, area: QRectF, line: Line) -> None:
    """A line across the view with a gap at the point, so that nothing there is hidden."""
    (x, y), (dx, dy) = line.through, line.along
    reach = area.width() + area.height()
    painter.setPen(QPen(line.color, 1))
    for sense in (-1, 1):
        start = QPointF(x + sense * dx * _GAP_PX, y + sense * dy * _GAP_PX)
        end = QPointF(x + sense * dx * reach, y + sense * dy * reach)
        painter.drawLine(start, end)


def _paint_ring(painter: QPainter, x: float, y: float, radius: float) -> None:
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(_SHADOW, 2.5))
    painter.drawEllipse(QPointF(x, y), radius, radius)
    painter.setPen(QPen(_TEXT, 1))
    painter.drawEllipse(QPointF(x, y), radius, radius)


def _paint_rulers(painter: QPainter, area: QRectF, ruler: Ruler) -> None:
    """Scales at the left and the bottom edge, ticks at tenths."""
    tick = 4.0
    shortest = min(area.width(), area.height())
    if shortest < 120:
        return
    length = ruler.length(shortest * 0.4)
    px = length * ruler.px_per_unit
    bottom = area.bottom() - _EDGE
    left = area.left() + _EDGE
    x0, y0 = area.center().x() - px / 2, area.center().y() - px / 2
    painter.setPen(QPen(_TEXT, 1))
    painter.drawLine(QPointF(x0, bottom), QPointF(x0 + px, bottom))
    painter.drawLine(QPointF(left, y0), QPointF(left, y0 + px))
    for part in range(11):
        size = 2 * tick if part in (0, 5, 10) else tick
        x, y = x0 + px * part / 10, y0 + px * part / 10
        painter.drawLine(QPointF(x, bottom), QPointF(x, bottom - size))
        painter.drawLine(QPointF(left, y), QPointF(left + size, y))
    words = ruler.label(length) + (f"  {ruler.note}" if ruler.note else "")
    _text(painter, x0 + px + 6, bottom, words, _FAINT if not ruler.note else _CAUTION)


def _paint_position(painter: QPainter, area: QRectF, position: float, color: QColor) -> None:
    """Where in the stack the slice is: a mark on a line at the right edge."""
    x = area.right() - 3.5
    top, height = area.top() + area.height() * 0.3, area.height() * 0.4
    painter.setPen(QPen(QColor(255, 255, 255, 60), 1))
    painter.drawLine(QPointF(x, top), QPointF(x, top + height))
    painter.setPen(QPen(color, 3))
    y = top + height * position
    painter.drawLine(QPointF(x, y - 5), QPointF(x, y + 5))


def _paint_letters(painter: QPainter, area: QRectF, letters: EdgeLetters) -> None:
    font = QFont(painter.font())
    font.setBold(True)
    font.setPixelSize(font.pixelSize() + 2)
    plain = painter.font()
    painter.setFont(font)
    metrics = QFontMetricsF(font)
    middle = area.center().y() + metrics.ascent() / 2 - 1
    inset = _EDGE + 14
    _text(painter, area.left() + inset, middle, letters.left, _TEXT)
    right = area.right() - inset + 4 - metrics.horizontalAdvance(letters.right)
    _text(painter, right, middle, letters.right, _TEXT)
    for word, baseline in (
        (letters.top, area.top() + _EDGE + metrics.ascent()),
        (letters.bottom, area.bottom() - inset),
    ):
        x = area.center().x() - metrics.horizontalAdvance(word) / 2
        _text(painter, x, baseline, word, _TEXT)
    painter.setFont(plain)


def _paint_corners(painter: QPainter, area: QRectF, dressing: Dressing) -> None:
    metrics = QFontMetricsF(painter.font())
    step = metrics.height()
    room = area.width() / 2 - 3 * _EDGE
    corners = dressing.corners
    top = area.top() + _EDGE + metrics.ascent()
    left, right = area.left() + _EDGE, area.right() - _EDGE - 4

    def at_left(lines: Sequence[str], baseline: float) -> None:
        for number, line in enumerate(lines):
            short = metrics.elidedText(line, Qt.TextElideMode.ElideRight, room)
            color = PLANE_COLORS[dressing.plane] if line in corners.bottom_left[:1] else _TEXT
            _text(painter, left, baseline + number * step, short, color)

    def at_right(lines: Sequence[tuple[str, QColor]], baseline: float) -> None:
        for number, (line, color) in enumerate(lines):
            short = metrics.elidedText(line, Qt.TextElideMode.ElideRight, room)
            x = right - metrics.horizontalAdvance(short)
            _text(painter, x, baseline + number * step, short, color)

    at_left(corners.top_left, top)
    at_left(corners.bottom_left, _lowest(area, metrics, len(corners.bottom_left)))
    study = [(line, _TEXT) for line in corners.top_right]
    at_right(study, top)
    below = [(line, _TEXT) for line in corners.bottom_right]
    below += [(line, _CAUTION) for line in dressing.warnings]
    below += [(dressing.ai_notice, _PROPOSED)] if dressing.ai_notice else []
    at_right(below, _lowest(area, metrics, len(below)))


def _lowest(area: QRectF, metrics: QFontMetricsF, lines: int) -> float:
    """The first baseline of a block that ends at the bottom edge, above the ruler."""
    return area.bottom() - _EDGE - metrics.descent() - (lines - 1) * metrics.height()
