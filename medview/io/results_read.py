"""Results in files that are no DICOM: result.json and findings.csv of medview, and FHIR bundles."""

from __future__ import annotations

import csv
import io
import json
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

from medview.core import codes
from medview.core.codes import FHIR_OTHERS, FHIR_SYSTEMS, PROBABILITY, Code
from medview.core.errors import ReadError
from medview.core.findings import (
    Author,
    ClassProbability,
    Finding,
    Laterality,
    Measurement,
    ModelAuthor,
    Person,
    PictureBox,
    Provenance,
    Review,
    ReviewState,
    SegmentRef,
    utc_now,
)
from medview.core.report import Answer, CriticalResult, Section
from medview.core.structures import structure_of
from medview.core.study import Instance, Patient, Series
from medview.io.archives import read_all
from medview.io.brought import Brought, Words
from medview.io.dicom_write import SIDES
from medview.io.sr_terms import SCHEME

_LARGEST = 64 << 20
_UNKNOWN = Person("unknown")
_NOBODY = Patient("", "")
#: What may go wrong in values that are not what they should be.
_FAILURES = (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError,
             ArithmeticError, csv.Error)  # fmt: skip
_SCHEMES = {url: scheme for scheme, url in FHIR_SYSTEMS.items()}
_SIDES = {code: side for side, code in SIDES.items()}
_MEASURED = {one.meaning.casefold(): one for one in vars(codes).values() if isinstance(one, Code)}


def read_results(series: Series, password: str = "") -> tuple[Brought, ...]:
    """What the files of a series of results bring. ReadError where one is not what it claims."""
    kind = series.headers["_Format"]
    return tuple(_brought(_bytes(one, password), kind, _name(one)) for one in series.instances)


def _name(instance: Instance) -> str:
    return (instance.member or instance.path.name).rsplit("/", 1)[-1]


def _bytes(instance: Instance, password: str) -> bytes:
    entry = next(read_all(instance.path, [instance.member], password), None)
    if entry is None:
        raise ReadError("The file is no longer there")
    return entry.data


def _brought(data: bytes, kind: str, name: str) -> Brought:
    if len(data) > _LARGEST:
        raise ReadError(f"{name} is larger than results can be ({_LARGEST >> 20} MiB)")
    try:
        return _READERS[kind](data.decode("utf-8-sig"), name)
    except _FAILURES as error:
        raise ReadError(
            f"{name} does not hold results as it claims to",
            "Export it again from the program that made it",
            repr(error)[:200],
        ) from error


def _moment(text: Any) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


# -- result.json


def _from_json(text: str, name: str) -> Brought:
    told = json.loads(text)
    files = {one["name"]: one.get("sop_instance_uid") for one in told.get("files", ())}
    findings, segments = [], {}
    for one in told["findings"]:
        finding = _finding(one)
        findings.append(finding)
        place = one.get("segment") or {}
        if uid := files.get(place.get("file", "")):
            segments[finding.uid] = SegmentRef(uid, int(place["number"]))
    boxes = {one.picture_box.sop_instance_uid for one in findings if one.picture_box}
    used = {one["sop_instance_uid"] for one in told["inputs"] if "sop_instance_uid" in one}
    return Brought(
        name=name,
        patient=_NOBODY,
        study_uid=str(told["study_uid"]),
        findings=tuple(findings),
        segments=segments,
        images=frozenset((boxes | used) - {""}),
        words=_words(told.get("report") or {}),
    )


def _finding(told: Mapping[str, Any]) -> Finding:
    made = told.get("made") or {}
    model = told.get("model")
    author: Author = Person(made["by"]) if made.get("by") else _UNKNOWN
    if model:
        author = ModelAuthor(model, made.get("version") or "", made.get("weights_sha256") or "")
    provenance = Provenance(
        author,
        _moment(made.get("at")) or utc_now(),
        cautions=tuple(made.get("cautions", ())),
        aids=tuple(
            ModelAuthor(one["model"], one["version"], one["weights_sha256"])
            for one in made.get("aids", ())
        ),
    )
    state = ReviewState(told["state"])
    review = Review(state, told["by"] or "", _moment(told["at"]), told.get("reason") or "")
    box, place = told["box_lps_mm"], told.get("location_lps_mm")
    return Finding(
        label=told["label"],
        code=_required(told["code"]),
        provenance=provenance,
        site=_code(told["site"]),
        laterality=Laterality(told["laterality"]) if told["laterality"] else None,
        text=told.get("text", ""),
        probability=told["probability"],
        calibrated=bool(told["calibrated"]),
        measurements=tuple(_measurement(one, provenance) for one in told["measurements"]),
        location_lps_mm=_point(place) if place else None,
        box_lps_mm=(_point(box[0]), _point(box[1])) if box else None,
        picture_box=_picture_box(told.get("picture_box")),
        classes=tuple(
            ClassProbability(one["label"], _required(one["code"]), one["probability"],
                             one["spread"])
            for one in told.get("classes", ())
        ),
        review=Review() if state is ReviewState.PROPOSED else review,
        uid=str(told["uid"]),
    )  # fmt: skip


