"""Placing and correcting tracks on a clip: click a point, draw a line, drag what is there."""

from __future__ import annotations

import itertools
import math

import numpy as np
from PyQt6.QtCore import Qt

from medview.core.timeline import FramePoint, Track, TrackShape
from medview.services.commands import Registry
from medview.services.tracking import Tracking
from medview.services.viewing import Viewing
from medview.ui.tools.tool import Pointer
from medview.ui.track_painting import place_at, place_px

#: Nearer than this to a track the pointer takes hold of it.
_NEAR_PX = 9.0
#: Less than this is a click and no line.
_CLICK_PX = 5.0
#: A line that ends this near to its beginning, as a share of its length, is closed.
_CLOSES_AT = 0.15
#: Places of a line are this many pixels of the view apart, and no more than so many.
_STEP_PX, _MOST = 12.0, 64


class TrackTool:
    """In a clip: a click places a point, a stroke a line, or a contour where it closes.

    What is near the pointer is dragged instead, a line with its neighbourhood: the frame becomes a
    key frame. The clip stops while the tool is at work.
    """

    cursor = Qt.CursorShape.CrossCursor
    preview = None

    def __init__(self, viewing: Viewing, tracking: Tracking, commands: Registry) -> None:
        self._viewing = viewing
        self._tracking = tracking
        self._commands = commands
        self._path: list[tuple[float, float]] = []
        self._held: Track | None = None
        self._grip = 0
        self._pointer: Pointer | None = None

    @property
    def drawn(self) -> tuple[str, tuple[FramePoint, ...]]:
        """The track that is being dragged ("" for a new one) and its places so far."""
        if self._pointer is None:
            return "", ()
        if self._held is not None:
            return self._held.uid, self._dragged(self._held)
        port = self._pointer.port
        return "", tuple(place_at(port, x, y) for x, y in self._path)

    def press(self, pointer: Pointer) -> None:
        """Take hold of what is near, or begin something new; CommandError without a clip."""
        self.forget()
        if self._viewing.clip is None:
            self._commands.run("track.point", row=0.0, column=0.0)  # is refused in words
            return
        if self._viewing.cine.is_playing:
            self._viewing.cine.pause()
        self._pointer = pointer
        self._path = [(pointer.x_px, pointer.y_px)]
        self._held, self._grip = self._near(pointer)
        if self._held is not None:
            self._tracking.select(self._held.uid)

    def drag(self, pointer: Pointer) -> None:
        """Go on."""
        if self._pointer is not None:
            self._pointer = pointer
            self._path.append((pointer.x_px, pointer.y_px))

    def release(self, pointer: Pointer) -> None:
        """Make the change."""
        if self._pointer is None:
            return
        self.drag(pointer)
        held, path = self._held, self._path
        moved = max(math.dist(path[0], one) for one in path) >= _CLICK_PX
        places = self.drawn[1]
        self.forget()
        if held is not None:
            if moved:
                self._commands.run("track.correct", points=places, track=held.uid)
        elif moved:
            closed = _closes(path)
            even = _evenly(path, closed=closed)
            points = [place_at(pointer.port, x, y) for x, y in even]
            self._commands.run("track.line", points=points, closed=closed)
        else:
            row, column = place_at(pointer.port, pointer.x_px, pointer.y_px)
            self._commands.run("track.point", row=row, column=column)

    def cancel(self) -> None:
        """Nothing was changed yet."""
        self.forget()

    def forget(self) -> None:
        """The gesture is over."""
        self._path, self._held, self._grip, self._pointer = [], None, 0, None

    def _near(self, pointer: Pointer) -> tuple[Track | None, int]:
        """The track at the pointer and which of its places is nearest; the chosen one first."""
        frame, chosen = self._viewing.cine.state.frame, self._tracking.selected
        tracks = sorted(self._tracking.tracks, key=lambda one: one != chosen)
        for track in tracks:
            points = [place_px(pointer.port, place) for place in track.places[frame]]
            apart = [math.hypot(p.x() - pointer.x_px, p.y() - pointer.y_px) for p in points]
            if apart and min(apart) <= _NEAR_PX:
                return track, apart.index(min(apart))
        return None, 0

    def _dragged(self, track: Track) -> tuple[FramePoint, ...]:
        """The places of a held track as the pointer has moved them, the far ones less."""
        if self._pointer is None:
            return ()
        port, frame = self._pointer.port, self._viewing.cine.state.frame
        places = np.array(track.places[frame])
        start = np.array(place_at(port, *self._path[0]))
        shift = np.array(place_at(port, self._pointer.x_px, self._pointer.y_px)) - start
        steps = np.abs(np.arange(len(places)) - self._grip).astype(float)
        if track.shape is TrackShape.CONTOUR:
            steps = np.minimum(steps, len(places) - steps)
        reach = max(len(places) / 8, 1e-3)
        moved = places + np.exp(-0.5 * (steps / reach) ** 2)[:, None] * shift
        clip = self._viewing.clip
        if clip is not None:
            rows, columns = clip.frames.shape[1:3]
            moved = np.clip(moved, 0, [rows - 1, columns - 1])
        return tuple((float(row), float(column)) for row, column in moved)


def _closes(path: list[tuple[float, float]]) -> bool:
    """Whether a stroke comes back to where it began."""
    length = sum(math.dist(one, other) for one, other in itertools.pairwise(path))
    return math.dist(path[0], path[-1]) <= max(_NEAR_PX, _CLOSES_AT * length)


def _evenly(path: list[tuple[float, float]], *, closed: bool) -> list[tuple[float, float]]:
    """Places along a stroke at even steps."""
    line = np.array([*path, path[0]] if closed else path)
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    count = int(np.clip(along[-1] / _STEP_PX, 8 if closed else 2, _MOST))
    at = np.linspace(0, along[-1], count + 1)
    at = at[:-1] if closed else at
    return [
        (float(x), float(y))
        for x, y in zip(np.interp(at, along, line[:, 0]), np.interp(at, along, line[:, 1]),
                        strict=True)
    ]  # fmt: skip
