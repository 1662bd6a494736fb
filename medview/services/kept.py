"""What the store keeps of a study, read back; a damaged row costs itself alone."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from medview.core.errors import MedviewError, StoreError
from medview.core.findings import Finding
from medview.core.report import Report
from medview.core.segmentation import Segmentation
from medview.core.timeline import ClipTrack
from medview.services.edits import Edit
from medview.services.journal import KeptReport, KeptSegmentation, from_text, unpack_slice
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

    def __bool__(self) -> bool:
        return bool(self.segmentations or self.findings or self.reports or self.tracks)


def read_kept(path: Path, study_uid: str) -> KeptWork:
    """Everything kept of a study; StoreError if the store cannot be read at all."""
    try:
        with closing(connect(path, writable=False)) as connection:
            return _Reading(connection).work(study_uid)
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


def _paths(sources: str) -> tuple[Path, ...]:
    return tuple(Path(path) for path in json.loads(sources))


class _Reading:
    """One reading of one study, counting what is damaged."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._losses = 0

    def work(self, study_uid: str) -> KeptWork:
        saved = self._rows("SELECT saved_at FROM study WHERE uid = ?", study_uid)
        heads = self._objects(KeptSegmentation, "segmentation", study_uid)
        segmentations = tuple((head.series_uid, self._segmentation(head)) for head in heads)
        findings = tuple(self._objects(Finding, "finding", study_uid, "place, rowid"))
        tracks = tuple(self._objects(ClipTrack, "track", study_uid))
        reports = self._reports(study_uid)
        steps = self._steps(study_uid)
        labels = [labels for _, labels in segmentations]
        together = hold_together(steps, labels, findings, reports, study_uid, tracks)
        if self._losses or not together:
            steps = ()
        return KeptWork(
            study_uid=study_uid,
            saved_at=str(saved[0][0]) if saved else "",
            segmentations=segmentations,
            findings=findings,
            reports=reports,
            steps=steps,
            losses=self._losses,
            tracks=tracks,
        )

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

    def _steps(self, study_uid: str) -> tuple[Edit, ...]:
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
            return tuple(unpack_step(_bytes(row[0]), study_uid, pictures) for row in packed)
        except StoreError:
            return ()

    def _rows(self, query: str, argument: str) -> list[tuple[object, ...]]:
        return fetch(self._connection, query, (argument,))


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""
