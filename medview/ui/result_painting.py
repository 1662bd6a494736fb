"""What files and models lay over a slice: maps lowest, then drawings, boxes on top."""

from __future__ import annotations

from PyQt6.QtGui import QFont, QPainter

from medview.services.bundle import Services
from medview.ui.box_painting import paint_boxes, paint_dragged, paint_original
from medview.ui.map_painting import MapPainter
from medview.ui.mark_painting import paint_marks
from medview.ui.tools.box_tool import BoxTool
from medview.ui.viewport import Viewport


class ResultPainter:
    """Draws it over one view."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._maps: dict[str, MapPainter] = {}

    def paint(
        self, painter: QPainter, port: Viewport, font: QFont, tool: BoxTool | None = None
    ) -> None:
        """Draw it over the slice that `port` shows, in pixels of the view.

        What `tool` drags is drawn where it is dragged to; of a corrected box at hand its model's
        own is drawn too, dotted.
        """
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
        box = None if tool is None else tool.drawn
        held = "" if tool is None or box is None else tool.held_uid
        rest = [one for one in boxed if one.uid != held]
        paint_boxes(painter, rest, port, font, at_hand=at_hand, candidates=candidates)
        if box is not None:
            paint_dragged(painter, box, port)
        self._paint_original(painter, port, at_hand)

    def _paint_original(self, painter: QPainter, port: Viewport, at_hand: str) -> None:
        """Where the model had the box that a reader corrected."""
        finding = self._services.workspace.findings.get(at_hand)
        picture = self._services.viewing.picture
        if finding is None or picture is None or not self._services.viewing.overlay.shown:
            return
        original = self._services.detections.original_of(finding)
        moved = original is not None and (
            (original.box_lps_mm, original.picture_box, original.key_boxes)
            != (finding.box_lps_mm, finding.picture_box, finding.key_boxes)
        )
        if original is not None and moved and self._services.results.lies_on(finding, picture):
            paint_original(painter, original, port)
