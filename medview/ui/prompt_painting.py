"""Marks over a slice: what was said to belong to a segment, what not, and boxes around it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from PyQt6.QtCore import QPointF, QRectF, Qt
from PyQt6.QtGui import QColor, QPainter, QPen, QPolygonF

from medview.services.prompting import Marked
from medview.ui.viewport import Viewport

_SHADOW = QColor(0, 0, 0, 170)
#: Blue and orange are told apart by most eyes; plus and minus by all.
_COLORS = {
    "adds": QColor(86, 180, 233),
    "takes": QColor(240, 140, 60),
    "box": QColor(86, 180, 233),
}
_ARM_PX = 5.0
#: A mark is seen in slices nearer than this, in slices.
_NEAR = 0.6


def paint_marks(painter: QPainter, port: Viewport, marks: Iterable[Marked]) -> None:
    """Draw the marks of the slice on show: plus or minus, line, or box."""
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, on=True)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    for mark in marks:
        places = _places(port, mark)
        for color, width in ((_SHADOW, 4.0), (_COLORS[mark.kind], 2.0)):
            painter.setPen(QPen(color, width, cap=Qt.PenCapStyle.RoundCap))
            if mark.kind == "box":
                if len(places) == 2:
                    painter.drawRect(QRectF(places[0], places[1]).normalized())
            elif len(places) > 1:
                painter.drawPolyline(QPolygonF(places))
            elif places:
                _sign(painter, places[0], plus=mark.kind == "adds")
    painter.restore()


def _places(port: Viewport, mark: Marked) -> list[QPointF]:
    """Where the points of a mark are that lie in the slice on show; of a box all or none."""
    frame = port.frame
    index = frame.geometry.to_index(np.array(mark.points_lps_mm))[:, frame.normal]
    near = np.abs(index - port.number) <= _NEAR
    if mark.kind == "box":
        low, high = index.min() - _NEAR, index.max() + _NEAR
        near[:] = low <= port.number <= high
    points = [point for point, shown in zip(mark.points_lps_mm, near, strict=True) if shown]
    return [QPointF(*port.to_px(*frame.to_plane_mm(point))) for point in points]


def _sign(painter: QPainter, place: QPointF, *, plus: bool) -> None:
    across, down = QPointF(_ARM_PX, 0), QPointF(0, _ARM_PX)
    painter.drawLine(place - across, place + across)
    if plus:
        painter.drawLine(place - down, place + down)
