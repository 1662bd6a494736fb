"""Key images -> Key Object Selection (PS3.3 A.35.4) and Secondary Captures (PS3.3 A.8.1)."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.uid import UID, KeyObjectSelectionDocumentStorage, SecondaryCaptureImageStorage

from medview.core.errors import ExportError
from medview.core.report import KeyImage, Report
from medview.core.study import Instance
from medview.io.dicom_write import (
    NOT_CLINICAL,
    ObjectOptions,
    coded,
    foreign_values,
    new_object,
    person_name,
    reference,
    write_dataset,
)
from medview.io.sources import Sources

#: What the selection is for (CID 7010): what the reader marked, or what a signed report rests on.
_OF_INTEREST = ("113000", "DCM", "Of Interest")
_FOR_REFERRING = ("113004", "DCM", "For Referring Provider")


def write_selection(
    report: Report,
    images: Sequence[Instance],
    sources: Sources,
    path: Path,
    now: datetime,
    reader: str = "",
) -> str:
    """Write which images are worth seeing; `images` are of the sources. Its SOP Instance UID.

    ExportError where there is none, nothing can refer to them, or it reads back otherwise.
    """
    if not images or not sources.can_be_referred_to:
        raise ExportError(
            "No key image of the report is an image of the study that can be referred to",
            "Add key images of acquired slices to the report.",
        )
    options = ObjectOptions("KO", 9905, f"Key images. {NOT_CLINICAL}", now)
    selection = new_object(sources, KeyObjectSelectionDocumentStorage, options)
    selection.ReferencedPerformedProcedureStepSequence = []
    selection.ContentDate = selection.InstanceCreationDate
    selection.ContentTime = selection.InstanceCreationTime
    selection.CurrentRequestedProcedureEvidenceSequence = [_evidence(sources, images)]
    selection.ValueType = "CONTAINER"
    title = _FOR_REFERRING if report.status.is_signed else _OF_INTEREST
    selection.ConceptNameCodeSequence = [coded(*title)]
    selection.ContinuityOfContent = "SEPARATE"
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "2010"
    selection.ContentTemplateSequence = [template]
    selection.ContentSequence = [
        *_observer(report, reader),
        *_description(report.key_images),
        *(_image(one, report.key_images) for one in images),
    ]
    uid = write_dataset(selection, path)
    with foreign_values():
        again = dcmread(path)
    told = [str(i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
            for i in again.ContentSequence if i.ValueType == "IMAGE"]  # fmt: skip
    if told != [one.sop_instance_uid for one in images]:
        raise ExportError(f"{path.name} does not read back as it was written")
    return uid


def _evidence(sources: Sources, images: Sequence[Instance]) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = UID(sources.first.SeriesInstanceUID)
    series.ReferencedSOPSequence = [reference(one) for one in images]
    study = Dataset()
    study.StudyInstanceUID = UID(sources.first.StudyInstanceUID)
    study.ReferencedSeriesSequence = [series]
    return study


def _item(kind: str, relationship: str, name: tuple[str, str, str] | None = None) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = relationship, kind
    if name is not None:
        item.ConceptNameCodeSequence = [coded(*name)]
    return item


def _observer(report: Report, reader: str) -> list[Dataset]:
    """The person who chose (TID 1002)."""
    by = report.signatures[-1].by if report.status.is_signed else reader
    if not person_name(by):
        return []
    kind = _item("CODE", "HAS OBS CONTEXT", ("121005", "DCM", "Observer Type"))
    kind.ConceptCodeSequence = [coded("121006", "DCM", "Person")]
    name = _item("PNAME", "HAS OBS CONTEXT", ("121008", "DCM", "Person Observer Name"))
    name.PersonName = person_name(by)
    return [kind, name]


def _description(images: Sequence[KeyImage]) -> list[Dataset]:
    words = "; ".join(dict.fromkeys(one.caption for one in images if one.caption))
    if not words:
        return []
    item = _item("TEXT", "CONTAINS", ("113012", "DCM", "Key Object Description"))
    item.TextValue = words[:1024]
    return [item]


def _image(instance: Instance, images: Sequence[KeyImage]) -> Dataset:
    """An image, and which of its frames where it has several (PS3.3 table 10-3)."""
    # TID 2010 gives the image no concept name: one is a fault to strict readers.
    item = _item("IMAGE", "CONTAINS")
    uid = instance.sop_instance_uid
    frames = {one.frame_number for one in images if one.sop_instance_uid == uid} - {0}
    item.ReferencedSOPSequence = [reference(instance)]
    if frames and instance.frames > 1:
        item.ReferencedSOPSequence[0].ReferencedFrameNumber = sorted(frames)
    return item


def key_instances(images: Sequence[KeyImage], sources: Sources) -> list[Instance]:
    """The acquired images that key images show; a reformatted picture gives the nearest one."""
    by_uid: Mapping[str, Instance] = {one.sop_instance_uid: one for one in sources.instances}
    found: dict[str, Instance] = {}
    for image in images:
        instance = by_uid.get(image.sop_instance_uid)
        if instance is None and not image.sop_instance_uid and sources.frames:
            instance = _nearest(image, sources)
        if instance is not None:
            found[instance.sop_instance_uid] = instance
    return list(found.values())


def _nearest(image: KeyImage, sources: Sources) -> Instance:
    """The image whose plane lies nearest to a point."""
    point = np.array(image.point_lps_mm)

    def apart(number: int) -> float:
        frame = sources.frames[number]
        normal = np.cross(frame.orientation[:3], frame.orientation[3:])
        return abs(float(normal @ (point - frame.position_lps_mm)))

    return sources.frames[min(range(len(sources.frames)), key=apart)].instance


def write_capture(image: KeyImage, sources: Sources, path: Path, options: ObjectOptions) -> str:
    """A key image, drawn over as it is, as Secondary Capture; returns its SOP Instance UID."""
    with Image.open(io.BytesIO(image.png)) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    capture = new_object(sources, SecondaryCaptureImageStorage, options)
    capture.Laterality = ""
    capture.ConversionType = "WSD"
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.PatientOrientation = ""
    capture.ImageComments = image.caption[:1024]
    capture.DerivationDescription = "Picture with segments drawn over it"
    capture.ContentDate = capture.InstanceCreationDate
    capture.ContentTime = capture.InstanceCreationTime
    capture.BurnedInAnnotation = "YES"
    sources_of = key_instances([image], sources) if sources.can_be_referred_to else []
    if sources_of:
        capture.SourceImageSequence = [_source(one) for one in sources_of]
    capture.SamplesPerPixel, capture.PlanarConfiguration = 3, 0
    capture.PhotometricInterpretation = "RGB"
    capture.Rows, capture.Columns = pixels.shape[:2]
    capture.BitsAllocated, capture.BitsStored, capture.HighBit = 8, 8, 7
    capture.PixelRepresentation = 0
    data = pixels.tobytes()
    capture.PixelData = data + b"\0" * (len(data) % 2)
    uid = write_dataset(capture, path)
    with foreign_values():
        if not np.array_equal(dcmread(path).pixel_array, pixels):
            raise ExportError(f"{path.name} does not read back as it was written")
    return uid


def _source(instance: Instance) -> Dataset:
    item = reference(instance)
    item.PurposeOfReferenceCodeSequence = [
        coded("121322", "DCM", "Source image for image processing operation")
    ]
    return item
