"""Headers of many files -> patients, studies, series: who belongs with whom."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from medview.core.study import (
    Instance,
    Problem,
    ProblemKind,
    Series,
    SeriesKind,
    Severity,
    Study,
)
from medview.io.found import Record, Values
from medview.io.identity import (
    IMAGE_KINDS,
    Identity,
    compatible,
    identity_of,
    kind_of,
    patient_of,
    series_uid_of,
    study_uid_of,
    uid_from,
)
from medview.io.oddities import WATCHED, odd_instance, oddities

#: Files that agree in these, the first of them given, belong to one series of one patient.
_OWNERSHIP = ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "PatientID",
              "PatientName", "PatientBirthDate", "IssuerOfPatientID")  # fmt: skip
_OWNERSHIP_KEYS = frozenset(_OWNERSHIP)

_LOOK = "Check that the images are what you expect"
_NOTHING = "Nothing needs to be done"

#: Compares the pixels of two instances, given where each lies.
SamePixels = Callable[[Instance, Instance], bool]


@dataclass
class _SeriesDraft:
    uid: str
    headers: dict[str, str]
    kind: SeriesKind
    instances: dict[str, Instance] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)


@dataclass
class _StudyDraft:
    uid: str
    identity: Identity
    headers: dict[str, str]
    series: dict[str, _SeriesDraft] = field(default_factory=dict)


@dataclass(frozen=True)
class _Owned:
    """The series of files with one base, and where the base differs from the series' headers."""

    series: _SeriesDraft
    apart: dict[str, str]
    base: Mapping[str, str]
    odd: tuple[str, ...] = ()


class Tree:
    """Takes header after header and sorts them. Nothing of two patients is ever put together."""

    def __init__(self, same_pixels: SamePixels) -> None:
        self._same_pixels = same_pixels
        self._studies: dict[str, list[_StudyDraft]] = {}
        self._series_owner: dict[str, _StudyDraft] = {}
        self._known: dict[tuple[str, ...], _SeriesDraft] = {}
        self._of_base: dict[int, _Owned] = {}
        self._told: list[Problem] = []
        self._noted: dict[tuple[str, str], tuple[Problem, list[Path]]] = {}

    def add(self, record: Record) -> None:
        """One file, by its header values."""
        values = record.values
        owned = self._owned(record)
        series = owned.series
        if notes := (*values.notes, *_odd(values, owned)):
            series.notes.update(dict.fromkeys(notes))
            shown = record.shown
            for note in notes:
                problem = Problem(shown, note, Severity.WARNING, _LOOK)
                self._noted.setdefault((series.uid, note), (problem, []))[1].append(shown)
        if series.kind not in IMAGE_KINDS and (kind := kind_of(values.merged())) in IMAGE_KINDS:
            series.kind = kind
        differing = values.changes
        if owned.apart:
            headers = series.headers
            both = {**owned.apart, **differing}
            differing = {key: text for key, text in both.items() if headers.get(key) != text}
        self._add_instance(series, _instance(record, differing), record)

    def _owned(self, record: Record) -> _Owned:
        """The series of a file; files that share their base values are asked for once."""
        values = record.values
        owned = self._of_base.get(id(values.base))
        if owned is not None and _OWNERSHIP_KEYS.isdisjoint(values.changes):
            return owned
        merged = values.merged()
        key = tuple(merged.get(keyword, "") for keyword in _OWNERSHIP)
        series = self._known.get(key)
        if series is None:
            series = self._series_for(self._study_for(merged, record), merged)
            if key[0]:
                self._known[key] = series
        base, headers = values.base, series.headers
        apart = {key: text for key, text in base.items() if headers.get(key) != text}
        apart.update((key, "") for key in headers if key not in base)
        owned = _Owned(series, apart, base, tuple(oddities(base)))
        if _OWNERSHIP_KEYS.isdisjoint(values.changes) and key[0]:
            self._of_base[id(base)] = owned
        return owned

    @property
    def problems(self) -> list[Problem]:
        """What was odd; what all files of a series share is told once, of the first of them."""
        noted = [
            problem
            if len(files) == 1
            else replace(problem, reason=f"{problem.reason} ({len(files)} files of its series)")
            for problem, files in self._noted.values()
        ]
        return [*self._told, *noted]

    def studies(self) -> tuple[Study, ...]:
        """Everything sorted so far, by date; series by number, instances by number."""
        drafts = [draft for same_uid in self._studies.values() for draft in same_uid]
        drafts.sort(key=lambda draft: (draft.headers.get("StudyDate", ""), draft.uid))
        return tuple(_study(draft) for draft in drafts)

    def _study_for(self, values: Mapping[str, str], record: Record) -> _StudyDraft:
        uid, identity = study_uid_of(values), identity_of(values)
        owner = self._series_owner.get(series_uid_of(values))
        if owner is not None and owner.uid != uid and _same_space(owner, identity, values):
            text = "The files of one series name different studies: kept together"
            self._told.append(Problem(record.shown, text, Severity.WARNING, _LOOK))
            return owner
        drafts = self._studies.setdefault(uid, [])
        for draft in drafts:
            if compatible(draft.identity, identity):
                draft.identity = _merged(draft.identity, identity)
                return draft
        if drafts:
            self._told.append(
                Problem(
                    record.shown,
                    "Two patients share one study identifier: they are kept apart",
                    Severity.WARNING,
                    "Check which patient the images belong to before reading them",
                    ProblemKind.PATIENTS,
                )
            )
        own = uid_from(uid, *identity) if drafts else uid
        drafts.append(_StudyDraft(own, identity, dict(values)))
        return drafts[-1]

    def _series_for(self, study: _StudyDraft, values: Mapping[str, str]) -> _SeriesDraft:
        uid = series_uid_of(values)
        if uid in study.series:
            return study.series[uid]
        owner = self._series_owner.setdefault(uid, study)
        own = uid if owner is study else uid_from(uid, study.uid)
        study.series[uid] = _SeriesDraft(own, dict(values), kind_of(values))
        return study.series[uid]

    def _add_instance(self, series: _SeriesDraft, instance: Instance, record: Record) -> None:
        uid = instance.sop_instance_uid
        if uid not in series.instances:
            series.instances[uid] = instance
            return
        first = series.instances[uid]
        if self._same_pixels(first, instance):
            self._told.append(
                Problem(
                    record.shown,
                    f"A copy of {first.path.name}; read once",
                    Severity.WARNING,
                    _NOTHING,
                )
            )
            return
        note = "Different images carry the same identifier"
        hint = "Ask the sender which of them is right"
        problem = Problem(record.shown, note, Severity.WARNING, hint, ProblemKind.CONFLICT)
        self._told.append(problem)
        series.notes[note] = None
        series.instances[f"{uid}#{len(series.instances)}"] = instance


