"""Drawing around things: contours, wires along borders, scissors."""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING

import numpy as np
from PyQt6.QtCore import Qt

from medview.core.findings import Point
from medview.core.views import Plane
from medview.imaging.reslice import PlaneFrame
from medview.services.commands import Registry
from medview.services.toolbox import ToolKind
from medview.services.viewing import Viewing
from medview.ui.tools.tool import Pointer

if TYPE_CHECKING:
    from medview.imaging.edges import LiveWire

#: Places of a path nearer than this are not kept.
_STEP_PX = 2.0
#: A wire takes hold where the pointer has gone on so far.
_HOLD_PX = 40.0


class OutlineTool:
    """Collects an outline while the button is down; at release its command is run.

    A contour or scissors follow the hand. A wire runs along borders from where it last took hold,
    which it does by itself as the pointer goes on.
    """

    cursor = Qt.CursorShape.CrossCursor
    preview = None

    def __init__(self, viewing: Viewing, commands: Registry, kind: ToolKind) -> None:
        self._viewing = viewing
        self._commands = commands
        self._kind = kind
        self._plane = Plane.ACQUIRED
        self._frame: PlaneFrame | None = None
        self._number = 0
        self._path: list[Point] = []
        self._last_px = (0.0, 0.0)
        self._wire: LiveWire | None = None
        self._loose: list[Point] = []

    @property
    def outline(self) -> tuple[Point, ...]:
        """The path so far, in LPS mm."""
        return (*self._path, *self._loose)

    def press(self, pointer: Pointer) -> None:
        """Begin an outline."""
        self.forget()
        self._plane = pointer.plane
        self._frame, self._number = pointer.port.frame, pointer.port.number
        self._path = [pointer.point_lps_mm]
        self._last_px = pointer.x_px, pointer.y_px
        volume = self._viewing.volume
        if self._kind is ToolKind.WIRE and volume is not None and volume.channels == 1:
            frame = self._frame
            values = np.asarray(volume.value_of(frame.pixels(volume.voxels, self._number)), float)
            down, across = np.linalg.norm(frame.index_to_mm, axis=0)
            edges = importlib.import_module("medview.imaging.edges")
            self._wire = edges.LiveWire(values, (float(down), float(across)))
            self._hold(pointer.point_lps_mm)

    def drag(self, pointer: Pointer) -> None:
        """Go on."""
        if not self._path:
            return
        gone = math.hypot(pointer.x_px - self._last_px[0], pointer.y_px - self._last_px[1])
        if self._wire is not None:
            self._loose = self._along(pointer.point_lps_mm)
            if gone >= _HOLD_PX:
                self._path += self._loose
                self._hold(pointer.point_lps_mm)
                self._last_px = pointer.x_px, pointer.y_px
        elif gone >= _STEP_PX:
            self._path.append(pointer.point_lps_mm)
            self._last_px = pointer.x_px, pointer.y_px

    def release(self, pointer: Pointer) -> None:
        """Close the outline and make the change; a click draws nothing."""
        self.drag(pointer)
        if self._wire is not None and self._path:
            self._path += self._loose
            self._hold(pointer.point_lps_mm)
            self._path += self._along(self._path[0])
        points, plane = self.outline, self._plane
        self.forget()
        if len(points) >= 3:
            name = "segment.cut" if self._kind is ToolKind.SCISSORS else "segment.contour"
            self._commands.run(name, points_lps_mm=points, plane=plane.value)

    def cancel(self) -> None:
        """Nothing was changed yet."""
        self.forget()

    def forget(self) -> None:
        """The outline is over."""
        self._path, self._loose, self._wire, self._frame = [], [], None, None

    def _place(self, point: Point) -> tuple[int, int]:
        """The pixel (down, right) of the slice at a point, held to the slice."""
        assert self._frame is not None  # noqa: S101  (only asked between press and release)
        index = np.floor(self._frame.geometry.to_index(point) + 0.5)
        rows, columns = self._frame.pixel_shape
        down, right = index[self._frame.down_axis], index[self._frame.right_axis]
        return int(np.clip(down, 0, rows - 1)), int(np.clip(right, 0, columns - 1))

    def _hold(self, point: Point) -> None:
        if self._wire is not None:
            self._wire.anchor(self._place(point))
            self._loose = []

    def _along(self, point: Point) -> list[Point]:
        """The points of the wire to a place, on the slice."""
        if self._wire is None or self._frame is None:
            return []
        frame = self._frame
        path = np.array(self._wire.path(self._place(point)), dtype=float)
        index = np.full((len(path), 3), float(self._number))
        index[:, frame.down_axis], index[:, frame.right_axis] = path[:, 0], path[:, 1]
        return [(float(x), float(y), float(z)) for x, y, z in frame.geometry.to_lps_mm(index)]
