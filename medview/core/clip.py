"""Clip: frames over time, with their times and calibrated regions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from medview.core.volume import Volume

#: UCUM for an axis without a unit.
NO_UNIT = "1"


class RegionFormat(IntEnum):
    """How data lie in a region: Region Spatial Format (PS3.3 C.8.5.5.1.1)."""

    NONE = 0
    PLANE = 1
    M_MODE = 2
    SPECTRUM = 3
    WAVEFORM = 4
    GRAPHICS = 5


@dataclass(frozen=True)
class Region:
    """A calibrated part of an ultrasound picture (PS3.3 C.8.5.5).

    `box_px` is (left, top, right, bottom), closed; `spacing` is the step per pixel to the right
    and down, in `unit` (UCUM: `cm`, `s`, `cm/s`, ...; `1` for none), one unit for each axis. A
    negative step counts against the pixels, 0 is no scale. `data_type` is the code of Region Data
    Type (C.8.5.5.1.2). `origin_px` is the pixel, counted from the region's corner, at which the
    physical values are `origin_value`; None along an axis that gives none. `is_low_priority`:
    other regions lie over this one where they overlap (C.8.5.5.1.3).
    """

    box_px: tuple[int, int, int, int]
    spacing: tuple[float, float]
    unit: tuple[str, str]
    format: RegionFormat = RegionFormat.NONE
    data_type: int = 0
    origin_px: tuple[int | None, int | None] = (None, None)
    origin_value: tuple[float, float] = (0.0, 0.0)
    is_low_priority: bool = False

    def __post_init__(self) -> None:
        left, top, right, bottom = self.box_px
        if right < left or bottom < top:
            raise ValueError(f"A region needs an extent, not {self.box_px}")
        if not np.isfinite((*self.spacing, *self.origin_value)).all():
            raise ValueError(f"A region needs finite steps, not {self.spacing}")

    def contains(self, x_px: float, y_px: float) -> bool:
        """Whether the middle of a pixel, or a place on it, is of this region."""
        left, top, right, bottom = self.box_px
        return left - 0.5 <= x_px < right + 0.5 and top - 0.5 <= y_px < bottom + 0.5

    def fits(self, rows: int, columns: int) -> bool:
        """Whether it lies inside a picture of that size.

        One that does not was written for another picture (before it was scaled or cut): none of
        its steps hold.
        """
        left, top, right, bottom = self.box_px
        # Some write the first pixel beyond as the last one.
        return left >= 0 and top >= 0 and right <= columns and bottom <= rows

    @property
    def spacing_mm(self) -> tuple[float, float] | None:
        """Millimetres per pixel to the right and down, where both axes are lengths of a plane."""
        x, y = self.spacing
        if self.unit != ("cm", "cm") or self.format not in (RegionFormat.PLANE, RegionFormat.NONE):
            return None
        return (abs(x) * 10, abs(y) * 10) if x and y else None

    def value_at(self, x_px: float, y_px: float) -> tuple[float | None, float | None]:
        """Physical values at a pixel along both axes; None along one without scale or origin."""
        values: list[float | None] = []
        for axis, place in enumerate((x_px, y_px)):
            origin, step = self.origin_px[axis], self.spacing[axis]
            if origin is None or step == 0 or self.unit[axis] == NO_UNIT:
                values.append(None)
            else:
                steps = place - self.box_px[axis] - origin
                values.append(self.origin_value[axis] + steps * step)
        return values[0], values[1]


def fitting(regions: tuple[Region, ...], rows: int, columns: int) -> tuple[Region, ...]:
    """The regions of a picture of that size that can be trusted: all of them, or none."""
    return regions if all(region.fits(rows, columns) for region in regions) else ()


def region_at(regions: Iterable[Region], x_px: float, y_px: float) -> Region | None:
    """The region a pixel is of: the one on top where several overlap, None beside all."""
    found = [region for region in regions if region.contains(x_px, y_px)]
    return min(found, key=lambda region: (region.is_low_priority, _area(region)), default=None)


def _area(region: Region) -> int:
    left, top, right, bottom = region.box_px
    return (right - left + 1) * (bottom - top + 1)


@dataclass(frozen=True, eq=False)
class Clip:
    """Pictures over time, each at its time in seconds after the first.

    `pictures` has the frames as its slices, in grey or colour, without a place in a patient.
    `sweeps`: meant to be played forth and back (Preferred Playback Sequencing, PS3.3 C.7.6.5).
    ValueError where times are fewer, more, or run backwards.
    """

    pictures: Volume
    frame_times_s: tuple[float, ...]
    sweeps: bool = False

    def __post_init__(self) -> None:
        times = np.array(self.frame_times_s, dtype=np.float64)
        if times.size != self.pictures.voxels.shape[0]:
            raise ValueError(f"{times.size} times for frames {self.pictures.voxels.shape}")
        if not np.isfinite(times).all() or (np.diff(times) < 0).any():
            raise ValueError("The times of frames run backwards")
        if self.pictures.geometry.in_patient_space:
            raise ValueError("The frames of a clip share one place: they are no slices")

    @property
    def uid(self) -> str:
        """Its own UID, that of `pictures`."""
        return self.pictures.uid

    @property
    def series_uid(self) -> str:
        """The series it belongs to."""
        return self.pictures.series_uid

    @property
    def sop_instance_uid(self) -> str:
        """The object it came in; "" where that has none."""
        return next(iter(self.pictures.instance_uids), "")

    @property
    def frames(self) -> npt.NDArray[Any]:
        """(time, rows, columns[, channels]), read-only."""
        return self.pictures.voxels

    @property
    def regions(self) -> tuple[Region, ...]:
        """What the pixels of an ultrasound clip measure."""
        return self.pictures.regions

    @property
    def notes(self) -> tuple[str, ...]:
        """What reading had to tolerate."""
        return self.pictures.notes

    @property
    def last_duration_s(self) -> float:
        """How long the last frame stands before the first comes again: as the others do."""
        steps = np.diff(self.frame_times_s)
        steps = steps[steps > 0]
        return float(np.median(steps)) if steps.size else 0.0

    @property
    def rate_hz(self) -> float:
        """Frames a second, on average; 0 for a single one."""
        span = self.frame_times_s[-1] - self.frame_times_s[0]
        return (len(self.frame_times_s) - 1) / span if span > 0 else 0.0
