"""Series -> volumes: planned first, then filled plane by plane, in one process or in several."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from medview.core.errors import ReadError
from medview.core.geometry import Geometry
from medview.core.segmentation import Segmentation
from medview.core.shared_array import SharedArrayName, SharedPlanes
from medview.core.study import Instance, Problem, Series
from medview.core.volume import Volume, Window
from medview.imaging.windowing import apply_window
from medview.io.dicom_read import plan_dicom
from medview.io.filling import Filling, Step
from medview.io.foreign import PLANNERS
from medview.io.plan import (
    ASK_AGAIN,
    Filled,
    LoadedSeries,
    Look,
    SeriesPlan,
    VolumePlan,
    clip_of,
    frame_problems,
    planned_files,
    unseen,
    volume_of,
)
from medview.io.raster import shrunk
from medview.io.seg_read import read_segmentations

#: What came is told when it is about this much.
_TOLD_BYTES = 8 << 20


def plan(
    series: Series,
    password: str = "",
    companions: Sequence[Series] = (),
    look: Look = unseen,
    lost: Collection[Instance] = (),
) -> SeriesPlan:
    """What reading the series will give, without decoding a pixel.

    `companions` are series of its study that may say what its values mean (see
    `core.study.Study.companions_of`). `look` is told each file before it is looked at; those in
    `lost` are left alone. Raises nothing but for a series of an unknown format: what cannot be
    read is a problem.
    """
    if series.is_dicom:
        return plan_dicom(series, password, companions, look, lost)
    look(series.instances[0])
    try:
        return PLANNERS[series.headers["_Format"]](series, password)
    except ReadError as error:
        hint = error.hint or ASK_AGAIN
        problem = Problem(series.instances[0].path, error.user_text, hint=hint)
        return SeriesPlan(series.uid, (), (problem,))


def plan_by_steps(
    step: Step,
    series: Series,
    password: str = "",
    companions: Sequence[Series] = (),
    lost: Collection[int] = (),
    apart: Collection[int] = (),
) -> SeriesPlan:
    """As `plan`, telling `step` which file is looked at: see `io.plan.planned_files`.

    Files in `lost` are left alone; the places of slices among them stay empty. Those in `apart`
    are as if they were not there. The step after the last file is their grouping.
    """
    files = planned_files(series, companions)
    gone = frozenset(files[number] for number in lost)
    away = frozenset(files[number] for number in apart)
    known = [_without(one, gone | away) for one in companions]
    return plan(_without(series, away), password, known, _numbered(step, files), gone)


def _without(series: Series, files: Collection[Instance]) -> Series:
    if not files:
        return series
    return replace(series, instances=tuple(one for one in series.instances if one not in files))


def _numbered(step: Callable[[int], object], files: Sequence[Instance]) -> Look:
    numbers = {(file.file, file.member): number for number, file in enumerate(files)}

    def look(file: Instance | None) -> None:
        step(len(files) if file is None else numbers[file.file, file.member])

    return look


def fill(step: Step, plan: VolumePlan, first: int, target: SharedArrayName) -> Iterator[Filled]:
    """Decode the planes of a part of a volume, which begins at `first`, into shared memory.

    What came is told every few megabytes. A plane that cannot be read is left at the plan's
    blank value and named as lost.
    """
    with SharedPlanes(target) as planes:
        filling = Filling(plan, planes, first, step)
        came: list[int] = []
        often = max(1, _TOLD_BYTES * plan.shape[0] // max(1, plan.nbytes))
        for number in filling.progress():
            came.append(number)
            if len(came) >= often:
                yield _told(filling, came)
        yield _told(filling, came)


def _told(filling: Filling, came: list[int]) -> Filled:
    """What happened since the last time; all of it is told once."""
    told = Filled(tuple(came), tuple(sorted(filling.lost)), tuple(filling.problems))
    came.clear()
    filling.lost.clear()
    filling.problems.clear()
    return told


def load(series: Series, password: str = "", companions: Sequence[Series] = ()) -> LoadedSeries:
    """All of a series in this process, in private memory; empty volumes are left out."""
    planned = plan(series, password, companions)
    problems = list(planned.problems)
    volumes, clips = [], []
    for one in planned.volumes:
        voxels, filling = _filled(one)
        lost = tuple(sorted(filling.lost))
        problems += frame_problems(one, lost, filling.problems) if one.is_clip else filling.problems
        if voxels is None:
            continue
        if one.is_clip:
            clips.append(clip_of(one, voxels, lost))
        else:
            volumes.append(volume_of(one, voxels, filling.notes, lost))
    return LoadedSeries(tuple(volumes), tuple(problems), tuple(clips))


def fill_volume(plan: VolumePlan) -> Volume:
    """One volume in private memory; ReadError if no plane of it can be read."""
    voxels, filling = _filled(plan)
    if voxels is None:
        reason = filling.problems[0].reason if filling.problems else "nothing is there"
        raise ReadError(f"No image of the volume can be read: {reason}")
    return volume_of(plan, voxels, filling.notes, filling.lost)


def _filled(plan: VolumePlan) -> tuple[npt.NDArray[Any] | None, Filling]:
    """The voxels, or None where all planes are lost, and how filling went."""
    voxels = np.empty(plan.shape, dtype=plan.dtype)
    filling = Filling(plan, voxels)
    filling.run()
    return (None if len(filling.lost) == plan.shape[0] else voxels), filling


def one_plane(whole: VolumePlan, *, first_frame: bool = False) -> VolumePlan | None:
    """The plane in the middle of a volume or clip, where it lies; of a clip the first if asked."""
    number = 0 if first_frame and whole.is_clip else whole.shape[0] // 2
    if whole.planes[number].file is None:
        return None
    affine = [list(line) for line in whole.affine]
    for line in affine[:3]:
        line[3] += number * line[0]
    return replace(
        whole,
        uid=f"{whole.uid} one plane",
        planes=(whole.planes[number],),
        shape=(1, *whole.shape[1:]),
        affine=tuple(tuple(line) for line in affine),
        frame_times_s=(),
    )


def thumbnail(
    series: Series, size_px: int = 96, password: str = ""
) -> npt.NDArray[np.uint8] | None:
    """The middle image, windowed, at most `size_px` along its longer side; None without image."""
    volumes = plan(series, password).volumes
    if not volumes:
        return None
    one = one_plane(volumes[0])
    voxels = None if one is None else _filled(one)[0]
    if one is None or voxels is None:
        return None
    grey = _windowed(one, voxels[0])
    _, row_mm, column_mm = one.geometry.spacing_mm
    height, width = grey.shape[0] * row_mm, grey.shape[1] * column_mm
    scale = size_px / max(height, width)
    return shrunk(grey, max(1, round(height * scale)), max(1, round(width * scale)))


def load_segmentations(
    series: Series, geometry: Geometry, volume_uid: str = "", password: str = ""
) -> tuple[Segmentation, ...]:
    """A DICOM SEG series on the grid of its source; ReadError where it does not belong to it."""
    return read_segmentations(series, geometry, volume_uid, password)


def _windowed(plan: VolumePlan, plane: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """A plane in 8 bits: colour as its brightness, grey through the file's or an automatic window.

    Padding is black, whichever way round the greys are.
    """
    if plane.ndim == 3:
        weights = np.array((0.299, 0.587, 0.114), dtype=np.float32)
        return (plane.astype(np.float32) @ weights).astype(np.uint8)
    values = plane.astype(np.float32) * np.float32(plan.slope) + np.float32(plan.intercept)
    padded = np.zeros(plane.shape, dtype=np.bool_)
    if plan.padding is not None:
        padded = (plane >= plan.padding[0]) & (plane <= plan.padding[1])
    window = plan.windows[0] if plan.windows else _automatic(values[~padded])
    grey = np.nan_to_num(apply_window(values, window)).astype(np.uint8)
    grey = 255 - grey if plan.inverted else grey
    return np.where(padded, 0, grey).astype(np.uint8)


def _automatic(values: npt.NDArray[np.float32]) -> Window:
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, (1, 99)) if finite.size else (0.0, 1.0)
    return Window(float(low + high) / 2, max(float(high - low), 1e-6))