def _odd(values: Values, owned: _Owned) -> Iterator[str]:
    """Notes on a file whose base is known: what the base has, and what the file changes of it."""
    base, changes = values.base, values.changes
    uid = changes.get("SOPInstanceUID", base.get("SOPInstanceUID", ""))
    yield from odd_instance(uid)
    yield from owned.odd if WATCHED.isdisjoint(changes) else oddities(values.merged())


def _same_space(owner: _StudyDraft, identity: Identity, values: Mapping[str, str]) -> bool:
    """Whether a file of a known series belongs there although it names another study."""
    frame = values.get("FrameOfReferenceUID", "")
    series = owner.series[series_uid_of(values)]
    return (
        bool(frame)
        and series.headers.get("FrameOfReferenceUID") == frame
        and bool(identity[0])
        and owner.identity == identity
    )


def _merged(one: Identity, other: Identity) -> Identity:
    a, b, c, d = (first or second for first, second in zip(one, other, strict=True))
    return a, b, c, d


def _instance(record: Record, differing: Mapping[str, str]) -> Instance:
    path, member, values = record

    def value(keyword: str) -> str:
        changed = values.changes.get(keyword)
        return values.base.get(keyword, "") if changed is None else changed

    return Instance(
        sop_instance_uid=value("SOPInstanceUID") or uid_from("instance", path, member),
        sop_class_uid=value("SOPClassUID") or "unknown",
        file=path,
        number=_integer(value("InstanceNumber")),
        frames=max(1, _integer(value("NumberOfFrames")) or 1),
        transfer_syntax_uid=value("_TransferSyntax"),
        member=member,
        headers=differing,
    )


@lru_cache(maxsize=4096)
def _integer(text: str) -> int | None:
    """The first number of a value; series after series counts from one."""
    try:
        return int(text.split("\\", maxsplit=1)[0])
    except ValueError:
        return None


def _study(draft: _StudyDraft) -> Study:
    values = draft.headers
    series = sorted(
        (_series(one, draft.uid) for one in draft.series.values()),
        key=lambda one: (one.number is None, one.number or 0, one.uid),
    )
    return Study(
        uid=draft.uid,
        patient=patient_of(values),
        description=values.get("StudyDescription", ""),
        date=values.get("StudyDate", ""),
        time=values.get("StudyTime", ""),
        accession=values.get("AccessionNumber", ""),
        id=values.get("StudyID", ""),
        referring_physician=values.get("ReferringPhysicianName", ""),
        series=tuple(series),
    )


def _series(draft: _SeriesDraft, study_uid: str) -> Series:
    values = draft.headers
    instances = sorted(
        draft.instances.values(),
        key=lambda one: (one.number is None, one.number or 0, one.file, one.member),
    )
    return Series(
        uid=draft.uid,
        study_uid=study_uid,
        modality=values.get("Modality", ""),
        description=values.get("SeriesDescription", ""),
        instances=tuple(instances),
        kind=draft.kind,
        number=_integer(values.get("SeriesNumber", "")),
        body_part=values.get("BodyPartExamined", ""),
        laterality=values.get("ImageLaterality", "") or values.get("Laterality", ""),
        frame_of_reference_uid=values.get("FrameOfReferenceUID", ""),
        acquired_at=_acquired_at(values),
        headers=values,
        notes=tuple(draft.notes),
    )


def _acquired_at(values: Mapping[str, str]) -> str:
    """Date and time of acquisition as the file has it (DICOM DT: YYYYMMDDHHMMSS)."""
    if when := values.get("AcquisitionDateTime", ""):
        return when
    for name in ("Acquisition", "Series", "Content"):
        if day := values.get(f"{name}Date", ""):
            return day + values.get(f"{name}Time", "")
    return ""
