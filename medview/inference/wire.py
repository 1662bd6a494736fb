"""All that the window's process and the AI worker say to each other, and how it travels.

A message is a frozen dataclass of plain fields; on the wire it is one frame: its length as four
bytes, big-endian, then JSON. Nothing is unpickled, and what arrives is checked against the
declared types. Arrays never travel: both sides see them in shared memory.
"""

from __future__ import annotations

import json
import select
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import numpy as np

from medview.core.clip import Clip, Region
from medview.core.codes import Code
from medview.core.findings import Finding, Provenance
from medview.core.geometry import Calibration, Geometry
from medview.core.jobs import InputHash
from medview.core.maps import MapKind
from medview.core.models import ModelCard
from medview.core.plain import PlainError, from_plain, to_plain
from medview.core.segmentation import Segment
from medview.core.shared_array import SharedArray, SharedArrayName
from medview.core.study import Series, Study
from medview.core.timeline import Timeline
from medview.core.volume import Volume

#: The longest frame that is believed; the longest real one, 10,000 findings, takes some 10 MB.
MAX_FRAME_BYTES = 64 << 20
#: More findings than this in one result are a fault, not findings.
MAX_FINDINGS = 10_000
#: More maps than this in one result are a fault.
MAX_MAPS = 64
_LENGTH = struct.Struct(">I")


class WireError(Exception):
    """The other side says something that is no message."""


@dataclass(frozen=True)
class Grid:
    """A Geometry in plain fields; `affine` row by row."""

    shape: tuple[int, int, int]
    affine: tuple[float, ...]
    frame_of_reference_uid: str
    calibration: Calibration

    @staticmethod
    def of(geometry: Geometry) -> Grid:
        """The plain fields of a geometry."""
        affine = tuple(float(value) for value in geometry.affine.ravel())
        return Grid(geometry.shape, affine, geometry.frame_of_reference_uid, geometry.calibration)

    def geometry(self) -> Geometry:
        """The geometry; GeometryError or ValueError for numbers that make none."""
        affine = np.array(self.affine, dtype=np.float64).reshape(4, 4)
        return Geometry(self.shape, affine, self.frame_of_reference_uid, self.calibration)


@dataclass(frozen=True)
class VolumeKey:
    """A Volume in plain fields, its voxels by the name of their shared block."""

    uid: str
    series_uid: str
    grid: Grid
    voxels: SharedArrayName
    slope: float
    intercept: float
    time_index: int | None
    quantity: Code
    unit: str
    padding: tuple[float, float] | None
    inverted: bool
    regions: tuple[Region, ...] = ()

    @staticmethod
    def of(volume: Volume, voxels: SharedArrayName) -> VolumeKey:
        """The plain fields of a volume whose voxels lie in the block `voxels`."""
        return VolumeKey(
            uid=volume.uid,
            series_uid=volume.series_uid,
            grid=Grid.of(volume.geometry),
            voxels=voxels,
            slope=volume.slope,
            intercept=volume.intercept,
            time_index=volume.time_index,
            quantity=volume.quantity,
            unit=volume.unit,
            padding=volume.padding,
            inverted=volume.inverted,
            regions=volume.regions,
        )

    def volume(self, block: SharedArray) -> Volume:
        """The volume on the attached block."""
        return Volume(
            uid=self.uid,
            series_uid=self.series_uid,
            geometry=self.grid.geometry(),
            voxels=block.array,
            slope=self.slope,
            intercept=self.intercept,
            time_index=self.time_index,
            quantity=self.quantity,
            unit=self.unit,
            padding=self.padding,
            inverted=self.inverted,
            regions=self.regions,
        )


@dataclass(frozen=True)
class ClipTimes:
    """What makes a Clip of the Volume of its pictures."""

    frame_times_s: tuple[float, ...]
    sweeps: bool

    @staticmethod
    def of(image: Volume | Clip) -> ClipTimes | None:
        """The times of a clip; None for a volume."""
        return ClipTimes(image.frame_times_s, image.sweeps) if isinstance(image, Clip) else None


# Down, to the worker


@dataclass(frozen=True)
class Load:
    """Make a model ready for a job: check its weights, load it; nothing if it is loaded already."""

    job_uid: str
    card: ModelCard
    folder: str
    device: str
    threads: int = 0


@dataclass(frozen=True)
class Attach:
    """See a volume, or the pictures of a clip; it stays attached until Detach."""

    volume: VolumeKey
    clip: ClipTimes | None = None


@dataclass(frozen=True)
class Detach:
    """Let a volume go."""

    volume_uid: str


@dataclass(frozen=True)
class Run:
    """Run the loaded model on an attached volume or clip.

    Labels go into the block `labels`, maps one after the other into `maps`, which is flat; None:
    no room for them. The run is stopped when the control block holds `serial`.
    """

    job_uid: str
    serial: int
    volume_uid: str
    series: Series | None
    study: Study | None
    provenance: Provenance
    seed: int
    labels: SharedArrayName | None
    maps: SharedArrayName | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Shutdown:
    """End."""


# Up, from the worker


