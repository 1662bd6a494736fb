"""A new model against the one it came from: both on the same cases that neither learned from."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medview.core.errors import MedviewError
from medview.core.succession import Difference, Rival, Succession, plain_succession
from medview.inference.engines.network import read_metadata
from medview.learning.data import Dataset
from medview.learning.measuring import Measured, open_judge, score_cases, unseen_by
from medview.learning.metrics import bootstrap_intervals
from medview.learning.tasks.task import Scored, Task
from medview.reporting.succession import verdict_text

log = logging.getLogger(__name__)

#: Figures of which less is better begin so; all others are better when larger.
_LESS = ("hd95_", "volume_error", "area_error", "count_error", "ece", "epe_px")
#: Figures that say nothing of a model.
_NOT_OF_IT = frozenset({"epe_still_px"})


def start_of(weights: str) -> Path | None:
    """Give the model folder that weights to start from belong to; None where they lie alone."""
    if not weights:
        return None
    path = Path(weights).resolve()
    for folder in list(path.parents)[:2]:
        try:
            own = read_metadata(folder)["medview"]["weights"]["file"]
        except (MedviewError, KeyError, TypeError):
            continue
        if (folder / own).resolve() == path:
            return folder
    return None


def compare_with(new: Measured, old: Path, dataset: Dataset, device: str) -> Succession:
    """Hold what was measured of a new model against an old one on the same cases.

    Cases that the old one learned from are left out; ReadError where none is left, ModelError for
    an old model that does not fit the data set.
    """
    before = open_judge(old, dataset, device)
    seen_by_neither = {case.id for case in unseen_by(old, [one.case for one in new.scored])}
    mine = [one for one in new.scored if one.case.id in seen_by_neither]
    theirs = score_cases(before, [one.case for one in mine])
    left_out = len(new.scored) - len(mine)
    notes = [f"{left_out} cases that the old model learned from are left out"] * (left_out > 0)
    if new.split == "val":
        notes.append(
            "the new model's training was watched on these cases, which flatters it a little"
        )
    return Succession(
        new=_rival(new.judge.metadata),
        old=_rival(before.metadata),
        task=dataset.task,
        split=new.split,
        count=len(mine),
        patients=len({one.case.patient for one in mine}),
        metrics=differences(new.judge.task, mine, before.task, theirs),
        notes=tuple(notes),
    )


def differences(
    task: Task, new: Sequence[Scored], old_task: Task, old: Sequence[Scored]
) -> dict[str, Difference]:
    """Give every figure of both models over the same cases, with the interval of its difference.

    Patients are drawn anew for both models at once (paired bootstrap): what is hard for both
    says nothing of either.
    """

    def of(chosen: Sequence[int] | npt.NDArray[np.int64]) -> tuple[dict[str, float], ...]:
        return (
            task.figures([new[number] for number in chosen]),
            old_task.figures([old[number] for number in chosen]),
        )

    def change(chosen: npt.NDArray[np.int64]) -> dict[str, float]:
        mine, theirs = of(chosen)
        return {name: value - theirs[name] for name, value in mine.items() if name in theirs}

    now, before = of(range(len(new)))
    intervals = bootstrap_intervals([one.case.patient for one in new], change)
    return {
        name: Difference(
            old=before[name],
            new=now[name],
            difference=now[name] - before[name],
            ci95=interval,
            more_is_better=not name.startswith(_LESS),
            headline=name in task.headlines(),
        )
        for name, interval in intervals.items()
        if name not in _NOT_OF_IT and np.isfinite([now[name], before[name], *interval]).all()
    }


def _rival(metadata: dict[str, Any]) -> Rival:
    own = metadata["medview"]
    return Rival(own["id"], metadata["version"], own["weights"]["sha256"])


def told(succession: Succession) -> dict[str, Any]:
    """Give the JSON of a comparison, with its verdict in words."""
    return plain_succession(succession, verdict_text(succession))


def write_comparison(path: Path, succession: Succession) -> None:
    """Write a comparison as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(told(succession), indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
