"""Timeline: what is said of a clip, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from medview.core.codes import Code
from medview.core.findings import Provenance, new_uid

#: A place on a frame: row and column in pixels, the middle of the first pixel at (0, 0).
FramePoint = tuple[float, float]


@dataclass(frozen=True)
class FrameCurve:
    """A measured number for every frame, None where there is none; `unit` is UCUM."""

    name: str
    unit: str
    values: tuple[float | None, ...]
    method: str = ""
    track_uid: str = ""


@dataclass(frozen=True)
class FrameClass:
    """How probable (0-1) a class is on every frame."""

    label: str
    code: Code
    probabilities: tuple[float, ...]
    calibrated: bool = False

    def __post_init__(self) -> None:
        if not all(0 <= value <= 1 for value in self.probabilities):
            raise ValueError("A probability lies between 0 and 1")


class TrackShape(StrEnum):
    """How the places of a track belong together."""

    POINT = "point"
    LINE = "line"
    CONTOUR = "contour"


@dataclass(frozen=True)
class Track:
    """The places of one thing on every frame: one for a point, several for a line or contour.

    `places` has for every frame the points, empty where it is not seen. `key_frames` are those a
    person placed; the others follow from them.
    """

    name: str
    shape: TrackShape
    places: tuple[tuple[FramePoint, ...], ...]
    key_frames: tuple[int, ...] = ()
    color_rgb: tuple[int, int, int] = (255, 214, 10)
    uid: str = field(default_factory=new_uid)

    def __post_init__(self) -> None:
        if self.shape is TrackShape.POINT and any(len(points) > 1 for points in self.places):
            raise ValueError("A point has one place on a frame")


@dataclass(frozen=True)
class ClipTrack:
    """A track that a reader placed on a clip, and who did so."""

    clip_uid: str
    track: Track
    provenance: Provenance

    @property
    def uid(self) -> str:
        """That of the track."""
        return self.track.uid


@dataclass(frozen=True)
class FrameEvent:
    """Something that happens on one frame, counted from 0."""

    frame: int
    label: str
    code: Code | None = None


@dataclass(frozen=True)
class Timeline:
    """Curves, classes, tracks and events of one clip; all have as many frames as there are times.

    ValueError where they have not, where numbers are not finite or events lie beside the clip.
    """

    clip_uid: str
    frame_times_s: tuple[float, ...]
    provenance: Provenance
    curves: tuple[FrameCurve, ...] = ()
    classes: tuple[FrameClass, ...] = ()
    tracks: tuple[Track, ...] = ()
    events: tuple[FrameEvent, ...] = ()
    title: str = ""
    uid: str = field(default_factory=new_uid)

    def __post_init__(self) -> None:
        frames = len(self.frame_times_s)
        lengths = [len(curve.values) for curve in self.curves]
        lengths += [len(one.probabilities) for one in self.classes]
        lengths += [len(track.places) for track in self.tracks]
        if any(length != frames for length in lengths):
            raise ValueError(f"A timeline of {frames} frames holds rows of {sorted(set(lengths))}")
        numbered = [event.frame for event in self.events]
        numbered += [frame for track in self.tracks for frame in track.key_frames]
        if any(not 0 <= frame < frames for frame in numbered):
            raise ValueError("A timeline speaks of a frame that is not there")
        if not self._is_finite():
            raise ValueError("A timeline holds numbers that are not finite")

    @property
    def frames(self) -> int:
        """How many frames it speaks of."""
        return len(self.frame_times_s)

    def _is_finite(self) -> bool:
        rows = [[value for value in curve.values if value is not None] for curve in self.curves]
        rows += [
            [number for points in track.places for point in points for number in point]
            for track in self.tracks
        ]
        return all(bool(np.isfinite(np.array(row, np.float64)).all()) for row in rows)
