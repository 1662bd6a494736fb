"""Moving the picture under the pointer."""

from __future__ import annotations

from PyQt6.QtCore import Qt

from medview.core.views import Plane
from medview.ui.tools.grab_tool import GrabTool
from medview.ui.viewport import Viewport


class PanTool(GrabTool):
    """The point that was grabbed stays under the pointer."""

    cursor = Qt.CursorShape.SizeAllCursor

    def follow(
        self,
        plane: Plane,
        port: Viewport,
        start_px: tuple[float, float],
        now_px: tuple[float, float],
    ) -> None:
        """Move the picture."""
        x0, y0 = port.center_mm
        right, down = ((now_px[n] - start_px[n]) / port.px_per_mm for n in (0, 1))
        self._viewing.set_view(plane, center_lps_mm=port.center_for(x0 - right, y0 - down))
