"""A report as a FHIR R4B bundle: Patient, ImagingStudy, Observations and DiagnosticReport.

https://hl7.org/fhir/R4B/: plain JSON, a `collection` whose entries refer to each other by
`urn:uuid`. Only what a reader accepted is told.
"""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from medview.core.codes import FHIR_OTHERS, FHIR_SYSTEMS, UNIT_TEXT, Code
from medview.core.findings import Finding, Laterality, Measurement, Provenance
from medview.core.report import Report, ReportStatus
from medview.core.study import Patient, Series, Study

Resource = dict[str, Any]

_DICOM_UID = "urn:dicom:uid"
_STATUS = MappingProxyType({
    ReportStatus.DRAFT: "partial", ReportStatus.PRELIMINARY: "preliminary",
    ReportStatus.FINAL: "final", ReportStatus.AMENDED: "amended",
})  # fmt: skip
_GENDERS = MappingProxyType({"M": "male", "F": "female", "O": "other"})
_SIDES = MappingProxyType({
    Laterality.LEFT: Code("7771000", "SCT", "Left"),
    Laterality.RIGHT: Code("24028007", "SCT", "Right"),
    Laterality.BOTH: Code("51440002", "SCT", "Right and left"),
})  # fmt: skip


def bundle_of(report: Report, study: Study, pdf: bytes = b"") -> Resource:
    """The bundle as plain values. UIDs of the study and of findings stay what they are."""
    patient = _urn(f"{study.uid}/patient")
    imaging = _urn(f"{study.uid}/study")
    observations = [_observation(one, report, patient, imaging) for one in report.findings]
    entries = [
        (patient, _patient(study.patient)),
        (imaging, _imaging_study(study, patient)),
        *((_urn(one.uid), made)
          for one, made in zip(report.findings, observations, strict=True)),
        (_urn(report.uid), _report(report, study, patient, imaging, pdf)),
    ]  # fmt: skip
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "timestamp": _instant(_signed_at(report) or datetime.now(UTC)),
        "entry": [{"fullUrl": url, "resource": resource} for url, resource in entries],
    }


def _urn(identifier: str) -> str:
    if re.fullmatch(r"[0-2](\.(0|[1-9][0-9]*))+", identifier):  # came with a UID of DICOM
        return f"urn:oid:{identifier}"
    try:
        return f"urn:uuid:{uuid.UUID(identifier)}"
    except ValueError:
        return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, identifier)}"


def _patient(patient: Patient) -> Resource:
    found: Resource = {"resourceType": "Patient"}
    if patient.id:
        found["identifier"] = [{"value": patient.id}]
    family, _, given = patient.name.partition("^")
    names = {"family": family.strip(), "given": [n for n in given.split("^")[0].split() if n]}
    name = {key: value for key, value in names.items() if value}
    if name:
        found["name"] = [name]
    if patient.sex in _GENDERS:
        found["gender"] = _GENDERS[patient.sex]
    if born := _date(patient.birth_date):
        found["birthDate"] = born
    return found


def _imaging_study(study: Study, patient: str) -> Resource:
    shown = [one for one in study.series if one.is_dicom]
    found: Resource = {
        "resourceType": "ImagingStudy",
        "identifier": [{"system": _DICOM_UID, "value": f"urn:oid:{study.uid}"}],
        "status": "available",
        "subject": {"reference": patient},
    }
    if study.accession:
        kind = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203",
                            "code": "ACSN"}]}  # fmt: skip
        found["identifier"].append({"type": kind, "value": study.accession})
    if started := _date(study.date):
        found["started"] = started
    if study.description:
        found["description"] = study.description
    if shown:
        found["numberOfSeries"] = len(shown)
        found["numberOfInstances"] = sum(len(one.instances) for one in shown)
        found["series"] = [_series(one) for one in shown]
    return found


def _series(series: Series) -> Resource:
    found: Resource = {
        "uid": series.headers.get("SeriesInstanceUID") or series.uid,
        "modality": _coding(Code(series.modality or "OT", "DCM", series.modality or "Other")),
        "numberOfInstances": len(series.instances),
        "instance": [
            {
                "uid": one.sop_instance_uid,
                "sopClass": {"system": "urn:ietf:rfc:3986",
                             "code": f"urn:oid:{one.sop_class_uid}"},
            }
            | ({"number": one.number} if one.number is not None and one.number >= 0 else {})
            for one in series.instances
            if one.sop_instance_uid and one.sop_class_uid
        ],
    }  # fmt: skip
    if not found["instance"]:
        del found["instance"]
    if series.number is not None and series.number >= 0:
        found["number"] = series.number
    if series.description:
        found["description"] = series.description
    return found


