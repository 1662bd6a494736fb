"""Store: the reader's work on disk within a second of every change, and back after a crash."""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from dataclasses import fields
from pathlib import Path

from medview.core.errors import MedviewError, StoreError
from medview.core.events import (
    FindingChanged,
    HistoryChanged,
    JobChanged,
    Level,
    Notice,
    ReportChanged,
    SegmentationChanged,
    TrackChanged,
)
from medview.services.audit import NO_HASH, AuditRow
from medview.services.batch import Batch, Dirty, Saved, gather
from medview.services.bringing_back import BringingBack
from medview.services.kept import Unfinished, read_unfinished
from medview.services.loading import Loading
from medview.services.lock import ProfileLock
from medview.services.store_file import (
    NewerStoreError,
    fetch,
    open_store,
    read_meta,
    set_aside,
    write_meta,
)
from medview.services.tasks import Tasks
from medview.services.workspace import Workspace

#: How long to wait before a save that failed is tried again.
_RETRY_S = 2.0


class Store:
    """One SQLite file for the work of one profile.

    `attach` makes it follow a workspace: `delay_s` after a change the touched slices, findings
    and reports are written, off the owner's thread, in one transaction that is on disk when it
    ends. `notices` says what the reader has to know about the file: damaged (kept aside), newer,
    or open elsewhere; in the last two cases nothing is saved and `is_writable` is False. With
    `path` None nothing is kept beyond this run.
    """

    def __init__(self, path: Path | None, delay_s: float = 0.3) -> None:
        self.notices: list[Notice] = []
        self._path = path
        self._delay_s = delay_s
        self._dirty = Dirty()
        self._batches: deque[Batch] = deque()
        self._writing: Batch | None = None
        self._is_due = False
        self._has_failed = False
        self._saved = Saved()
        self._unsaved_audit: list[AuditRow] = []
        self._one_writer = threading.Lock()
        self._lock = ProfileLock(path.with_name(path.name + ".lock")) if path else None
        self._connection = self._open(path, self._lock) if path and self._lock else None
        self._unfinished: tuple[Unfinished, ...] = ()
        if self._connection is not None:
            self._unfinished = read_unfinished(self._connection)
        self._workspace: Workspace | None = None
        self._tasks: Tasks | None = None
        self._back: BringingBack | None = None

    @property
    def is_writable(self) -> bool:
        """Whether work is saved."""
        return self._connection is not None

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way to the disk or back; always so while not attached."""
        if self._tasks is None or not self.is_writable:
            return True
        waits = self._dirty or self._batches or self._writing
        return not waits and (self._back is None or self._back.idle)

    def attach(self, workspace: Workspace, tasks: Tasks, loading: Loading | None = None) -> None:
        """Follow a workspace. With `loading`, kept work comes back when its study is opened."""
        self._workspace, self._tasks = workspace, tasks
        events = workspace.events
        events.segmentation_changed.connect(self._on_segmentation)
        events.finding_changed.connect(self._on_finding)
        events.track_changed.connect(self._on_track)
        events.report_changed.connect(self._on_report)
        events.job_changed.connect(self._on_job)
        events.history_changed.connect(self._on_history)
        workspace.on_closing(self._on_closing)
        if loading is not None and self._path is not None and self.is_writable:
            self._back = BringingBack(self._path, workspace, tasks, loading)
        for notice in self.notices:
            workspace.notify(notice.level, notice.text, notice.hint)
        if self._dirty:
            self._save_soon()

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
        """Do not offer a study again; its work stays and comes back when the study is opened."""
        self._unfinished = tuple(one for one in self._unfinished if one.study_uid != study_uid)
        self._batches.append(Batch(closed=[(study_uid,)]))
        self._write_next()

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
        pending = [row for batch in (self._writing, *self._batches) if batch for row in batch.audit]
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
        with self._one_writer:
            pending = [batch for batch in (self._writing, *self._batches) if batch is not None]
        for batch in pending:
            self._write(batch)
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
                Batch(closed=[(uid,) for uid in open_studies]).write(connection)
                write_meta(connection, {"clean": "1"})
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise self._save_error(error) from error
        finally:
            self._connection = None
            connection.close()
            if self._lock is not None:
                self._lock.release()

    def _on_segmentation(self, event: SegmentationChanged) -> None:
        if self._back is not None and self._back.is_putting:
            return
        touched = None if event.box is None else range(event.box.start[0], event.box.stop[0])
        self._dirty.mark_slices(event.uid, touched)
        self._save_soon()

    def _on_finding(self, event: FindingChanged) -> None:
        if self._back is not None and self._back.is_putting:
            return
        self._dirty.findings[event.uid] = None
        self._save_soon()

    def _on_track(self, event: TrackChanged) -> None:
        if self._back is not None and self._back.is_putting:
            return
        self._dirty.tracks.add(event.uid)
        self._save_soon()

    def _on_report(self, event: ReportChanged) -> None:
        self._dirty.reports.add(event.uid)
        self._save_soon()

    def _on_history(self, _event: HistoryChanged) -> None:
        if self._workspace is not None and self._workspace.history.study_uid:
            self._dirty.steps.add(self._workspace.history.study_uid)
            self._save_soon()

    def _on_job(self, event: JobChanged) -> None:
        if self._workspace is not None and self._workspace.jobs[event.uid].state.is_over:
            self._dirty.jobs.add(event.uid)
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
            batch = gather(self._dirty, self._workspace, self._saved)
        if closed:
            batch.closed.append((closed,))
            self._saved.steps.pop(closed, None)
        self._dirty = Dirty()
        self._batches.append(batch)

    def _write_next(self) -> None:
        """Give the oldest batch to the task pool, unless one is being written."""
        if self._tasks is None or self._writing is not None or not self._batches:
            return
        self._writing = self._batches.popleft()
        self._tasks.run(
            self._write, self._writing, on_done=self._on_written, on_error=self._on_failed
        )

    def _write(self, batch: Batch) -> None:
        """On any thread, one at a time."""
        with self._one_writer:
            if self._connection is None or batch.is_written:
                return
            try:
                batch.write(self._connection)
            except sqlite3.Error as error:
                raise self._save_error(error) from error

    def _on_written(self, _nothing: None) -> None:
        self._writing = None
        if self._has_failed and self._workspace is not None:
            self._has_failed = False
            self._workspace.notify(Level.INFO, "Your work is saved again")
        self._write_next()

    def _on_failed(self, error: MedviewError) -> None:
        """Keep the batch and try again: memory is freed, a disk is emptied."""
        if self._workspace is None or self._tasks is None or self._writing is None:
            return
        if not self._has_failed:
            self._has_failed = True
            self._workspace.notify(Level.ERROR, error.user_text, error.hint)
        self._batches.appendleft(self._writing)
        self._writing = None
        self._tasks.after(_RETRY_S, self._write_next)

    # The file

    def _open(self, path: Path, lock: ProfileLock) -> sqlite3.Connection | None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if lock.acquire():
                return self._open_locked(path)
            why = f"medview is already running with this profile (process {lock.owner()})"
            hint = "Use the other window, or close it first."
        except (NewerStoreError, OSError, sqlite3.OperationalError) as error:
            lock.release()
            if isinstance(error, NewerStoreError):
                why, hint = error.user_text, error.hint
            else:
                why = f"{path} cannot be opened ({error})"
                hint = "Check the disk and the rights of the profile folder."
        self._tell(Level.WARNING, f"{why}; work done here is not saved", hint)
        return None

    def _open_locked(self, path: Path) -> sqlite3.Connection:
        try:
            return open_store(path)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            kept = set_aside(path)
            self._tell(
                Level.ERROR,
                f"The file of saved work is damaged ({error}) and was kept as {kept.name};"
                " a new one was begun",
            )
            return open_store(path)

    def _tell(self, level: Level, text: str, hint: str = "") -> None:
        self.notices.append(Notice(level, text, hint))

    def _save_error(self, error: sqlite3.Error) -> StoreError:
        return StoreError(
            f"Your work could not be saved to {self._path}: {error}",
            "It is tried again every two seconds; make room on the disk or check its rights.",
            type(error).__name__,
        )
