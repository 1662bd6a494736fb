"""What a DICOM SR says: observers, and findings as measurement groups of TID 1500 (PS3.16)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    CodedConcept,
    ContentItem,
    CoordinatesForMeasurement,
    CoordinatesForMeasurement3D,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    GraphicTypeValues,
    GraphicTypeValues3D,
    ImageRegion,
    ImageRegion3D,
    MeasurementsAndQualitativeEvaluations,
    NumContentItem,
    ObservationContext,
    ObserverContext,
    PersonObserverIdentifyingAttributes,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    ReferencedSegment,
    RelationshipTypeValues,
    SourceImageForRegion,
    SourceSeriesForSegmentation,
    TrackingIdentifier,
    VolumeSurface,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from highdicom.sr import Measurement as MeasurementItem
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import SegmentationStorage

from medview import __version__
from medview.core.codes import PROBABILITY, UNIT_TEXT, Code
from medview.core.findings import (
    ClassProbability,
    Finding,
    Measurement,
    ModelAuthor,
    Person,
    PictureBox,
    Point,
)
from medview.core.study import Study
from medview.io.dicom_write import (
    MANUFACTURER,
    MODEL_NAME,
    SIDES,
    concept,
    date_time_zone,
    dicom_uid_of,
    person_name,
    tracking_uid,
)
from medview.io.request import Predecessor
from medview.io.sr_terms import (
    CAUTION,
    CLASS,
    COMMENT,
    DECISION,
    DRAWN_BY,
    OBSERVER,
    REGION,
    SCHEME,
    SPREAD,
    STATES,
)
from medview.io.sr_words import person_item, text_item

#: What a private code of a measurement method begins with; its meaning says the method in words.
METHOD_PREFIX = "M"
_CONTAINS = RelationshipTypeValues.CONTAINS
_NO_UNIT = CodedConcept("1", "UCUM", "no units")


@dataclass(frozen=True)
class SegmentPlace:
    """A segment in an exported SEG: the object's UIDs, the number in it, the series it is of."""

    sop_instance_uid: str
    series_uid: str
    number: int
    source_series_uid: str


@dataclass(frozen=True)
class ImagePlace:
    """An image of the study that a report may refer to."""

    series_uid: str
    sop_class_uid: str
    is_multi_frame: bool = False


def image_places(study: Study) -> dict[str, ImagePlace]:
    """All images of a study that can be referred to, by SOP Instance UID."""
    return {
        one.sop_instance_uid: ImagePlace(
            series.headers.get("SeriesInstanceUID") or series.uid, one.sop_class_uid, one.frames > 1
        )
        for series in study.series
        if series.is_dicom and series.kind.is_shown
        for one in series.instances
        if one.sop_instance_uid and one.sop_class_uid
    }


@dataclass(frozen=True)
class SrOptions:
    """What a report refers to.

    `places` says for findings, by uid, which exported segment shows them; `frames` in which frame
    of reference their millimetres count; `images` are those of the study by SOP Instance UID.
    """

    now: datetime
    places: Mapping[str, SegmentPlace] = field(default_factory=dict)
    reader: str = ""
    series_number: int = 9902
    series_uid: str = ""
    frames: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, ImagePlace] = field(default_factory=dict)
    predecessors: tuple[Predecessor, ...] = ()


# -- observers -------------------------------------------------------------------------------


def observers(models: Sequence[ModelAuthor], reader: str) -> ObservationContext:
    """The reader as person observer, the model as device observer, or this program.

    Several models are named in the groups of what they found (TID 4019): the device that stands
    for the whole document is one, as validators hold TID 1004 to.
    """
    person = None
    if person_name(reader):
        attributes = PersonObserverIdentifyingAttributes(name=person_name(reader))
        person = ObserverContext(codes.DCM.Person, attributes)
    device = _device(MODEL_NAME, f"{MODEL_NAME}/{__version__}", __version__)
    if len(models) == 1:
        (one,) = models
        identity = f"{one.model_id}/{one.version}/{one.weights_sha256}"
        device = _device(one.model_id, identity, one.version)
    return ObservationContext(observer_person_context=person, observer_device_context=device)


