"""What reading a series will give, worked out before a single pixel is decoded.

Light on purpose: no DICOM library is imported here, so services may use it at start-up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medview.core.clip import Clip, Region
from medview.core.codes import UNSPECIFIED, Code
from medview.core.geometry import Calibration, Geometry
from medview.core.study import Instance, Problem, Series, Severity
from medview.core.volume import ValueScale, Volume, Window

#: What to do about a file that cannot be read, where nothing better is known.
ASK_AGAIN = "Ask the sender for another copy or another format"

#: Told which file of a series is looked at next, None when it is no longer a single one but all.
Look = Callable[[Instance | None], object]


def unseen(_instance: Instance | None) -> None:
    """Nobody follows."""


def planned_files(series: Series, companions: Sequence[Series] = ()) -> tuple[Instance, ...]:
    """The files that planning a series may look at, in the order in which its steps count them."""
    return tuple(chain(series.instances, *(one.instances for one in companions)))


_SYNTAX = "1.2.840.10008.1.2.4."
#: Transfer syntaxes whose pixel data are one video stream: MPEG-2, H.264, HEVC (PS3.5 A.4).
HEVC_SYNTAXES = frozenset((_SYNTAX + "107", _SYNTAX + "108"))
VIDEO_SYNTAXES = HEVC_SYNTAXES | frozenset(
    _SYNTAX + number + fragments for number in map(str, range(100, 107)) for fragments in ("", ".1")
)


@dataclass(frozen=True)
class PixelFormat:
    """How stored values lie in a file (PS3.3 C.7.6.3).

    `encoding` is a transfer syntax UID for DICOM, else `raw`, `gzip`, `zlib`, `bzip2`, `text`,
    `hex`, `video`, `picture` or `guest`; packed voxels begin at `packed_at` of the file. `lut` is
    a Modality LUT: first mapped value and outputs (PS3.3 C.11.1). `padding` is the closed range of
    stored values that means "no image here".
    """

    encoding: str
    rows: int
    columns: int
    dtype: str
    samples: int = 1
    photometric: str = "MONOCHROME2"
    planar: int = 0
    bits_stored: int = 0
    high_bit: int = 0
    frames: int = 1
    packed_at: int = 0
    padding: tuple[float, float] | None = None
    lut: tuple[int, npt.NDArray[np.uint16]] | None = field(default=None, compare=False)

    @property
    def signed(self) -> bool:
        """Whether stored values are two's complement."""
        return np.dtype(self.dtype).kind == "i"

    @property
    def plane_bytes(self) -> int:
        """Bytes of one uncompressed plane."""
        return self.rows * self.columns * self.samples * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class PlanePlan:
    """Where one plane comes from: a file or member of an archive, and a frame of it.

    `offset` counts in the file, or in what it unpacks to. `tile` is (first row, first column, rows,
    columns) of a plane inside a larger mosaic, `component` the wanted one of several values per
    voxel. A plane without a `file` is one that is missing.
    """

    file: str | None
    format: PixelFormat
    member: str = ""
    frame: int = 0
    offset: int = -1
    slope: float = 1.0
    intercept: float = 0.0
    tile: tuple[int, int, int, int] | None = None
    component: int | None = None
    instance_uid: str = ""

    @property
    def path(self) -> Path | None:
        """Its file or archive."""
        return None if self.file is None else Path(self.file)


