"""Planning: files that cannot be planned together, told from those that can."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from typing import Any, cast

import pytest

from medview.core.errors import MedviewError
from medview.core.study import Instance, Series, SeriesKind
from medview.io.plan import SeriesPlan
from medview.services.lanes import LostAtError
from medview.services.planning import Planning
from medview.services.tasks import Tasks

COUNT = 37


class Worker:
    """Plans nothing: `fails` says of the files that are there whether grouping them fails."""

    def __init__(self, fails: Callable[[set[int]], bool]) -> None:
        self.fails = fails
        self.asked = 0
        self.calls: deque[Callable[[], object]] = deque()
        self.is_over = True

    def call_import(self, _target: str, *arguments: Any, **options: Any) -> Worker:
        apart = cast("Collection[int]", arguments[-1])
        there = set(range(COUNT)) - set(apart)
        assert there
        self.asked += 1
        if self.fails(there):
            error = LostAtError("The process stopped", "Go on", at=COUNT)
            self.calls.append(lambda: options["on_error"](error))
        else:
            plan = SeriesPlan("s", (), ())
            self.calls.append(lambda: options["on_done"](plan))
        return self


def planned(worker: Worker) -> tuple[list[SeriesPlan], list[MedviewError]]:
    """What comes of the plan of a series of COUNT files."""
    files = tuple(Instance(str(n), "", f"/f{n}") for n in range(COUNT))
    series = Series("s", "t", "CT", "", files, SeriesKind.VOLUME)
    plans: list[SeriesPlan] = []
    errors: list[MedviewError] = []
    tasks = cast("Tasks", worker)
    Planning(tasks, series, "", (), on_done=plans.append, on_error=errors.append)
    while worker.calls:
        worker.calls.popleft()()
    return plans, errors


@pytest.mark.parametrize("fault", [{0}, {36}, {20}, {5, 20}, {0, 1, 36}])
def test_each_file_at_fault_is_found_by_few_tries_and_costs_itself(fault: set[int]) -> None:
    worker = Worker(lambda there: bool(there & fault))
    (plan,), errors = planned(worker)
    assert not errors
    assert [str(one.path) for one in plan.problems] == [f"/f{n}" for n in sorted(fault)]
    assert all("stopped" in one.reason and one.hint for one in plan.problems)
    # Halving 37 takes six tries at most, and the whole is tried before and after.
    assert worker.asked <= 1 + 7 * len(fault)


def test_of_two_that_cannot_stand_each_other_one_stays() -> None:
    (plan,), _ = planned(Worker(lambda there: {7, 9} <= there))
    assert [str(one.path) for one in plan.problems] == ["/f9"]


def test_what_is_the_fault_of_no_file_ends_with_its_reason() -> None:
    worker = Worker(lambda _there: True)
    plans, (error,) = planned(worker)
    assert not plans
    assert "stopped" in error.user_text
    assert worker.asked < COUNT
