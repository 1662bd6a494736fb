"""Loading: from dropped files to open studies, and from a series to volumes in shared memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from medview.core.arriving import Arriving
from medview.core.errors import Cancelled, MedviewError
from medview.core.events import Level, LoadingChanged, StudyClosed
from medview.core.study import Problem, Series, SeriesKind, Severity, Study
from medview.core.views import HangingProtocol, match
from medview.core.volume import Volume
from medview.io.found import FirstLook, ScanResult
from medview.io.plan import volume_of
from medview.services.room import Room
from medview.services.scanning import Scan
from medview.services.series_loads import TOLD_EVERY_S, SeriesLoads
from medview.services.tasks import Tasks
from medview.services.twins import Twins
from medview.services.workspace import Workspace

Picture = npt.NDArray[np.uint8]

_THUMBNAIL_PX = 96

#: A look at the first image met is worth this much waiting, and then nothing.
_FIRST_LOOK_S = 20.0


def _nothing(_series: Series, _protocol: HangingProtocol | None) -> None:
    """Nobody shows what was chosen."""


_STUDY_FIRST = "Open its images first, or the folder that holds both."


def _is_results(study: Study) -> bool:
    """Whether there is nothing in a study but files of results that are no DICOM."""
    return all(one.kind is SeriesKind.REPORT and not one.is_dicom for one in study.series)


def _not_taken(_studies: tuple[Study, ...], _has_pictures: bool) -> bool:
    """Nobody takes what was opened."""
    return False


def _nothing_with(_what: object) -> None:
    """Nobody waits."""


class Loading:
    """Opens what is dropped on the window and brings the voxels of series into memory.

    All of it runs in import workers; what goes wrong ends in `workspace.problems` and a notice.
    After `open_paths`, `on_first_look` is given the first image met, and None when nothing comes
    of it. The series that a hanging protocol picks is loaded; as soon as anything of it can be seen
    `on_chosen(series, protocol)` is called; the protocol is None where none fits. What is being
    loaded stands in `workspace.arriving`.
    """

    def __init__(
        self,
        workspace: Workspace,
        tasks: Tasks,
        protocols: Sequence[HangingProtocol] = (),
        cache: Path | None = None,
    ) -> None:
        self._workspace = workspace
        self._tasks = tasks
        self._twins = Twins(workspace, tasks)
        self._protocols = tuple(protocols)
        self._room = Room(None if cache is None else cache / "volumes")
        self._series = SeriesLoads(workspace, tasks, self._room, self._tell)
        self._spare_bytes = 0
        self._making_ready = False
        self._thumbnails: dict[str, Picture | None] = {}
        self._scans: list[Scan] = []
        self._told_at = 0.0
        self.on_first_look: Callable[[Arriving | None], object] = _nothing_with
        self.on_chosen: Callable[[Series, HangingProtocol | None], object] = _nothing
        #: Given the studies, and whether there are pictures in them; True where it takes over.
        self.on_opened: Callable[[tuple[Study, ...], bool], bool] = _not_taken
        self.thumbnails: Mapping[str, Picture | None] = MappingProxyType(self._thumbnails)
        workspace.events.study_closed.connect(self._on_study_closed)

    @property
    def idle(self) -> bool:
        """Whether nothing is being opened or loaded."""
        return not self._scans and not self._series.under_way

    def fraction(self, series_uid: str) -> float | None:
        """How far a series is, 0-1; None if it is not being loaded."""
        return self._series.fraction(series_uid)

    def read_first(self, nearest: Callable[[str], int | None]) -> None:
        """Read, of each volume, the plane that `nearest` gives for its UID before the others."""
        self._series.nearest = nearest

    @property
    def scanned(self) -> tuple[int, int] | None:
        """How many files of how many were looked at; None while none are."""
        if not self._scans:
            return None
        done, count = zip(*(scan.progress for scan in self._scans), strict=True)
        return sum(done), sum(count)

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

        def scanned(found: ScanResult) -> None:
            result = self._without_lone_results(found)
            self._workspace.open_studies((), result.problems)
            open_next(result, iter(result.studies))

        def open_next(result: ScanResult, waiting: Iterator[Study]) -> None:
            """One study in a turn: forty at once would hold up the window."""
            study = next(waiting, None)
            if study is not None:
                self._twins.look(study, password)
                self._workspace.open_studies((study,), sources=sources, password=password)
                self._tasks.post(lambda: open_next(result, waiting))
                return
            self._scans.remove(scan)
            self._opened(sources, result.studies, result.problems)
            on_done(result.studies)

        def failed(error: MedviewError) -> None:
            self._scans.remove(scan)
            self.on_first_look(None)
            self._tell(sources[0], error)
            on_done(())

        # Asked for before the scan, which then has the other worker.
        self._look_first(sources, password)
        scan = Scan(
            self._tasks,
            sources,
            password,
            on_done=scanned,
            on_error=failed,
            on_progress=self._on_progress,
        )
        self._scans.append(scan)

    def _without_lone_results(self, found: ScanResult) -> ScanResult:
        """Files of results that are no DICOM say nothing without the study they speak of."""
        known = self._workspace.studies.keys() | {
            study.uid for study in found.studies if any(one.is_dicom for one in study.series)
        }
        lone = [study for study in found.studies if study.uid not in known and _is_results(study)]
        problems = tuple(
            Problem(one.path, "The study these results speak of is not open", hint=_STUDY_FIRST)
            for study in lone
            for series in study.series
            for one in series.instances
        )
        studies = tuple(study for study in found.studies if study not in lone)
        return ScanResult(studies, (*found.problems, *problems))

    def _on_progress(self) -> None:
        done, count = self.scanned or (0, 0)
        if time.monotonic() - self._told_at > TOLD_EVERY_S:
            self._told_at = time.monotonic()
            self._workspace.emit(LoadingChanged("", done / max(1, count)))

    def _look_first(self, sources: tuple[Path, ...], password: str) -> None:
        """Show the first image met while the others are still being found."""

        def met(look: FirstLook | None) -> None:
            if look is not None and self._scans:
                volume = volume_of(look.plan, look.voxels)
                there = np.ones(1, dtype=np.bool_)
                self.on_first_look(Arriving(look.study, look.study.series[0], volume, there))

        self._tasks.call_import(
            "medview.io.first_look:first_look",
            sources,
            password,
            on_done=met,
            # Whatever is wrong with the file, the scan will say.
            on_error=_nothing_with,
            timeout_s=_FIRST_LOOK_S,
            priority=-1,
        )

    def _opened(
        self, sources: tuple[Path, ...], studies: tuple[Study, ...], problems: tuple[Problem, ...]
    ) -> None:
        refused = [problem for problem in problems if problem.severity is Severity.REFUSED]
        named = ", ".join(path.name for path in sources)
        if not studies:
            self.on_first_look(None)
            reason = f": {refused[0].reason}" if refused else ""
            hint = refused[0].hint if refused else "Open DICOM, NIfTI, NRRD, MetaImage or pictures."
            self._workspace.notify(Level.ERROR, f"Nothing readable in {named}{reason}", hint)
            return
        if refused:
            count = "One file" if len(refused) == 1 else f"{len(refused)} files"
            first = refused[0]
            text = f"{count} could not be read, first {first.path.name}: {first.reason}"
            self._workspace.notify(Level.WARNING, text, first.hint, "study.problems")
        has_pictures = any(one.kind.is_shown for study in studies for one in study.series)
        is_taken = self.on_opened(studies, has_pictures)
        if is_taken and not has_pictures:
            self.on_first_look(None)
        elif not self._show_first(studies):
            self.on_first_look(None)
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
        """The series to show first, by protocol if one fits, else that with most pictures."""
        try:
            protocol, series = match(self._protocols, study)
        except LookupError:
            pictures = [one for one in study.series if one.kind.is_shown]
            largest = max(pictures, key=lambda one: len(one.instances), default=None)
            return None if largest is None else (largest, None)
        return series, protocol

    def _load_chosen(
        self, series: Series, protocol: HangingProtocol | None, rest: Sequence[Study]
    ) -> None:
        def failed(error: MedviewError) -> None:
            if isinstance(error, Cancelled) or not self._show_first(rest):
                self.on_first_look(None)

        self.load_series(
            series.uid, on_error=failed, on_sight=lambda: self.on_chosen(series, protocol)
        )

    # Loading

    def load_series(
        self,
        series_uid: str,
        on_done: Callable[[tuple[Volume, ...]], object] = _nothing_with,
        on_error: Callable[[MedviewError], object] = _nothing_with,
        on_sight: Callable[[], object] | None = None,
    ) -> None:
        """Bring all volumes and clips of a series into memory; see `SeriesLoads.load`."""
        self._series.load(series_uid, on_done, on_error, on_sight)

    def cancel(self, series_uid: str) -> None:
        """Stop loading a series; nothing of it stays."""
        self._series.cancel(series_uid)

    # Memory at hand

    def keep_ready(self, nbytes: int) -> None:
        """From now on have memory for a volume of up to `nbytes` at hand before one is opened.

        With 0 what is at hand goes back, and no more is asked for.
        """
        self._spare_bytes = nbytes
        if nbytes:
            self._workspace.events.loading_changed.connect(self._make_ready, unique=True)
            self._make_ready()
        else:
            self._workspace.events.loading_changed.disconnect(self._make_ready, missing_ok=True)
            self._room.close()

    def close(self) -> None:
        """Give back the memory that is at hand."""
        self._room.close()

    def _make_ready(self, _event: LoadingChanged | None = None) -> None:
        if self._making_ready or self._room.has_spare or not self.idle:
            return
        self._making_ready = True

        def made(_nothing: None) -> None:
            self._making_ready = False

        self._tasks.run(self._room.make_spare, self._spare_bytes, on_done=made)

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
        middle = len(series.instances) // 2
        # The middle image tells a series; all others would have to be sent and planned.
        series = replace(series, instances=series.instances[middle : middle + 1])

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
        for uid in self._series.under_way:
            if uid not in open_series:
                self._tasks.post(partial(self.cancel, uid))
        for uid in [uid for uid in self._thumbnails if uid not in open_series]:
            del self._thumbnails[uid]
