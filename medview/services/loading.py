"""Loading: from dropped files to open studies, and from a series to volumes in shared memory."""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from medview.core.errors import Cancelled, MedviewError, ReadError
from medview.core.events import Level, LoadingChanged, StudyClosed
from medview.core.shared_array import SharedArray
from medview.core.study import Problem, Series, Severity, Study
from medview.core.views import HangingProtocol, match
from medview.core.volume import Volume
from medview.io.plan import SeriesPlan, VolumePlan, volume_of
from medview.services.tasks import Task, Tasks
from medview.services.workspace import Workspace

Picture = npt.NDArray[np.uint8]

#: Where shared memory lives, if it is a file system of its own with its own limit.
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  (asked how much is free, never written by name)

#: Memory left to everybody else when a volume is allocated.
_MARGIN_BYTES = 64 << 20

#: A worker is given about this much at once: enough to be quick, little enough to show progress.
_PORTION_BYTES = 8 << 20

_THUMBNAIL_PX = 96

#: Encodings of raw data (see PixelFormat) without a way into the middle.
_FROM_THE_START = frozenset({"gzip", "zlib", "bzip2", "text"})


def _nothing(_series: Series, _protocol: HangingProtocol | None) -> None:
    """Nobody shows what was chosen."""


def _nothing_with(_what: object) -> None:
    """Nobody waits."""


@dataclass(eq=False)
class _Filling:
    """One volume being filled."""

    plan: VolumePlan
    shared: SharedArray
    left: int
    problems: list[Problem] = field(default_factory=list)


@dataclass(eq=False)
class _Load:
    """One series being loaded."""

    series: Series
    on_done: list[Callable[[tuple[Volume, ...]], object]]
    on_error: list[Callable[[MedviewError], object]]
    tasks: list[Task] = field(default_factory=list)
    fillings: list[_Filling] = field(default_factory=list)
    slices: int = 0
    filled: int = 0
    is_over: bool = False