def _observation(finding: Finding, report: Report, patient: str, imaging: str) -> Resource:
    """One finding; its numbers are components, its site and side are coded."""
    found: Resource = {
        "resourceType": "Observation",
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": _urn(finding.uid)}],
        "status": "final" if report.status.is_signed else "preliminary",
        "category": [_concept(Code("imaging", "HL7", "Imaging"), system=_CATEGORY)],
        "code": _concept(finding.code, finding.label),
        "subject": {"reference": patient},
        "derivedFrom": [{"reference": imaging}],
        "effectiveDateTime": _instant(finding.provenance.made_at),
    }
    if device := _device(finding.provenance):
        found["device"] = {"display": device}
    if finding.review.by:
        found["performer"] = [{"display": finding.review.by}]
    if finding.review.at is not None:
        found["issued"] = _instant(finding.review.at)
    site = finding.site or (finding.code if finding.laterality is not None else None)
    if site is not None:
        side = [_SIDES[finding.laterality]] if finding.laterality is not None else []
        found["bodySite"] = {
            "coding": [_coding(code) for code in (site, *side)],
            "text": " ".join([*(code.meaning for code in side), site.meaning]),
        }
    if finding.text.strip():
        found["note"] = [{"text": finding.text.strip()}]
    components = list(_components(finding))
    if components:
        found["component"] = components
    return found


def _device(provenance: Provenance) -> str:
    """The models that had a part in it, one line as there is room for one device; "" for none."""
    told = []
    for one in provenance.models:
        helped = "" if one == provenance.author else " (helped to draw it)"
        told.append(f"{one.model_id} {one.version}{helped}")
    return ", ".join(told)


_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"


def _components(finding: Finding) -> Iterator[Resource]:
    for one in finding.measurements:
        yield {"code": _concept(one.kind, one.name or one.kind.meaning),
               "valueQuantity": _quantity(one)}  # fmt: skip
    if finding.probability is not None:
        words = "Probability" if finding.calibrated else "Probability, not calibrated"
        yield {
            "code": _concept(Code("122157", "DCM", "Probability"), words),
            "valueQuantity": {"value": finding.probability, "unit": "1",
                              "system": FHIR_SYSTEMS["UCUM"], "code": "1"},
        }  # fmt: skip


def _quantity(measurement: Measurement) -> Resource:
    return {
        "value": float(f"{measurement.value:.10g}"),
        "unit": UNIT_TEXT.get(measurement.unit) or measurement.unit,
        "system": FHIR_SYSTEMS["UCUM"],
        "code": measurement.unit,
    }


def _report(report: Report, study: Study, patient: str, imaging: str, pdf: bytes) -> Resource:
    found: Resource = {
        "resourceType": "DiagnosticReport",
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": _urn(report.uid)}],
        "status": _STATUS[report.status],
        "category": [_concept(Code("RAD", "HL7", "Radiology"), system=_SECTION)],
        "code": _concept(Code("18748-4", "LN", "Diagnostic imaging study")),
        "subject": {"reference": patient},
        "imagingStudy": [{"reference": imaging}],
    }
    if performed := _date(study.date):
        found["effectiveDateTime"] = performed
    if report.findings:
        found["result"] = [{"reference": _urn(one.uid)} for one in report.findings]
    if words := _conclusion(report):
        found["conclusion"] = words
    signed = _signed_at(report)
    if signed is not None:
        found["issued"] = _instant(signed)
        found["resultsInterpreter"] = [{"display": one.by} for one in report.signatures]
    if pdf:
        data = base64.b64encode(pdf).decode("ascii")
        found["presentedForm"] = [{"contentType": "application/pdf", "data": data}]
    return found


_SECTION = "http://terminology.hl7.org/CodeSystem/v2-0074"


def _conclusion(report: Report) -> str:
    """The impression, else all sections; and what models had part in, which always stands."""
    said = [one for one in report.sections if one.text.strip()]
    last = [one for one in said if "impression" in one.heading.casefold()] or said
    parts = [one.text.strip() for one in last] + [report.ai_statement.strip()]
    return "\n\n".join(part for part in parts if part)


def _signed_at(report: Report) -> datetime | None:
    return report.signatures[-1].at if report.signatures else None


def _coding(code: Code, system: str = "") -> Resource:
    system = system or FHIR_SYSTEMS.get(code.scheme, f"{FHIR_OTHERS}{code.scheme}")
    return {"system": system, "code": code.value, "display": code.meaning}


def _concept(code: Code, text: str = "", system: str = "") -> Resource:
    return {"coding": [_coding(code, system)], "text": text or code.meaning}


def _date(text: str) -> str:
    """A DICOM date as FHIR has it; "" for none or one that is none."""
    try:
        return datetime.strptime(text.strip()[:8], "%Y%m%d").replace(tzinfo=UTC).date().isoformat()
    except ValueError:
        return ""


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