def _device(name: str, identity: str, version: str) -> ObserverContext:
    attributes = DeviceObserverIdentifyingAttributes(
        uid=dicom_uid_of(identity),
        name=name,
        manufacturer_name=MANUFACTURER,
        model_name=name,
        serial_number=version,
    )
    return ObserverContext(codes.DCM.Device, attributes)


# -- findings --------------------------------------------------------------------------------


def groups_of(finding: Finding, options: SrOptions, source_series_uid: str) -> list[Dataset]:
    """One finding, as the template that fits what shows where it lies.

    TID 1411 for a segment or a box in space, TID 1410 for a region of one image or a point,
    TID 1501 otherwise; all are extensible, and further places stand beside the first under a
    concept of their own. The first two allow numbers no points of their own: numbers that were
    measured with points follow in a group of TID 1501 with the same tracking identifier.
    """
    shape, *others = _shapes(finding, options, source_series_uid) or [{}]
    frame = options.frames.get(finding.uid, "")
    every = measurements_of(finding)
    apart = {one.uid for one in every if shape and _coordinates(one, options, frame)}
    common = _common(finding)
    common["measurements"] = [_measurement(m, options, frame) for m in every if m.uid not in apart]
    if "referenced_region" in shape:
        group = PlanarROIMeasurementsAndQualitativeEvaluations(**shape, **common)
    elif shape:
        group = VolumetricROIMeasurementsAndQualitativeEvaluations(**shape, **common)
    else:
        group = MeasurementsAndQualitativeEvaluations(**common)
    group[0].ContentSequence.extend(_said(finding))
    group[0].ObservationDateTime = date_time_zone(finding.provenance.made_at)
    group[0].ContentSequence.extend(region for shape in others for region in _regions(shape))
    if not apart:
        return [group]
    common["measurements"] = [_measurement(m, options, frame) for m in every if m.uid in apart]
    return [group, MeasurementsAndQualitativeEvaluations(**common)]


def _said(finding: Finding) -> Iterator[ContentItem]:
    """What else there is to say of a finding: words, other classes, cautions, the decision."""
    if finding.text.strip():
        yield text_item(COMMENT, finding.text.strip())
    for one in finding.classes:
        yield _class(one)
    author = finding.provenance.author
    if isinstance(author, Person) and finding.provenance.aids:
        yield text_item(DRAWN_BY, author.name)
    for words in finding.provenance.cautions:
        yield text_item(CAUTION, words)
    review = finding.review
    decision = CodeContentItem(
        concept(DECISION), concept(STATES[review.state]), relationship_type=_CONTAINS
    )
    about: list[ContentItem] = []
    if review.at is not None:
        decision.ObservationDateTime = date_time_zone(review.at)
        about.append(person_item(OBSERVER, review.by, RelationshipTypeValues.HAS_OBS_CONTEXT))
    if review.reason.strip():
        about.append(text_item(COMMENT, review.reason, RelationshipTypeValues.HAS_PROPERTIES))
    if about:
        decision.ContentSequence = about
    yield decision


def _class(one: ClassProbability) -> NumContentItem:
    """How probable one class is: the class is what the number is of."""
    item = NumContentItem(
        concept(PROBABILITY), one.probability, _NO_UNIT, relationship_type=_CONTAINS
    )
    modifier = RelationshipTypeValues.HAS_CONCEPT_MOD
    item.ContentSequence = [
        CodeContentItem(concept(CLASS), concept(one.code), relationship_type=modifier)
    ]
    properties = RelationshipTypeValues.HAS_PROPERTIES
    if one.label != one.code.meaning:
        item.ContentSequence.append(text_item(COMMENT, one.label, properties))
    if one.spread is not None:
        inferred = RelationshipTypeValues.INFERRED_FROM
        spread = NumContentItem(concept(SPREAD), one.spread, _NO_UNIT, relationship_type=inferred)
        item.ContentSequence.append(spread)
    return item


def _common(finding: Finding) -> dict[str, object]:
    """What every kind of group says of a finding."""
    model = next(iter(finding.provenance.models), None)
    return {
        "tracking_identifier": TrackingIdentifier(
            uid=tracking_uid(finding.uid), identifier=finding.label
        ),
        "finding_type": concept(finding.code),
        "finding_sites": _sites(finding),
        "algorithm_id": _algorithm(model) if model is not None else None,
    }


