"""Watch: whether the files of open studies are still what they were when they were opened."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from medview.core.events import Level, StudyClosed, StudyOpened
from medview.core.study import Problem, ProblemKind, Severity
from medview.services.tasks import Tasks
from medview.services.workspace import Workspace

#: How often files are looked at while studies are open; the window asks besides when it wakes up.
_EVERY_S = 30.0

#: What is noted of a series whose files are no longer what was read.
CHANGED = "Files of this series changed or went after it was opened"
_HINT = "What is shown was read before. Open the study again to see what is there now."

#: Inode, size and time of change of a file; None where it is not there.
Stamp = tuple[int, int, int] | None


class Watch:
    """Marks series whose files change, shrink, are replaced or go while they are open.

    Nothing is read again: what is in memory stays as it is, with a note. Files are only asked
    for their size and time, on a thread.
    """

    def __init__(self, workspace: Workspace, tasks: Tasks) -> None:
        self._workspace = workspace
        self._tasks = tasks
        self._stamps: dict[Path, Stamp] = {}
        self._is_looking = False
        self._is_waiting = False
        self._is_stale = False
        workspace.events.study_opened.connect(self._on_opened)
        workspace.events.study_closed.connect(self._on_closed)

    def check(self) -> None:
        """Look at all files now, unless that is under way."""
        if self._stamps and not self._is_looking:
            self._is_looking = True
            self._tasks.run(stamps_of, tuple(self._stamps), on_done=self._compare)

    def _on_opened(self, event: StudyOpened) -> None:
        paths = {path for path in self._paths(event.uid) if path not in self._stamps}
        if paths:
            self._tasks.run(stamps_of, tuple(paths), on_done=self._remember)

    def _on_closed(self, _event: StudyClosed) -> None:
        """Forget its files, once for all studies that close in one turn."""
        if not self._is_stale:
            self._is_stale = True
            self._tasks.post(self._prune)

    def _prune(self) -> None:
        if not self._is_stale:
            return
        self._is_stale = False
        kept = {path for uid in self._workspace.studies for path in self._paths(uid)}
        self._stamps = {path: stamp for path, stamp in self._stamps.items() if path in kept}

    def _paths(self, study_uid: str) -> Iterable[Path]:
        study = self._workspace.studies.get(study_uid)
        for series in study.series if study is not None else ():
            for instance in series.instances:
                yield instance.path

    def _remember(self, stamps: Mapping[Path, Stamp]) -> None:
        self._stamps = {**stamps, **self._stamps}
        if not self._is_waiting:
            self._is_waiting = True
            self._tasks.after(_EVERY_S, self._tick)

    def _tick(self) -> None:
        self._is_waiting = bool(self._stamps)
        if self._is_waiting:
            self.check()
            self._tasks.after(_EVERY_S, self._tick)

    def _compare(self, stamps: Mapping[Path, Stamp]) -> None:
        self._is_looking = False
        self._prune()
        changed = {
            path: stamp
            for path, stamp in stamps.items()
            if path in self._stamps and stamp != self._stamps[path]
        }
        self._stamps.update(changed)
        if changed:
            self._tell(changed)

    def _tell(self, changed: Mapping[Path, Stamp]) -> None:
        workspace = self._workspace
        for path, stamp in changed.items():
            word = "is no longer there" if stamp is None else "changed after it was opened"
            problem = Problem(
                path, f"The file {word}", Severity.WARNING, _HINT, ProblemKind.CHANGED
            )
            workspace.problems.append(problem)
        marked = [
            series
            for study in workspace.studies.values()
            for series in study.series
            if any(instance.path in changed for instance in series.instances)
        ]
        for series in marked:
            workspace.note_series(series.uid, CHANGED)
        count = "One file" if len(changed) == 1 else f"{len(changed)} files"
        first = next(iter(changed)).name
        text = f"{count} of an open study changed or went, first {first}"
        workspace.notify(Level.WARNING, text, _HINT, "study.problems")


def stamps_of(paths: Iterable[Path]) -> dict[Path, Stamp]:
    """What tells a file from the one that was there before."""
    return {path: _stamp(path) for path in paths}


def _stamp(path: Path) -> Stamp:
    try:
        status = os.stat(path)  # noqa: PTH116  (pathlib raises at names it does not like)
    except (OSError, ValueError):
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
