"""Clips of known content for tests of what shows and plays them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medview.core.clip import Clip, Region
from medview.core.geometry import Calibration, Geometry
from medview.core.study import Instance, Patient, Series, SeriesKind, Study
from medview.core.volume import Volume, Window
from medview.services.workspace import Workspace

ROWS, COLUMNS = 60, 80
_MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.3.1"


def clip(
    times_s: Sequence[float] = (0.0, 0.1, 0.2, 0.3),
    *,
    uid: str = "1.3#0",
    series_uid: str = "1.3",
    instance_uid: str = "1.3.1",
    channels: int = 1,
    regions: tuple[Region, ...] = (),
    sweeps: bool = False,
    rows_mm: float = 1.0,
) -> Clip:
    """Frame n of the first 20 is grey n * 10 + 20 all over, with a white corner."""
    count = len(times_s)
    shape = (count, ROWS, COLUMNS) if channels == 1 else (count, ROWS, COLUMNS, 3)
    frames = np.empty(shape, dtype=np.uint8)
    for n in range(count):
        frames[n] = n % 20 * 10 + 20
        frames[n, :10, :10] = 255
    flat = Geometry((count, ROWS, COLUMNS), np.diag([1.0, rows_mm, 1.0, 1.0]), "", Calibration.NONE)
    pictures = Volume(
        uid, series_uid, flat, frames, default_windows=(Window(128, 256),),
        instance_uids=(instance_uid,) * count, regions=regions,
    )  # fmt: skip
    return Clip(pictures, tuple(times_s), sweeps)


def open_clip(workspace: Workspace, *clips: Clip) -> Study:
    """A study with one ultrasound series of these clips (one that `clip` makes by default)."""
    shown = clips or (clip(),)
    instances = tuple(
        Instance(one.sop_instance_uid, _MULTI_FRAME, f"{n}", n + 1, len(one.frames))
        for n, one in enumerate(shown)
    )
    series = Series(shown[0].series_uid, "1", "US", "Heart", instances, SeriesKind.CLIP, number=2)
    study = Study("1", Patient("0815", "DOE^JANE^M", "19700131", "F"), "Echo", series=(series,))
    workspace.open_studies([study])
    for one in shown:
        workspace.add_clip(one)
    return study
