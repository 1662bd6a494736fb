"""DICOM SR (PS3.3 A.35) -> findings, their places and the words of a report: TID 1500 and kin."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from medview.core.codes import PROBABILITY, Code
from medview.core.findings import (
    Author,
    ClassProbability,
    Finding,
    Laterality,
    Measurement,
    ModelAuthor,
    Person,
    Provenance,
    Review,
    ReviewState,
)
from medview.core.report import Answer, CriticalResult, Section
from medview.core.study import Series
from medview.io.brought import Brought, KeyPicture, Words
from medview.io.dicom_write import MANUFACTURER, SIDES, identifier_of, spoken_name
from medview.io.identity import patient_of
from medview.io.multiframe import damage_refused, data_set
from medview.io.request import Predecessor
from medview.io.seg_read import made_at
from medview.io.sr_items import (
    children,
    find,
    items_below,
    moment,
    name_of,
    number_of,
    text_of,
    value_of,
)
from medview.io.sr_places import Places, points_of
from medview.io.sr_terms import (
    AI_SHARE,
    CAUTION,
    CLASS,
    COMMENT,
    CRITICAL,
    DECISION,
    DRAWN_BY,
    EVALUATIONS,
    INFORMED,
    INFORMED_AT,
    INFORMED_BY,
    INFORMED_HOW,
    OBSERVER,
    PRIOR,
    SCHEME,
    SPREAD,
    STATES,
    TEMPLATE,
    field_of,
    heading_of,
)

_GROUP = Code("125007", "DCM", "Measurement Group")
_TRACKING_UID = Code("112040", "DCM", "Tracking Unique Identifier")
_TRACKING = Code("112039", "DCM", "Tracking Identifier")
_CATEGORY = (Code("276214006", "SCT", "Finding category"), Code("C0338067", "UMLS", "Category"))
_SITE = Code("363698007", "SCT", "Finding Site")
_SIDE = (Code("272741003", "SCT", "Laterality"), Code("106233006", "SCT", "Topographical modifier"))
_METHOD = (Code("370129005", "SCT", "Measurement Method"),
           Code("G-C036", "SRT", "Measurement Method"))  # fmt: skip
_DERIVATION = Code("121401", "DCM", "Derivation")
_ALGORITHM = Code("111001", "DCM", "Algorithm Name")
_VERSION = Code("111003", "DCM", "Algorithm Version")
_PARAMETERS = Code("111002", "DCM", "Algorithm Parameters")
_DEVICE = Code("121013", "DCM", "Device Observer Name")
_SERIAL = Code("121016", "DCM", "Device Observer Serial Number")
_DESCRIPTION = Code("113012", "DCM", "Key Object Description")
_NOTHING_SAID = Code("404684003", "SCT", "Clinical finding")
_WEIGHTS = "weights_sha256="
_NO_SIDE = {code: side for side, code in SIDES.items()}
#: Items that say what a group is or how it was made: they are no evaluations.
_STRUCTURAL = frozenset((CLASS, DECISION, DRAWN_BY, CAUTION, COMMENT, *_CATEGORY, _SITE, *_METHOD))


def read_reports(series: Series, password: str = "") -> tuple[Brought, ...]:
    """All structured reports of a series. ReadError for one that is damaged or never ends."""
    found = []
    for instance in series.instances:
        ds = data_set(instance, password)
        with damage_refused("The structured report is damaged"):
            found.append(brought_by(ds, series.description))
    return tuple(found)


def brought_by(ds: Dataset, name: str = "") -> Brought:
    """What one structured report brings."""
    return _Reader(ds).brought(name)


@dataclass
class _Reader:
    """Gathers findings group by group; groups of one tracking identifier are one finding."""

    ds: Dataset
    notes: dict[str, None] = field(default_factory=dict)
    findings: dict[str, Finding] = field(default_factory=dict)
    places: Places = field(default_factory=Places)

    def __post_init__(self) -> None:
        top = children(self.ds)
        self._at = made_at(self.ds)
        self._uid = str(self.ds.get("SOPInstanceUID") or "")
        self._is_ours = str(self.ds.get("Manufacturer") or "") == MANUFACTURER
        person = spoken_name(text_of(find(top, OBSERVER)))
        device = text_of(find(top, _DEVICE))
        self._author: Author = (
            ModelAuthor(device, text_of(find(top, _SERIAL)), "")
            if device and not person
            else Person(person or "unknown")
        )

    def brought(self, name: str) -> Brought:
        """All of it."""
        words = Words()
        is_selection = str(self.ds.get("SOPClassUID") or "") == KeyObjectSelectionDocumentStorage
        for study in self.ds.get("CurrentRequestedProcedureEvidenceSequence") or ():
            for series_item in study.get("ReferencedSeriesSequence") or ():
                self.places.note(series_item)
        for item in items_below(self.ds):
            self.places.note(item)
            concept = name_of(item)
            if concept == _GROUP:
                self._group(item)
            elif concept == EVALUATIONS and str(item.get("ValueType")) == "CONTAINER":
                words = self._words(item)
        ds = self.ds
        values = {key: str(ds.get(key) or "") for key in
                  ("PatientID", "PatientName", "PatientBirthDate", "PatientSex",
                   "IssuerOfPatientID")}  # fmt: skip
        study, series = (str(ds.get(key) or "") for key in
                         ("StudyInstanceUID", "SeriesInstanceUID"))  # fmt: skip
        document = Predecessor(study, series, self._uid) if self._uid and series else None
        return Brought(
            name=name or "Structured report",
            patient=patient_of(values),
            study_uid=study,
            findings=tuple(self.findings.values()),
            segments=self.places.segments,
            images=frozenset(self.places.images),
            frames=frozenset(self.places.frames),
            words=replace(words, signed=self._signed()),
            pictures=tuple(self._selected()) if is_selection else (),
            document=None if is_selection else document,
            notes=tuple(self.notes),
        )

    def _selected(self) -> Iterator[KeyPicture]:
        """The images of a key object selection (PS3.16 TID 2010), each frame for itself."""
        items = children(self.ds)
        caption = text_of(find(items, _DESCRIPTION)) or getattr(name_of(self.ds), "meaning", "")
        for item in items:
            if str(item.get("ValueType") or "") != "IMAGE":
                continue
            for one in item.get("ReferencedSOPSequence") or ():
                frames = one.get("ReferencedFrameNumber")
                listed = [frames] if isinstance(frames, int) else list(frames or (1,))
                uid = str(one.get("ReferencedSOPInstanceUID") or "")
                yield from (KeyPicture(uid, int(frame), caption) for frame in listed if uid)

    def _signed(self) -> str:
        if str(self.ds.get("VerificationFlag") or "") != "VERIFIED":
            return ""
        observers = self.ds.get("VerifyingObserverSequence") or ()
        named = (spoken_name(one.get("VerifyingObserverName") or "") for one in observers)
        return ", ".join(name for name in named if name) or "somebody who is not named"

    # -- one group

    def _group(self, group: Dataset) -> None:
        items = children(group)
        tracked = text_of(find(items, _TRACKING_UID))
        uid = identifier_of(tracked) if tracked else f"{self._uid}/{len(self.findings) + 1}"
        made = moment(group.get("ObservationDateTime"), self._at) or self._at
        coded = find(items, CLASS)
        code = (value_of(coded) if coded is not None else None) or _NOTHING_SAID
        label = text_of(find(items, _TRACKING)) or code.meaning
        finding = Finding(
            label=label,
            code=code,
            provenance=self._provenance(items, made),
            text=self._text(items),
            classes=tuple(self._classes(items)),
            review=self._review(items),
            uid=uid,
        )
        finding = self._sited(finding, items)
        finding = self._measured(finding, items)
        finding = self.places.placed(finding, items)
        known = self.findings.get(uid)
        self.findings[uid] = finding if known is None else _joined(known, finding)

    def _provenance(self, items: list[Dataset], made: datetime) -> Provenance:
        """Who made it, and with which model's help."""
        author, person = self._author_of(items), text_of(find(items, DRAWN_BY))
        aids = (author,) if person and isinstance(author, ModelAuthor) else ()
        return Provenance(
            Person(person) if aids else author,
            made,
            derived_from=(self._uid,) if self._uid else (),
            aids=aids,
            cautions=tuple(text_of(one) for one in items if name_of(one) == CAUTION),
        )

    def _author_of(self, items: list[Dataset]) -> Author:
        name = text_of(find(items, _ALGORITHM))
        if not name:
            return self._author
        given = [text_of(one) for one in items if name_of(one) == _PARAMETERS]
        weights = next((one for one in given if one.startswith(_WEIGHTS)), "")
        version = text_of(find(items, _VERSION))
        return ModelAuthor(name, version, weights.removeprefix(_WEIGHTS))

    def _sited(self, finding: Finding, items: list[Dataset]) -> Finding:
        """Site and side; ours that have a side and no site of their own name themselves."""
        item = find(items, _SITE)
        if item is None:
            return finding
        side = find(children(item), *_SIDE)
        coded = value_of(side) if side is not None else None
        laterality: Laterality | None = _NO_SIDE.get(coded) if coded is not None else None
        site = value_of(item)
        itself = self._is_ours and site == finding.code and laterality is not None
        return replace(finding, site=None if itself else site, laterality=laterality)

    def _text(self, items: list[Dataset]) -> str:
        """Words of the group, and what is evaluated in codes."""
        lines = []
        for item in items:
            concept, kind = name_of(item), str(item.get("ValueType") or "")
            if concept == COMMENT:
                lines.append(text_of(item))
            elif kind in ("CODE", "TEXT") and concept is not None and self._evaluates(item):
                lines.append(f"{concept.meaning}: {text_of(item)}")
        return "\n".join(line for line in lines if line)

    @staticmethod
    def _evaluates(item: Dataset) -> bool:
        concept = name_of(item)
        return (
            str(item.get("RelationshipType") or "CONTAINS") == "CONTAINS"
            and concept not in _STRUCTURAL
            and concept not in (_TRACKING, _ALGORITHM, _VERSION, _PARAMETERS)
        )

    def _review(self, items: list[Dataset]) -> Review:
        """The decision, as medview writes it; without one nobody has decided."""
        item = find(items, DECISION)
        coded = value_of(item) if item is not None else None
        state = {code: one for one, code in STATES.items()}.get(coded) if coded else None
        if item is None or state is None or state is ReviewState.PROPOSED:
            return Review()
        by = spoken_name(text_of(find(children(item), OBSERVER)))
        at = moment(item.get("ObservationDateTime"), self._at)
        return Review(state, by or "unknown", at, text_of(find(children(item), COMMENT)))

    # -- numbers

    def _measured(self, finding: Finding, items: list[Dataset]) -> Finding:
        probability, calibrated = finding.probability, finding.calibrated
        measurements = []
        for item in items:
            if str(item.get("ValueType") or "") != "NUM" or find(children(item), CLASS) is not None:
                continue
            one = self._measurement(item, finding.provenance)
            if one is not None and one.kind == PROBABILITY and 0 <= one.value <= 1:
                probability, calibrated = one.value, one.method == "calibrated"
            elif one is not None:
                measurements.append(one)
        return replace(
            finding,
            probability=probability,
            calibrated=calibrated,
            measurements=tuple(measurements),
        )

    def _measurement(self, item: Dataset, provenance: Provenance) -> Measurement | None:
        kind, number = name_of(item), number_of(item)
        if kind is None:
            return None
        if number is None or not math.isfinite(number[0]):
            self.notes[f"{kind.meaning} has no value: left out"] = None
            return None
        inside = children(item)
        method, derived = find(inside, *_METHOD), find(inside, _DERIVATION)
        called = text_of(find(inside, _TRACKING)) if self._is_ours else ""
        name = called if called != kind.meaning else ""
        if derived is not None:
            name = f"{kind.meaning}, {text_of(derived).lower()}"
        points, image = points_of(inside)
        tracked = text_of(find(inside, _TRACKING_UID))
        one = Measurement(kind, *number, text_of(method), provenance, name, points, image)
        return replace(one, uid=identifier_of(tracked)) if tracked else one

    @staticmethod
    def _classes(items: list[Dataset]) -> Iterator[ClassProbability]:
        for item in items:
            of = find(children(item), CLASS) if str(item.get("ValueType")) == "NUM" else None
            code, number = value_of(of) if of is not None else None, number_of(item)
            if code is None or number is None or not 0 <= number[0] <= 1:
                continue
            label = text_of(find(children(item), COMMENT)) or code.meaning
            spread = find(children(item), SPREAD)
            value = number_of(spread) if spread is not None else None
            yield ClassProbability(label, code, number[0], None if value is None else value[0])

    # -- words

    def _words(self, container: Dataset) -> Words:
        items = children(container)
        sections, answers, critical = [], [], None
        for item in items:
            concept = name_of(item)
            heading = "" if concept is None else heading_of(concept)
            if concept is None or concept in (AI_SHARE, PRIOR, TEMPLATE):
                continue
            if concept == CRITICAL:
                critical = self._critical(item)
            elif chosen := field_of(concept):
                answers.append(self._answer(item, chosen, concept.meaning))
            elif heading or not self._is_ours:
                sections.append(Section(heading or concept.meaning, text_of(item), edited=True))
        kept = tuple(one for one in answers if one is not None)
        return Words(tuple(sections), kept, critical, text_of(find(items, TEMPLATE)))

    @staticmethod
    def _answer(item: Dataset, chosen: str, title: str) -> Answer | None:
        code = value_of(item)
        if code is None:
            return None
        if code.scheme == SCHEME:
            meaning = code.meaning if code.meaning != code.value else ""
            return Answer(chosen, title, code.value, meaning)
        value, _, meaning = text_of(find(children(item), COMMENT)).partition("\n")
        return Answer(chosen, title, value or code.value, meaning, code)

    def _critical(self, item: Dataset) -> CriticalResult | None:
        inside = children(item)
        informed = spoken_name(text_of(find(inside, INFORMED)))
        by = spoken_name(text_of(find(inside, INFORMED_BY)))
        at: datetime | None = moment(text_of(find(inside, INFORMED_AT)))
        if not (informed and by and text_of(item)) or at is None:
            self.notes["The critical result does not say who told whom, or when: left out"] = None
            return None
        how = text_of(find(inside, INFORMED_HOW))
        return CriticalResult(text_of(item), informed, at, by, how)


def _joined(one: Finding, more: Finding) -> Finding:
    """A finding that is told in two groups: numbers of both, the first place of each kind."""
    words = [text for text in dict.fromkeys((one.text, more.text)) if text]
    return replace(
        one,
        text="\n".join(words),
        measurements=one.measurements + more.measurements,
        probability=one.probability if more.probability is None else more.probability,
        calibrated=one.calibrated or more.calibrated,
        location_lps_mm=one.location_lps_mm or more.location_lps_mm,
        box_lps_mm=one.box_lps_mm or more.box_lps_mm,
        picture_box=one.picture_box or more.picture_box,
    )
