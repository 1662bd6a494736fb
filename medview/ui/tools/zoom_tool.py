"""Zooming about the point where the drag began: up is nearer."""

from __future__ import annotations

from PyQt6.QtCore import Qt

from medview.core.views import Plane
from medview.services.viewing import Viewing
from medview.ui.tools.tool import Pointer
from medview.ui.viewport import Viewport

_FACTOR_PER_PX = 1.01


class ZoomTool:
    """A hundred pixels up are 2.7 times nearer."""

    cursor = Qt.CursorShape.SizeVerCursor
    preview = None

    def __init__(self, viewing: Viewing) -> None:
        self._viewing = viewing
        self._start: tuple[Plane, float, float, Viewport] | None = None

    def press(self, pointer: Pointer) -> None:
        """Take the point to zoom about."""
        self._start = pointer.plane, pointer.x_px, pointer.y_px, pointer.port

    def drag(self, pointer: Pointer) -> None:
        """Zoom as far as the pointer went."""
        if self._start is None:
            return
        plane, x, y, port = self._start
        factor = _FACTOR_PER_PX ** (y - pointer.y_px)
        center = port.zoomed_about(x, y, factor)
        self._viewing.set_view(plane, center_lps_mm=center, zoom=port.state.zoom * factor)

    def release(self, pointer: Pointer) -> None:
        """Keep it."""
        self.drag(pointer)
        self.forget()

    def cancel(self) -> None:
        """Back to how it was."""
        if self._start is not None:
            plane, _, _, port = self._start
            state = port.state
            self._viewing.set_view(plane, center_lps_mm=state.center_lps_mm, zoom=state.zoom)
        self.forget()

    def forget(self) -> None:
        """The drag is over."""
        self._start = None
