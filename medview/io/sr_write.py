"""Report -> DICOM SR: Comprehensive 3D SR with TID 1500, the accepted findings only.

Enhanced SR is avoided on purpose: it forbids the observation context that tracking identifiers
need, and readers refuse such files.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from highdicom import ContentQualificationValues
from highdicom.sr import (
    Comprehensive3DSR,
    MeasurementReport,
)
from pydicom import Dataset, dcmread
from pydicom.uid import UID, Comprehensive3DSRStorage, SegmentationStorage
from pydicom.valuerep import DT

from medview import __version__
from medview.core.errors import ExportError
from medview.core.findings import Finding, ModelAuthor, Person, Provenance
from medview.core.report import Report, ReportStatus
from medview.io.dicom_write import (
    MANUFACTURER,
    MODEL_NAME,
    NOT_CLINICAL,
    UTF8,
    coding_schemes,
    concept,
    foreign_values,
    identity_of,
    models_as_equipment,
    new_dicom_uid,
    person_name,
    tracking_uid,
    write_dataset,
)
from medview.io.request import Predecessor
from medview.io.sources import Sources
from medview.io.sr_content import (
    ANY_PROCEDURE,
    SrOptions,
    codes_of,
    groups_of,
    measurements_of,
    observers,
    procedure_of,
)
from medview.io.sr_terms import CLASS
from medview.io.sr_words import words_of


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
        evidence = _evidence(report, identity, sources, options)
        dataset = Comprehensive3DSR(
            evidence=evidence or [_stand_in(identity)],
            content=content,
            series_instance_uid=options.series_uid or new_dicom_uid(),
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
            coding_schemes=coding_schemes(codes_of(report.findings)),
            contributing_equipment=models_as_equipment(models),
            previous_versions=[_earlier(one, identity) for one in options.predecessors] or None,
        )
        if not evidence:  # the stand-in is in no file: to refer to it would be a lie
            dataset.pop("CurrentRequestedProcedureEvidenceSequence", None)
        if signature is not None:
            dataset.VerifyingObserverSequence[0].VerificationDateTime = DT(signature.at)
    return dataset


def _content(report: Report, sources: Sources, options: SrOptions) -> Dataset:
    """The root container of TID 1500.

    Without an accepted finding it says so as a qualitative evaluation, and measures nothing.
    """
    # The library insists on a group; this one is taken out again below.
    nothing = Finding("-", ANY_PROCEDURE, Provenance(Person("-"), options.now))
    root: Dataset = MeasurementReport(
        observation_context=observers(models_of(report.findings), options.reader),
        procedure_reported=concept(procedure_of(str(sources.first.get("Modality", "")))),
        imaging_measurements=[
            group
            for one in report.findings or (nothing,)
            for group in groups_of(one, options, str(sources.first.SeriesInstanceUID))
        ],
    )[0]
    if not report.findings:
        del root.ContentSequence[-1]
    words = words_of(report)
    if words is not None:
        root.ContentSequence.append(words)
    return root


def models_of(findings: Sequence[Finding]) -> list[ModelAuthor]:
    """The models that had a part in findings, each once."""
    return list(dict.fromkeys(one for f in findings for one in f.provenance.models))


def _evidence(
    report: Report, identity: Dataset, sources: Sources, options: SrOptions
) -> list[Dataset]:
    """What the report rests on: source images and exported segmentations, as references.

    Images of other series that a finding lies on are among them.
    """
    series = str(sources.first.SeriesInstanceUID)
    images = {one.sop_instance_uid: (series, one.sop_class_uid) for one in sources.instances}
    shown = {uid for finding in report.findings for uid in _images_of(finding)}
    others = {
        uid: (place.series_uid, place.sop_class_uid)
        for uid, place in options.images.items()
        if uid in shown and uid not in images
    }
    segmentations = {
        place.sop_instance_uid: (place.series_uid, str(SegmentationStorage))
        for place in options.places.values()
    }
    found = others | segmentations
    if sources.can_be_referred_to:
        found = images | found
    return [_reference(identity, uid, *place) for uid, place in found.items()]


def _images_of(finding: Finding) -> Iterator[str]:
    for box in (finding.picture_box, *finding.key_boxes):
        if box is not None:
            yield box.sop_instance_uid
    for measurement in finding.measurements:
        yield measurement.sop_instance_uid


def _earlier(one: Predecessor, identity: Dataset) -> Dataset:
    """The document that this one takes the place of."""
    item = _reference(identity, one.sop_instance_uid, one.series_uid, str(Comprehensive3DSRStorage))
    item.StudyInstanceUID = UID(one.study_uid)
    return item


def _reference(identity: Dataset, uid: str, series_uid: str, sop_class_uid: str) -> Dataset:
    item = Dataset()
    item.update(identity)
    item.SOPInstanceUID, item.SOPClassUID = UID(uid), UID(sop_class_uid)
    item.SeriesInstanceUID = UID(series_uid)
    return item


def _stand_in(identity: Dataset) -> Dataset:
    """Patient and study alone, for a report on images that nothing can refer to."""
    return _reference(identity, new_dicom_uid(), new_dicom_uid(), str(SegmentationStorage))


# -- reading back ----------------------------------------------------------------------------

_Told = dict[str, list[tuple[str, float, str]]]


def verify_report(report: Report, path: Path) -> None:
    """Read the file and compare every finding and number; ExportError if one differs."""
    with foreign_values():
        seen = told_in(dcmread(path))
    wanted: _Told = {
        tracking_uid(finding.uid): [
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
        for a, b in zip(sorted(seen), sorted(wanted), strict=True)
    )


def told_in(dataset: Dataset) -> _Told:
    """Per tracking UID of a TID 1500 report: the measurements (code, value, unit)."""
    told: _Told = {}
    for container in _named(dataset, "126010"):
        for group in _named(container, "125007"):
            tracking = next(iter(_named(group, "112040")), None)
            if tracking is None:
                continue
            told.setdefault(str(tracking.UID), []).extend(
                _number(item)
                for item in group.ContentSequence
                if item.ValueType == "NUM" and not _named(item, CLASS.value)
            )
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