@dataclass(frozen=True)
class VolumePlan:
    """One volume to be: its grid, its values and its planes in order. Crosses processes.

    `real_values` says that each plane is rescaled by its own slope and intercept to float32.
    `blank` fills planes that are missing or unreadable. A clip has `frame_times_s`, and `sweeps`
    if it is to be played forth and back.
    """

    uid: str
    series_uid: str
    shape: tuple[int, ...]
    dtype: str
    affine: tuple[tuple[float, ...], ...]
    planes: tuple[PlanePlan, ...] = field(repr=False)
    frame_of_reference_uid: str = ""
    calibration: Calibration = Calibration.PATIENT
    slope: float = 1.0
    intercept: float = 0.0
    real_values: bool = False
    time_index: int | None = None
    label: str = ""
    quantity: Code = UNSPECIFIED
    unit: str = "1"
    windows: tuple[Window, ...] = ()
    padding: tuple[float, float] | None = None
    blank: float = 0.0
    inverted: bool = False
    frame_times_s: tuple[float, ...] = ()
    regions: tuple[Region, ...] = ()
    sweeps: bool = False
    scale_name: str = ""
    scales: tuple[ValueScale, ...] = ()
    notes: tuple[str, ...] = ()
    password: str = field(default="", repr=False)

    @property
    def geometry(self) -> Geometry:
        """The grid."""
        slices, rows, columns = self.shape[:3]
        return Geometry(
            (slices, rows, columns),
            np.array(self.affine),
            self.frame_of_reference_uid,
            self.calibration,
        )

    @property
    def is_clip(self) -> bool:
        """Whether its planes are moments, not places."""
        return bool(self.frame_times_s)

    @property
    def nbytes(self) -> int:
        """Memory the voxels need."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class SeriesPlan:
    """All volumes of a series, the main one first, and what could not be planned."""

    series_uid: str
    volumes: tuple[VolumePlan, ...]
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Filled:
    """Planes that were filled: their numbers, which of them are lost, and what is to be told."""

    planes: tuple[int, ...]
    lost: tuple[int, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, eq=False)
class LoadedSeries:
    """A series in memory. Clips stand in `clips` only."""

    volumes: tuple[Volume, ...]
    problems: tuple[Problem, ...] = ()
    clips: tuple[Clip, ...] = ()


def volume_of(
    plan: VolumePlan,
    voxels: npt.NDArray[Any],
    notes: tuple[str, ...] = (),
    lost: Iterable[int] = (),
) -> Volume:
    """The volume whose voxels have been filled.

    `notes` adds what filling had to tolerate, `lost` names planes that it could not read; those
    that the plan knows to be missing count besides.
    """
    missing = {k for k, plane in enumerate(plan.planes) if plane.file is None}
    return Volume(
        uid=plan.uid,
        series_uid=plan.series_uid,
        geometry=plan.geometry,
        voxels=voxels,
        slope=plan.slope,
        intercept=plan.intercept,
        time_index=plan.time_index,
        quantity=plan.quantity,
        unit=plan.unit,
        default_windows=plan.windows,
        padding=plan.padding,
        inverted=plan.inverted,
        instance_uids=tuple(plane.instance_uid for plane in plan.planes),
        frame_numbers=tuple(plane.frame for plane in plan.planes),
        notes=plan.notes + notes,
        scale_name=plan.scale_name,
        scales=plan.scales,
        regions=plan.regions,
        empty_slices=tuple(sorted(missing.union(lost))),
        label=plan.label,
    )


#: How grey clips of 8 bits are seen that state no window: as they were recorded.
_EIGHT_BITS = Window(128.0, 256.0, "As recorded")


def clip_of(plan: VolumePlan, frames: npt.NDArray[Any], lost: tuple[int, ...] = ()) -> Clip:
    """The clip whose frames have been filled, without those that were `lost`."""
    gone = frozenset(lost)
    kept = [n for n in range(len(frames)) if n not in gone]
    notes: tuple[str, ...] = ()
    if lost:
        # Whole up to a point, as a file that was cut off is, they need not be copied.
        frames = frames[: len(kept)] if kept == list(range(len(kept))) else frames[kept]
        notes = (f"{len(kept)} of {plan.shape[0]} frames are whole; the others are not shown",)
        whole = tuple(plan.planes[n] for n in kept)
        plan = replace(plan, shape=frames.shape, planes=whole)
    if not plan.windows and np.dtype(plan.dtype) == np.uint8:
        plan = replace(plan, windows=(_EIGHT_BITS,))
    times = tuple(plan.frame_times_s[n] for n in kept)
    return Clip(volume_of(plan, frames, notes), times, plan.sweeps)


def frame_problems(
    plan: VolumePlan, lost: Sequence[int], problems: Sequence[Problem]
) -> tuple[Problem, ...]:
    """What to tell of a clip's lost frames: one line, however many there are."""
    if not problems:
        return ()
    first, total = problems[0], plan.shape[0]
    if len(lost) == total:
        return (replace(first, severity=Severity.REFUSED),)
    reason = f"{first.reason}: {total - len(lost)} of {total} frames are shown"
    return (replace(first, reason=reason, severity=Severity.WARNING),)
