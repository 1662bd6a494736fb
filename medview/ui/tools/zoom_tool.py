"""Zooming about the point where the drag began: up is nearer."""

from __future__ import annotations

from PyQt6.QtCore import Qt

from medview.core.views import Plane
from medview.ui.tools.grab_tool import GrabTool
from medview.ui.viewport import Viewport

_FACTOR_PER_PX = 1.01


class ZoomTool(GrabTool):
    """A hundred pixels up are 2.7 times nearer."""

    cursor = Qt.CursorShape.SizeVerCursor

    def follow(
        self,
        plane: Plane,
        port: Viewport,
        start_px: tuple[float, float],
        now_px: tuple[float, float],
    ) -> None:
        """Zoom as far as the pointer went."""
        factor = _FACTOR_PER_PX ** (start_px[1] - now_px[1])
        center = port.zoomed_about(*start_px, factor)
        self._viewing.set_view(plane, center_lps_mm=center, zoom=port.state.zoom * factor)
