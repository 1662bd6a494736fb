"""Moving the picture under the pointer."""

from __future__ import annotations

from PyQt6.QtCore import Qt

from medview.core.views import Plane
from medview.services.viewing import Viewing
from medview.ui.tools.tool import Pointer
from medview.ui.viewport import Viewport


class PanTool:
    """The point that was grabbed stays under the pointer."""

    cursor = Qt.CursorShape.SizeAllCursor
    preview = None

    def __init__(self, viewing: Viewing) -> None:
        self._viewing = viewing
        self._start: tuple[Plane, float, float, Viewport] | None = None

    def press(self, pointer: Pointer) -> None:
        """Grab the picture."""
        self._start = pointer.plane, pointer.x_px, pointer.y_px, pointer.port

    def drag(self, pointer: Pointer) -> None:
        """Move it."""
        if self._start is None:
            return
        plane, x, y, port = self._start
        x0, y0 = port.center_mm
        scale = port.px_per_mm
        center = port.center_for(x0 - (pointer.x_px - x) / scale, y0 - (pointer.y_px - y) / scale)
        self._viewing.set_view(plane, center_lps_mm=center)

    def release(self, pointer: Pointer) -> None:
        """Let go."""
        self.drag(pointer)
        self.forget()

    def cancel(self) -> None:
        """Back to where it was."""
        if self._start is not None:
            plane, _, _, port = self._start
            self._viewing.set_view(plane, center_lps_mm=port.state.center_lps_mm)
        self.forget()

    def forget(self) -> None:
        """The drag is over."""
        self._start = None
