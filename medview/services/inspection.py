"""Inspection: what files hold, for `medview info`; each series in a call of its own.

A series whose reading kills or stalls its worker is read again without the files that do so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medview.core.errors import MedviewError
from medview.core.study import Instance, Problem, Series, Study
from medview.services.scanning import scan_now
from medview.services.tasks import Tasks

_DESCRIBE = "medview.io.describe:series_info"
#: A series may take this long, and so much more for each of its images; one image alone this long.
_SERIES_S, _EACH_S, _ALONE_S = 60.0, 1.0, 20.0


def info(tasks: Tasks, paths: Sequence[Path], password: str = "") -> dict[str, Any]:
    """The content of `medview info --json`; raises only where nothing could be looked through."""
    found = scan_now(tasks, paths, password)
    inspection = _Inspection(tasks, password)
    for study in found.studies:
        for series in study.series:
            inspection.ask(study, series)
    tasks.wait_until(lambda: not inspection.left)
    result: dict[str, Any] = tasks.wait_import(
        "medview.io.describe:info_of", found, inspection.parts
    )
    return result


class _Inspection:
    """All series of one scan: `parts` by UID, and how many are `left` to come."""

    def __init__(self, tasks: Tasks, password: str) -> None:
        self._tasks = tasks
        self._password = password
        self.parts: dict[str, tuple[dict[str, Any], tuple[Problem, ...]]] = {}
        self.left = 0

    def ask(self, study: Study, series: Series, costly: tuple[Problem, ...] = ()) -> None:
        """Describe a series; `costly` names files that were left out because they cost a worker."""
        self.left += 1

        def done(part: tuple[dict[str, Any], tuple[Problem, ...]]) -> None:
            described, problems = part
            described["instances"] += len(costly)
            self.parts[series.uid] = described, (*costly, *problems)
            self.left -= 1

        def failed(error: MedviewError) -> None:
            if costly or len(series.instances) == 1:
                first = series.instances[0]
                self.parts[series.uid] = {}, (*costly, _problem(first, error))
            else:
                self._without_costly(study, series, error)
            self.left -= 1

        self._tasks.call_import(
            _DESCRIBE,
            series,
            study.companions_of(series),
            self._password,
            on_done=done,
            on_error=failed,
            timeout_s=_SERIES_S + _EACH_S * len(series.instances),
        )

    def _without_costly(self, study: Study, series: Series, error: MedviewError) -> None:
        """Try each image alone, then the series without those that fail so.

        Where each is good and all of them are too much, the first stands for all.
        """
        good: list[Instance] = []
        costly: list[Problem] = []
        self.left += len(series.instances)

        def one_less() -> None:
            self.left -= 1
            if len(good) + len(costly) < len(series.instances):
                return
            good.sort(key=series.instances.index)
            if good and costly:
                self.ask(study, replace(series, instances=tuple(good)), tuple(costly))
            else:
                self.parts[series.uid] = {}, tuple(costly) or (_problem(good[0], error),)

        for instance in series.instances:
            self._try(series, instance, good, costly, one_less)

    def _try(
        self,
        series: Series,
        instance: Instance,
        good: list[Instance],
        costly: list[Problem],
        then: Callable[[], None],
    ) -> None:
        def done(_part: object) -> None:
            good.append(instance)
            then()

        def failed(error: MedviewError) -> None:
            costly.append(_problem(instance, error))
            then()

        self._tasks.call_import(
            _DESCRIBE,
            replace(series, instances=(instance,)),
            (),
            self._password,
            on_done=done,
            on_error=failed,
            timeout_s=_ALONE_S,
        )


def _problem(instance: Instance, error: MedviewError) -> Problem:
    hint = error.hint or "Ask the sender for another copy"
    return Problem(instance.shown, error.user_text, hint=hint)
