"""What files and models lay over a slice: maps lowest, then drawings, boxes on top."""

from __future__ import annotations

from PyQt6.QtGui import QFont, QPainter

from medview.services.bundle import Services
from medview.ui.box_painting import paint_boxes
from medview.ui.map_painting import MapPainter
from medview.ui.mark_painting import paint_marks
from medview.ui.viewport import Viewport


class ResultPainter:
    """Draws it over one view."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._maps = MapPainter()

    def paint(self, painter: QPainter, port: Viewport, font: QFont) -> None:
        """Draw it over the slice that `port` shows, in pixels of the view."""
        results = self._services.results
        shown_map = results.map
        if shown_map is not None:
            opacity = self._services.settings.number("ai.map_opacity")
            self._maps.paint(painter, port, shown_map, opacity)
        paint_marks(painter, self._services, port)
        boxed = results.boxed()
        known = self._services.workspace.findings
        candidates = {one.uid for one in boxed if one.uid not in known}
        at_hand = results.finding_uid
        paint_boxes(painter, boxed, port, font, at_hand=at_hand, candidates=candidates)
