"""What is saved at once: the changes since the last save, written as one transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass, field, fields, replace
from typing import Any

import numpy.typing as npt

from medview.core.findings import Finding, utc_now
from medview.core.jobs import InferenceJob
from medview.core.report import Report
from medview.core.segmentation import LabelArray
from medview.services.audit import AuditRow
from medview.services.edits import Edit
from medview.services.journal import KeptReport, KeptSegmentation, pack_slice, to_text
from medview.services.kept_results import KeptOriginal, KeptResult, ModelOutput
from medview.services.originals import Originals, Patch
from medview.services.steps import KEPT_STEPS, pack_step
from medview.services.store_file import SCHEMA, write_meta
from medview.services.workspace import Workspace

_AUDIT_COLUMNS = ", ".join(entry.name for entry in fields(AuditRow))
_AUDIT_MARKS = ", ".join("?" for _ in fields(AuditRow))


@dataclass
class Dirty:
    """What changed since the last save.

    `slices` names the touched slices of each segmentation, None for the whole of it;
    `reports` and `steps` name the studies whose report or history changed.
    """

    slices: dict[str, set[int] | None] = field(default_factory=dict)
    findings: dict[str, None] = field(default_factory=dict)
    tracks: set[str] = field(default_factory=set)
    reports: set[str] = field(default_factory=set)
    steps: set[str] = field(default_factory=set)
    jobs: set[str] = field(default_factory=set)
    originals: set[str] = field(default_factory=set)
    audit: list[AuditRow] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any(getattr(self, entry.name) for entry in fields(self))

    def mark_slices(self, uid: str, touched: Iterable[int] | None) -> None:
        """Note slices of a segmentation, or with None all of them."""
        known = self.slices.setdefault(uid, set())
        if touched is None or known is None:
            self.slices[uid] = None
        else:
            known.update(touched)


@dataclass(frozen=True)
class SliceJob:
    """Slices of one segmentation to write; with `numbers` None all of them.

    The labels are the live array at `revision`, by slice, or with None a copy of what is written.
    """

    uid: str
    labels: LabelArray | Mapping[int, npt.NDArray[Any]]
    numbers: tuple[int, ...] | None
    revision: int | None

    def packed(self) -> list[tuple[int, bytes]]:
        """The slices compressed, by number."""
        numbers = range(len(self.labels)) if self.numbers is None else self.numbers
        return [(number, pack_slice(self.labels[number])) for number in numbers]

    def copied(self) -> SliceJob:
        """With a copy of its slices as they are now, if it has none yet."""
        if self.revision is None:
            return self
        numbers = range(len(self.labels)) if self.numbers is None else self.numbers
        planes = {number: self.labels[number].copy() for number in numbers}
        return replace(self, labels=planes, revision=None)


@dataclass
class Batch:
    """Rows to write in one transaction, gathered on the owner's thread."""

    studies: list[tuple[str, str, str, str]] = field(default_factory=list)
    heads: list[tuple[str, str, str]] = field(default_factory=list)
    slices: list[SliceJob] = field(default_factory=list)
    findings: list[tuple[str, str, int, Finding]] = field(default_factory=list)
    tracks: list[tuple[str, str, str]] = field(default_factory=list)
    reports: list[tuple[str, str, int, str]] = field(default_factory=list)
    pictures: list[tuple[str, bytes]] = field(default_factory=list)
    steps: list[tuple[str, int, bytes]] = field(default_factory=list)
    jobs: list[tuple[str, str, str]] = field(default_factory=list)
    results: list[tuple[str, str, KeptResult]] = field(default_factory=list)
    originals: list[tuple[str, str, str]] = field(default_factory=list)
    patches: list[tuple[str, int, Patch]] = field(default_factory=list)
    audit: list[AuditRow] = field(default_factory=list)
    gone_segmentations: list[tuple[str]] = field(default_factory=list)
    gone_findings: list[tuple[str]] = field(default_factory=list)
    gone_tracks: list[tuple[str]] = field(default_factory=list)
    gone_reports: list[tuple[str]] = field(default_factory=list)
    gone_steps: list[tuple[str, int]] = field(default_factory=list)
    old_steps: list[tuple[str]] = field(default_factory=list)
    closed: list[tuple[str]] = field(default_factory=list)
    is_written: bool = False

    def write_rows(
        self, connection: sqlite3.Connection, slices: Sequence[list[tuple[int, bytes]]]
    ) -> None:
        """Write everything, `slices` being those of the jobs, inside the open transaction."""
        many = connection.executemany
        many("DELETE FROM segmentation WHERE uid = ?", self.gone_segmentations)
        many("DELETE FROM segmentation_slice WHERE segmentation_uid = ?", self.gone_segmentations)
        many("DELETE FROM original WHERE uid = ?", self.gone_segmentations)
        many("DELETE FROM patch WHERE segmentation_uid = ?", self.gone_segmentations)
        many("DELETE FROM finding WHERE uid = ?", self.gone_findings)
        many("DELETE FROM track WHERE uid = ?", self.gone_tracks)
        many("DELETE FROM report WHERE uid = ?", self.gone_reports)
        many("INSERT OR REPLACE INTO study VALUES (?, ?, ?, ?, 1)", self.studies)
        many(_upsert("segmentation"), self.heads)
        for job, packed in zip(self.slices, slices, strict=True):
            _write_slices(connection, job, packed)
        many(
            "INSERT INTO finding VALUES (?, ?, ?, ?) ON CONFLICT (uid) DO UPDATE SET"
            " place = excluded.place, content = excluded.content",
            # Thousands of findings may come at once: they become text here, on the task pool.
            ((*row, to_text(finding)) for *row, finding in self.findings),
        )
        many(_upsert("track"), self.tracks)
        many("INSERT OR IGNORE INTO picture VALUES (?, ?)", self.pictures)
        many(
            "INSERT INTO report VALUES (?, ?, ?, ?) ON CONFLICT (uid) DO UPDATE SET"
            " version = excluded.version, content = excluded.content",
            self.reports,
        )
        many("DELETE FROM step WHERE study_uid = ?", self.old_steps)
        many("DELETE FROM step WHERE study_uid = ? AND place = ?", self.gone_steps)
        many("INSERT OR REPLACE INTO step VALUES (?, ?, ?)", self.steps)
        many(_upsert("job"), self.jobs)
        many(_upsert("result"), ((uid, study, to_text(one)) for uid, study, one in self.results))
        many(_upsert("original"), self.originals)
        many(
            "INSERT OR REPLACE INTO patch VALUES (?, ?, ?, ?, ?)",
            ((uid, place, to_text(one.box), one.dtype, one.before)
             for uid, place, one in self.patches),
        )  # fmt: skip
        many(
            f"INSERT INTO audit ({_AUDIT_COLUMNS}) VALUES ({_AUDIT_MARKS})",  # noqa: S608
            [astuple(row) for row in self.audit],
        )
        many("UPDATE study SET is_open = 0 WHERE uid = ?", self.closed)
        write_meta(connection, {"clean": "0"})
        if self.audit:
            head = self.audit[-1]
            write_meta(connection, {"audit_head": f"{head.number}:{head.sha256}"})