@dataclass(frozen=True)
class Ready:
    """The worker listens. `devices` are those it knows of; empty before torch was asked for.

    `lacking` says in words what the system does not keep it from; empty when its box is whole.
    """

    devices: tuple[str, ...] = ()
    lacking: str = ""


@dataclass(frozen=True)
class Loaded:
    """The model of a job is ready on `device`; `fallbacks` say what was done otherwise."""

    job_uid: str
    device: str
    fallbacks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Progress:
    """How far a job is."""

    job_uid: str
    stage: str
    fraction: float | None = None


@dataclass(frozen=True)
class Labels:
    """The label map of a result, its voxels already in the block that Run named."""

    uid: str
    volume_uid: str
    grid: Grid
    segments: tuple[Segment, ...]
    title: str


@dataclass(frozen=True)
class Map:
    """A scalar map of a result, its values already in the block that Run named, from `start`."""

    uid: str
    volume_uid: str
    kind: MapKind
    grid: Grid
    start: int
    value_range: tuple[float, float]
    subject: str
    finding_uid: str
    method: str


@dataclass(frozen=True)
class Done:
    """A run's result, not yet checked."""

    job_uid: str
    labels: Labels | None
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    out_of_scope: tuple[str, ...]
    fallbacks: tuple[str, ...]
    seconds: float
    candidates: tuple[Finding, ...] = ()
    threshold: float | None = None
    maps: tuple[Map, ...] = ()
    timeline: Timeline | None = None
    inputs: tuple[InputHash, ...] = ()


class FailureKind(StrEnum):
    """Why a job failed: refused with reasons, out of memory, or a fault of the model."""

    REFUSED = "refused"
    OUT_OF_MEMORY = "out_of_memory"
    FAULT = "fault"


@dataclass(frozen=True)
class Failed:
    """A job that came to nothing, worded for the reader."""

    job_uid: str
    kind: FailureKind
    text: str
    hint: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Cancelled:
    """A job that saw the reader's wish to stop."""

    job_uid: str


Down = Load | Attach | Detach | Run | Shutdown
Up = Ready | Loaded | Progress | Done | Failed | Cancelled
Message = Down | Up

_DOWN: Mapping[str, type] = MappingProxyType(
    {kind.__name__: kind for kind in (Load, Attach, Detach, Run, Shutdown)}
)
_UP: Mapping[str, type] = MappingProxyType(
    {kind.__name__: kind for kind in (Ready, Loaded, Progress, Done, Failed, Cancelled)}
)


def encode(message: Message) -> bytes:
    """One frame; ValueError for a message longer than a frame may be."""
    body = json.dumps({type(message).__name__: to_plain(message)}).encode("ascii")
    if len(body) > MAX_FRAME_BYTES:
        raise ValueError(f"A message of {len(body)} bytes is too long")
    return _LENGTH.pack(len(body)) + body


def _decode(body: bytes, kinds: Mapping[str, type]) -> Message:
    try:
        data = json.loads(body)
        ((name, fields),) = data.items()
        message: Message = from_plain(kinds[name], fields)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        what = str(error) if isinstance(error, PlainError) else type(error).__name__
        raise WireError(f"no message: {what}") from error
    return message


class Frames:
    """Bytes as they come, cut into messages of one direction."""

    def __init__(self, kinds: Mapping[str, type]) -> None:
        self._kinds = kinds
        self._buffer = bytearray()

    def add(self, data: bytes) -> list[Message]:
        """The messages completed by these bytes; WireError for what is none."""
        self._buffer += data
        messages = []
        while (size := self._frame_size()) is not None:
            body = bytes(self._buffer[_LENGTH.size : _LENGTH.size + size])
            del self._buffer[: _LENGTH.size + size]
            messages.append(_decode(body, self._kinds))
        return messages

    def _frame_size(self) -> int | None:
        """Length of the first frame's body if it is complete."""
        if len(self._buffer) < _LENGTH.size:
            return None
        (size,) = _LENGTH.unpack_from(self._buffer)
        if size > MAX_FRAME_BYTES:
            raise WireError(f"a frame of {size} bytes")
        return size if len(self._buffer) >= _LENGTH.size + size else None


class Channel:
    """One end of the wire. `worker` says whose end it is: what it may hear differs."""

    def __init__(self, end: socket.socket, *, worker: bool) -> None:
        self.socket = end
        self._frames = Frames(_DOWN if worker else _UP)
        self._waiting: list[Message] = []

    def send(self, message: Message) -> None:
        """Send one message; OSError if nobody is there any more."""
        self.socket.sendall(encode(message))

    def hear(self) -> list[Message]:
        """What one read of the socket completes, possibly nothing; EOFError at the end.

        Does not block when the socket is readable. WireError for garbage.
        """
        data = self.socket.recv(1 << 16)
        if not data:
            raise EOFError
        return self._frames.add(data)

    def receive(self) -> Message:
        """The next message, waiting for it; EOFError at the end."""
        while not self._waiting:
            self._waiting = self.hear()
        return self._waiting.pop(0)

    @property
    def has_more(self) -> bool:
        """Whether something waits to be received, without waiting for it."""
        return bool(self._waiting) or bool(select.select([self.socket], [], [], 0)[0])

    def close(self) -> None:
        """Hang up."""
        self.socket.close()
