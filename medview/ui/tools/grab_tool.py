"""What moving and zooming share: a drag that began somewhere, with the view as it was then."""

from __future__ import annotations

from PyQt6.QtCore import Qt

from medview.core.views import Plane
from medview.services.viewing import Viewing
from medview.ui.tools.tool import Pointer
from medview.ui.viewport import Viewport


class GrabTool:
    """Keeps the start of a drag; `follow` says what the drag does to the view."""

    cursor = Qt.CursorShape.ArrowCursor
    preview = None

    def __init__(self, viewing: Viewing) -> None:
        self._viewing = viewing
        self._start: tuple[Plane, float, float, Viewport] | None = None

    def press(self, pointer: Pointer) -> None:
        """Take hold of the picture."""
        self._start = pointer.plane, pointer.x_px, pointer.y_px, pointer.port

    def drag(self, pointer: Pointer) -> None:
        """Change the view by how far the pointer went."""
        if self._start is not None:
            plane, x, y, port = self._start
            self.follow(plane, port, (x, y), (pointer.x_px, pointer.y_px))

    def follow(
        self,
        plane: Plane,
        port: Viewport,
        start_px: tuple[float, float],
        now_px: tuple[float, float],
    ) -> None:
        """Put the view where a drag from `start_px` to `now_px` leaves it; here, where it was."""
        del start_px, now_px
        state = port.state
        self._viewing.set_view(plane, center_lps_mm=state.center_lps_mm, zoom=state.zoom)

    def release(self, pointer: Pointer) -> None:
        """Keep it."""
        self.drag(pointer)
        self.forget()

    def cancel(self) -> None:
        """Back to how it was."""
        if self._start is not None:
            plane, x, y, port = self._start
            GrabTool.follow(self, plane, port, (x, y), (x, y))
        self.forget()

    def forget(self) -> None:
        """The drag is over."""
        self._start = None
