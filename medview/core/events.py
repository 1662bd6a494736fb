"""What can happen: the closed list of events the workspace sends."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from medview.core.geometry import Box


class Level(StrEnum):
    """How much a notice matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class StudyOpened:
    """A study came, or its series list grew."""

    uid: str


@dataclass(frozen=True)
class StudyClosed:
    """A study was put away with everything of it."""

    uid: str


@dataclass(frozen=True)
class VolumeLoaded:
    """The voxels of a volume are there."""

    uid: str


@dataclass(frozen=True)
class ClipLoaded:
    """The frames of a clip are there."""

    uid: str


@dataclass(frozen=True)
class FrameChanged:
    """Another frame of a clip is on show."""

    uid: str


@dataclass(frozen=True)
class TrackChanged:
    """A track on a clip came, changed or went."""

    uid: str
    clip_uid: str


@dataclass(frozen=True)
class LoadingChanged:
    """A series is being read: `fraction` 0-1, 1 when it is there or was given up.

    Without a `series_uid` it is the files of a folder that are looked through.
    """

    series_uid: str
    fraction: float


@dataclass(frozen=True)
class SegmentationChanged:
    """Labels changed inside `box`, or segments, or the whole came or went (box None)."""

    uid: str
    box: Box | None = None


@dataclass(frozen=True)
class FindingChanged:
    """A finding came, changed or went."""

    uid: str


@dataclass(frozen=True)
class ReportChanged:
    """The report of a study changed."""

    uid: str


@dataclass(frozen=True)
class JobChanged:
    """A job moved: state, stage or fraction."""

    uid: str


@dataclass(frozen=True)
class ModelsChanged:
    """A model was added, removed, trusted or not trusted any more."""


@dataclass(frozen=True)
class TrainingChanged:
    """A training began, got on, or ended."""


@dataclass(frozen=True)
class HistoryChanged:
    """What undo and redo would do changed."""


@dataclass(frozen=True)
class ViewChanged:
    """What is looked at changed: series, crosshair, window, zoom, layout, display or tool."""


@dataclass(frozen=True)
class SettingChanged:
    """An option has another value."""

    name: str


@dataclass(frozen=True)
class Notice:
    """Something to tell the reader, in the reader's words; `command` is one that shows more."""

    level: Level
    text: str
    hint: str = ""
    command: str = ""


Event = (
    StudyOpened
    | StudyClosed
    | VolumeLoaded
    | ClipLoaded
    | FrameChanged
    | TrackChanged
    | LoadingChanged
    | SegmentationChanged
    | FindingChanged
    | ReportChanged
    | JobChanged
    | ModelsChanged
    | TrainingChanged
    | HistoryChanged
    | ViewChanged
    | SettingChanged
    | Notice
)
