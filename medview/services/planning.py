"""Planning: what reading a series will give, worked out by an import worker that may be lost.

A file that kills its worker, or keeps it busy too long, costs itself: it is a problem of the plan,
and the plan is made again without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from medview.core.errors import Cancelled, MedviewError
from medview.core.study import Problem, Series, Severity
from medview.io.plan import SeriesPlan, planned_files
from medview.services.lanes import LostAtError
from medview.services.tasks import Task, Tasks

#: What one file may take of the processor, and in all. Headers of objects with many thousand
#: frames, and series of many thousand files, take seconds.
_FILE_CPU_S, _FILE_WALL_S = 30.0, 120.0


class Planning:
    """One plan of one series; `on_done` hears it, on the owner's thread.

    `on_error` hears why there is none: it was cancelled, or no file of the series is left.
    """

    def __init__(
        self,
        tasks: Tasks,
        series: Series,
        password: str,
        companions: Sequence[Series],
        *,
        on_done: Callable[[SeriesPlan], object],
        on_error: Callable[[MedviewError], object],
    ) -> None:
        self._tasks = tasks
        self._series = series
        self._password = password
        self._companions = tuple(companions)
        self._on_done = on_done
        self._on_error = on_error
        self._files = planned_files(series, companions)
        self._lost: dict[int, Problem] = {}
        self._task = self._ask()

    def cancel(self) -> None:
        """Stop; `on_error` hears Cancelled."""
        if not self._task.is_over:
            self._task.cancel()

    def _ask(self) -> Task:
        return self._tasks.call_import(
            "medview.io.reading:plan_by_steps",
            self._series,
            self._password,
            self._companions,
            tuple(self._lost),
            on_done=self._planned,
            on_error=self._narrow,
            timeout_s=_FILE_WALL_S,
            step_cpu_s=_FILE_CPU_S,
        )

    def _planned(self, plan: SeriesPlan) -> None:
        self._on_done(replace(plan, problems=(*self._lost.values(), *plan.problems)))

    def _narrow(self, error: MedviewError) -> None:
        """One file cost its worker: the plan is made without it."""
        at = error.at if isinstance(error, LostAtError) else len(self._files)
        known = at in self._lost or at >= len(self._files)
        if known or isinstance(error, Cancelled):
            self._on_error(error)
            return
        file = self._files[at]
        self._lost[at] = Problem(file.shown, error.user_text, Severity.REFUSED, error.hint)
        if all(number in self._lost for number in range(len(self._series.instances))):
            self._on_error(error)
        else:
            self._task = self._ask()
