"""Segments -> RT Structure Set (PS3.3 A.19): closed contours on the planes of their images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.uid import UID, RTStructureSetStorage

from medview.core.errors import ExportError
from medview.core.findings import ModelAuthor
from medview.core.geometry import Box
from medview.core.segmentation import Segment
from medview.imaging.outlines import Polygon, keyholed, outlines
from medview.io.dicom_write import (
    UTF8,
    ObjectOptions,
    coded,
    coding_schemes,
    date_time,
    dicom_uid_of,
    foreign_values,
    new_object,
    reference,
    write_dataset,
)
from medview.io.request import SegmentationExport
from medview.io.rtss_read import regions_of
from medview.io.seg_write import algorithm_type
from medview.io.sources import SourceFrame, Sources

#: Detached Study Management: retired, and still the class by which a study is referred to here.
_STUDY = "1.2.840.10008.3.1.2.3.1"


def write_structures(
    export: SegmentationExport, sources: Sources, path: Path, options: ObjectOptions
) -> str:
    """Write one structure set, read it back, compare every voxel; its SOP Instance UID.

    Contours run halfway between voxel centres, in LPS mm to a thousandth; holes are joined to
    what is around them by keyholes. ExportError where the images have no place in the patient.
    """
    geometry = export.geometry
    if not geometry.in_patient_space or not sources.can_be_referred_to:
        raise ExportError(
            "Contours need images with an identity and a place in the patient",
            "Export the segments as NIfTI instead.",
        )
    structures = new_object(sources, RTStructureSetStorage, options)
    structures.SpecificCharacterSet = UTF8
    structures.OperatorsName = ""
    structures.StructureSetLabel = "SEGMENTS"
    structures.StructureSetName = (export.title or "Segments")[:64]
    structures.StructureSetDate, structures.StructureSetTime = date_time(options.now)
    structures.ApprovalStatus = "UNAPPROVED"
    frame = UID(
        geometry.frame_of_reference_uid
        or str(sources.first.get("FrameOfReferenceUID", ""))
        or dicom_uid_of(str(sources.first.SeriesInstanceUID))
    )
    structures.FrameOfReferenceUID = frame
    structures.PositionReferenceIndicator = ""
    structures.ReferencedFrameOfReferenceSequence = [_frame(frame, sources)]
    structures.StructureSetROISequence = [_roi(one, frame) for one in export.segments]
    schemes = coding_schemes(code for s in export.segments for code in (s.category, s.type))
    if schemes:
        structures.CodingSchemeIdentificationSequence = schemes
    labels = export.labels()
    slices = sources.slices_of(geometry)
    structures.ROIContourSequence = [
        _contours(one, labels, export, slices) for one in export.segments
    ]
    structures.RTROIObservationsSequence = [_observation(one) for one in export.segments]
    uid = write_dataset(structures, path)
    _verify(export, labels, path)
    return uid


def _frame(frame: UID, sources: Sources) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = UID(sources.first.SeriesInstanceUID)
    distinct = {one.sop_instance_uid: one for one in sources.instances}
    series.ContourImageSequence = [reference(one) for one in distinct.values()]
    study = Dataset()
    study.ReferencedSOPClassUID = _STUDY
    study.ReferencedSOPInstanceUID = UID(sources.first.StudyInstanceUID)
    study.RTReferencedSeriesSequence = [series]
    item = Dataset()
    item.FrameOfReferenceUID = frame
    item.RTReferencedStudySequence = [study]
    return item


def _roi(segment: Segment, frame: UID) -> Dataset:
    kind = algorithm_type(segment.provenance, segment.review)
    author = segment.provenance.author
    item = Dataset()
    item.ROINumber = segment.number
    item.ReferencedFrameOfReferenceUID = frame
    item.ROIName = segment.label[:64]
    item.ROIGenerationAlgorithm = kind
    if isinstance(author, ModelAuthor):
        item.ROIGenerationDescription = f"{author.model_id} {author.version}"[:64]
    return item


def _observation(segment: Segment) -> Dataset:
    code = segment.type
    item = Dataset()
    item.ObservationNumber = segment.number
    item.ReferencedROINumber = segment.number
    item.ROIObservationLabel = segment.label[:16]
    identity = coded(code.value, code.scheme, code.meaning[:64])
    item.RTROIIdentificationCodeSequence = [identity]
    item.RTROIInterpretedType = ""
    item.ROIInterpreter = ""
    return item


def _contours(
    segment: Segment,
    labels: npt.NDArray[np.integer],
    export: SegmentationExport,
    slices: Mapping[int, SourceFrame],
) -> Dataset:
    item = Dataset()
    item.ReferencedROINumber = segment.number
    item.ROIDisplayColor = list(segment.color_rgb)
    contours: list[Dataset] = []
    for k, polygon in rings(labels, segment.number, export.box):
        contour = Dataset()
        if k in slices:
            image = reference(slices[k].instance)
            if slices[k].number is not None:
                image.ReferencedFrameNumber = slices[k].number
            contour.ContourImageSequence = [image]
        index = np.column_stack([np.full(len(polygon), k), polygon])
        points = export.geometry.to_lps_mm(index)
        contour.ContourGeometricType = "CLOSED_PLANAR"
        contour.NumberOfContourPoints = len(points)
        contour.ContourNumber = len(contours) + 1
        contour.ContourData = [f"{value:.3f}" for value in points.ravel()]
        contours.append(contour)
    item.ContourSequence = contours
    return item


def rings(labels: npt.NDArray[np.integer], number: int, box: Box) -> Iterator[tuple[int, Polygon]]:
    """The slice and the closed polygons (row, column) of one segment, holes as keyholes."""
    block = labels[box.slices] == number
    for place in np.flatnonzero(block.any(axis=(1, 2))).tolist():
        inner = Box.of(block[place][None])
        if inner is None:
            continue
        corner = np.array(inner.start[1:]) + np.array(box.start[1:])
        for polygon in keyholed(outlines(block[place][inner.slices[1:]])):
            yield box.start[0] + place, polygon + corner


def _verify(export: SegmentationExport, labels: npt.NDArray[np.integer], path: Path) -> None:
    with foreign_values():
        structures = dcmread(path)
    wrong = 0
    seen: Sequence[tuple[int, npt.NDArray[np.bool_]]] = [
        (number, mask) for number, mask in regions_of(structures, export.geometry)
    ]
    for number, mask in seen:
        wrong += int(np.count_nonzero(mask != (labels == number)))
    if wrong or [number for number, _ in seen] != [one.number for one in export.segments]:
        raise ExportError(f"{path.name} does not read back as it was written ({wrong} voxels)")
