"""The images an exported object comes from: who they are, where they lie, their checksum."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, config, dcmread
from pydicom.errors import InvalidDicomError

from medview.core.errors import ExportError, ReadError
from medview.core.geometry import Geometry
from medview.core.study import Instance, Series
from medview.io.archives import read_all
from medview.io.header import read_header
from medview.io.unpacking import MemoryBytes

#: How far a slice may lie from its place on the grid and still be the one that stands there.
_SAME_PLACE_MM = 0.15


@dataclass(frozen=True, eq=False)
class SourceFrame:
    """One plane of a source image: its number in the file (None: a single-frame image)."""

    instance: Instance
    number: int | None
    position_lps_mm: npt.NDArray[np.float64]
    orientation: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sources:
    """The instances of a series that were read for an export.

    `first` is the whole header (without pixels) of the first one: the patient and the study of
    everything that is written. `sha256` is over the bytes of each file. `can_be_referred_to` is
    False where a file has no SOP Instance UID: nothing can point to it then.
    """

    first: Dataset
    instances: tuple[Instance, ...]
    frames: tuple[SourceFrame, ...]
    sha256: dict[Instance, str] = field(default_factory=dict)
    can_be_referred_to: bool = True

    def slices_of(self, geometry: Geometry, time_index: int = 0) -> dict[int, SourceFrame]:
        """Which frame lies on which slice of the grid: same place, same directions.

        Of several frames in one place (phases, echoes) the one at `time_index` is taken.
        """
        across = _unit(geometry.affine[:3, 2])
        down = _unit(geometry.affine[:3, 1])
        found: dict[int, list[SourceFrame]] = {}
        for frame in self.frames:
            k = round(float(geometry.to_index(frame.position_lps_mm)[0]))
            apart = np.linalg.norm(geometry.to_lps_mm((k, 0, 0)) - frame.position_lps_mm)
            turned = np.abs(frame.orientation - np.concatenate([across, down])).max()
            if apart <= _SAME_PLACE_MM and turned <= 1e-3 and 0 <= k < geometry.shape[0]:
                found.setdefault(k, []).append(frame)
        return {k: same[min(time_index, len(same) - 1)] for k, same in found.items()}


def _unit(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float64)


def read_sources(series: Series, uids: Sequence[str] = (), password: str = "") -> Sources:
    """Read the instances with those SOP Instance UIDs (all, if none are named) of a series.

    Raises ExportError naming the file that is gone or changed under our feet.
    """
    wanted = set(uids)
    chosen = tuple(one for one in series.instances if not wanted or one.sop_instance_uid in wanted)
    if not chosen:
        raise ExportError("The images of this series are not listed any more", "Open it again.")
    header: Dataset | None = None
    frames: list[SourceFrame] = []
    sha256: dict[Instance, str] = {}
    named = True
    for instance, data in source_bytes(chosen, password):
        sha256[instance] = hashlib.sha256(data).hexdigest()
        if instance == chosen[0]:
            header = _header(instance, data)
        values = _values(instance, data)
        named = named and bool(values.get("SOPInstanceUID"))
        frames.extend(_frames(instance, data, values))
    if header is None or len(sha256) < len(set(chosen)):
        raise _gone(chosen[0].path.name, "")
    _name_study(header, series)
    return Sources(header, chosen, tuple(frames), sha256, named)


def _name_study(header: Dataset, series: Series) -> None:
    """A file without study or series UID is known by those it was given when it was opened."""
    with config.disable_value_validation():
        header.StudyInstanceUID = header.get("StudyInstanceUID") or series.study_uid
        header.SeriesInstanceUID = header.get("SeriesInstanceUID") or series.uid


def source_bytes(
    instances: Sequence[Instance], password: str = ""
) -> Iterator[tuple[Instance, bytes]]:
    """The bytes of each instance, in the order in which files and archives give them."""
    by_path: dict[Path, dict[str, Instance]] = {}
    for instance in instances:
        by_path.setdefault(instance.path, {})[instance.member] = instance
    for path, members in by_path.items():
        try:
            for entry in read_all(path, list(members), password):
                yield members[entry.member], entry.data
        except (ReadError, OSError) as error:
            raise _gone(path.name, str(error)) from error


def _gone(name: str, detail: str) -> ExportError:
    return ExportError(
        f"The source {name} cannot be read any more",
        "Put the folder or disk back, then export again. Your work is kept.",
        detail,
    )


def _header(instance: Instance, data: bytes) -> Dataset:
    try:
        with config.disable_value_validation():
            header = dcmread(io.BytesIO(data), stop_before_pixels=True, force=True)
            header.decode()
    except (InvalidDicomError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise ExportError(
            f"The header of {instance.path.name} cannot be read", detail=str(error)
        ) from error
    if header.get("SOPInstanceUID", "") not in ("", None, instance.sop_instance_uid):
        raise ExportError(
            f"{instance.path.name} is not the image it was when the study was opened",
            "Open the study again before exporting.",
        )
    return header


def _values(instance: Instance, data: bytes) -> Mapping[str, str]:
    try:
        return read_header(MemoryBytes(data)).values
    except ReadError as error:
        raise ExportError(
            f"The header of {instance.path.name} cannot be read", detail=error.detail
        ) from error


def _frames(instance: Instance, data: bytes, values: Mapping[str, str]) -> Iterator[SourceFrame]:
    if "PerFrameFunctionalGroupsSequence" in values:
        yield from _functional_groups(instance, _header(instance, data))
        return
    position = _numbers(values.get("ImagePositionPatient", "").split("\\"), 3)
    orientation = _numbers(values.get("ImageOrientationPatient", "").split("\\"), 6)
    if position is not None and orientation is not None:
        yield SourceFrame(instance, None, position, orientation)


def _functional_groups(instance: Instance, header: Dataset) -> Iterator[SourceFrame]:
    shared = header.get("SharedFunctionalGroupsSequence") or [Dataset()]
    for number, own in enumerate(header.PerFrameFunctionalGroupsSequence, start=1):
        position = orientation = None
        for group in (shared[0], own):
            for item in group.get("PlanePositionSequence") or ():
                position = _numbers(item.get("ImagePositionPatient"), 3)
            for item in group.get("PlaneOrientationSequence") or ():
                orientation = _numbers(item.get("ImageOrientationPatient"), 6)
        if position is not None and orientation is not None:
            yield SourceFrame(instance, number, position, orientation)


def _numbers(values: Any, count: int) -> npt.NDArray[np.float64] | None:
    try:
        numbers = np.array([float(value) for value in values or ()], dtype=np.float64)
    except ValueError:
        return None
    return numbers if numbers.shape == (count,) and np.isfinite(numbers).all() else None