def write(
    batches: Sequence[Batch],
    connection: sqlite3.Connection,
    revision_of: Callable[[str], int | None],
) -> bool:
    """Write all batches, the oldest first, or nothing; sqlite3.Error if that cannot be done.

    False, and nothing is written, where labels moved on while they were read: what was read then
    belongs to no moment, and would stand beside findings and steps of another.
    """
    waiting = [batch for batch in batches if not batch.is_written]
    slices = [[job.packed() for job in batch.slices] for batch in waiting]
    latest = {job.uid: job.revision for batch in waiting for job in batch.slices}
    for uid, revision in latest.items():
        if revision is not None and revision_of(uid) not in (revision, None):
            return False
    connection.execute("BEGIN IMMEDIATE")
    try:
        for batch, packed in zip(waiting, slices, strict=True):
            batch.write_rows(connection, packed)
        connection.execute("COMMIT")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    for batch in waiting:
        batch.is_written = True
    return True


def size_of(batches: Sequence[Batch]) -> int:
    """About how much room on the disk the batches need, in bytes: the store they make alone."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(SCHEMA)
        for batch in batches:
            batch.write_rows(connection, [job.packed() for job in batch.slices])
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (page_size,) = connection.execute("PRAGMA page_size").fetchone()
    return int(pages) * int(page_size)


@dataclass
class Saved:
    """What is written of studies: reports and UIDs of results, steps by place, patches counted."""

    reports: dict[str, dict[str, Report]] = field(default_factory=dict)
    steps: dict[str, dict[int, Edit]] = field(default_factory=dict)
    results: set[str] = field(default_factory=set)
    patches: dict[str, int] = field(default_factory=dict)

    def forget(self, study_uid: str) -> None:
        """Keep nothing of a closed study in memory: opened again it is brought back."""
        self.steps.pop(study_uid, None)
        self.reports.pop(study_uid, None)


def gather(
    dirty: Dirty, workspace: Workspace, saved: Saved, output: ModelOutput | None = None
) -> Batch:
    """The rows of everything that changed; `saved` is kept up with what will be written.

    `output` is what models gave beside the work, if that is kept.
    """
    batch = Batch(audit=list(dirty.audit))
    studies: dict[str, None] = {}
    for uid, touched in dirty.slices.items():
        _gather_segmentation(batch, workspace, uid, touched, studies)
    _gather_findings(batch, workspace, dirty.findings, studies)
    _gather_tracks(batch, workspace, dirty.tracks, studies)
    for study_uid in sorted(dirty.reports):
        studies[study_uid] = None
        _gather_reports(
            batch, workspace.versions_of(study_uid), saved.reports.setdefault(study_uid, {})
        )
    for study_uid in sorted(dirty.steps & workspace.studies.keys()):
        entries = workspace.history.entries(study_uid)
        if study_uid not in saved.steps:
            batch.old_steps.append((study_uid,))
        _gather_steps(batch, study_uid, entries, saved.steps.setdefault(study_uid, {}))
    for uid in sorted(dirty.jobs & workspace.jobs.keys()):
        job: InferenceJob = workspace.jobs[uid]
        batch.jobs.append((uid, job.study_uid, to_text(job)))
        result = None if output is None else output.outcomes.find(uid)
        if result is not None and uid not in saved.results:
            saved.results.add(uid)
            batch.results.append((uid, job.study_uid, KeptResult.of(result)))
    if output is not None:
        _gather_originals(batch, workspace, dirty.originals, saved.patches, output.originals)
    for study_uid in studies:
        batch.studies.append(_study_row(workspace, study_uid))
    return batch


def _gather_findings(
    batch: Batch, workspace: Workspace, uids: Iterable[str], studies: dict[str, None]
) -> None:
    places: dict[str, dict[str, int]] = {}
    for uid in uids:
        finding = workspace.findings.get(uid)
        if finding is None:
            batch.gone_findings.append((uid,))
            continue
        study_uid = workspace.study_of(uid).uid
        studies[study_uid] = None
        if study_uid not in places:
            known = workspace.findings_of(study_uid)
            places[study_uid] = {one.uid: place for place, one in enumerate(known)}
        batch.findings.append((uid, study_uid, places[study_uid][uid], finding))


def _gather_originals(
    batch: Batch,
    workspace: Workspace,
    uids: Iterable[str],
    saved: dict[str, int],
    originals: Originals,
) -> None:
    """What was proposed, once, and the patches that came since; `saved` counts those."""
    for uid in sorted(uids):
        original = originals.of(uid)
        if uid not in workspace.segmentations or original is None:
            saved.pop(uid, None)  # its rows go with the segmentation, and come whole with it
            continue
        first = saved.get(uid)
        if first is None:
            kept = KeptOriginal(uid, original.segments)
            batch.originals.append((uid, workspace.study_of(uid).uid, to_text(kept)))
        for place in range(first or 0, len(original.patches)):
            batch.patches.append((uid, place, original.patches[place]))
        saved[uid] = len(original.patches)


def _gather_segmentation(
    batch: Batch,
    workspace: Workspace,
    uid: str,
    touched: set[int] | None,
    studies: dict[str, None],
) -> None:
    segmentation = workspace.segmentations.get(uid)
    if segmentation is None:
        batch.gone_segmentations.append((uid,))
        return
    study_uid = workspace.study_of(uid).uid
    studies[study_uid] = None
    series_uid = workspace.volumes[segmentation.volume_uid].series_uid
    head = KeptSegmentation.of(segmentation, series_uid)
    batch.heads.append((uid, study_uid, to_text(head)))
    numbers = None if touched is None else tuple(sorted(touched))
    batch.slices.append(SliceJob(uid, segmentation.labels, numbers, segmentation.revision))


def _gather_tracks(
    batch: Batch, workspace: Workspace, uids: set[str], studies: dict[str, None]
) -> None:
    for uid in sorted(uids):
        track = workspace.tracks.get(uid)
        if track is None:
            batch.gone_tracks.append((uid,))
        else:
            study_uid = workspace.study_of(uid).uid
            studies[study_uid] = None
            batch.tracks.append((uid, study_uid, to_text(track)))


def _gather_reports(batch: Batch, versions: tuple[Report, ...], saved: dict[str, Report]) -> None:
    """Versions that are not written as they are; those taken back go."""
    now = {report.uid: report for report in versions}
    batch.gone_reports += [(uid,) for uid in saved.keys() - now.keys()]
    for report in versions:
        if saved.get(report.uid) is not report:
            kept, pictures = KeptReport.of(report)
            batch.pictures += list(pictures.items())
            batch.reports.append((report.uid, report.study_uid, report.version, to_text(kept)))
    saved.clear()
    saved.update(now)


def _gather_steps(
    batch: Batch, study_uid: str, entries: Sequence[Edit], saved: dict[int, Edit]
) -> None:
    """The newest steps, in the order of their places; those that are written stay.

    What is undone lets older steps come in again, before those that are written.
    """
    wanted = entries[-KEPT_STEPS:]
    known = {id(edit): place for place, edit in saved.items()}
    still = {known[id(edit)] for edit in wanted if id(edit) in known}
    batch.gone_steps += [(study_uid, place) for place in saved.keys() - still]
    for gone in saved.keys() - still:
        del saved[gone]
    earlier = next((n for n, edit in enumerate(wanted) if id(edit) in known), 0)
    lowest, highest = min(saved, default=0), max(saved, default=0)
    for number, edit in enumerate(wanted):
        if id(edit) in known:
            continue
        if number < earlier:
            place = lowest - earlier + number
        else:
            place = highest = highest + 1
        saved[place] = edit
        batch.steps.append((study_uid, place, pack_step(edit)))


def _study_row(workspace: Workspace, uid: str) -> tuple[str, str, str, str]:
    study = workspace.studies[uid]
    words = (study.patient.name, study.description, study.date)
    sources = json.dumps([str(path) for path in workspace.sources_of(uid)])
    return uid, " · ".join(word for word in words if word), sources, utc_now().isoformat()


def _write_slices(
    connection: sqlite3.Connection, job: SliceJob, slices: Sequence[tuple[int, bytes]]
) -> None:
    if job.numbers is None:
        query = "DELETE FROM segmentation_slice WHERE segmentation_uid = ?"
        connection.execute(query, (job.uid,))
    for number, packed in slices:
        if packed:
            query = "INSERT OR REPLACE INTO segmentation_slice VALUES (?, ?, ?)"
            connection.execute(query, (job.uid, number, packed))
        elif job.numbers is not None:
            query = "DELETE FROM segmentation_slice WHERE segmentation_uid = ? AND slice = ?"
            connection.execute(query, (job.uid, number))


def _upsert(table: str) -> str:
    """Insert (uid, study_uid, content), or change the content: rows keep their order."""
    return (
        f"INSERT INTO {table} (uid, study_uid, content) VALUES (?, ?, ?)"  # noqa: S608
        " ON CONFLICT (uid) DO UPDATE SET content = excluded.content"
    )
