"""Everything that is wrong with a data set, named at once and before the first step."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medview.core.errors import ReadError
from medview.learning.data import Case
from medview.learning.pictures import image_sha256, near_copies, thumbnail
from medview.learning.tasks.task import Task

_REPAIR = "Repair these cases or take them out of the index."


def read_all(task: Task, cases: Sequence[Case], learned: Sequence[str] = ()) -> list[Any]:
    """Read and check every case; all that is wrong is named in one ReadError.

    So is a class that no case shows in the splits that are `learned` from.
    """
    examples: list[Any] = []
    problems: list[str] = []
    hints: list[str] = []
    shown: set[str] = set()
    for case in cases:
        try:
            example = task.read(case)
        except ReadError as error:
            problems.append(f"{case.id}: {error.user_text}")
            hints += [error.hint] if error.hint else []
            continue
        examples.append(example)
        if case.split in learned:
            shown |= task.shows(example)
    found = f"{len(problems)} of {len(cases)} cases cannot be used: " + "; ".join(problems)
    missing = [name for name in task.recipe.classes if name not in shown] if learned else []
    none = f"no case to learn from shows {', '.join(missing)}"
    if problems or missing:
        raise ReadError(
            "; ".join([found] * bool(problems) + [none] * bool(missing)),
            hint=" ".join(dict.fromkeys([_REPAIR, *hints])),
        )
    return examples


def find_near_copies(
    task: Task, cases: Sequence[Case], learned: Sequence[str] = ("train",)
) -> list[tuple[str, str]]:
    """Check every case as `read_all` does, and give pairs of cases with nearly the same image."""
    examples = read_all(task, cases, learned)
    pictures = [thumbnail(task.picture(example)) for example in examples]
    return near_copies([case.id for case in cases], pictures)


def write_split(path: Path, dealt: Sequence[Sequence[Case]]) -> None:
    """Write which case was learned from and which held out, with the SHA-256 of each image.

    One sequence of cases a fold: a case's `fold` is the one that validated on it.
    """
    digests = {case.id: image_sha256(case) for case in dealt[0]}
    fold_of = {
        case.id: number
        for number, cases in enumerate(dealt)
        for case in cases
        if case.split == "val"
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["id", "patient", "split", "fold", "image_sha256"])
        for case in dealt[0]:
            fold = fold_of.get(case.id, "") if len(dealt) > 1 else ""
            split = case.split if len(dealt) == 1 else ("test" if case.split == "test" else "fold")
            writer.writerow([case.id, case.patient, split, fold, digests[case.id]])
    partial.replace(path)
