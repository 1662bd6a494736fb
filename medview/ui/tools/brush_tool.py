"""Painting and erasing segments: a stroke is seen at once and becomes one edit at release."""

from __future__ import annotations

import math

from PyQt6.QtCore import Qt

from medview.core.findings import Point
from medview.core.views import Plane
from medview.services.commands import Registry
from medview.services.painting import preview_stroke
from medview.services.previews import StrokePreview
from medview.services.viewing import Viewing
from medview.ui.tools.tool import Pointer

#: Points of a path closer than this share of the radius are not kept.
_STEP_OF_RADIUS = 0.2


class BrushTool:
    """Collects the path of the pointer; `erases` clears voxels instead of painting them.

    Painting where there is no segment yet begins a new one.
    """

    cursor = Qt.CursorShape.BlankCursor

    def __init__(self, viewing: Viewing, commands: Registry, *, erases: bool) -> None:
        self._viewing = viewing
        self._commands = commands
        self._erases = erases
        self._plane = Plane.ACQUIRED
        self._points: list[Point] = []
        self._preview: StrokePreview | None = None

    @property
    def preview(self) -> StrokePreview | None:
        """What the stroke has reached so far."""
        return self._preview

    def press(self, pointer: Pointer) -> None:
        """Begin a stroke."""
        if self._viewing.overlay.active is None:
            # Erasing nothing is refused in words; painting needs something to paint.
            self._commands.run("segment.erase" if self._erases else "segment.add")
        self._show_active()
        self._plane = pointer.plane
        self._points, self._preview = [], None
        self._extend(pointer)

    def drag(self, pointer: Pointer) -> None:
        """Go on, unless the pointer hardly moved."""
        if not self._points:
            return
        apart = math.dist(self._points[-1], pointer.point_lps_mm)
        if apart >= _STEP_OF_RADIUS * self._viewing.toolbox.brush.radius_mm:
            self._extend(pointer)

    def release(self, pointer: Pointer) -> None:
        """Make the edit."""
        self.drag(pointer)
        points, plane = self._points, self._plane
        self.forget()
        if points:
            name = "segment.erase" if self._erases else "segment.paint"
            self._commands.run(name, points_lps_mm=points, plane=plane.value)

    def cancel(self) -> None:
        """Nothing was changed yet."""
        self.forget()

    def forget(self) -> None:
        """The stroke is over."""
        self._points, self._preview = [], None

    def _show_active(self) -> None:
        """Nobody paints what is hidden."""
        overlay = self._viewing.overlay
        if not overlay.shown:
            overlay.toggle()
        if overlay.active is not None and not overlay.display(overlay.active).visible:
            overlay.set_display(overlay.active, visible=True)

    def _extend(self, pointer: Pointer) -> None:
        self._points.append(pointer.point_lps_mm)
        active = self._viewing.overlay.active
        if active is None:
            return
        last = self._points[-2:]
        brush = self._viewing.toolbox.brush
        piece = preview_stroke(self._viewing, last, self._plane, active, brush, erases=self._erases)
        if piece is not None:
            self._preview = piece if self._preview is None else self._preview.joined(piece)
