"""A model folder asked about labelled cases: every figure with its interval and count."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from medview.core.errors import ModelError, ReadError
from medview.inference.engines.network import load_trained, read_metadata
from medview.inference.networks.ensemble import Ensemble
from medview.learning.checks import read_all
from medview.learning.data import Case, Dataset
from medview.learning.metrics import bootstrap_intervals
from medview.learning.pictures import image_sha256
from medview.learning.tasks.choice import engine_of, make_task
from medview.learning.tasks.task import Scored, Task, recipe_of_model

log = logging.getLogger(__name__)

Row = dict[str, Any]

#: The file of a model folder that says which images it learned from, and without which.
SPLIT_FILE = Path("docs") / "split.csv"


def evaluate(
    model: Path, dataset: Dataset, *, split: str | None = None, device: str = "auto"
) -> Row:
    """Score a model on labelled cases; gives what the evaluation file holds."""
    return report(measure(model, dataset, split=split, device=device))


@dataclass(frozen=True)
class Measured:
    """A model and how it did on each case of a split."""

    judge: Judge
    task: str
    split: str
    scored: tuple[Scored, ...]


def measure(
    model: Path, dataset: Dataset, *, split: str | None = None, device: str = "auto"
) -> Measured:
    """Score a model on labelled cases.

    Without `split` the test cases count, or the validation cases where there is no test. Every
    case is asked as a whole, mirrored views averaged, as in a reading. A model made of one member
    for each fold of its data lets only that member judge an image of those data that had not
    learned from it.
    """
    answers_marks = read_metadata(model)["medview"]["engine"] == "marks"
    if answers_marks and dataset.task != "marks":
        dataset = Dataset.to_mark([dataset])
    judge = open_judge(model, dataset, choose_device(device))
    chosen = split or ("test" if dataset.of("test") else "val")
    cases = dataset.of(chosen)
    if not cases:
        raise ReadError(f"The data set has no case in the split {chosen}.")
    if split is None:
        cases = unseen_by(model, cases)
    return Measured(judge, dataset.task, chosen, score_cases(judge, cases))


def score_cases(judge: Judge, cases: Sequence[Case]) -> tuple[Scored, ...]:
    """Read all cases, then ask about one after the other."""
    examples = read_all(judge.task, cases)
    scored = []
    for number, (case, example) in enumerate(zip(cases, examples, strict=True), start=1):
        scored.append(judge.score(case, example))
        log.info("%d/%d %s", number, len(cases), case.id)
    return tuple(scored)


def report(measured: Measured) -> Row:
    """Give what the evaluation file holds; `out_of_fold` counts the cases judged by one member."""
    judge, scored = measured.judge, measured.scored
    return {
        "model": judge.metadata["medview"]["id"],
        "version": judge.metadata["version"],
        "task": measured.task,
        "split": measured.split,
        "count": len(scored),
        "patients": len({one.case.patient for one in scored}),
        "out_of_fold": sum(judge.member_for(one.case) is not None for one in scored),
        "metrics": summarise(judge.task, scored),
        "definitions": judge.task.definitions(),
        "tables": judge.task.tables(scored),
        "cases": [
            {"id": one.case.id, "patient": one.case.patient, **_finite(one.numbers)}
            for one in scored
        ],
    }


def _finite(numbers: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def choose_device(wanted: str) -> str:
    """Turn `auto` into what is there; ModelError for a device that is not."""
    available = torch.cuda.is_available()
    if wanted == "auto":
        return "cuda:0" if available else "cpu"
    if wanted.startswith("cuda") and not available:
        raise ModelError("There is no CUDA device here.", hint="Use --device cpu.")
    return wanted


@dataclass(frozen=True)
class Judge:
    """A model folder ready to be measured; `held_out` names by image the member that may judge."""

    metadata: Row
    task: Task
    network: nn.Module
    members: tuple[nn.Module, ...]
    member_tasks: tuple[Task, ...]
    held_out: dict[str, int]

    def member_for(self, case: Case) -> int | None:
        """Give the number of the member that never saw this image of the model's own data."""
        return self.held_out.get(image_sha256(case)) if self.members else None

    def score(self, case: Case, example: Any) -> Scored:
        """Ask about one case and compare."""
        number = self.member_for(case)
        network, task = self.network, self.task
        if number is not None:
            network, task = self.members[number], self.member_tasks[number]
        return task.score(case, example, task.answer(network, example), thorough=True)


