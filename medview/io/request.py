"""What an export is asked to write: plain values that cross to the import worker.

Light on purpose: no DICOM library is imported here, so services may use it at start-up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medview.core.findings import ModelAuthor, SegmentRef
from medview.core.geometry import Box, Geometry
from medview.core.maps import ScalarMap
from medview.core.report import Report
from medview.core.segmentation import LabelArray, Segment, Segmentation, packed, unpacked
from medview.core.study import Series, Study
from medview.core.volume import Volume, Window
from medview.imaging.measure import count_voxels


class ExportFormat(StrEnum):
    """What an export can write. SEGMENTATION is a DICOM SEG, or NIfTI where the source is none.

    LABEL_MAP is a SEG that holds numbers, which newer programs read; CAPTURES are the key images
    as Secondary Captures; MAPS are Parametric Maps, PROBABILITIES fractional SEGs.
    """

    SEGMENTATION = "segmentation"
    SR = "sr"
    PDF = "pdf"
    PDF_DICOM = "pdf_dicom"
    KEY_IMAGES = "key_images"
    JSON = "json"
    CSV = "csv"
    HTML = "html"
    PRESENTATION = "presentation"
    KEY_OBJECTS = "key_objects"
    CAPTURES = "captures"
    LABEL_MAP = "label_map"
    STRUCTURES = "structures"
    NRRD = "nrrd"
    NIFTI = "nifti"
    STL = "stl"
    FHIR = "fhir"
    MAPS = "maps"
    PROBABILITIES = "probabilities"


ALL_FORMATS = tuple(ExportFormat)
#: What is written unless something else is asked for.
USUAL_FORMATS = (
    ExportFormat.SEGMENTATION,
    ExportFormat.SR,
    ExportFormat.PDF,
    ExportFormat.PDF_DICOM,
    ExportFormat.KEY_IMAGES,
    ExportFormat.JSON,
    ExportFormat.CSV,
    ExportFormat.HTML,
)


@dataclass(frozen=True, eq=False)
class SegmentationExport:
    """A snapshot of one segmentation as it will stand in its file, numbered 1..n.

    `numbers` leads from the number in the window to the number in the file. `packed` is the
    compressed block of labels inside `box`; the rest of the grid is background.
    """

    uid: str
    file: str
    title: str
    series: Series
    instance_uids: tuple[str, ...]
    geometry: Geometry
    segments: tuple[Segment, ...]
    numbers: Mapping[int, int]
    box: Box
    dtype: str
    packed: bytes = field(repr=False)

    def labels(self) -> LabelArray:
        """The labels on the whole grid, numbered as in the file."""
        whole: npt.NDArray[Any] = np.zeros(self.geometry.shape, dtype=self.dtype)
        whole[self.box.slices] = unpacked(self.packed, self.dtype, self.box.shape)
        return whole


@dataclass(frozen=True, eq=False)
class ShownImages:
    """The images of a volume as they are shown: where they lie, and the window they are seen in.

    `frame_numbers` count from 0 and are empty for single-frame images. `one_scale` says whether
    all images share what makes real-world values of stored ones.
    """

    series: Series
    instance_uids: tuple[str, ...]
    geometry: Geometry
    window: Window | None = None
    inverted: bool = False
    frame_numbers: tuple[int, ...] = ()
    one_scale: bool = True

    def slice_of(self, sop_instance_uid: str, frame_number: int = 1) -> int | None:
        """Which slice an image is; `frame_number` counts from 1."""
        for number, uid in enumerate(self.instance_uids):
            same = not self.frame_numbers or self.frame_numbers[number] == frame_number - 1
            if uid == sop_instance_uid and same:
                return number
        return None


@dataclass(frozen=True, eq=False)
class MapExport:
    """A map of a model as it will stand in its file, with the images it lies on."""

    map: ScalarMap
    series: Series
    instance_uids: tuple[str, ...]
    author: ModelAuthor | None = None


@dataclass(frozen=True)
class Predecessor:
    """An earlier document that a report takes the place of."""

    study_uid: str
    series_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class ExportRequest:
    """One export: where to, of what, in which formats.

    `series` is the one the report speaks of. `result` is the content of result.json as
    `reporting.tables.result_json` gives it; the export adds the checksums of the source files.
    `pdf`, `html` and `csv` come rendered; an empty one is left out.
    `reader` is the person observer of the SR. `password` opens the archive of the source.
    `frames` says for findings, by uid, in which frame of reference their millimetres count, where
    that is known; `predecessors` are the documents that this report takes the place of. `shown`
    are the images of the report's series as they are seen, `fhir` is the bundle as JSON.
    """

    folder: Path
    study: Study
    series: Series
    report: Report
    result: Mapping[str, Any]
    segmentations: tuple[SegmentationExport, ...] = ()
    pdf: bytes = b""
    html: str = ""
    csv: str = ""
    reader: str = ""
    formats: tuple[ExportFormat, ...] = USUAL_FORMATS
    password: str = field(default="", repr=False)
    frames: Mapping[str, str] = field(default_factory=dict)
    predecessors: tuple[Predecessor, ...] = ()
    shown: ShownImages | None = None
    fhir: str = ""
    maps: tuple[MapExport, ...] = ()


@dataclass(frozen=True)
class ExportedFile:
    """One file that was written, read back and found equal to what was asked for."""

    path: Path
    format: ExportFormat
    sha256: str
    sop_instance_uid: str = ""
    series_uid: str = ""


@dataclass(frozen=True)
class ExportedFiles:
    """What an export left in its folder; `notes` are worded for the reader."""

    folder: Path
    files: tuple[ExportedFile, ...]
    notes: tuple[str, ...] = ()


def counts(segment: Segment) -> bool:
    """Whether a person accepted the segment."""
    return segment.review.state.counts


def gather(
    segmentations: Sequence[Segmentation],
    volumes: Mapping[str, Volume],
    study: Study,
    *,
    keep: Callable[[Segment], bool] = counts,
) -> tuple[SegmentationExport, ...]:
    """Snapshots of the segmentations of a study with the segments to keep, empty ones left out.

    Structures without a single voxel are left out; so are segmentations without a structure.
    Files are named segmentation.dcm, segmentation-2.dcm, ... (.nii.gz where the source is no
    DICOM) in the order given.
    """
    found: list[SegmentationExport] = []
    for segmentation in segmentations:
        volume = volumes[segmentation.volume_uid]
        series = study.find_series(volume.series_uid)
        suffix = "" if not found else f"-{len(found) + 1}"
        file = f"segmentation{suffix}" + (".dcm" if series.is_dicom else ".nii.gz")
        snapshot = _snapshot(segmentation, volume, series, file, keep)
        if snapshot is not None:
            found.append(snapshot)
    return tuple(found)


def places(exports: Sequence[SegmentationExport]) -> dict[SegmentRef, tuple[str, int]]:
    """Where each segment of the window stands in the files: file name and number there."""
    return {
        SegmentRef(export.uid, old): (export.file, new)
        for export in exports
        for old, new in export.numbers.items()
    }


def _snapshot(
    segmentation: Segmentation,
    volume: Volume,
    series: Series,
    file: str,
    keep: Callable[[Segment], bool],
) -> SegmentationExport | None:
    labels = segmentation.labels
    box = Box.of(labels != 0)
    if box is None:
        return None
    block = labels[box.slices]
    present = count_voxels(block)
    kept = sorted(
        (s for s in segmentation.segments if keep(s) and s.number in present),
        key=lambda s: s.number,
    )
    if not kept:
        return None
    numbers = {segment.number: place for place, segment in enumerate(kept, start=1)}
    table: npt.NDArray[Any] = np.zeros(max(present) + 1, dtype=labels.dtype)
    for old, new in numbers.items():
        table[old] = new
    if any(table[number] != number for number in present):
        block = table[block]
    return SegmentationExport(
        uid=segmentation.uid,
        file=file,
        title=segmentation.title,
        series=series,
        instance_uids=volume.instance_uids,
        geometry=segmentation.geometry,
        segments=tuple(replace(segment, number=numbers[segment.number]) for segment in kept),
        numbers=numbers,
        box=box,
        dtype=labels.dtype.str,
        packed=packed(block),
    )
