"""Store: the reader's work on disk within a second of every change, and back after a crash."""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from medview.core.errors import MedviewError, StoreError
from medview.core.events import (
    Event,
    FindingChanged,
    HistoryChanged,
    JobChanged,
    Level,
    Notice,
    ReportChanged,
    SegmentationChanged,
    TrackChanged,
)
from medview.core.paths import room_words
from medview.core.report import Report
from medview.services.audit import NO_HASH, AuditRow
from medview.services.batch import Batch, Dirty, Saved, gather, size_of, write
from medview.services.bringing_back import BringingBack
from medview.services.kept import Unfinished, read_unfinished, reports_of
from medview.services.kept_results import MapKeeper, ModelOutput
from medview.services.loading import Loading
from medview.services.lock import ProfileLock
from medview.services.store_file import (
    fetch,
    open_for_one,
    read_meta,
    write_meta,
)
from medview.services.tasks import Tasks
from medview.services.workspace import SIGNAL_OF, Workspace

#: How long to wait before a save that failed is tried again.
_RETRY_S = 2.0

#: What changes the work, or what is kept beside it.
_WORK: tuple[type, ...] = (
    *(SegmentationChanged, FindingChanged, TrackChanged, ReportChanged),
    *(JobChanged, HistoryChanged),
)


