"""What an export needs, made from phantom files: studies, segmentations, findings, reports."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread

from medview.core.codes import ANATOMICAL_STRUCTURE, VOLUME, Code
from medview.core.findings import (
    Finding,
    Laterality,
    Measurement,
    ModelAuthor,
    Provenance,
    Review,
    ReviewState,
    SegmentRef,
)
from medview.core.geometry import Geometry
from medview.core.segmentation import Segment, Segmentation
from medview.core.study import Instance, Patient, Series, Study
from medview.core.volume import Volume

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
MODEL = ModelAuthor("hippocampus_mr", "1.2.0", "ab12" * 16)
BY_MODEL = Provenance(MODEL, AT)
HIPPOCAMPUS = Code("5366008", "SCT", "Hippocampus")
ACCEPTED = Review(ReviewState.ACCEPTED, "Dr Reader", AT)


def instance_of(path: Path, header: Dataset) -> Instance:
    """One file as the scan lists it."""
    return Instance(
        sop_instance_uid=str(header.SOPInstanceUID),
        sop_class_uid=str(header.SOPClassUID),
        file=str(path),
        number=int(header.InstanceNumber),
        frames=int(header.get("NumberOfFrames", 1)),
    )


def study_of(paths: Sequence[Path]) -> Study:
    """The study of the files of one series, as the scan would give it."""
    headers = [dcmread(path, stop_before_pixels=True) for path in paths]
    first = headers[0]
    series = Series(
        uid=str(first.SeriesInstanceUID),
        study_uid=str(first.StudyInstanceUID),
        modality=str(first.Modality),
        description=str(first.get("SeriesDescription", "")),
        instances=tuple(instance_of(p, h) for p, h in zip(paths, headers, strict=True)),
        number=int(first.get("SeriesNumber") or 0),
        body_part=str(first.get("BodyPartExamined", "")),
        frame_of_reference_uid=str(first.get("FrameOfReferenceUID", "")),
    )
    patient = Patient(
        str(first.PatientID),
        str(first.get("PatientName", "")),
        str(first.get("PatientBirthDate", "")),
        str(first.get("PatientSex", "")),
    )
    return Study(
        uid=series.study_uid,
        patient=patient,
        description=str(first.get("StudyDescription", "")),
        date=str(first.get("StudyDate", "")),
        accession=str(first.get("AccessionNumber", "")),
        series=(series,),
    )


def volume_of(series: Series, geometry: Geometry, uids: tuple[str, ...] = ()) -> Volume:
    """A loaded volume on that grid; its voxels do not matter to an export."""
    return Volume(
        uid="volume-1",
        series_uid=series.uid,
        geometry=geometry,
        voxels=np.zeros(geometry.shape, dtype=np.int16),
        instance_uids=uids or tuple(one.sop_instance_uid for one in series.instances),
    )


def segment(number: int, label: str, review: Review = ACCEPTED, **more: Any) -> Segment:
    """An accepted structure of the model."""
    values = {
        "category": ANATOMICAL_STRUCTURE,
        "type": HIPPOCAMPUS,
        "color_rgb": (200, 40 * number % 255, 30),
        "provenance": BY_MODEL,
        "review": review,
    }
    return Segment(number=number, label=label, **(values | more))


def random_labels(shape: tuple[int, int, int], count: int, seed: int = 1) -> npt.NDArray[np.uint8]:
    """Labels 1..count without any symmetry: speckle, with the last slice empty."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, count + 1, size=shape).astype(np.uint8)
    labels[generator.random(shape) < 0.6] = 0
    labels[-1] = 0
    return labels


def segmentation_of(
    volume: Volume, labels: npt.NDArray[Any], segments: Sequence[Segment]
) -> Segmentation:
    """Labels on the grid of a volume."""
    return Segmentation(volume.uid, volume.geometry, labels, tuple(segments), title="Hippocampus")


def finding(
    label: str,
    side: Laterality | None = None,
    volume_ml: float | None = None,
    *,
    review: Review = ACCEPTED,
    segmentation: Segmentation | None = None,
    number: int = 0,
    **more: Any,
) -> Finding:
    """A finding of the model, accepted unless said otherwise."""
    measurements = ()
    if volume_ml is not None:
        measurements = (Measurement(VOLUME, volume_ml, "mL", "voxel count", BY_MODEL, "volume"),)
    ref = SegmentRef(segmentation.uid, number) if segmentation is not None else None
    values = {"code": HIPPOCAMPUS, "provenance": BY_MODEL, "measurements": measurements}
    return Finding(
        label=label,
        laterality=side,
        segment_ref=ref,
        review=review,
        **(values | more),
    )


def placed(
    array: npt.NDArray[np.uint8],
    voxels: npt.NDArray[np.int64],
    affine: npt.NDArray[np.float64],
    geometry: Geometry,
) -> npt.NDArray[np.uint8]:
    """What another program read (`voxels` are the indices of interest) on a grid of ours."""
    index = geometry.to_index(voxels @ affine[:3, :3].T + affine[:3, 3])
    nearest = np.rint(index).astype(int)
    assert np.abs(index - nearest).max() < 0.01
    seen = np.zeros(geometry.shape, dtype=np.uint8)
    seen[tuple(nearest.T)] = array[tuple(voxels.T)]
    return seen
