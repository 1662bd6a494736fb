"""Planning: what reading a series will give, worked out by an import worker that may be lost.

A file that kills its worker, or keeps it busy too long, costs itself: it is a problem of the plan,
and the plan is made again without it. Where files do so only together, when they are grouped, the
one without which the others can be planned is searched for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from medview.core.errors import MedviewError
from medview.core.study import Problem, Series, Severity
from medview.io.plan import SeriesPlan, planned_files
from medview.services.lanes import LostAtError
from medview.services.tasks import Task, Tasks

#: What one file may take of the processor, and in all. Headers of objects with many thousand
#: frames, and series of many thousand files, take seconds.
_FILE_CPU_S, _FILE_WALL_S = 30.0, 120.0

#: So many files are searched for; where more are at fault it is no longer a matter of files.
_MOST_APART = 3


@dataclass
class _Search:
    """Which of `files` is at fault: the first `good` of them can be planned, the first `bad` not.

    `error` is what befell those.
    """

    files: tuple[int, ...]
    good: int
    bad: int
    error: MedviewError

    @property
    def middle(self) -> int:
        """So many are tried next."""
        return (self.good + self.bad) // 2

    @property
    def left_out(self) -> tuple[int, ...]:
        """Those that are not there meanwhile."""
        return self.files[self.middle :]


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
        self._gone: dict[int, Problem] = {}
        #: Those of them whose place in the series is lost as well.
        self._apart: set[int] = set()
        self._search: _Search | None = None
        self._task = self._ask()

    def cancel(self) -> None:
        """Stop; `on_error` hears Cancelled."""
        if not self._task.is_over:
            self._task.cancel()

    def _ask(self) -> Task:
        left_out = () if self._search is None else self._search.left_out
        return self._tasks.call_import(
            "medview.io.reading:plan_by_steps",
            self._series,
            self._password,
            self._companions,
            tuple(self._gone.keys() - self._apart),
            (*self._apart, *left_out),
            on_done=self._planned,
            on_error=self._failed,
            timeout_s=_FILE_WALL_S,
            step_cpu_s=_FILE_CPU_S,
        )

    def _planned(self, plan: SeriesPlan) -> None:
        if self._search is not None:
            self._search.good = self._search.middle
            self._narrow(self._search)
            return
        gone = (self._gone[number] for number in sorted(self._gone))
        self._on_done(replace(plan, problems=(*gone, *plan.problems)))

    def _failed(self, error: MedviewError) -> None:
        """A file, or all of them together, cost the worker."""
        if not isinstance(error, LostAtError) or error.at in self._gone:
            self._on_error(error)
        elif error.at < len(self._files):
            self._lose(error.at, error)
        elif self._search is not None:
            self._search.bad, self._search.error = self._search.middle, error
            self._narrow(self._search)
        elif len(self._apart) == _MOST_APART:
            self._on_error(error)
        else:
            files = tuple(n for n in range(len(self._files)) if n not in self._gone)
            self._search = _Search(files, 0, len(files), error)
            self._narrow(self._search)

    def _narrow(self, search: _Search) -> None:
        """Try fewer files or more, until one is left that makes the difference."""
        if search.bad - search.good > 1:
            self._task = self._ask()
            return
        number = search.files[search.good]
        self._apart.add(number)
        self._lose(number, search.error)

    def _lose(self, number: int, error: MedviewError) -> None:
        """The plan is made without that file."""
        self._search = None
        shown = self._files[number].shown
        self._gone[number] = Problem(shown, error.user_text, Severity.REFUSED, error.hint)
        if all(number in self._gone for number in range(len(self._series.instances))):
            self._on_error(error)
        else:
            self._task = self._ask()
