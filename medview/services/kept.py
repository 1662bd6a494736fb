"""What the store keeps of a study, read back; a damaged row costs itself alone."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from medview.core.errors import MedviewError, StoreError
from medview.core.findings import Finding
from medview.core.geometry import Box
from medview.core.jobs import InferenceJob, InferenceResult
from medview.core.maps import ScalarMap
from medview.core.report import Report
from medview.core.segmentation import Segmentation
from medview.core.timeline import ClipTrack
from medview.services.edits import Edit
from medview.services.journal import KeptReport, KeptSegmentation, from_text, unpack_slice
from medview.services.kept_results import KeptMap, KeptOriginal, KeptResult
from medview.services.map_files import MapFiles
from medview.services.originals import Original, Patch
from medview.services.outcomes import MOST_MAP_BYTES
from medview.services.steps import hold_together, unpack_step
from medview.services.store_file import connect, fetch

T = TypeVar("T")

_PICTURES = "SELECT sha256, png FROM picture"


@dataclass(frozen=True)
class Unfinished:
    """A study with saved work that was open when the program ended without closing it."""

    study_uid: str
    title: str
    sources: tuple[Path, ...]
    saved_at: str


@dataclass(frozen=True, eq=False)
class KeptWork:
    """The work on one study: segmentations with the series each lies on, findings, reports.

    `steps` can be taken back, the oldest first. `losses` counts rows that could not be read.
    """

    study_uid: str
    saved_at: str
    segmentations: tuple[tuple[str, Segmentation], ...]
    findings: tuple[Finding, ...]
    reports: tuple[Report, ...]
    steps: tuple[Edit, ...] = ()
    losses: int = 0
    tracks: tuple[ClipTrack, ...] = ()
    runs: tuple[tuple[InferenceJob, InferenceResult], ...] = ()
    originals: Mapping[str, Original] = field(default_factory=dict)

    def __bool__(self) -> bool:
        work = self.segmentations or self.findings or self.reports or self.tracks
        return bool(work or self.runs)


def read_kept(path: Path, study_uid: str, maps: MapFiles | None = None) -> KeptWork:
    """Everything kept of a study; StoreError if the store cannot be read at all.

    Without `maps` results come back without theirs.
    """
    try:
        with closing(connect(path, writable=False)) as connection:
            return _Reading(connection, maps).work(study_uid)
    except sqlite3.Error as error:
        raise StoreError(
            "The saved work could not be read", "It is left as it is.", str(error)
        ) from error


def read_unfinished(connection: sqlite3.Connection) -> tuple[Unfinished, ...]:
    """Studies that were not closed, the last saved first."""
    rows = fetch(
        connection,
        "SELECT uid, title, sources, saved_at FROM study WHERE is_open = 1 ORDER BY saved_at DESC",
    )
    return tuple(
        Unfinished(str(uid), str(title), _paths(str(sources)), str(saved_at))
        for uid, title, sources, saved_at in rows
    )


def reports_of(
    connection: sqlite3.Connection, patient_id: str
) -> tuple[tuple[Report, ...], tuple[str, ...]]:
    """The newest kept report of each study of a patient, and what is wrong with unreadable ones.

    Pictures are left out.
    """
    query = (
        "SELECT content FROM report WHERE CASE WHEN json_valid(content)"
        " THEN json_extract(content, '$.report.subject.patient.id') = ? END ORDER BY version"
    )
    kept: dict[str, Report] = {}
    unread = []
    for (content,) in fetch(connection, query, (patient_id,)):
        try:
            report = from_text(KeptReport, str(content)).report
        except StoreError as error:
            unread.append(error.detail)
            continue
        kept[report.study_uid] = report
    return tuple(kept.values()), tuple(unread)


def _paths(sources: str) -> tuple[Path, ...]:
    """Where a study was opened from; nothing where that row is damaged."""
    try:
        return tuple(Path(path) for path in json.loads(sources))
    except (ValueError, TypeError):
        return ()


class _Reading:
    """One reading of one study, counting what is damaged."""

    def __init__(self, connection: sqlite3.Connection, maps: MapFiles | None) -> None:
        self._connection = connection
        self._maps = maps
        self._map_bytes = 0
        self._losses = 0

    def work(self, study_uid: str) -> KeptWork:
        saved = self._rows("SELECT saved_at FROM study WHERE uid = ?", study_uid)
        heads = self._objects(KeptSegmentation, "segmentation", study_uid)
        segmentations = tuple((head.series_uid, self._segmentation(head)) for head in heads)
        findings = tuple(self._objects(Finding, "finding", study_uid, "place, rowid"))
        tracks = tuple(self._objects(ClipTrack, "track", study_uid))
        reports = self._reports(study_uid)
        labels = [labels for _, labels in segmentations]
        steps = self._steps(study_uid, {one.uid: one for one in labels})
        together = hold_together(steps, labels, findings, reports, study_uid, tracks)
        if self._losses or not together:
            steps = ()
        # What follows is no work: a loss there does not cost the way back.
        runs = self._runs(study_uid)
        originals = self._originals(study_uid)
        return KeptWork(
            study_uid=study_uid,
            saved_at=str(saved[0][0]) if saved else "",
            segmentations=segmentations,
            findings=findings,
            reports=reports,
            steps=steps,
            losses=self._losses,
            tracks=tracks,
            runs=runs,
            originals=originals,
        )

    def _runs(self, study_uid: str) -> tuple[tuple[InferenceJob, InferenceResult], ...]:
        """Jobs that ended well, with their results; the maps of the latest first, within bounds."""
        results = {one.job_uid: one for one in self._objects(KeptResult, "result", study_uid)}
        jobs = [one for one in self._objects(InferenceJob, "job", study_uid) if one.uid in results]
        whole = [(job, results[job.uid].whole(self._map)) for job in reversed(jobs)]
        return tuple(reversed(whole))

    def _map(self, kept: KeptMap) -> ScalarMap | None:
        """A map whose file is there and good. One that is not is no loss of work."""
        if self._maps is None or self._map_bytes > MOST_MAP_BYTES:
            return None
        try:
            found = kept.whole(self._maps)
        except (MedviewError, ValueError):
            return None
        self._map_bytes += found.values.nbytes
        return found

    def _originals(self, study_uid: str) -> dict[str, Original]:
        found = {}
        for kept in self._objects(KeptOriginal, "original", study_uid):
            rows = self._rows(
                "SELECT box, dtype, labels FROM patch WHERE segmentation_uid = ? ORDER BY place",
                kept.segmentation_uid,
            )
            try:
                patches = tuple(
                    Patch(from_text(Box, str(box)), str(dtype), _bytes(labels))
                    for box, dtype, labels in rows
                )
                for patch in patches:
                    patch.labels()
            except (StoreError, ValueError, TypeError, zlib.error):
                self._losses += 1  # without one of them the original is not known
                continue
            found[kept.segmentation_uid] = Original(kept.segments, patches)
        return found

    def _objects(self, kind: type[T], table: str, study_uid: str, order: str = "rowid") -> list[T]:
        query = f"SELECT content FROM {table} WHERE study_uid = ? ORDER BY {order}"  # noqa: S608
        found = []
        for (text,) in self._rows(query, study_uid):
            try:
                found.append(from_text(kind, str(text)))
            except StoreError:
                self._losses += 1
        return found

    def _segmentation(self, head: KeptSegmentation) -> Segmentation:
        labels: npt.NDArray[Any] = np.zeros(head.grid.shape, dtype=head.dtype)
        query = "SELECT slice, labels FROM segmentation_slice WHERE segmentation_uid = ?"
        for number, packed in self._rows(query, head.uid):
            try:
                unpack_slice(_bytes(packed), labels[int(str(number))])
            except (MedviewError, IndexError):
                self._losses += 1
        return head.segmentation(labels)

    def _reports(self, study_uid: str) -> tuple[Report, ...]:
        query = "SELECT content FROM report WHERE study_uid = ? ORDER BY version"
        reports = []
        for (text,) in self._rows(query, study_uid):
            try:
                kept = from_text(KeptReport, str(text))
            except StoreError:
                self._losses += 1
                continue
            pictures = {
                name: _bytes(row[0])
                for name in kept.pictures.values()
                for row in self._rows("SELECT png FROM picture WHERE sha256 = ?", name)
            }
            reports.append(kept.whole(pictures))
        return tuple(reports)

    def _steps(self, study_uid: str, segmentations: Mapping[str, Segmentation]) -> tuple[Edit, ...]:
        """The steps that were kept; none of them if one is damaged, as each stands on the last."""
        packed = self._rows(
            "SELECT content FROM step WHERE study_uid = ? ORDER BY place", study_uid
        )
        pictures = (
            {str(name): _bytes(png) for name, png in fetch(self._connection, _PICTURES, ())}
            if packed
            else {}
        )
        try:
            return tuple(
                unpack_step(_bytes(row[0]), study_uid, pictures, segmentations) for row in packed
            )
        except StoreError:
            return ()

    def _rows(self, query: str, argument: str) -> list[tuple[object, ...]]:
        return fetch(self._connection, query, (argument,))


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""