def _sites(finding: Finding) -> list[FindingSite]:
    """Where it is, with its side; a structure that has no site of its own is its own site."""
    if finding.site is None and finding.laterality is None:
        return []
    side = SIDES[finding.laterality] if finding.laterality is not None else None
    return [
        FindingSite(
            concept(finding.site or finding.code),
            laterality=concept(side) if side is not None else None,
        )
    ]


def _algorithm(author: ModelAuthor) -> AlgorithmIdentification:
    """TID 4019: name, version, and the weights as a parameter."""
    return AlgorithmIdentification(
        name=author.model_id,
        version=author.version,
        parameters=[f"weights_sha256={author.weights_sha256}"] if author.weights_sha256 else None,
    )


# -- places ----------------------------------------------------------------------------------


def _shapes(finding: Finding, options: SrOptions, source_series_uid: str) -> list[dict[str, Any]]:
    """All that shows where a finding lies: its segment, its box on a picture, in space, its point.

    A box in space is told by its two faces across the patient's long axis.
    """
    frame = options.frames.get(finding.uid, "")
    box = finding.picture_box
    found: list[dict[str, Any]] = []
    place = options.places.get(finding.uid)
    if place is not None:
        segment = ReferencedSegment(
            sop_class_uid=SegmentationStorage,
            sop_instance_uid=place.sop_instance_uid,
            segment_number=place.number,
            source_series=SourceSeriesForSegmentation(place.source_series_uid),
        )
        found.append({"referenced_segment": segment})
    if box is not None and box.sop_instance_uid in options.images:
        found.append({"referenced_region": _region(box, options)})
    found += [
        {"referenced_region": _region(key, options)}
        for key in finding.key_boxes
        if key.sop_instance_uid in options.images
    ]
    if frame and finding.box_lps_mm is not None:
        found.append(_box(finding.box_lps_mm, frame, source_series_uid))
    if frame and finding.location_lps_mm is not None:
        point = np.array([finding.location_lps_mm], float)
        region3 = ImageRegion3D(GraphicTypeValues3D.POINT, point, frame)
        found.append({"referenced_region": region3})
    return found


def _box(corners: tuple[Point, Point], frame: str, source_series_uid: str) -> dict[str, Any]:
    (x0, y0, z0), (x1, y1, z1) = corners
    faces = [
        np.array([(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z), (x0, y0, z)], float)
        for z in dict.fromkeys((z0, z1))
    ]
    polygon = GraphicTypeValues3D.POLYGON
    if len(faces) == 1:
        return {"referenced_region": ImageRegion3D(polygon, faces[0], frame)}
    source_series = SourceSeriesForSegmentation(source_series_uid)
    surface = VolumeSurface(polygon, faces, frame, source_series=source_series)
    return {"referenced_volume_surface": surface}


def _regions(shape: dict[str, Any]) -> Iterator[Dataset]:
    """A further place of a finding as regions beside its numbers."""
    for region in shape.values():
        surfaces = region if isinstance(region, VolumeSurface) else (region,)
        for one in surfaces:
            if one.ValueType in ("SCOORD", "SCOORD3D"):
                one.RelationshipType = RelationshipTypeValues.CONTAINS.value
                one.ConceptNameCodeSequence = [concept(REGION)]
                yield one


def _region(box: PictureBox, options: SrOptions) -> ImageRegion:
    """A box on its picture, as a closed line."""
    top, left, bottom, right = box.box_px
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    source = _image(box.sop_instance_uid, box, options)
    return ImageRegion(GraphicTypeValues.POLYLINE, np.array(corners, float), source)


def _image(uid: str, box: PictureBox | None, options: SrOptions) -> SourceImageForRegion:
    place = options.images[uid]
    frames = [box.frame_number] if box is not None and place.is_multi_frame else None
    return SourceImageForRegion(place.sop_class_uid, uid, frames)


