"""What files hold, in words and numbers for other programs; and volumes out to other formats."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medview.core.clip import Clip, Region
from medview.core.errors import ReadError
from medview.core.geometry import Calibration, Geometry
from medview.core.shared_array import SharedArray, SharedArrayName
from medview.core.study import Problem, Series, Study
from medview.core.volume import Volume, Window
from medview.io.found import ScanResult
from medview.io.grid_write import write_grid
from medview.io.identity import PICTURED, compatible
from medview.io.outline import outline, title_of
from medview.io.plan import ASK_AGAIN, VolumePlan, volume_of
from medview.io.reading import load
from medview.io.scan import scan

Json = dict[str, Any]

#: A series as it stands in `info`, and the problems of reading it.
Part = tuple[Json, tuple[Problem, ...]]


def info(paths: Sequence[Path], password: str = "") -> Json:
    """The content of `medview info --json`: patients, studies, series, volumes, problems.

    Minimum, maximum, mean and SHA-256 are of real-world values (float32, little endian, C order).
    """
    found = scan(paths, password)
    parts = {
        series.uid: series_info(series, study.companions_of(series), password)
        for study in found.studies
        for series in study.series
    }
    return info_of(found, parts)


def info_of(found: ScanResult, parts: Mapping[str, Part]) -> Json:
    """What a scan found, as `info` has it; series without their part stand there without volumes.

    `parts` gives by series UID what `series_info` made of each series.
    """
    problems = list(found.problems)
    patients: list[tuple[Study, list[Json]]] = []
    for study in found.studies:
        described = _study(study, parts, problems)
        for first, studies in patients:
            if _same_patient(first, study):
                studies.append(described)
                break
        else:
            patients.append((study, [described]))
    return {
        "patients": [
            {"id": first.patient.id, "name": first.patient.name, "studies": studies}
            for first, studies in patients
        ],
        "problems": [_problem(problem) for problem in problems],
    }


def _same_patient(one: Study, other: Study) -> bool:
    """Whether both name one person: what they state agrees, and each states who it is."""
    a, b = one.patient, other.patient
    agree = compatible(
        (a.id, a.issuer, a.name.casefold(), a.birth_date),
        (b.id, b.issuer, b.name.casefold(), b.birth_date),
    )
    same_name = bool(a.name) and a.name.casefold() == b.name.casefold()
    return agree and (same_name or bool(a.id and a.id == b.id))


def _study(study: Study, parts: Mapping[str, Part], problems: list[Problem]) -> Json:
    described = []
    for series in study.series:
        part, told = parts.get(series.uid, ({}, ()))
        problems += told
        described.append(_series(series, title_of(series)) | part)
    return {
        "uid": study.uid,
        "date": study.date,
        "description": study.description,
        "series": described,
    }


def series_info(series: Series, companions: Sequence[Series] = (), password: str = "") -> Part:
    """One series of `info`, and what could not be read of it."""
    loaded = load(series, password, companions)
    problems = list(loaded.problems)
    described = _series(series, _summary(series, password, problems)) | {
        "volumes": [_volume(volume) for volume in loaded.volumes],
        "clips": [_clip(clip) for clip in loaded.clips],
    }
    return described, tuple(problems)


def _series(series: Series, summary: str) -> Json:
    syntaxes = {instance.transfer_syntax_uid for instance in series.instances} - {""}
    return {
        "uid": series.uid,
        "number": series.number,
        "modality": series.modality,
        "description": series.description,
        "kind": series.kind.value,
        "summary": summary,
        "instances": len(series.instances),
        "transfer_syntaxes": sorted(syntaxes),
        "notes": list(series.notes),
        "volumes": [],
        "clips": [],
    }


def _summary(series: Series, password: str, problems: list[Problem]) -> str:
    """What a series without pictures of a patient is, in a few words; "" for pictures."""
    if series.kind in PICTURED or not series.is_dicom:
        return ""
    try:
        return outline(series, password).summary
    except ReadError as error:
        path = series.instances[0].path
        problems.append(Problem(path, error.user_text, hint=error.hint or ASK_AGAIN))
        return title_of(series)


def _volume(volume: Volume) -> Json:
    geometry = volume.geometry
    statistics = _statistics(volume)
    return {
        "shape": list(geometry.shape),
        "channels": volume.channels,
        "time_index": volume.time_index,
        "label": volume.label,
        "spacing_mm": _spacing(geometry),
        "affine_lps": geometry.affine.tolist() if geometry.in_patient_space else None,
        "calibration": geometry.calibration.value,
        "frame_of_reference_uid": geometry.frame_of_reference_uid,
        "quantity": volume.quantity.meaning,
        "unit": volume.unit,
        "dtype": volume.voxels.dtype.name,
        "min": statistics.minimum,
        "max": statistics.maximum,
        "mean": statistics.mean,
        "sha256": statistics.sha256,
        "scale": volume.scale_name,
        "scales": [
            {"name": scale.name, "unit": scale.unit, "quantity": scale.quantity.meaning}
            for scale in volume.scales
        ],
        "inverted": volume.inverted,
        "windows": [_window(window) for window in volume.default_windows],
        "regions": _regions(volume.regions),
        "notes": list(volume.notes),
    }


def _regions(regions: Sequence[Region]) -> list[Json]:
    return [
        {
            "box_px": list(region.box_px),
            "spacing": list(region.spacing),
            "unit": list(region.unit),
            "format": region.format.name.lower(),
            "data_type": region.data_type,
        }
        for region in regions
    ]


def _window(window: Window) -> Json:
    return {
        "center": window.center,
        "width": window.width,
        "explanation": window.explanation,
        "function": window.function,
    }


def _spacing(geometry: Geometry) -> list[float | None] | None:
    """Distance between planes, rows and columns; None for what is not known in millimetres."""
    if geometry.calibration is Calibration.NONE:
        return None
    planes_mm, row_mm, column_mm = geometry.spacing_mm
    return [planes_mm if geometry.in_patient_space else None, row_mm, column_mm]


@dataclass(frozen=True)
class _Statistics:
    minimum: float | None
    maximum: float | None
    mean: float | None
    sha256: str


def _statistics(volume: Volume) -> _Statistics:
    """Over all real-world values, plane by plane so that no second copy is made.

    Padding and slices without an image count in the checksum only.
    """
    empty = frozenset(volume.empty_slices)
    digest = hashlib.sha256()
    low, high, total, count = math.inf, -math.inf, 0.0, 0
    for k, plane in enumerate(volume.voxels):
        values = volume.value_of(plane)
        digest.update(np.ascontiguousarray(values, dtype="<f4").data)
        if k in empty:
            continue
        if volume.padding is not None:
            values = values[~volume.is_padding(plane)]
        finite = values[np.isfinite(values)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
            total += float(finite.sum(dtype=np.float64))
            count += finite.size
    if count == 0:
        return _Statistics(None, None, None, digest.hexdigest())
    return _Statistics(low, high, total / count, digest.hexdigest())


def _clip(clip: Clip) -> Json:
    return {
        "shape": list(clip.frames.shape[:3]),
        "channels": clip.pictures.channels,
        "frame_times_s": list(clip.frame_times_s),
        "regions": _regions(clip.regions),
        "sop_instance_uid": clip.sop_instance_uid,
        "notes": list(clip.notes),
    }


def _problem(problem: Problem) -> Json:
    return {
        "path": str(problem.path),
        "reason": problem.reason,
        "severity": problem.severity.value,
        "hint": problem.hint,
    }


def write_volume(
    plan: VolumePlan,
    shared: SharedArrayName,
    lost: Collection[int],
    notes: tuple[str, ...],
    out: Path,
) -> None:
    """Write a volume whose voxels lie in shared memory; see `write_grid`."""
    with SharedArray.attach(shared) as held:
        write_grid(volume_of(plan, held.array, notes, lost), out)
