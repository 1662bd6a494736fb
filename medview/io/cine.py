"""When the frames of a clip were taken, and what the pixels of ultrasound regions measure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
from pydicom.dataset import Dataset
from pydicom.valuerep import DT

from medview.core.clip import NO_UNIT, Region, RegionFormat
from medview.io.values import Values, number, numbers

_FRAME_TIME, _FRAME_TIME_VECTOR = 0x00181063, 0x00181065
#: What frames are counted by where they are pages or places, no moments (PS3.3 C.8.6.3).
_NO_TIMES = frozenset((0x00182001, 0x00182002, 0x00182005, 0x00182006))
#: Codes of (0018,6024) and (0018,6026) in UCUM (PS3.3 C.8.5.5.1.15).
_UNITS = (NO_UNIT, "%", "dB", "cm", "s", "Hz", "dB/s", "cm/s", "cm2", "cm2/s", "cm3", "cm3/s",
          "deg")  # fmt: skip
_ASSUMED_S = 1.0
UNTIMED = "The file does not say when its frames were taken: one a second is assumed"
_ELSEWHERE = "The ultrasound calibration does not fit the picture and is not used"


@dataclass(frozen=True)
class Timing:
    """Times of frames in seconds after the first, and whether they are to go forth and back.

    `tolerated` is what the reader should hear of, `notes` what else there is to say.
    """

    times_s: tuple[float, ...]
    sweeps: bool = False
    notes: tuple[str, ...] = ()
    tolerated: tuple[str, ...] = ()


def is_paged(ds: Dataset) -> bool:
    """Whether its frames are counted by something that is no time: pages, labels, places."""
    pointer = ds.get("FrameIncrementPointer")
    listed = pointer if isinstance(pointer, Iterable) else [pointer]
    return any(tag in _NO_TIMES for tag in listed)


def timing_of(values: Values, ds: Dataset, count: int) -> Timing:
    """When each frame was taken (PS3.3 C.7.6.5), by the best that the header says.

    Frame Time Vector or Frame Time, whichever the Frame Increment Pointer names first; the time
    of each frame's own; a rate; the duration of the whole. Without any of them: one a second.
    """
    notes = _heart_notes(ds)
    sweeps = str(ds.get("PreferredPlaybackSequencing", "")).strip() == "1"
    for times in _stated(values, ds, count):
        if len(times) == count and _go_on(times):
            return Timing(times, sweeps, notes)
    times = tuple(n * _ASSUMED_S for n in range(count))
    return Timing(times, sweeps, notes, (UNTIMED,))


def _go_on(times: tuple[float, ...]) -> bool:
    """Whether they are numbers that never run backwards and get somewhere."""
    steps = [later - earlier for earlier, later in pairwise(times)]
    return bool(np.isfinite(times).all()) and min(steps, default=0) >= 0 and times[-1] > 0


def _stated(values: Values, ds: Dataset, count: int) -> Iterator[tuple[float, ...]]:
    """What the header says of the times, the best first; some of it may be nonsense."""
    by_vector = _increments(numbers(values, "FrameTimeVector"), count)
    by_time = _evenly((number(values, "FrameTime") or 0) / 1000, count)
    pointed = ds.get("FrameIncrementPointer")
    yield from (by_time, by_vector) if pointed == _FRAME_TIME else (by_vector, by_time)
    yield _own_times(ds)
    for keyword in ("CineRate", "RecommendedDisplayFrameRate"):
        rate = number(values, keyword) or 0
        yield _evenly(1 / rate if rate > 0 else 0, count)
    yield _evenly(_float(ds, "ActualFrameDuration") / 1000, count)
    yield _evenly(_float(ds, "EffectiveDuration") / count, count)


def _evenly(step_s: float, count: int) -> tuple[float, ...]:
    return tuple(n * step_s for n in range(count))


def _increments(vector_ms: tuple[float, ...], count: int) -> tuple[float, ...]:
    """Times from increments, the first of which belongs to the first frame and counts nothing.

    Some leave that one out; a vector that lacks another one tells nothing.
    """
    if len(vector_ms) == count:
        vector_ms = vector_ms[1:]
    elif len(vector_ms) != count - 1 or not vector_ms or vector_ms[0] <= 0:
        return ()
    return tuple(float(t) / 1000 for t in np.cumsum((0.0, *vector_ms)))


def _own_times(ds: Dataset) -> tuple[float, ...]:
    """Times that the frames of an enhanced object carry themselves (PS3.3 C.7.6.16.2.2)."""
    moments = []
    for item in ds.get("PerFrameFunctionalGroupsSequence") or ():
        content = (item.get("FrameContentSequence") or [Dataset()])[0]
        stated = content.get("FrameReferenceDateTime") or content.get("FrameAcquisitionDateTime")
        if not stated:
            return ()
        with suppress(ValueError):
            moments.append(DT(str(stated)))
    if not moments or any((one.tzinfo is None) != (moments[0].tzinfo is None) for one in moments):
        return ()
    begin = _utc(moments[0])
    return tuple((_utc(moment) - begin).total_seconds() for moment in moments)


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _float(ds: Dataset, keyword: str) -> float:
    with suppress(TypeError, ValueError):
        return float(ds.get(keyword))
    return 0.0


def _heart_notes(ds: Dataset) -> tuple[str, ...]:
    """R waves in a clip that was recorded with an ECG (PS3.3 C.8.5.6)."""
    stated = ds.get("RWaveTimeVector")
    waves_ms = [stated] if isinstance(stated, int | float) else list(stated or ())
    if not waves_ms:
        return ()
    shown = ", ".join(f"{float(wave) / 1000:.2f}" for wave in waves_ms[:8])
    more = ", ..." if len(waves_ms) > 8 else ""
    return (f"R waves at {shown}{more} s",)


def regions_of(ds: Dataset, rows: int, columns: int) -> tuple[tuple[Region, ...], tuple[str, ...]]:
    """The calibrated regions of an ultrasound picture of that size, and what to say of them.

    Items without an extent or with numbers that are none are left out (PS3.3 C.8.5.5).
    """
    regions = []
    for item in ds.get("SequenceOfUltrasoundRegions") or ():
        with suppress(TypeError, ValueError, LookupError):
            regions.append(_region(item))
    whole = all(region.fits(rows, columns) for region in regions)
    return tuple(regions), () if whole else (_ELSEWHERE,)


def _region(item: Dataset) -> Region:
    box = [
        int(item[f"RegionLocation{name}"].value) for name in ("MinX0", "MinY0", "MaxX1", "MaxY1")
    ]
    units = [_UNITS[int(item[f"PhysicalUnits{axis}Direction"].value)] for axis in "XY"]
    steps = [float(item[f"PhysicalDelta{axis}"].value) for axis in "XY"]
    origins = [item.get(f"ReferencePixel{axis}0") for axis in "XY"]
    at = [float(item.get(f"ReferencePixelPhysicalValue{axis}") or 0) for axis in "XY"]
    layout = int(item.get("RegionSpatialFormat") or 0)
    return Region(
        (box[0], box[1], box[2], box[3]),
        (steps[0], steps[1]),
        (units[0], units[1]),
        RegionFormat(layout if layout in tuple(RegionFormat) else 0),
        int(item.get("RegionDataType") or 0),
        (_whole(origins[0]), _whole(origins[1])),
        (at[0], at[1]),
        is_low_priority=bool(int(item.get("RegionFlags") or 0) & 1),
    )


def _whole(value: object) -> int | None:
    return None if value is None else int(str(value))
