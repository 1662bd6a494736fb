"""Report -> DICOM SR: Comprehensive 3D SR with TID 1500, the accepted findings only.

Enhanced SR is avoided on purpose: it forbids the observation context that tracking identifiers
need, and readers refuse such files.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from highdicom import ContentQualificationValues
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    Comprehensive3DSR,
    ContainerContentItem,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PersonObserverIdentifyingAttributes,
    ReferencedSegment,
    RelationshipTypeValues,
    SourceSeriesForSegmentation,
    TextContentItem,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from highdicom.sr import Measurement as MeasurementItem
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes
from pydicom.uid import UID, SegmentationStorage
from pydicom.valuerep import DT

from medview import __version__
from medview.core.codes import PROBABILITY, UNIT_TEXT, Code
from medview.core.errors import ExportError
from medview.core.findings import Finding, Measurement, ModelAuthor, Person, Provenance
from medview.core.report import Report, ReportStatus
from medview.io.dicom_write import (
    MANUFACTURER,
    MODEL_NAME,
    NOT_CLINICAL,
    SIDES,
    UTF8,
    coding_schemes,
    concept,
    dicom_uid_of,
    foreign_values,
    identity_of,
    models_as_equipment,
    new_dicom_uid,
    person_name,
    write_dataset,
)
from medview.io.sources import Sources

#: Procedure Reported (CID 100 and its neighbours) by modality of the source.
_PROCEDURES = {
    "CT": Code("25045-6", "LN", "CT unspecified body region"),
    "MR": Code("25056-3", "LN", "MRI unspecified body region"),
    "PT": Code("44136-0", "LN", "PET unspecified body region"),
    "NM": Code("49118-3", "LN", "NM unspecified body region"),
    "CR": Code("43468-8", "LN", "XR unspecified body region"),
    "DX": Code("43468-8", "LN", "XR unspecified body region"),
    "MG": Code("71651007", "SCT", "Mammography"),
    "US": Code("16310003", "SCT", "Diagnostic ultrasonography"),
    "XA": Code("77343006", "SCT", "Angiography"),
}
_ANY_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")


@dataclass(frozen=True)
class SegmentPlace:
    """A segment in an exported SEG: the object's UIDs, the number in it, the series it is of."""

    sop_instance_uid: str
    series_uid: str
    number: int
    source_series_uid: str


@dataclass(frozen=True)
class SrOptions:
    """`places` says for findings, by uid, which exported segment shows them."""

    now: datetime
    places: Mapping[str, SegmentPlace] = field(default_factory=dict)
    reader: str = ""
    series_number: int = 9902


def write_report(report: Report, sources: Sources, path: Path, options: SrOptions) -> str:
    """Write one SR, read it back, compare the findings; returns its SOP Instance UID.

    UNVERIFIED unless the report carries a signature. ExportError if what was read back differs.
    """
    uid = write_dataset(build_report(report, sources, options), path)
    verify_report(report, path)
    return uid