def _coordinates(
    measurement: Measurement, options: SrOptions, frame: str
) -> list[CoordinatesForMeasurement] | list[CoordinatesForMeasurement3D]:
    """The points a number was measured with: on its image in pixels, or in the patient."""
    points = measurement.points_lps_mm
    if not points:
        return []
    if measurement.sop_instance_uid in options.images and _in_pixels(points):
        # PS3.3 C.18.6.1.2: column and row, from the outer corner of the first pixel.
        data = np.array([(column + 0.5, row + 0.5) for _, row, column in points], float)
        kind = GraphicTypeValues.POINT if len(points) == 1 else GraphicTypeValues.POLYLINE
        source = _image(measurement.sop_instance_uid, None, options)
        return [CoordinatesForMeasurement(kind, data, source)]
    if not frame:
        return []
    kind3 = GraphicTypeValues3D.POINT if len(points) == 1 else GraphicTypeValues3D.POLYLINE
    return [CoordinatesForMeasurement3D(kind3, np.array(points, float), frame)]


def _in_pixels(points: Sequence[Point]) -> bool:
    return all(plane == 0 for plane, _, _ in points)


# -- numbers ---------------------------------------------------------------------------------


def measurements_of(finding: Finding) -> tuple[Measurement, ...]:
    """Its measurements, and its probability as one more."""
    if finding.probability is None:
        return finding.measurements
    method = "calibrated" if finding.calibrated else "not calibrated"
    probability = Measurement(
        PROBABILITY,
        finding.probability,
        "1",
        method,
        finding.provenance,
        uid=dicom_uid_of(f"{finding.uid}/measurement"),
    )
    return (*finding.measurements, probability)


def _measurement(measurement: Measurement, options: SrOptions, frame: str) -> MeasurementItem:
    """TID 300: the number with its UCUM unit, its identity, its method, and its points."""
    meaning = UNIT_TEXT.get(measurement.unit) or "no units"
    if measurement.unit not in UNIT_TEXT:
        meaning = measurement.unit
    name = measurement.name or measurement.kind.meaning
    method = method_code(measurement.method)
    item = MeasurementItem(
        name=concept(measurement.kind),
        value=float(f"{measurement.value:.10g}"),
        unit=CodedConcept(measurement.unit, "UCUM", meaning),
        tracking_identifier=TrackingIdentifier(
            uid=tracking_uid(measurement.uid),
            identifier=name,
        ),
        method=concept(method) if method is not None else None,
        referenced_coordinates=_coordinates(measurement, options, frame) or None,
    )  # fmt: skip
    rounded = float(item[0].MeasuredValueSequence[0].NumericValue)
    if rounded != measurement.value:
        item[0].MeasuredValueSequence[0].FloatingPointValue = measurement.value
    return item


def method_code(method: str) -> Code | None:
    """How a number was taken, as a private code whose meaning says it in words."""
    words = " ".join(method.split())[:64]
    if not words:
        return None
    return Code(f"{METHOD_PREFIX}{zlib.crc32(words.encode()):08X}", SCHEME, words)


def codes_of(findings: Sequence[Finding]) -> Iterator[Code]:
    """All codes that the findings use."""
    for finding in findings:
        yield finding.code
        if finding.site is not None:
            yield finding.site
        for measurement in measurements_of(finding):
            yield measurement.kind
            method = method_code(measurement.method)
            if method is not None:
                yield method
        yield from (one.code for one in finding.classes)
    yield DECISION  # what is said beside findings is of the same private scheme


#: Procedure Reported by modality of the source: what every edition of CID 100 holds. Radiography
#: and angiography came in later, so that readers and validators refuse them; the images say it.
_PROCEDURES: Mapping[str, Code] = MappingProxyType({
    "CT": Code("25045-6", "LN", "CT unspecified body region"),
    "MR": Code("25056-3", "LN", "MRI unspecified body region"),
    "PT": Code("44136-0", "LN", "PET unspecified body region"),
    "NM": Code("49118-3", "LN", "NM unspecified body region"),
})  # fmt: skip
ANY_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")


def procedure_of(modality: str) -> Code:
    """What was reported on, by the modality of the images."""
    return _PROCEDURES.get(modality, ANY_PROCEDURE)
