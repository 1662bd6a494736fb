"""Loading: from dropped files to open studies, and from a series to volumes in shared memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from medview.core.arriving import Arriving
from medview.core.errors import Cancelled, MedviewError, ReadError
from medview.core.events import Level, LoadingChanged, StudyClosed
from medview.core.shared_array import SharedArray
from medview.core.study import Problem, Series, Severity, Study
from medview.core.views import HangingProtocol, match
from medview.core.volume import Volume
from medview.io.found import FirstLook, ScanResult
from medview.io.plan import SeriesPlan, clip_of, frame_problems, volume_of
from medview.services.arrival import Arrival
from medview.services.room import Room
from medview.services.scanning import Scan
from medview.services.tasks import Task, Tasks
from medview.services.twins import Twins
from medview.services.workspace import Workspace

Picture = npt.NDArray[np.uint8]

_THUMBNAIL_PX = 96

#: Progress is told this often at most: every view paints anew for it.
_TOLD_EVERY_S = 0.1

#: A look at the first image met is worth this much waiting, and then nothing.
_FIRST_LOOK_S = 20.0

_PLANNING_S = 300.0


def _nothing(_series: Series, _protocol: HangingProtocol | None) -> None:
    """Nobody shows what was chosen."""


def _nothing_with(_what: object) -> None:
    """Nobody waits."""


def _nowhere(_volume_uid: str) -> int | None:
    """Nobody looks at any plane."""
    return None


@dataclass(eq=False)
class _Load:
    """One series being loaded: its plan is asked for, then its volumes arrive."""

    series: Series
    on_done: list[Callable[[tuple[Volume, ...]], object]]
    on_error: list[Callable[[MedviewError], object]]
    on_sight: list[Callable[[], object]] = field(default_factory=list)
    planning: Task | None = None
    arrivals: list[Arrival] = field(default_factory=list)
    left: int = 0
    told_at: float = 0.0
    is_over: bool = False

    @property
    def fraction(self) -> float:
        """How much of it is there, 0-1."""
        total = sum(arrival.there.size for arrival in self.arrivals)
        return sum(int(arrival.there.sum()) for arrival in self.arrivals) / max(1, total)


class Loading:
    """Opens what is dropped on the window and brings the voxels of series into memory.

    All of it runs in import workers; what goes wrong ends in `workspace.problems` and a notice.
    After `open_paths`, `on_first_look` is given the first image met, and None when nothing comes
    of it. The series that a hanging protocol picks is loaded; as soon as anything of it can be seen
    `on_chosen(series, protocol)` is called; the protocol is None where none fits. What is being
    loaded stands in `workspace.arriving`; `nearest` says which plane of a volume to read next.
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
        self._loads: dict[str, _Load] = {}
        self._thumbnails: dict[str, Picture | None] = {}
        self._scans: list[Scan] = []
        self._told_at = 0.0
        self.on_first_look: Callable[[Arriving | None], object] = _nothing_with
        self.on_chosen: Callable[[Series, HangingProtocol | None], object] = _nothing
        self.nearest: Callable[[str], int | None] = _nowhere
        self.thumbnails: Mapping[str, Picture | None] = MappingProxyType(self._thumbnails)
        workspace.events.study_closed.connect(self._on_study_closed)

    @property
    def idle(self) -> bool:
        """Whether nothing is being opened or loaded."""
        return not self._scans and not self._loads

    def fraction(self, series_uid: str) -> float | None:
        """How far a series is, 0-1; None if it is not being loaded."""
        load = self._loads.get(series_uid)
        return None if load is None else load.fraction

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

        def scanned(result: ScanResult) -> None:
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

    def _on_progress(self) -> None:
        done, count = self.scanned or (0, 0)
        if time.monotonic() - self._told_at > _TOLD_EVERY_S:
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
        if not self._show_first(studies):
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
        """Bring all volumes and clips of a series into shared memory and into the workspace.

        Those already there are handed over at once (at the next pump). `on_sight` hears when the
        first of it can be seen, `on_done` when all of it is there, and `on_error` why nothing
        came; the reader is told besides.
        """
        series = self._workspace.series(series_uid)
        there = self._workspace.volumes_of(series_uid)
        running = self._loads.get(series_uid)
        if self._workspace.is_loaded(series_uid) and running is None:
            self._tasks.post(lambda: on_done(there))
            if on_sight is not None:
                self._tasks.post(on_sight)
            return
        load = running or _Load(series, [], [])
        load.on_done.append(on_done)
        load.on_error.append(on_error)
        if on_sight is not None:
            if self._is_in_sight(load):
                self._tasks.post(on_sight)
            else:
                load.on_sight.append(on_sight)
        if running is None:
            self._loads[series_uid] = load
            self._workspace.emit(LoadingChanged(series_uid, 0.0))
            self._plan(load)

    def _plan(self, load: _Load) -> None:
        series = load.series
        study = self._workspace.study_of(series.uid)

        def failed(error: MedviewError) -> None:
            if not load.is_over:
                self._fail(load, error)

        load.planning = self._tasks.call_import(
            "medview.io.reading:plan",
            series,
            self._password_of(series),
            study.companions_of(series),
            on_done=lambda plan: None if load.is_over else self._planned(load, plan),
            on_error=failed,
            timeout_s=_PLANNING_S,
        )

    def cancel(self, series_uid: str) -> None:
        """Stop loading a series; nothing of it stays."""
        load = self._loads.get(series_uid)
        if load is not None:
            self._fail(load, Cancelled())

    def _planned(self, load: _Load, plan: SeriesPlan) -> None:
        self._workspace.problems.extend(plan.problems)
        if not plan.volumes:
            reason = plan.problems[0].reason if plan.problems else "it holds no pictures"
            name = load.series.description or load.series.modality
            self._fail(load, ReadError(f"The series {name} cannot be shown: {reason}"))
            return
        try:
            self._arrive(load, plan)
        except ReadError as error:
            self._fail(load, error)
            return
        if left_out := len(plan.volumes) - len(load.arrivals):
            text = f"{left_out} of {len(plan.volumes)} clips of the series do not fit into memory"
            self._workspace.notify(Level.WARNING, text, "Close other studies and open it again.")

    def _arrive(self, load: _Load, plan: SeriesPlan) -> None:
        """Let all volumes come, the first before the others.

        ReadError where there is no room; of several clips come as many as there is room for.
        """
        blocks: list[SharedArray] = []
        for one in plan.volumes:
            try:
                blocks.append(self._room.allocate(one))
            except ReadError:
                if one.is_clip and blocks:
                    break
                for block in blocks:
                    block.close()
                raise
        load.left = len(blocks)
        for number, (one, block) in enumerate(zip(plan.volumes, blocks, strict=False)):
            changed = partial(self._changed, load)
            arrival = Arrival(self._tasks, one, block, changed, priority=min(number, 1))
            load.arrivals.append(arrival)

    def _changed(self, load: _Load, arrival: Arrival) -> None:
        """More planes came, or were given up."""
        near = self.nearest(arrival.plan.uid)
        if near is not None:
            arrival.nearest = near
        if arrival.is_complete:
            self._complete(load, arrival)
        else:
            self._put_in_sight(load, arrival)
        if load.is_over:
            return
        if not load.left:
            self._finish(load)
        elif time.monotonic() - load.told_at > _TOLD_EVERY_S:
            load.told_at = time.monotonic()
            self._workspace.emit(LoadingChanged(load.series.uid, load.fraction))

    def _is_in_sight(self, load: _Load) -> bool:
        uid = load.series.uid
        return self._workspace.is_loaded(uid) or self._workspace.arriving_of(uid) is not None

    def _put_in_sight(self, load: _Load, arrival: Arrival) -> None:
        """The first planes of the first volume of a series can be looked at."""
        plan = arrival.plan
        # Only planes that could be read are worth seeing before the others.
        seen = len(arrival.lost) < int(arrival.there.sum())
        if plan.is_clip or arrival is not load.arrivals[0] or not seen or self._is_in_sight(load):
            return
        study = self._workspace.study_of(load.series.uid)
        volume = volume_of(plan, arrival.shared.array)
        self._workspace.put_arriving(Arriving(study, load.series, volume, arrival.there))
        self._tell_sight(load)

    def _tell_sight(self, load: _Load) -> None:
        waiting, load.on_sight = load.on_sight, []
        for on_sight in waiting:
            on_sight()

    def _complete(self, load: _Load, arrival: Arrival) -> None:
        """A volume or clip is there; one without any readable plane is told and put away."""
        plan = arrival.plan
        problems: Sequence[Problem] = arrival.problems
        if plan.is_clip:
            problems = frame_problems(plan, sorted(arrival.lost), problems)
        self._workspace.problems.extend(problems)
        load.left -= 1
        if not arrival.is_lost:
            self._hand_over(arrival)
            self._tell_sight(load)
            return
        self._workspace.drop_arriving(plan.uid)
        arrival.shared.close()
        if not load.left and not self._workspace.is_loaded(load.series.uid):
            self._fail(load, _lost(load.series, problems))

    def _hand_over(self, arrival: Arrival) -> None:
        """What came belongs to the workspace now."""
        plan, shared = arrival.plan, arrival.shared
        if plan.is_clip:
            clip = clip_of(plan, shared.array, tuple(sorted(arrival.lost)))
            self._workspace.add_clip(clip, hold=shared)
            return
        notes = tuple(dict.fromkeys(problem.reason for problem in arrival.problems))
        self._workspace.add_volume(volume_of(plan, shared.array, notes, arrival.lost), hold=shared)

    def _finish(self, load: _Load) -> None:
        load.is_over = True
        del self._loads[load.series.uid]
        self._workspace.emit(LoadingChanged(load.series.uid, 1.0))
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
        if load.planning is not None and not load.planning.is_over:
            load.planning.cancel()
        for arrival in load.arrivals:
            if not arrival.is_complete:
                arrival.cancel()
                self._workspace.drop_arriving(arrival.plan.uid)
                arrival.shared.close()

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
        for uid in [uid for uid in self._loads if uid not in open_series]:
            self._tasks.post(partial(self.cancel, uid))
        for uid in [uid for uid in self._thumbnails if uid not in open_series]:
            del self._thumbnails[uid]


def _lost(series: Series, problems: Sequence[Problem]) -> ReadError:
    name = series.description or series.modality
    reason, hint = (problems[0].reason, problems[0].hint) if problems else ("nothing is in it", "")
    return ReadError(f"The series {name} cannot be shown: {reason}", hint)