class Loading:
    """Opens what is dropped on the window and brings the voxels of series into memory.

    All of it runs in import workers; what goes wrong ends in `workspace.problems` and a notice.
    After `open_paths`, the series that a hanging protocol picks is loaded and handed to
    `on_chosen(series, protocol)`; the protocol is None where none fits.
    """

    def __init__(
        self, workspace: Workspace, tasks: Tasks, protocols: Sequence[HangingProtocol] = ()
    ) -> None:
        self._workspace = workspace
        self._tasks = tasks
        self._protocols = tuple(protocols)
        self._loads: dict[str, _Load] = {}
        self._thumbnails: dict[str, Picture | None] = {}
        self._scans = 0
        self.on_chosen: Callable[[Series, HangingProtocol | None], object] = _nothing
        self.thumbnails: Mapping[str, Picture | None] = MappingProxyType(self._thumbnails)
        workspace.events.study_closed.connect(self._on_study_closed)

    @property
    def idle(self) -> bool:
        """Whether nothing is being opened or loaded."""
        return not self._scans and not self._loads

    def fraction(self, series_uid: str) -> float | None:
        """How far a series is, 0-1; None if it is not being loaded."""
        load = self._loads.get(series_uid)
        return None if load is None else load.filled / max(1, load.slices)

    # Opening

    def open_paths(
        self,
        paths: Sequence[Path],
        password: str = "",
        *,
        on_done: Callable[[tuple[Study, ...]], object] = _nothing_with,
    ) -> None:
        """Look through files, folders and archives and open the studies found there.

        `on_done` hears the studies, none if nothing was readable.
        """
        sources = tuple(path.absolute() for path in paths)
        self._scans += 1

        def scanned(result: Any) -> None:
            self._scans -= 1
            self._workspace.open_studies(
                result.studies, result.problems, sources=sources, password=password
            )
            self._opened(sources, tuple(result.studies), tuple(result.problems))
            on_done(tuple(result.studies))

        def failed(error: MedviewError) -> None:
            self._scans -= 1
            self._tell(sources[0], error)
            on_done(())

        self._tasks.call_import(
            "medview.io.scan:scan",
            sources,
            password,
            on_done=scanned,
            on_error=failed,
            timeout_s=900.0,
        )

    def _opened(
        self, sources: tuple[Path, ...], studies: tuple[Study, ...], problems: tuple[Problem, ...]
    ) -> None:
        refused = [problem for problem in problems if problem.severity is Severity.REFUSED]
        named = ", ".join(path.name for path in sources)
        if not studies:
            reason = f": {refused[0].reason}" if refused else ""
            hint = refused[0].hint if refused else "Open DICOM, NIfTI, NRRD, MetaImage or pictures."
            self._workspace.notify(Level.ERROR, f"Nothing readable in {named}{reason}", hint)
            return
        if refused:
            count = "One file" if len(refused) == 1 else f"{len(refused)} files"
            first = refused[0]
            text = f"{count} could not be read, first {first.path.name}: {first.reason}"
            self._workspace.notify(Level.WARNING, text, first.hint)
        if not self._show_first(studies):
            self._workspace.notify(Level.WARNING, "There are no pictures in what was opened")

    def _show_first(self, studies: Sequence[Study]) -> bool:
        """Load the series that a protocol picks of the first study with pictures, if any has.

        If they turn out to be unreadable, it is the next study's turn.
        """
        for number, study in enumerate(studies, start=1):
            found = self._choose(self._workspace.studies[study.uid])
            if found is not None:
                self._load_chosen(*found, rest=studies[number:])
                return True
        return False

    def _choose(self, study: Study) -> tuple[Series, HangingProtocol | None] | None:
        """The series to show first, by protocol if one fits, else the first with pictures."""
        try:
            protocol, series = match(self._protocols, study)
        except LookupError:
            pictures = [one for one in study.series if one.kind.is_shown]
            return (pictures[0], None) if pictures else None
        return series, protocol

    def _load_chosen(
        self, series: Series, protocol: HangingProtocol | None, rest: Sequence[Study]
    ) -> None:
        def loaded(volumes: tuple[Volume, ...]) -> None:
            if volumes:
                self.on_chosen(series, protocol)

        def failed(error: MedviewError) -> None:
            if not isinstance(error, Cancelled):
                self._show_first(rest)

        self.load_series(series.uid, loaded, failed)

    # Loading

    def load_series(
        self,
        series_uid: str,
        on_done: Callable[[tuple[Volume, ...]], object] = _nothing_with,
        on_error: Callable[[MedviewError], object] = _nothing_with,
    ) -> None:
        """Bring all volumes of a series into shared memory and into the workspace.

        Those already there are handed over at once (at the next pump). `on_error` hears why
        nothing came; the reader is told besides.
        """
        series = self._workspace.series(series_uid)
        there = self._workspace.volumes_of(series_uid)
        running = self._loads.get(series_uid)
        if running is not None:
            running.on_done.append(on_done)
            running.on_error.append(on_error)
        elif there:
            self._tasks.post(lambda: on_done(there))
        else:
            load = _Load(series, [on_done], [on_error])
            self._loads[series_uid] = load
            self._workspace.emit(LoadingChanged(series_uid, 0.0))
            password = self._password_of(series)
            self._call(load, "medview.io.reading:plan", series, password, then=self._planned)

    def cancel(self, series_uid: str) -> None:
        """Stop loading a series; nothing of it stays."""
        load = self._loads.get(series_uid)
        if load is not None:
            self._fail(load, Cancelled())

    def _call(
        self, load: _Load, target: str, *arguments: Any, then: Callable[[_Load, Any], None]
    ) -> None:
        def done(result: Any) -> None:
            if not load.is_over:
                then(load, result)

        def failed(error: MedviewError) -> None:
            if not load.is_over:
                self._fail(load, error)

        load.tasks.append(
            self._tasks.call_import(
                target, *arguments, on_done=done, on_error=failed, timeout_s=600.0
            )
        )

    def _planned(self, load: _Load, plan: SeriesPlan) -> None:
        self._workspace.problems.extend(plan.problems)
        if not plan.volumes:
            reason = plan.problems[0].reason if plan.problems else "it holds no pictures"
            name = load.series.description or load.series.modality
            self._fail(load, ReadError(f"The series {name} cannot be shown: {reason}"))
            return
        try:
            for volume in plan.volumes:
                load.fillings.append(_Filling(volume, _allocate(volume), 0))
        except ReadError as error:
            self._fail(load, error)
            return
        load.slices = sum(volume.shape[0] for volume in plan.volumes)
        for filling in load.fillings:
            self._fill(load, filling)

    def _fill(self, load: _Load, filling: _Filling) -> None:
        """Ask for all slices of a volume, in portions for both workers."""
        for start, stop in _portions(filling.plan):
            filling.left += stop - start

            def filled(
                load: _Load, problems: tuple[Problem, ...], *, count: int = stop - start
            ) -> None:
                self._filled(load, filling, count, problems)

            arguments = (filling.plan, filling.shared.key, start, stop)
            self._call(load, "medview.io.reading:fill", *arguments, then=filled)

    def _filled(
        self, load: _Load, filling: _Filling, count: int, problems: tuple[Problem, ...]
    ) -> None:
        filling.left -= count
        filling.problems.extend(problems)
        load.filled += count
        if not filling.left:
            self._workspace.problems.extend(filling.problems)
            if filling.problems and _is_lost(filling):
                self._fail(load, _lost(load.series, filling.problems[0]))
                return
            notes = tuple(dict.fromkeys(problem.reason for problem in filling.problems))
            volume = volume_of(filling.plan, filling.shared.array, notes)
            self._workspace.add_volume(volume, hold=filling.shared)
            load.fillings.remove(filling)
        self._workspace.emit(LoadingChanged(load.series.uid, load.filled / load.slices))
        if load.filled == load.slices:
            self._end(load)
            volumes = self._workspace.volumes_of(load.series.uid)
            for on_done in load.on_done:
                on_done(volumes)

    def _fail(self, load: _Load, error: MedviewError) -> None:
        self._end(load)
        self._workspace.emit(LoadingChanged(load.series.uid, 1.0))
        if not isinstance(error, Cancelled):
            images = load.series.instances
            self._tell(images[0].path if images else Path(), error)
        for on_error in load.on_error:
            on_error(error)

    def _end(self, load: _Load) -> None:
        """Forget a load, and free what nobody has taken over."""
        load.is_over = True
        del self._loads[load.series.uid]
        for task in load.tasks:
            if not task.is_over:
                task.cancel()
        for filling in load.fillings:
            filling.shared.close()
        load.fillings.clear()

    # Thumbnails

    def thumbnail(self, series_uid: str, on_done: Callable[[Picture | None], object]) -> None:
        """Give the small picture of a series, from memory or, behind other work, from its file.

        None for a series without pictures. `thumbnails` holds those that came.
        """
        if series_uid in self._thumbnails:
            picture = self._thumbnails[series_uid]
            self._tasks.post(lambda: on_done(picture))
            return

        series = self._workspace.series(series_uid)

        def came(picture: Picture | None) -> None:
            self._thumbnails[series_uid] = picture
            on_done(picture)

        self._tasks.call_import(
            "medview.io.reading:thumbnail",
            series,
            _THUMBNAIL_PX,
            self._password_of(series),
            on_done=came,
            on_error=lambda _error: came(None),
            timeout_s=60.0,
            priority=9,
        )

    def _password_of(self, series: Series) -> str:
        return self._workspace.password_of(series.study_uid)

    def _tell(self, path: Path, error: MedviewError) -> None:
        self._workspace.problems.append(Problem(path, error.user_text, hint=error.hint))
        self._workspace.notify(Level.ERROR, error.user_text, error.hint)

    def _on_study_closed(self, _event: StudyClosed) -> None:
        open_series = {one.uid for s in self._workspace.studies.values() for one in s.series}
        for uid in [uid for uid in self._loads if uid not in open_series]:
            self._tasks.post(partial(self.cancel, uid))
        for uid in [uid for uid in self._thumbnails if uid not in open_series]:
            del self._thumbnails[uid]


