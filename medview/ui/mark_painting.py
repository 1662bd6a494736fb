"""Drawings and words of presentation states, painted over the picture and clipped to it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from PyQt6.QtCore import QPointF, QRectF, Qt
from PyQt6.QtGui import QColor, QFontMetricsF, QPainter, QPen, QPolygonF

from medview.core.graphics import Mark, MarkKind, Place
from medview.core.volume import Volume
from medview.services.bundle import Services
from medview.ui.text import shown
from medview.ui.viewport import Viewport

_WHITE, _SHADOW = QColor(255, 255, 255), QColor(0, 0, 0, 150)
_CROSS_PX = 4.0


@dataclass(frozen=True)
class _Sheet:
    """Where marks are drawn: places of the image, and fractions of what is to be seen of it."""

    port: Viewport
    area: tuple[float, float, float, float]

    def point(self, place: Place, *, on_view: bool) -> QPointF:
        """A place (row, column) in pixels of the view."""
        row, column = place
        if on_view:
            top, left, bottom, right = self.area
            row, column = top + row * (bottom - top), left + column * (right - left)
        frame = self.port.frame
        index = {1: row, 2: column}
        down, right_index = index[frame.down_axis], index[frame.right_axis]
        x, y = frame.index_to_mm @ (down, right_index)
        return QPointF(*self.port.to_px(float(x), float(y)))


def paint_marks(painter: QPainter, services: Services, port: Viewport) -> None:
    """Draw what the presentation state in force draws over the acquired image on show."""
    volume, graphics = services.viewing.picture, services.graphics
    if volume is None or port.frame.normal != 0 or not graphics.overlays_shown:
        return
    marks = graphics.of(volume, port.number).marks
    if not marks:
        return
    sheet = _Sheet(port, _area(services, volume, port.number))
    left, top, right, bottom = port.covered_px()
    painter.save()
    painter.setClipRect(QRectF(left, top, right - left, bottom - top))
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, on=True)
    for mark in marks:
        points = [sheet.point(place, on_view=mark.on_view) for place in mark.points]
        _paint(painter, mark, points)
    painter.restore()


def _area(services: Services, volume: Volume, number: int) -> tuple[float, float, float, float]:
    """Edges of what is to be seen, in (row, column) of the image."""
    look = services.graphics.look_of(volume, number)
    if look is not None and look.area is not None:
        top, left, bottom, right = look.area
        return top - 0.5, left - 0.5, bottom + 0.5, right + 0.5
    _, rows, columns = volume.geometry.shape
    return -0.5, -0.5, rows - 0.5, columns - 0.5


def _paint(painter: QPainter, mark: Mark, points: list[QPointF]) -> None:
    painter.setBrush(_WHITE if mark.is_filled else Qt.BrushStyle.NoBrush)
    for color, width in ((_SHADOW, 3.0), (_WHITE, 1.2)):
        painter.setPen(QPen(color, width))
        if mark.kind is MarkKind.POINT:
            _cross(painter, points[0])
        elif mark.kind is MarkKind.LINES:
            _lines(painter, points, is_filled=mark.is_filled)
        elif mark.kind is MarkKind.CIRCLE:
            radius = math.hypot(points[1].x() - points[0].x(), points[1].y() - points[0].y())
            painter.drawEllipse(points[0], radius, radius)
        elif mark.kind is MarkKind.ELLIPSE:
            _ellipse(painter, points)
        else:
            offset = 1.0 if color is _SHADOW else 0.0
            _words(painter, mark.text, points[0] + QPointF(offset, offset))


def _cross(painter: QPainter, at: QPointF) -> None:
    across, down = QPointF(_CROSS_PX, 0), QPointF(0, _CROSS_PX)
    painter.drawLine(at - across, at + across)
    painter.drawLine(at - down, at + down)


def _lines(painter: QPainter, points: list[QPointF], *, is_filled: bool) -> None:
    if is_filled:
        painter.drawPolygon(QPolygonF(points))
    else:
        painter.drawPolyline(QPolygonF(points))


def _ellipse(painter: QPainter, points: list[QPointF]) -> None:
    """Through the ends of the long axis and of the short one."""
    long, short = points[1] - points[0], points[3] - points[2]
    center = (points[0] + points[1]) / 2
    painter.save()
    painter.translate(center)
    painter.rotate(math.degrees(math.atan2(long.y(), long.x())))
    a, b = math.hypot(long.x(), long.y()) / 2, math.hypot(short.x(), short.y()) / 2
    painter.drawEllipse(QPointF(0, 0), a, b)
    painter.restore()


def _words(painter: QPainter, text: str, at: QPointF) -> None:
    """Lines of words from an anchor downwards; never taken for anything but words."""
    step = QFontMetricsF(painter.font()).height()
    for number, line in enumerate(text.splitlines()[:40]):
        painter.drawText(at + QPointF(0, step * (number + 0.8)), shown(line))
