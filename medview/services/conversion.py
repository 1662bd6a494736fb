"""Conversion: one volume of a series to another format, for `medview convert`.

Scanned, planned and filled as in the window: a file that costs its worker costs its slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medview.core.errors import MedviewError, ReadError
from medview.core.study import Problem, Series, Study
from medview.io.plan import SeriesPlan, VolumePlan
from medview.services.arrival import Arrival
from medview.services.planning import Planning
from medview.services.room import Room
from medview.services.scanning import scan_now
from medview.services.tasks import Tasks


@dataclass(frozen=True)
class Wanted:
    """Which volume of which series is written where: .nii, .nii.gz, .nrrd or .mha."""

    series_uid: str
    out: Path
    volume: int = 0
    password: str = ""


def convert(tasks: Tasks, paths: Sequence[Path], wanted: Wanted) -> tuple[Problem, ...]:
    """Write one volume in real-world values; gives what could not be read.

    Raises ReadError where the series or the volume is not there or nothing of it can be read,
    ExportError where it cannot be written.
    """
    found = scan_now(tasks, paths, wanted.password)
    pairs = [(study, one) for study in found.studies for one in study.series]
    matching = [pair for pair in pairs if pair[1].uid == wanted.series_uid]
    if not matching:
        raise ReadError("There is no such series here", "medview info lists the series")
    planned = _planned(tasks, *matching[0], wanted.password)
    if not 0 <= wanted.volume < len(planned.volumes):
        reason = planned.problems[0].reason if planned.problems else "it holds no image"
        count = len(planned.volumes)
        raise ReadError(f"The series has no volume {wanted.volume}: {count} in it; {reason}")
    lost = _write(tasks, planned.volumes[wanted.volume], wanted.out)
    return (*found.problems, *planned.problems, *lost)


def _planned(tasks: Tasks, study: Study, series: Series, password: str) -> SeriesPlan:
    plans: list[SeriesPlan] = []
    errors: list[MedviewError] = []
    companions = study.companions_of(series)
    Planning(tasks, series, password, companions, on_done=plans.append, on_error=errors.append)
    tasks.wait_until(lambda: bool(plans or errors))
    if errors:
        raise errors[0]
    return plans[0]


def _write(tasks: Tasks, plan: VolumePlan, out: Path) -> tuple[Problem, ...]:
    shared = Room().allocate(plan)
    try:
        arrival = Arrival(tasks, plan, shared, lambda _: None)
        tasks.wait_until(lambda: arrival.is_complete)
        problems = tuple(arrival.problems)
        if arrival.is_lost:
            reason = problems[0].reason if problems else "nothing is there"
            raise ReadError(f"No image of the volume can be read: {reason}")
        notes = tuple(dict.fromkeys(problem.reason for problem in problems[:5]))
        lost = tuple(sorted(arrival.lost))
        tasks.wait_import("medview.io.describe:write_volume", plan, shared.key, lost, notes, out)
    finally:
        shared.close()
    return problems
