"""Scanning: files and folders looked through by all import workers, and sorted into studies.

The files are listed, their headers read in batches, and what was read is sorted by one worker.
A file, or a member of an archive, that kills its worker or keeps it busy too long costs itself: it
is named, and the rest is read, or sorted, again without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from medview.core.errors import Cancelled, MedviewError
from medview.core.study import Problem, Series, Severity, Study
from medview.io.found import Listed, Lost, Reading, ScanResult, Sealed, Survey
from medview.services.lanes import LostAtError
from medview.services.tasks import Task, Tasks

#: A header is a matter of microseconds: who needs this much processor time for one is hostile.
#: Members of archives are unpacked for it.
_FILE_CPU_S = 4.0

#: A disk that has to spin up, or a share that is far away, is given time.
_FILE_WALL_S = 60.0

_LISTING_S = 300.0

#: Sorting compares pixels where files share an identifier, and gathers many thousand headers.
_SORTING_CPU_S, _SORTING_S = 30.0, 300.0

#: Files in one batch: a call costs about as much as ten headers, and others wait for its end.
_SMALLEST, _LARGEST = 16, 250

#: Behind what the reader looks at, before thumbnails.
_PRIORITY = 4


def _nothing() -> None:
    """Nobody follows the progress."""


class Scan:
    """One look through the given paths; `on_done` hears the result, on the owner's thread.

    `on_error` hears why there is none: it was cancelled, or the listing or sorting failed.
    `on_progress` is called as `progress` changes.
    """

    def __init__(
        self,
        tasks: Tasks,
        paths: Sequence[Path],
        password: str = "",
        *,
        on_done: Callable[[ScanResult], object],
        on_error: Callable[[MedviewError], object],
        on_progress: Callable[[], object] = _nothing,
    ) -> None:
        self._tasks = tasks
        self._password = password
        self._on_done = on_done
        self._on_error = on_error
        self._on_progress = on_progress
        self._running: set[Task] = set()
        self._survey = Survey((), ())
        self._readings: dict[int, Sealed] = {}
        self._pieces: list[ScanResult] = []
        self._unsorted: dict[int, tuple[str, str]] = {}
        self._left = 0
        self._is_over = False
        self._call("survey", tuple(paths), then=self._surveyed, timeout_s=_LISTING_S)

    @property
    def progress(self) -> tuple[int, int]:
        """Files read, and files there are; 0 of 0 while they are listed."""
        count = len(self._survey.files)
        return count - self._left, count

    def cancel(self) -> None:
        """Stop; `on_error` hears Cancelled."""
        self._fail(Cancelled())

    def _call(
        self,
        function: str,
        *arguments: Any,
        then: Callable[[Any], None],
        timeout_s: float,
        **options: Any,
    ) -> None:
        """Run a function of the scan in a worker; nothing is heard of it once all is over."""
        task: Task

        def done(result: Any) -> None:
            self._running.discard(task)
            if not self._is_over:
                then(result)

        def failed(error: MedviewError) -> None:
            self._running.discard(task)
            if not self._is_over:
                (otherwise or self._fail)(error)

        otherwise = options.pop("otherwise", None)
        task = self._tasks.call_import(
            f"medview.io.scan:{function}",
            *arguments,
            on_done=done,
            on_error=failed,
            timeout_s=timeout_s,
            priority=_PRIORITY,
            **options,
        )
        self._running.add(task)

    def _surveyed(self, survey: Survey) -> None:
        self._survey = survey
        count = self._left = len(survey.files)
        size = min(max(count // 4 + 1, _SMALLEST), _LARGEST)
        for start in range(0, count, size):
            self._read(start, min(start + size, count))
        self._sort_if_read()

    def _read(self, start: int, stop: int, lost: Lost | None = None) -> None:
        """Ask for the headers of files [start, stop); of one archive without what is lost of it."""
        lost = lost or {}
        if start >= stop:
            return
        files: tuple[Listed, ...] = self._survey.files[start:stop]
        self._call(
            "read_sealed",
            files,
            self._password,
            self._survey.roots,
            lost,
            then=partial(self._take, start, stop),
            otherwise=partial(self._narrow, start, stop, lost),
            timeout_s=_FILE_WALL_S,
            step_cpu_s=_FILE_CPU_S,
        )

    def _take(self, start: int, stop: int, reading: Sealed) -> None:
        self._readings[start] = reading
        self._left -= stop - start
        self._on_progress()
        self._sort_if_read()

    def _narrow(self, start: int, stop: int, lost: Lost, error: MedviewError) -> None:
        """One file of a batch, or a part of it, cost its worker: the others are read again."""
        place, part = (error.at, error.part) if isinstance(error, LostAtError) else (0, 0)
        at = start + place
        self._read(start, at)
        self._read(at + 1, stop)
        # What cannot be read although the part is left alone is lost as a whole.
        if part and part not in lost:
            self._read(at, at + 1, {**lost, part: (error.user_text, error.hint)})
            return
        root, path = self._survey.files[at]
        problem = Problem(Path(path), error.user_text, Severity.REFUSED, error.hint)
        reading = Reading(problems=(problem,), found=frozenset((root,)))
        self._take(at, at + 1, Sealed.of(reading))

    def _sort_if_read(self) -> None:
        if self._left:
            return
        readings = [self._readings[start] for start in sorted(self._readings)]
        self._readings.clear()
        self._sort(readings)

    def _sort(self, readings: Sequence[Sealed]) -> None:
        self._pieces.clear()
        self._call(
            "sort",
            replace(self._survey, files=()),
            readings,
            self._unsorted,
            then=self._finish,
            otherwise=partial(self._sort_without, readings),
            timeout_s=_SORTING_S,
            step_cpu_s=_SORTING_CPU_S,
            on_piece=self._pieces.append,
        )

    def _sort_without(self, readings: Sequence[Sealed], error: MedviewError) -> None:
        """One file cost its worker while it was sorted: the others are sorted again."""
        count = sum(reading.records for reading in readings)
        at = error.at if isinstance(error, LostAtError) else count
        if at >= count or at in self._unsorted:
            self._fail(error)
            return
        self._unsorted[at] = error.user_text, error.hint
        self._sort(readings)

    def _finish(self, _nothing: None) -> None:
        self._is_over = True
        self._on_done(_joined(self._pieces))

    def _fail(self, error: MedviewError) -> None:
        if self._is_over:
            return
        self._is_over = True
        for task in self._running:
            task.cancel()
        self._on_error(error)


def scan_now(tasks: Tasks, paths: Sequence[Path], password: str = "") -> ScanResult:
    """Look through the given paths and wait for the result; raises what the scan fails with."""
    results: list[ScanResult] = []
    errors: list[MedviewError] = []
    Scan(tasks, paths, password, on_done=results.append, on_error=errors.append)
    tasks.wait_until(lambda: bool(results or errors))
    if errors:
        raise errors[0]
    return results[0]


def _joined(pieces: Sequence[ScanResult]) -> ScanResult:
    """One result of the pieces in which it came; a study that was cut is put together again."""
    studies: dict[str, Study] = {}
    problems: list[Problem] = []
    for piece in pieces:
        problems += piece.problems
        for study in piece.studies:
            before = studies.get(study.uid)
            studies[study.uid] = study if before is None else _longer(before, study)
    return ScanResult(tuple(studies.values()), tuple(problems))


def _longer(study: Study, more: Study) -> Study:
    series: dict[str, Series] = {one.uid: one for one in study.series}
    for one in more.series:
        before = series.get(one.uid)
        images = one.instances if before is None else before.instances + one.instances
        series[one.uid] = replace(one if before is None else before, instances=images)
    return replace(study, series=tuple(series.values()))
