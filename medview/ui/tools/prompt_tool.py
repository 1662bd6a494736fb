"""Pointing at things: clicks, scribbles and boxes that are answered by an outline."""

from __future__ import annotations

import math

from PyQt6.QtCore import Qt

from medview.core.findings import Point
from medview.core.views import Plane
from medview.services.commands import Registry
from medview.services.prompting import Marked
from medview.services.toolbox import ToolKind
from medview.services.viewing import Viewing
from medview.ui.tools.tool import Pointer

#: Places of a scribble nearer than this are not kept, and a box smaller than this is a click.
_STEP_PX = 4.0
_KINDS = {ToolKind.INCLUDE: "adds", ToolKind.EXCLUDE: "takes", ToolKind.FRAME: "box"}


class PromptTool:
    """Collects a mark while the button is down; at release it is answered."""

    cursor = Qt.CursorShape.CrossCursor
    preview = None

    def __init__(self, viewing: Viewing, commands: Registry, kind: ToolKind) -> None:
        self._viewing = viewing
        self._commands = commands
        self._kind = _KINDS[kind]
        self._plane = Plane.ACQUIRED
        self._axis = 0
        self._points: list[Point] = []
        self._last_px = (0.0, 0.0)

    @property
    def drawn(self) -> Marked | None:
        """The mark as it would be if the button went up now."""
        return Marked(self._kind, tuple(self._points), self._axis) if self._points else None

    def press(self, pointer: Pointer) -> None:
        """Begin a mark."""
        self._plane, self._axis = pointer.plane, pointer.port.frame.normal
        self._points = [pointer.point_lps_mm]
        self._last_px = pointer.x_px, pointer.y_px

    def drag(self, pointer: Pointer) -> None:
        """Go on; a box goes from where it was begun to here."""
        gone = math.hypot(pointer.x_px - self._last_px[0], pointer.y_px - self._last_px[1])
        if not self._points or gone < _STEP_PX:
            return
        if self._kind == "box":
            self._points = [self._points[0], pointer.point_lps_mm]
        else:
            self._points.append(pointer.point_lps_mm)
            self._last_px = pointer.x_px, pointer.y_px

    def release(self, pointer: Pointer) -> None:
        """Have it answered; a box without a size is none."""
        self.drag(pointer)
        drawn, plane = self.drawn, self._plane
        self.forget()
        if drawn is not None and (drawn.kind != "box" or len(drawn.points_lps_mm) == 2):
            self._commands.run(
                "segment.prompt",
                points_lps_mm=drawn.points_lps_mm,
                what=drawn.kind,
                plane=plane.value,
            )

    def cancel(self) -> None:
        """Nothing was asked yet."""
        self.forget()

    def forget(self) -> None:
        """The mark is over."""
        self._points = []
