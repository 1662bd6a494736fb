"""Clip: frames over time, with their times and calibrated regions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt


@dataclass(frozen=True)
class Region:
    """A calibrated part of an ultrasound frame (PS3.3 C.8.5.5).

    `box_px` is (left, top, right, bottom), closed; `spacing` is the step per pixel along
    (x, y) in `unit` (UCUM: `cm`, `s`, `cm/s`, ...), one unit for each axis.
    """

    box_px: tuple[int, int, int, int]
    spacing: tuple[float, float]
    unit: tuple[str, str]


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames (time, rows, columns[, channels]), read-only, with the time of each in seconds."""

    uid: str
    series_uid: str
    frames: npt.NDArray[Any]
    frame_times_s: tuple[float, ...]
    regions: tuple[Region, ...] = ()
    sop_instance_uid: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.frames.ndim not in (3, 4) or len(self.frame_times_s) != self.frames.shape[0]:
            raise ValueError(f"{len(self.frame_times_s)} times for frames {self.frames.shape}")
        view = self.frames.view()
        view.setflags(write=False)
        object.__setattr__(self, "frames", view)
