"""Pointing at a border: what the line of equal values there encloses is seen, then filled."""

from __future__ import annotations

from PyQt6.QtCore import Qt

from medview.services.commands import Registry
from medview.services.commands_draw import level_patch
from medview.services.painting import preview_patch
from medview.services.previews import StrokePreview
from medview.services.viewing import Viewing
from medview.ui.tools.tool import Pointer


class TraceTool:
    """Shows what a level encloses while the button is down, and fills it at release."""

    cursor = Qt.CursorShape.CrossCursor

    def __init__(self, viewing: Viewing, commands: Registry) -> None:
        self._viewing = viewing
        self._commands = commands
        self._preview: StrokePreview | None = None

    @property
    def preview(self) -> StrokePreview | None:
        """What would be filled here."""
        return self._preview

    def press(self, pointer: Pointer) -> None:
        """Show what is here; there must be a segment to fill."""
        if self._viewing.overlay.active is None:
            self._commands.run("segment.add")
        self.drag(pointer)

    def drag(self, pointer: Pointer) -> None:
        """Show what is here."""
        active = self._viewing.overlay.active
        patch = level_patch(self._viewing, pointer.point_lps_mm, pointer.plane)
        self._preview = None
        if active is not None and patch is not None:
            self._preview = preview_patch(self._viewing, active, patch)

    def release(self, pointer: Pointer) -> None:
        """Fill it."""
        self.forget()
        self._commands.run(
            "segment.trace", point_lps_mm=pointer.point_lps_mm, plane=pointer.plane.value
        )

    def cancel(self) -> None:
        """Nothing was changed yet."""
        self.forget()

    def forget(self) -> None:
        """Nothing is shown any more."""
        self._preview = None