def _portions(plan: VolumePlan) -> list[tuple[int, int]]:
    """Ranges of slices of about equal size, an even number where there are enough.

    What can only be unpacked from its beginning is not unpacked twice: one range.
    """
    slices = plan.shape[0]
    if any(plane.member or plane.format.encoding in _FROM_THE_START for plane in plan.planes):
        return [(0, slices)]
    count = min(slices, max(2, 2 * math.ceil(plan.nbytes / _PORTION_BYTES / 2)))
    edges = [round(n * slices / count) for n in range(count + 1)]
    return list(itertools.pairwise(edges))


def _is_lost(filling: _Filling) -> bool:
    """Whether nothing could be read: every voxel has the value of a missing plane."""
    return bool((filling.shared.array == filling.plan.blank).all())


def _lost(series: Series, problem: Problem) -> ReadError:
    name = series.description or series.modality
    return ReadError(f"The series {name} cannot be shown: {problem.reason}", problem.hint)


def _allocate(plan: VolumePlan) -> SharedArray:
    """Shared memory for a volume; ReadError if there is not enough.

    A file system in memory hands out more than it has and kills whoever writes there, so it is
    asked first.
    """
    free = shutil.disk_usage(_SHARED_MEMORY).free if _SHARED_MEMORY.is_dir() else None
    need_mb = math.ceil(plan.nbytes / 1e6)
    words = f"The volume needs {need_mb} MB of memory, more than there is"
    if free is not None and plan.nbytes + _MARGIN_BYTES > free:
        raise ReadError(words, "Close other studies or programs.", f"{free} bytes free")
    try:
        return SharedArray.create(plan.shape, plan.dtype)
    except (OSError, MemoryError, OverflowError) as error:
        raise ReadError(words, "Close other studies or programs.", str(error)) from error
