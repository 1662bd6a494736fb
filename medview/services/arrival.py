"""Arrival: the planes of one volume or clip come into shared memory, the wanted ones first."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from medview.core.errors import Cancelled, MedviewError
from medview.core.shared_array import SharedArray
from medview.core.study import Problem, Severity
from medview.io.plan import VIDEO_SYNTAXES, Filled, PlanePlan, VolumePlan
from medview.services.lanes import LostAtError
from medview.services.tasks import Task, Tasks

#: A worker is given about this much at once: enough to be quick, little enough to be overtaken.
_PORTION_BYTES = 8 << 20

#: Portions into which planes are parted at least that have to be decoded.
_SHARES = 16

#: Portions that are under way or next in the queue; the others can still change their order.
_AT_ONCE = 4

#: Encodings of raw data (see PixelFormat) without a way into the middle.
_FROM_THE_START = VIDEO_SYNTAXES | {"gzip", "zlib", "bzip2", "text", "video"}

#: What decoding a plane may take: so long, and longer the more bytes a plane has. Only then the
#: way to the middle of a packed file. The first plane of its kind on a new installation waits for
#: what walks its stream to be compiled: six seconds on a slow machine.
_PLANE_CPU_S, _BYTES_PER_S, _WAY_S = 20.0, 4e6, 120.0
_PLANE_WALL_S = 120.0

#: A file that has cost so many workers costs no more.
_DEATHS = 2

Portion = tuple[int, int]


class Arrival:
    """One volume or clip on its way into memory: begins at once, ends whole or cancelled.

    `there` says which planes have come, in `lost` are those that could not be read; they have the
    plan's blank value. `on_change` hears of every few planes. A plane that costs its worker is
    lost, and the others of its portion are read again. `nearest` is the plane to be read first.
    """

    def __init__(
        self,
        tasks: Tasks,
        plan: VolumePlan,
        shared: SharedArray,
        on_change: Callable[[Arrival], object],
        *,
        priority: int = 0,
    ) -> None:
        self.plan = plan
        self.shared = shared
        self.there = np.zeros(plan.shape[0], dtype=np.bool_)
        self.lost: set[int] = set()
        self.problems: list[Problem] = []
        self.nearest = plan.shape[0] // 2
        self._tasks = tasks
        self._on_change = on_change
        self._priority = priority
        self._planes = list(plan.planes)
        self._head = replace(plan, planes=())
        self._waiting = portions(plan)
        self._running: set[Task] = set()
        self._deaths: Counter[str] = Counter()
        self._ask()

    @property
    def is_complete(self) -> bool:
        """Whether every plane has come, or is known to be lost."""
        return bool(self.there.all())

    @property
    def is_lost(self) -> bool:
        """Whether not a single plane could be read."""
        return len(self.lost) == self.plan.shape[0]

    def cancel(self) -> None:
        """Ask for no more; nothing is heard of it any longer."""
        self._waiting.clear()
        for task in self._running:
            task.cancel()
        self._running.clear()

    def _ask(self) -> None:
        """Keep the workers busy with what is nearest."""
        while self._waiting and len(self._running) < _AT_ONCE:
            portion = min(self._waiting, key=self._distance)
            self._waiting.remove(portion)
            self._fill(portion)

    def _distance(self, portion: Portion) -> int:
        start, stop = portion
        return max(start - self.nearest, self.nearest - stop + 1, 0)

    def _fill(self, portion: Portion) -> None:
        start, stop = portion
        part = replace(self._head, planes=tuple(self._planes[start:stop]))
        plane_bytes = self.plan.nbytes / max(1, self.plan.shape[0])
        way_s = _WAY_S if is_from_the_start(self.plan) else 0.0
        allowed_s = _PLANE_CPU_S + plane_bytes / _BYTES_PER_S + way_s
        task: Task

        def over(error: MedviewError | None) -> None:
            if task not in self._running:
                return
            self._running.discard(task)
            if error is not None and not isinstance(error, Cancelled):
                self._narrow(portion, error)
            self._ask()

        task = self._tasks.call_import(
            "medview.io.reading:fill",
            part,
            start,
            self.shared.key,
            on_piece=lambda filled: self._take(filled) if task in self._running else None,
            on_done=lambda _: over(None),
            on_error=over,
            timeout_s=_PLANE_WALL_S + allowed_s,
            step_cpu_s=allowed_s,
            priority=self._priority,
        )
        self._running.add(task)

    def _take(self, filled: Filled) -> None:
        self.lost.update(filled.lost)
        self.problems += filled.problems
        self.there[list(filled.planes)] = True
        self._on_change(self)

    def _narrow(self, portion: Portion, error: MedviewError) -> None:
        """One plane of a portion cost its worker: it is lost, the others are read again."""
        start, stop = portion
        at = min(start + (error.at if isinstance(error, LostAtError) else 0), stop - 1)
        plane = self._planes[at]
        missing = replace(plane, file=None)
        self._planes[at] = missing
        if plane.file is not None:
            self.problems.append(self._problem(at, plane, error))
            self._deaths[plane.file] += 1
            if self._deaths[plane.file] >= _DEATHS:
                self._planes = [
                    replace(one, file=None) if one.file == plane.file else one
                    for one in self._planes
                ]
            self._waiting.append(portion)
            return
        # Nothing is read for a missing plane: the fault lies elsewhere, and would come again.
        self.problems.append(Problem(Path(), error.user_text, hint=error.hint))
        self._take(Filled(tuple(range(start, stop)), tuple(range(start, stop))))

    def _problem(self, at: int, plane: PlanePlan, error: MedviewError) -> Problem:
        path = plane.path or Path()
        where = f" (slice {at + 1} of {self.plan.shape[0]}, shown empty)"
        return Problem(
            path / plane.member if plane.member else path,
            error.user_text + (where if self.plan.shape[0] > 1 else ""),
            Severity.REFUSED,
            error.hint,
        )


def portions(plan: VolumePlan) -> list[Portion]:
    """Ranges of planes of about equal size, that in the middle a single plane, to be seen first.

    What can only be unpacked or decoded from its beginning is one range; what lies in one file
    that has to be read as a whole is two.
    """
    count = plan.shape[0]
    if is_from_the_start(plan):
        return [(0, count)]
    middle = count // 2
    size = max(1, math.ceil(_PORTION_BYTES * count / max(1, plan.nbytes)))
    if any(plane.offset < 0 for plane in plan.planes):
        # Decoding takes long enough for workers to end far apart: small shares, or halves of
        # what is read whole for each call.
        size = count if _is_one_file(plan) else min(size, math.ceil(count / _SHARES))
    before = [(max(0, stop - size), stop) for stop in range(middle, 0, -size)]
    after = [(start, min(count, start + size)) for start in range(middle + 1, count, size)]
    return [(middle, middle + 1), *before, *after]


def is_from_the_start(plan: VolumePlan) -> bool:
    """Whether there is no way to a plane but past all planes before it."""
    inside = [plane.path for plane in plan.planes if plane.member and not _is_zip(plane)]
    if len(set(inside)) < len(inside):
        return True
    return any(plane.format.encoding in _FROM_THE_START for plane in plan.planes)


def _is_zip(plane: PlanePlan) -> bool:
    """Whether a member of an archive can be had without those before it."""
    path = plane.path
    return path is None or (path.suffix.lower() == ".zip" and "!/" not in plane.member)


def _is_one_file(plan: VolumePlan) -> bool:
    """Whether all planes lie in one file."""
    return len({(plane.file, plane.member) for plane in plan.planes}) == 1
