"""Moving the crosshair, and with it all planes."""

from __future__ import annotations

from PyQt6.QtCore import Qt

from medview.core.findings import Point
from medview.services.viewing import Viewing
from medview.ui.tools.tool import Pointer


class CrosshairTool:
    """The crosshair follows the pointer."""

    cursor = Qt.CursorShape.CrossCursor
    preview = None

    def __init__(self, viewing: Viewing) -> None:
        self._viewing = viewing
        self._found: Point | None = None

    def press(self, pointer: Pointer) -> None:
        """Put it here."""
        self._found = self._viewing.crosshair_lps_mm
        self._viewing.set_crosshair(pointer.point_lps_mm)

    def drag(self, pointer: Pointer) -> None:
        """Take it along."""
        self._viewing.set_crosshair(pointer.point_lps_mm)

    def release(self, pointer: Pointer) -> None:
        """Leave it."""
        self.drag(pointer)
        self.forget()

    def cancel(self) -> None:
        """Back to where it was."""
        if self._found is not None:
            self._viewing.set_crosshair(self._found)
        self.forget()

    def forget(self) -> None:
        """The drag is over."""
        self._found = None