def open_judge(model: Path, dataset: Dataset, device: str) -> Judge:
    """Load a model folder to measure it on a data set; ModelError if they do not fit together."""
    metadata = read_metadata(model)
    own = metadata["medview"]
    if own["engine"] != engine_of(dataset.task):
        raise ModelError(f"The model does {own['engine']}, the data set is for {dataset.task}.")
    orientation = own["preprocess"].get("orientation")
    if orientation not in {"RAS", None}:
        raise ModelError("Only models in the orientation RAS can be measured.")
    _check_classes(metadata, dataset)
    recipe = recipe_of_model(metadata, dataset.classes)
    task = make_task(dataset.task, recipe)
    network = load_trained(model, device)
    members = tuple(network.members) if isinstance(network, Ensemble) else ()
    temperatures = own.get("member_temperatures") or [recipe.temperature] * len(members)
    return Judge(
        metadata,
        task,
        network,
        members,
        tuple(
            make_task(dataset.task, replace(recipe, temperature=float(value)))
            for value in temperatures
        ),
        read_held_out(model),
    )


def unseen_by(model: Path, cases: Sequence[Case]) -> tuple[Case, ...]:
    """Give the cases whose image a model did not learn from, as far as its folder tells.

    ReadError where none is left.
    """
    learned = {row["image_sha256"] for row in _split_rows(model) if row["split"] == "train"}
    if not learned:
        return tuple(cases)
    unseen = tuple(case for case in cases if image_sha256(case) not in learned)
    if len(unseen) < len(cases):
        log.info("%d cases left out: %s learned from them", len(cases) - len(unseen), model.name)
    if not unseen:
        raise ReadError(
            f"The model {model.name} learned from every case of this data set.",
            hint="Measure it on others, or name a --split to measure what it remembers.",
        )
    return unseen


def _split_rows(model: Path) -> list[dict[str, str]]:
    path = model / SPLIT_FILE
    if not path.is_file():
        return []
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def read_held_out(model: Path) -> dict[str, int]:
    """Give for every image of the model's data, by SHA-256, the fold that left it out."""
    return {row["image_sha256"]: int(row["fold"]) for row in _split_rows(model) if row.get("fold")}


def _check_classes(metadata: Row, dataset: Dataset) -> None:
    own = metadata["medview"]
    if own.get("classes"):
        strange = set(dataset.classes) - set(own["classes"])
        if strange:
            raise ModelError(f"The model does not know {', '.join(sorted(strange))}.")
        return
    outputs = {output["index"] for output in own["outputs"]} - {0}
    if outputs != set(range(1, len(dataset.classes) + 1)):
        raise ModelError(
            f"The model names {len(outputs)} structures, the data set {len(dataset.classes)}."
        )


def summarise(task: Task, scored: Sequence[Scored]) -> dict[str, Row]:
    """Give every figure with its interval and how many cases it is about.

    Figures that cannot be told here are left out.
    """
    figures, counts = task.figures(scored), task.counts(scored)
    intervals = bootstrap_intervals(
        [one.case.patient for one in scored],
        lambda chosen: task.figures([scored[number] for number in chosen]),
    )
    return {
        name: {
            "value": value,
            "ci95": list(intervals[name]),
            "count": counts.get(name, len(scored)),
        }
        for name, value in figures.items()
        if np.isfinite([value, *intervals[name]]).all()
    }
