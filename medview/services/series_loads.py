"""Series loads: from a series to its volumes and clips in shared memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from medview.core.arriving import Arriving
from medview.core.errors import Cancelled, MedviewError, ReadError
from medview.core.events import Level, LoadingChanged
from medview.core.shared_array import SharedArray
from medview.core.study import Problem, Series
from medview.core.volume import Volume
from medview.io.plan import SeriesPlan, clip_of, frame_problems, volume_of
from medview.services.arrival import Arrival
from medview.services.planning import Planning
from medview.services.room import Room
from medview.services.tasks import Tasks
from medview.services.workspace import Workspace

#: Progress is told this often at most: every view paints anew for it.
TOLD_EVERY_S = 0.1


def _nowhere(_volume_uid: str) -> int | None:
    """Nobody looks at any plane."""
    return None


def _nothing_with(_what: object) -> None:
    """Nobody waits."""


@dataclass(eq=False)
class _Load:
    """One series being loaded: its plan is asked for, then its volumes arrive."""

    series: Series
    on_done: list[Callable[[tuple[Volume, ...]], object]]
    on_error: list[Callable[[MedviewError], object]]
    on_sight: list[Callable[[], object]] = field(default_factory=list)
    planning: Planning | None = None
    arrivals: list[Arrival] = field(default_factory=list)
    left: int = 0
    told_at: float = 0.0
    is_over: bool = False

    @property
    def fraction(self) -> float:
        """How much of it is there, 0-1."""
        total = sum(arrival.there.size for arrival in self.arrivals)
        return sum(int(arrival.there.sum()) for arrival in self.arrivals) / max(1, total)


class SeriesLoads:
    """The series that are being loaded: planned, given room, and filled from the looked at on.

    `nearest` says which plane of a volume to read next; `tell` what went wrong, with its file.
    """

    def __init__(
        self,
        workspace: Workspace,
        tasks: Tasks,
        room: Room,
        tell: Callable[[Path, MedviewError], object],
    ) -> None:
        self._workspace = workspace
        self._tasks = tasks
        self._room = room
        self._tell = tell
        self._loads: dict[str, _Load] = {}
        self.nearest: Callable[[str], int | None] = _nowhere

    @property
    def under_way(self) -> tuple[str, ...]:
        """The series that are being loaded."""
        return tuple(self._loads)

    def fraction(self, series_uid: str) -> float | None:
        """How far a series is, 0-1; None if it is not being loaded."""
        load = self._loads.get(series_uid)
        return None if load is None else load.fraction

    def load(
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

        load.planning = Planning(
            self._tasks,
            series,
            self._workspace.password_of(series.study_uid),
            study.companions_of(series),
            on_done=lambda plan: None if load.is_over else self._planned(load, plan),
            on_error=failed,
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
        elif time.monotonic() - load.told_at > TOLD_EVERY_S:
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
        if load.planning is not None:
            load.planning.cancel()
        for arrival in load.arrivals:
            if not arrival.is_complete:
                arrival.cancel()
                self._workspace.drop_arriving(arrival.plan.uid)
                arrival.shared.close()


def _lost(series: Series, problems: Sequence[Problem]) -> ReadError:
    name = series.description or series.modality
    reason, hint = (problems[0].reason, problems[0].hint) if problems else ("nothing is in it", "")
    return ReadError(f"The series {name} cannot be shown: {reason}", hint)
