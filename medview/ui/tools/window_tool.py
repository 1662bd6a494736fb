"""Window and level by dragging: right is wider, up is brighter (or as the settings say)."""

from __future__ import annotations

from PyQt6.QtCore import Qt

from medview.core.volume import Window
from medview.services.viewing import Viewing
from medview.ui.tools.tool import Pointer


class WindowTool:
    """Changes the window with every move; `cancel` puts back the one it found."""

    cursor = Qt.CursorShape.ArrowCursor
    preview = None

    def __init__(self, viewing: Viewing) -> None:
        self._viewing = viewing
        self._last: tuple[float, float] | None = None
        self._found: Window | None = None

    def press(self, pointer: Pointer) -> None:
        """Remember where and in which window the drag began."""
        self._last = pointer.x_px, pointer.y_px
        self._found = self._viewing.window

    def drag(self, pointer: Pointer) -> None:
        """Follow the pointer."""
        if self._last is not None:
            x, y = self._last
            self._last = pointer.x_px, pointer.y_px
            self._viewing.drag_window(pointer.x_px - x, y - pointer.y_px)

    def release(self, pointer: Pointer) -> None:
        """Keep the window."""
        self.drag(pointer)
        self.forget()

    def cancel(self) -> None:
        """Back to the window of before."""
        if self._found is not None:
            self._viewing.set_window(self._found)
        self.forget()

    def forget(self) -> None:
        """The drag is over."""
        self._last = self._found = None