class Store:
    """One SQLite file for the work of one profile.

    `attach` makes it follow a workspace: `delay_s` after a change the touched slices, findings
    and reports are written, off the owner's thread, in one transaction that is on disk when it
    ends. `notices` says what the reader has to know about the file: damaged (kept aside), newer,
    or open elsewhere; in the last two cases nothing is saved and `is_writable` is False. With
    `path` None nothing is kept beyond this run. `on_back` is called when kept work has come back.
    """

    def __init__(self, path: Path | None, delay_s: float = 0.3) -> None:
        self.notices: list[Notice] = []
        self.on_back: Callable[[], object] = lambda: None
        self._path = path
        self._delay_s = delay_s
        self._dirty = Dirty()
        self._batches: deque[Batch] = deque()
        self._writing: tuple[Batch, ...] = ()
        self._is_due = self._has_failed = False
        self._saved = Saved()
        self._unsaved_audit: list[AuditRow] = []
        self._one_writer = threading.Lock()
        self._lock = ProfileLock(path.with_name(path.name + ".lock")) if path else None
        self._connection: sqlite3.Connection | None = None
        if path is not None and self._lock is not None:
            self._connection, self.notices = open_for_one(path, self._lock)
        self._unfinished: tuple[Unfinished, ...] = ()
        self._place = _Place(path)
        if self._connection is not None:
            self._unfinished = read_unfinished(self._connection)
        self._workspace: Workspace | None = None
        self._tasks: Tasks | None = None
        self._back: BringingBack | None = None
        self._output: ModelOutput | None = None
        self._maps: MapKeeper | None = None

    @property
    def is_writable(self) -> bool:
        """Whether work is saved."""
        return self._connection is not None

    @property
    def is_bringing_back(self) -> bool:
        """Whether kept work is on its way back."""
        return self._back is not None and not self._back.idle

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way to the disk or back; always so while not attached."""
        if self._tasks is None or not self.is_writable:
            return True
        waits = self._dirty or self._batches or self._writing
        maps_wait = self._maps is not None and not self._maps.idle
        return not (waits or maps_wait or self.is_bringing_back)

    def attach(
        self,
        workspace: Workspace,
        tasks: Tasks,
        loading: Loading | None = None,
        output: ModelOutput | None = None,
    ) -> None:
        """Follow a workspace. With `loading`, kept work comes back when its study is opened.

        `output` is what models give beside the work, to be kept with it.
        """
        self._workspace, self._tasks, self._output = workspace, tasks, output
        for kind in _WORK:
            getattr(workspace.events, SIGNAL_OF[kind]).connect(self._on_change)
        workspace.on_closing(self._on_closing)
        if loading is not None and self._path is not None and self.is_writable:
            self._back = BringingBack(
                self._path, workspace, tasks, loading, output=output, saved=self._saved
            )
            self._back.on_idle = self._came_back
        if output is not None and self.is_writable:
            self._maps = MapKeeper(workspace, tasks, output)
        for notice in self.notices:
            workspace.notify(notice.level, notice.text, notice.hint)
        if self._dirty:
            self._save_soon()

    def _came_back(self) -> None:
        self.on_back()

    # What an earlier run left

    def unfinished(self) -> tuple[Unfinished, ...]:
        """Studies whose work was not closed when the program last ended, the latest first."""
        return self._unfinished

    def restore(self, study_uid: str) -> None:
        """Open an unfinished study again and bring its work back.

        StoreError if nothing is kept for it.
        """
        found = [one for one in self._unfinished if one.study_uid == study_uid]
        if not found or self._back is None:
            raise StoreError("There is no saved work to restore for this study")
        self._unfinished = tuple(one for one in self._unfinished if one not in found)
        self._back.restore(study_uid, found[0].sources)

    def dismiss(self, study_uid: str) -> None:
        """Do not offer a study again; its work stays and comes back when the study is opened.

        Nothing is done for one that was restored meanwhile: it is open.
        """
        if all(one.study_uid != study_uid for one in self._unfinished):
            return
        self._unfinished = tuple(one for one in self._unfinished if one.study_uid != study_uid)
        self._batches.append(Batch(closed=[(study_uid,)]))
        self._write_next()

    def reports_about(self, patient_id: str) -> tuple[Report, ...]:
        """The newest kept report of each study of a patient, by the ID; pictures are left out."""
        if self._connection is None:
            return ()
        with self._one_writer:
            reports, unread = reports_of(self._connection, patient_id)
        for detail in unread:
            if self._workspace is not None:
                text = "An earlier report of this patient cannot be read"
                self._workspace.notify(Level.WARNING, text, detail)
        return reports

    # The audit trail's place

    def audit_rows(self) -> tuple[AuditRow, ...]:
        """All rows of the trail, those not yet on disk last."""
        on_disk: list[AuditRow] = []
        if self._connection is not None:
            columns = ", ".join(entry.name for entry in fields(AuditRow))
            query = f"SELECT {columns} FROM audit ORDER BY number"  # noqa: S608
            with self._one_writer:
                on_disk = [AuditRow(*row) for row in fetch(self._connection, query)]  # type: ignore[arg-type]
        last = on_disk[-1].number if on_disk else 0
        pending = [row for batch in (*self._writing, *self._batches) for row in batch.audit]
        pending += self._unsaved_audit if self._connection is None else self._dirty.audit
        return (*on_disk, *(row for row in pending if row.number > last))

    def audit_head(self) -> tuple[int, str]:
        """Number and hash of the last row."""
        head = read_meta(self._connection, "audit_head") if self._connection is not None else ""
        number, _, digest = head.partition(":")
        return (int(number), digest) if number.isdigit() else (0, NO_HASH)

    def add_audit(self, row: AuditRow) -> None:
        """Keep a row of the trail; it is on disk with the next save."""
        if self._connection is None:
            self._unsaved_audit.append(row)
        else:
            self._dirty.audit.append(row)
            self._save_soon()

    # Saving

    def save_now(self) -> None:
        """Write everything before returning; StoreError if it cannot be written."""
        if self._connection is None:
            return
        self._take()
        # Nothing moves on meanwhile: this is the owner's thread.
        self._write((*self._writing, *self._batches))
        self._batches.clear()

    def close(self) -> None:
        """Save what is left, note that the end was orderly, and let the file go.

        StoreError if the last work could not be written; the file is let go all the same.
        """
        if self._connection is None:
            return
        connection = self._connection
        try:
            self.save_now()
            open_studies = self._workspace.studies if self._workspace is not None else ()
            with self._one_writer:
                write(
                    [Batch(closed=[(uid,) for uid in open_studies])], connection, self._revision_of
                )
                write_meta(connection, {"clean": "1"})
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise _save_error(self._path, error) from error
        finally:
            self._connection = None
            connection.close()
            if self._lock is not None:
                self._lock.release()

    def _on_change(self, event: Event) -> None:
        """Note what is to be saved; what comes back from the store is there already."""
        workspace, dirty = self._workspace, self._dirty
        is_putting = self._back is not None and self._back.is_putting
        if workspace is None:
            return
        match event:
            case ReportChanged():
                dirty.reports.add(event.uid)
            case HistoryChanged() if workspace.history.study_uid:
                dirty.steps.add(workspace.history.study_uid)
            case SegmentationChanged() if not is_putting:
                box = event.box
                touched = None if box is None else range(box.start[0], box.stop[0])
                dirty.mark_slices(event.uid, touched)
                dirty.originals.add(event.uid)
            case FindingChanged() if not is_putting:
                dirty.findings[event.uid] = None
            case TrackChanged() if not is_putting:
                dirty.tracks.add(event.uid)
            case JobChanged() if not is_putting and workspace.jobs[event.uid].state.is_over:
                dirty.jobs.add(event.uid)
                if self._maps is not None and event.uid not in self._saved.results:
                    self._maps.keep(event.uid)
            case _:
                return
        self._save_soon()

    def _on_closing(self, study_uid: str) -> None:
        """While the study's work is still there: gather it, and note that it is closed."""
        if self._connection is not None:
            self._take(closed=study_uid)
            self._write_next()

    def _save_soon(self) -> None:
        if self._connection is not None and self._tasks is not None and not self._is_due:
            self._is_due = True
            self._tasks.after(self._delay_s, self._save)

    def _save(self) -> None:
        self._is_due = False
        self._take()
        self._write_next()

    def _take(self, closed: str = "") -> None:
        """Turn what is dirty into a batch."""
        if not (self._dirty or closed):
            return
        batch = Batch(audit=self._dirty.audit)
        if self._workspace is not None:
            batch = gather(self._dirty, self._workspace, self._saved, self._output)
        if closed:
            batch.closed.append((closed,))
            self._saved.forget(closed)
        self._dirty = Dirty()
        self._batches.append(batch)

    def _write_next(self) -> None:
        """Give what waits to the task pool as one transaction, unless one is being written."""
        if self._tasks is None or self._writing or not self._batches:
            return
        self._writing = tuple(self._batches)
        self._batches.clear()
        self._tasks.run(
            self._write, self._writing, on_done=self._on_written, on_error=self._on_failed
        )

    def _write(self, batches: tuple[Batch, ...]) -> bool:
        """On any thread, one at a time; False where labels moved on meanwhile."""
        with self._one_writer:
            if self._connection is None:
                return True
            try:
                with self._place.held():
                    return write(batches, self._connection, self._revision_of)
            except sqlite3.Error as error:
                raise _save_error(self._path, error, batches) from error

    def _revision_of(self, uid: str) -> int | None:
        known = None if self._workspace is None else self._workspace.segmentations.get(uid)
        return None if known is None else known.revision

    def _on_written(self, done: bool) -> None:
        batches, self._writing = self._writing, ()
        if not done:
            self._copy_and_write(batches)
            return
        if self._has_failed and self._workspace is not None:
            self._has_failed = False
            self._workspace.notify(Level.INFO, "Your work is saved again")
        self._write_next()

    def _copy_and_write(self, batches: tuple[Batch, ...]) -> None:
        """Somebody paints on and on: all that is due at this moment, its labels copied."""
        self._batches.extendleft(reversed(batches))
        self._take()
        for batch in self._batches:
            batch.slices = [job.copied() for job in batch.slices]
        self._write_next()

    def _on_failed(self, error: MedviewError) -> None:
        """Keep the batches and try again: memory is freed, a disk is emptied."""
        if self._workspace is None or self._tasks is None or not self._writing:
            return
        if not self._has_failed:
            self._has_failed = True
            self._workspace.notify(Level.ERROR, error.user_text, error.hint)
        self._batches.extendleft(reversed(self._writing))
        self._writing = ()
        self._tasks.after(_RETRY_S, self._write_next)


class _Place:
    """Where the file lies that is open.

    Of a disk that was pulled out the system lets programs write on to what nobody finds again.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file = self._there()

    def _there(self) -> tuple[int, int] | None:
        """Which file is at the path, by device and number; None where there is none."""
        try:
            found = None if self._path is None else self._path.stat()
        except OSError:
            return None
        return None if found is None else (found.st_dev, found.st_ino)

    @contextmanager
    def held(self) -> Iterator[None]:
        """StoreError where the file is not there before a save or after it."""
        self._require()
        yield
        self._require()

    def _require(self) -> None:
        if self._there() != self._file:
            raise StoreError(
                f"Your work could not be saved: {self._path} is gone",
                "Bring its disk back, or export your work to another folder. It is tried again"
                " every two seconds.",
            )


def _save_error(
    path: Path | None, error: sqlite3.Error, batches: Sequence[Batch] = ()
) -> StoreError:
    why = str(error)
    if path is not None and getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
        why += f": {room_words(size_of(batches), path.parent)}"
    return StoreError(
        f"Your work could not be saved to {path} ({why})",
        "It is tried again every two seconds; make room on the disk or check its rights.",
        type(error).__name__,
    )