def build_report(report: Report, sources: Sources, options: SrOptions) -> Comprehensive3DSR:
    """The SR as a data set."""
    identity = identity_of(sources)
    models = models_of(report.findings)
    signature = report.signatures[-1] if report.status.is_signed else None
    organization = str(identity.get("InstitutionName", "")) or "not stated"
    with foreign_values(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        content = _content(report, sources, options)
        evidence = _evidence(identity, sources, options)
        dataset = Comprehensive3DSR(
            evidence=evidence or [_stand_in(identity)],
            record_evidence=bool(evidence),
            content=content,
            series_instance_uid=new_dicom_uid(),
            series_number=options.series_number,
            sop_instance_uid=new_dicom_uid(),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=MODEL_NAME,
            software_versions=__version__,
            device_serial_number=__version__,
            is_complete=signature is not None,
            is_final=report.status in (ReportStatus.FINAL, ReportStatus.AMENDED),
            is_verified=signature is not None,
            verifying_observer_name=person_name(signature.by) if signature else None,
            verifying_organization=organization,
            series_description=f"Measurement report. {NOT_CLINICAL}",
            content_qualification=ContentQualificationValues.RESEARCH,
            specific_character_set=UTF8,
            coding_schemes=coding_schemes(_codes(report.findings)),
            contributing_equipment=models_as_equipment(models),
        )
        if signature is not None:
            dataset.VerifyingObserverSequence[0].VerificationDateTime = DT(signature.at)
    return dataset


def _content(report: Report, sources: Sources, options: SrOptions) -> Dataset:
    """The root container of TID 1500.

    Without an accepted finding it says so as a qualitative evaluation, and measures nothing.
    """
    # The library insists on a group; this one is taken out again below.
    nothing = Finding("-", _ANY_PROCEDURE, Provenance(Person("-"), options.now))
    root: Dataset = MeasurementReport(
        observation_context=_observers(models_of(report.findings), options.reader),
        procedure_reported=concept(
            _PROCEDURES.get(str(sources.first.get("Modality", "")), _ANY_PROCEDURE)
        ),
        imaging_measurements=[_group(one, options) for one in report.findings or (nothing,)],
    )[0]
    if not report.findings:
        said = ContainerContentItem(
            name=CodedConcept("C0034375", "UMLS", "Qualitative Evaluations"),
            relationship_type=RelationshipTypeValues.CONTAINS,
        )
        said.ContentSequence = [_comment("No finding has been accepted by a reader.")]
        root.ContentSequence[-1:] = [said]
    return root


def models_of(findings: Sequence[Finding]) -> list[ModelAuthor]:
    """The models among the authors of findings, each once."""
    authors = (finding.provenance.author for finding in findings)
    return list(dict.fromkeys(a for a in authors if isinstance(a, ModelAuthor)))


def _codes(findings: Sequence[Finding]) -> Iterator[Code]:
    for finding in findings:
        yield finding.code
        if finding.site is not None:
            yield finding.site
        for measurement in finding.measurements:
            yield measurement.kind


def _evidence(identity: Dataset, sources: Sources, options: SrOptions) -> list[Dataset]:
    """What the report rests on: source images and exported segmentations, as references."""
    series = str(sources.first.SeriesInstanceUID)
    images = {one.sop_instance_uid: (series, one.sop_class_uid) for one in sources.instances}
    segmentations = {
        place.sop_instance_uid: (place.series_uid, str(SegmentationStorage))
        for place in options.places.values()
    }
    found = images | segmentations if sources.can_be_referred_to else segmentations
    evidence = []
    for uid, (series_uid, sop_class_uid) in found.items():
        item = Dataset()
        item.update(identity)
        item.SOPInstanceUID, item.SOPClassUID = UID(uid), UID(sop_class_uid)
        item.SeriesInstanceUID = UID(series_uid)
        evidence.append(item)
    return evidence


def _stand_in(identity: Dataset) -> Dataset:
    """Patient and study alone, for a report on images that nothing can refer to."""
    item = Dataset()
    item.update(identity)
    item.SOPInstanceUID, item.SeriesInstanceUID = new_dicom_uid(), new_dicom_uid()
    item.SOPClassUID = UID(SegmentationStorage)
    return item


def _observers(models: Sequence[ModelAuthor], reader: str) -> ObservationContext:
    """The reader as person observer, each model (or this program) as device observer."""
    person = None
    if person_name(reader):
        attributes = PersonObserverIdentifyingAttributes(name=person_name(reader))
        person = ObserverContext(codes.DCM.Person, attributes)
    devices = [
        _device(model.model_id, f"{model.model_id}/{model.version}/{model.weights_sha256}",
                model.version)
        for model in models
    ] or [_device(MODEL_NAME, f"{MODEL_NAME}/{__version__}", __version__)]  # fmt: skip
    context = ObservationContext(observer_person_context=person, observer_device_context=devices[0])
    for device in devices[1:]:
        context.extend(device)
    return context


def _device(name: str, identity: str, version: str) -> ObserverContext:
    attributes = DeviceObserverIdentifyingAttributes(
        uid=dicom_uid_of(identity),
        name=name,
        manufacturer_name=MANUFACTURER,
        model_name=name,
        serial_number=version,
    )
    return ObserverContext(codes.DCM.Device, attributes)


def _group(
    finding: Finding, options: SrOptions
) -> VolumetricROIMeasurementsAndQualitativeEvaluations | MeasurementsAndQualitativeEvaluations:
    """One finding: TID 1411 where a segment shows it, TID 1501 otherwise."""
    author = finding.provenance.author
    common = {
        "tracking_identifier": TrackingIdentifier(
            uid=dicom_uid_of(finding.uid), identifier=finding.label
        ),
        "finding_type": concept(finding.code),
        "finding_sites": _sites(finding),
        "algorithm_id": _algorithm(author) if isinstance(author, ModelAuthor) else None,
        "measurements": [_measurement(one) for one in measurements_of(finding)],
    }
    place = options.places.get(finding.uid)
    if place is None:
        group = MeasurementsAndQualitativeEvaluations(**common)
    else:
        segment = ReferencedSegment(
            sop_class_uid=SegmentationStorage,
            sop_instance_uid=place.sop_instance_uid,
            segment_number=place.number,
            source_series=SourceSeriesForSegmentation(place.source_series_uid),
        )
        group = VolumetricROIMeasurementsAndQualitativeEvaluations(
            referenced_segment=segment, **common
        )
    if finding.text.strip():
        group[0].ContentSequence.append(_comment(finding.text.strip()))
    return group


def _comment(text: str) -> TextContentItem:
    return TextContentItem(
        name=codes.DCM.Comment,
        value=text,
        relationship_type=RelationshipTypeValues.CONTAINS,
    )


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


def measurements_of(finding: Finding) -> tuple[Measurement, ...]:
    """Its measurements, and its probability as one more."""
    if finding.probability is None:
        return finding.measurements
    method = "calibrated" if finding.calibrated else "not calibrated"
    probability = Measurement(
        PROBABILITY, finding.probability, "1", method, finding.provenance, uid=finding.uid
    )
    return (*finding.measurements, probability)


def _measurement(measurement: Measurement) -> MeasurementItem:
    """TID 300: the number with its UCUM unit."""
    meaning = UNIT_TEXT.get(measurement.unit) or "no units"
    if measurement.unit not in UNIT_TEXT:
        meaning = measurement.unit
    return MeasurementItem(
        name=concept(measurement.kind),
        value=float(f"{measurement.value:.10g}"),
        unit=CodedConcept(measurement.unit, "UCUM", meaning),
    )


# -- reading back ----------------------------------------------------------------------------

_Told = dict[str, list[tuple[str, float, str]]]


def verify_report(report: Report, path: Path) -> None:
    """Read the file and compare every finding and number; ExportError if one differs."""
    with foreign_values():
        seen = told_in(dcmread(path))
    wanted: _Told = {
        dicom_uid_of(finding.uid): [
            (one.kind.value, one.value, one.unit) for one in measurements_of(finding)
        ]
        for finding in report.findings
    }
    same = seen.keys() == wanted.keys() and all(
        _agree(seen[uid], numbers) for uid, numbers in wanted.items()
    )
    if not same:
        raise ExportError(
            f"{path.name} does not read back as it was written",
            "Nothing was lost; export again, and report this.",
        )


def _agree(seen: list[tuple[str, float, str]], wanted: list[tuple[str, float, str]]) -> bool:
    return len(seen) == len(wanted) and all(
        (a[0], a[2]) == (b[0], b[2]) and math.isclose(a[1], b[1], rel_tol=1e-9, abs_tol=1e-9)
        for a, b in zip(seen, wanted, strict=True)
    )


def told_in(dataset: Dataset) -> _Told:
    """Per tracking UID of a TID 1500 report: the measurements (code, value, unit) in order."""
    told: _Told = {}
    for container in _named(dataset, "126010"):
        for group in _named(container, "125007"):
            tracking = next(iter(_named(group, "112040")), None)
            if tracking is None:
                continue
            told[str(tracking.UID)] = [
                _number(item) for item in group.ContentSequence if item.ValueType == "NUM"
            ]
    return told


def _named(item: Dataset, code: str) -> list[Dataset]:
    return [
        child
        for child in item.get("ContentSequence", ())
        if child.get("ConceptNameCodeSequence")
        and child.ConceptNameCodeSequence[0].get("CodeValue") == code
    ]


def _number(item: Dataset) -> tuple[str, float, str]:
    value = item.MeasuredValueSequence[0]
    unit = str(value.MeasurementUnitsCodeSequence[0].CodeValue)
    return str(item.ConceptNameCodeSequence[0].CodeValue), float(value.NumericValue), unit
