"""Boxes of findings by the pointer: drag a side, a corner or the whole; drag elsewhere for another.

A box is held as two index corners (k, j, i) in the grid of the image on show.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PyQt6.QtCore import Qt

from medview.core.findings import Finding
from medview.imaging.boxes import IndexBox
from medview.services.result_overlay import ResultOverlay
from medview.services.viewing import Viewing
from medview.ui.box_painting import slab_box
from medview.ui.tools.tool import Pointer

#: Runs a command, with the question that stands before it.
Run = Callable[..., object]

#: Nearer than this to a side the pointer takes hold of it.
_NEAR_PX = 7.0
#: Less than this is a click: it chooses a box.
_CLICK_PX = 4.0


class BoxTool:
    """Corrects the boxes on a slice. What is changed is changed at release, by one command.

    `start` runs a command, asking first who reads where nobody is named.
    """

    cursor = Qt.CursorShape.CrossCursor
    preview = None

    def __init__(self, viewing: Viewing, results: ResultOverlay, start: Run) -> None:
        self._viewing = viewing
        self._results = results
        self._run = start
        self._start: Pointer | None = None
        self._now: Pointer | None = None
        self._held: Finding | None = None
        self._from: IndexBox | None = None
        #: For (down, right): which faces of the box are held, 0 the low and 1 the high one.
        self._faces: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())

    @property
    def drawn(self) -> IndexBox | None:
        """The box as it would be if the button went up now; None while nothing is dragged."""
        if self._start is None or self._now is None or not self._has_moved:
            return None
        frame = self._start.port.frame
        begin, end = _place(self._start), _place(self._now)
        if self._from is None:
            return self._new_box(begin, end)
        low, high = self._from[0].copy(), self._from[1].copy()
        for axis, faces, by in zip(
            (frame.down_axis, frame.right_axis), self._faces, end - begin, strict=True
        ):
            for face in faces:
                (low, high)[face][axis] += by
        return np.minimum(low, high), np.maximum(low, high)

    @property
    def held_uid(self) -> str:
        """The finding whose box is dragged; "" for none."""
        return "" if self._held is None else self._held.uid

    def press(self, pointer: Pointer) -> None:
        """Take hold of what is near, or begin a new box."""
        self.forget()
        self._start = self._now = pointer
        if self._viewing.cine.is_playing:
            self._viewing.cine.pause()
        at_hand = self._results.finding_uid
        boxed = sorted(self._results.boxed(), key=lambda one: one.uid != at_hand)
        for finding in boxed:
            box = slab_box(finding, pointer.port)
            faces = None if box is None else _grip(box, pointer, inside=finding.uid == at_hand)
            if faces is not None:
                self._held, self._from, self._faces = finding, box, faces
                return

    def drag(self, pointer: Pointer) -> None:
        """Go on."""
        if self._start is not None:
            self._now = pointer

    def release(self, pointer: Pointer) -> None:
        """Make the change, or choose what was clicked."""
        if self._start is None:
            return
        self._now = pointer
        box, held = self.drawn, self._held
        self.forget()
        if box is None:
            if held is not None:
                self._run("finding.show", uid=held.uid)
            return
        corners = {"low": [float(v) for v in box[0]], "high": [float(v) for v in box[1]]}
        if held is not None:
            self._run("finding.reshape", uid=held.uid, **corners)
        else:
            self._run("finding.add_box", **corners)

    def cancel(self) -> None:
        """Nothing was changed yet."""
        self.forget()

    def forget(self) -> None:
        """The gesture is over."""
        self._start = self._now = self._held = self._from = None
        self._faces = ((), ())

    @property
    def _has_moved(self) -> bool:
        one, other = self._start, self._now
        return (
            one is not None
            and other is not None
            and math.hypot(other.x_px - one.x_px, other.y_px - one.y_px) >= _CLICK_PX
        )

    def _new_box(
        self, begin: npt.NDArray[np.float64], end: npt.NDArray[np.float64]
    ) -> IndexBox | None:
        """What was drawn, as deep as its shorter side in volumes, one picture deep elsewhere."""
        if self._start is None:
            return None
        port, volume = self._start.port, self._viewing.require_picture()
        frame = port.frame
        low, high = np.empty(3), np.empty(3)
        for axis, a, b in zip((frame.down_axis, frame.right_axis), begin, end, strict=True):
            low[axis], high[axis] = sorted((a, b))
        deep = 1.0
        if volume.geometry.in_patient_space and self._viewing.clip is None:
            steps = np.linalg.norm(volume.geometry.affine[:3, :3], axis=0)
            sides = [
                (high[axis] - low[axis]) * steps[axis]
                for axis in (frame.down_axis, frame.right_axis)
            ]
            deep = max(1.0, round(min(sides) / float(steps[frame.normal])))
        first = port.number - math.floor((deep - 1) / 2)
        low[frame.normal], high[frame.normal] = first, first + deep
        return low, high


def _place(pointer: Pointer) -> npt.NDArray[np.float64]:
    """Where a pointer is, (down, right), in voxels whose first one reaches from 0 to 1."""
    frame = pointer.port.frame
    where = frame.mm_to_index @ pointer.port.to_mm(pointer.x_px, pointer.y_px) + 0.5
    return np.asarray(where, dtype=np.float64)


def _grip(
    box: IndexBox, pointer: Pointer, *, inside: bool
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Which faces the pointer takes hold of along (down, right); None for none of the box.

    Near a side it is that side, near a corner both; within the box at hand, and on no side, all.
    """
    frame, port = pointer.port.frame, pointer.port
    if not box[0][frame.normal] <= port.number + 0.5 <= box[1][frame.normal]:
        return None
    axes = [frame.down_axis, frame.right_axis]
    low, high = box[0][axes], box[1][axes]
    at = _place(pointer)
    # Millimetres of a voxel along each axis of the plane, in pixels of the view.
    px = np.linalg.norm(frame.index_to_mm, axis=0) * port.px_per_mm
    near = _NEAR_PX / px
    if not ((at >= low - near) & (at <= high + near)).all():
        return None
    faces = []
    for axis in range(2):
        apart = abs(at[axis] - low[axis]), abs(at[axis] - high[axis])
        nearest = int(apart[1] < apart[0])
        faces.append((nearest,) if apart[nearest] <= near[axis] else ())
    if faces[0] or faces[1]:
        return faces[0], faces[1]
    return ((0, 1), (0, 1)) if inside else None