def _measurement(told: Mapping[str, Any], provenance: Provenance) -> Measurement:
    kind = _code(told.get("code")) or _kind_of(told["name"])
    name = "" if told["name"] == kind.meaning else told["name"]
    points = tuple(_point(one) for one in told.get("points", ()))
    image = told.get("sop_instance_uid") or ""
    one = Measurement(
        kind, float(told["value"]), told["unit"], told["method"], provenance, name, points, image
    )
    return replace(one, uid=told["uid"]) if told.get("uid") else one


def _kind_of(name: str) -> Code:
    """What a number is by its name alone; a private code where none is known."""
    known = _MEASURED.get(name.casefold())
    return known or Code(f"M{zlib.crc32(name.encode()):08X}", SCHEME, name)


def _picture_box(told: Mapping[str, Any] | None) -> PictureBox | None:
    if not told:
        return None
    top, left, bottom, right = (float(edge) for edge in told["box_px"])
    uid = told["sop_instance_uid"] or ""
    return PictureBox((top, left, bottom, right), told["slice_index"], uid, told["frame_number"])


def _point(values: Sequence[float]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z


def _required(told: Mapping[str, str]) -> Code:
    return Code(told["value"], told["scheme"], told["meaning"])


def _code(told: Mapping[str, str] | None) -> Code | None:
    return _required(told) if told else None


def _words(told: Mapping[str, Any]) -> Words:
    critical = told.get("critical")
    return Words(
        sections=tuple(
            Section(one["heading"], one["text"], edited=True) for one in told.get("sections", ())
        ),
        answers=tuple(
            Answer(one["field"], one["title"], one["value"], one["meaning"], _code(one["code"]))
            for one in told.get("answers", ())
        ),
        critical=CriticalResult(
            critical["finding"], critical["informed"], datetime.fromisoformat(critical["at"]),
            critical["by"], critical["how"],
        ) if critical else None,
        template=told.get("template") or "",
        signed=", ".join(one["by"] for one in told.get("signatures", ())),
    )  # fmt: skip


# -- findings.csv


def _from_csv(text: str, name: str) -> Brought:
    """Places and codes are not in a table: names alone say what is meant."""
    rows = list(csv.DictReader(io.StringIO(text)))
    found: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        clean = {key: _alive(value) for key, value in row.items()}
        found.setdefault(clean["finding_uid"], []).append(clean)
    notes = ("A table of findings has no places and no authors: open result.json for them",)
    return Brought(
        name=name,
        patient=_NOBODY,
        study_uid=_alive(rows[0]["study_uid"]) if rows else "",
        findings=tuple(_of_rows(one) for one in found.values()),
        notes=notes if rows else (),
    )


def _alive(cell: str) -> str:
    """A cell without the apostrophe that keeps it from being run as a formula."""
    return cell[1:] if cell[:1] == "'" and cell[1:2] in ("=", "+", "-", "@", "\t", "\r") else cell


def _of_rows(rows: Sequence[Mapping[str, str]]) -> Finding:
    first = rows[0]
    code, _ = structure_of(first["label"])
    provenance = Provenance(_UNKNOWN, utc_now())
    state = ReviewState(first["state"])
    review = Review() if state is ReviewState.PROPOSED else Review(
        state, first["by"], _moment(first["at"])
    )  # fmt: skip
    measured = tuple(
        Measurement(_kind_of(row["measurement"]), float(row["value"]), row["unit"], row["method"],
                    provenance)
        for row in rows if row["measurement"]
    )  # fmt: skip
    return Finding(
        label=first["label"],
        code=code,
        provenance=provenance,
        laterality=Laterality(first["laterality"]) if first["laterality"] else None,
        text=first["text"],
        probability=float(first["probability"]) if first["probability"] else None,
        measurements=measured,
        review=review,
        uid=first["finding_uid"],
    )


# -- FHIR


def _from_fhir(text: str, name: str) -> Brought:
    """Observations of a bundle (R4B) as findings, the conclusion of its report as words."""
    bundle = json.loads(text)
    resources = [one.get("resource") or {} for one in bundle.get("entry", ())]
    of_kind: dict[str, list[dict[str, Any]]] = {}
    for one in resources:
        of_kind.setdefault(str(one.get("resourceType", "")), []).append(one)
    study = next(iter(of_kind.get("ImagingStudy", ())), {})
    uids = [str(one.get("value", "")) for one in study.get("identifier", ())]
    named = next((one.removeprefix("urn:oid:") for one in uids if one.startswith("urn:oid:")), "")
    images = {str(one.get("uid", "")) for series in study.get("series", ())
              for one in series.get("instance", ())}  # fmt: skip
    words = [one["conclusion"] for one in of_kind.get("DiagnosticReport", ())
             if one.get("conclusion")]  # fmt: skip
    sections = (Section("Impression", "\n\n".join(words), edited=True),) if words else ()
    return Brought(
        name=name,
        patient=_patient(next(iter(of_kind.get("Patient", ())), {})),
        study_uid=named,
        findings=tuple(_observed(one) for one in of_kind.get("Observation", ())),
        images=frozenset(images - {""}),
        words=Words(sections),
    )


def _patient(told: Mapping[str, Any]) -> Patient:
    identifier = _first(told, "identifier").get("value", "")
    return Patient(str(identifier), "", birth_date=str(told.get("birthDate", "")).replace("-", ""))


def _observed(told: Mapping[str, Any]) -> Finding:
    code = _coding(told["code"])
    made = _moment(told.get("effectiveDateTime")) or utc_now()
    device = str((told.get("device") or {}).get("display", ""))
    model, _, version = device.rpartition(" ")
    author: Author = ModelAuthor(model or device, version if model else "", "")
    if not device:
        author = _UNKNOWN
    provenance = Provenance(author, made)
    reader = str(_first(told, "performer").get("display", ""))
    issued = _moment(told.get("issued"))
    review = Review(ReviewState.ACCEPTED, reader, issued) if reader and issued else Review()
    site, side = None, None
    for one in _codings(told.get("bodySite") or {}):
        if one in _SIDES:
            side = _SIDES[one]
        else:
            site = one
    numbers = list(_numbers(told, provenance))
    sure = next((one.value for one in numbers if one.kind == PROBABILITY), None)
    return Finding(
        label=told["code"].get("text") or code.meaning,
        code=code,
        provenance=provenance,
        site=None if site == code and side is not None else site,
        laterality=side,
        text="\n".join(one.get("text", "") for one in told.get("note", ())),
        probability=sure if sure is not None and 0 <= sure <= 1 else None,
        calibrated=any(one.kind == PROBABILITY and "not" not in one.name for one in numbers),
        measurements=tuple(one for one in numbers if one.kind != PROBABILITY),
        review=review,
        uid=_identity(told),
    )


def _first(told: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The first of a list of elements; an empty one where there is none."""
    for one in told.get(key, ()):
        return dict(one)
    return {}


def _identity(told: Mapping[str, Any]) -> str:
    value = str(_first(told, "identifier").get("value", ""))
    return value.removeprefix("urn:uuid:").removeprefix("urn:oid:") or str(uuid.uuid4())


def _numbers(told: Mapping[str, Any], provenance: Provenance) -> Iterator[Measurement]:
    own = [told] if "valueQuantity" in told else []
    for part in (*own, *told.get("component", ())):
        quantity = part.get("valueQuantity") or {}
        if quantity.get("value") is None:
            continue
        kind = _coding(part["code"])
        name = part["code"].get("text", "")
        unit = str(quantity.get("code") or quantity.get("unit") or "1")
        yield Measurement(kind, float(quantity["value"]), unit, "", provenance,
                          "" if name == kind.meaning else name)  # fmt: skip


def _coding(concept: Mapping[str, Any]) -> Code:
    found = next(_codings(concept), None)
    if found is None:
        raise ValueError("a concept without a code")
    return found


def _codings(concept: Mapping[str, Any]) -> Iterator[Code]:
    for one in concept.get("coding", ()):
        system = str(one.get("system", ""))
        scheme = _SCHEMES.get(system) or system.removeprefix(FHIR_OTHERS) or "99UNKNOWN"
        yield Code(str(one["code"]), scheme, str(one.get("display") or one["code"]))


_READERS: Mapping[str, Callable[[str, str], Brought]] = MappingProxyType({
    "results-json": _from_json, "results-csv": _from_csv, "results-fhir": _from_fhir,
})  # fmt: skip
