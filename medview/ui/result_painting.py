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
        self._maps: dict[str, MapPainter] = {}

    def paint(self, painter: QPainter, port: Viewport, font: QFont) -> None:
        """Draw it over the slice that `port` shows, in pixels of the view."""
        results = self._services.results
        maps = results.maps
        self._maps = {one.uid: self._maps.get(one.uid) or MapPainter() for one in maps}
        opacity = self._services.settings.number("ai.map_opacity")
        for one in maps:
            self._maps[one.uid].paint(painter, port, one, opacity)
        paint_marks(painter, self._services, port)
        boxed = results.boxed()
        known = self._services.workspace.findings
        candidates = {one.uid for one in boxed if one.uid not in known}
        at_hand = results.finding_uid
        paint_boxes(painter, boxed, port, font, at_hand=at_hand, candidates=candidates)
