"""An outline that is being drawn over a slice."""

from __future__ import annotations

from collections.abc import Sequence

from PyQt6.QtCore import QPointF, Qt
from PyQt6.QtGui import QColor, QPainter, QPen, QPolygonF

from medview.core.findings import Point
from medview.ui.viewport import Viewport

_LINE, _SHADOW = QColor(226, 230, 234), QColor(0, 0, 0, 130)


def paint_outline(painter: QPainter, port: Viewport, points_lps_mm: Sequence[Point]) -> None:
    """The path so far, and a dotted line back to its beginning."""
    if len(points_lps_mm) < 2:
        return
    places = [QPointF(*port.to_px(*port.frame.to_plane_mm(one))) for one in points_lps_mm]
    draw_outline(painter, places)


def draw_outline(painter: QPainter, places: Sequence[QPointF]) -> None:
    """The same for places in pixels of the view."""
    if len(places) < 2:
        return
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, on=True)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    for color, width in ((_SHADOW, 3.0), (_LINE, 1.4)):
        painter.setPen(QPen(color, width))
        painter.drawPolyline(QPolygonF(list(places)))
    painter.setPen(QPen(_LINE, 1, Qt.PenStyle.DotLine))
    painter.drawLine(places[-1], places[0])
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, on=False)
