"""Data sets for learning: cases of people, in splits that never share a person or an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from medview.core.errors import ReadError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Case:
    """One image with what is known of it; `patient` groups the cases of one person.

    What is known lies in the file `label`, or is the class named `answer`, as the task has it. An
    image that shows several classes names them in `answer` with | between. `row` is the place in
    an image file that holds many. `tags` are the other columns of the index. A label map shows
    every class but those numbered in `may_lack`.
    """

    id: str
    patient: str
    split: str
    image: Path
    label: Path | None = None
    answer: str = ""
    row: int = -1
    tags: Mapping[str, str] = field(default_factory=dict, compare=False)
    may_lack: tuple[int, ...] = ()

    @property
    def answers(self) -> tuple[str, ...]:
        """The classes that `answer` names; none where it is empty."""
        return tuple(name.strip() for name in self.answer.split("|") if name.strip())


@dataclass(frozen=True)
class Dataset:
    """A data set folder.

    In label maps, class number n is `classes[n - 1]`; for classification `classes[n]`. With
    `multi_label` an image shows any number of the classes, none included.
    """

    folder: Path
    task: str
    classes: tuple[str, ...]
    cases: tuple[Case, ...]
    multi_label: bool = False

    @staticmethod
    def to_mark(sets: Sequence[Dataset]) -> Dataset:
        """Give everything outlined in data sets as objects that a reader may point at.

        ReadError for one without outlines, for two whose cases could not be told apart, and for a
        patient of one who is in another split of another.
        """
        cases: list[Case] = []
        for one in sets:
            if one.task not in {"segmentation", "instances"}:
                raise ReadError(f"{one.folder.name} is for {one.task}: it has no outlines.")
            numbered = {"numbered": "yes"} if one.task == "instances" else {}
            cases += [
                replace(case, id=f"{one.folder.name}_{case.id}", tags={**case.tags, **numbered})
                for case in one.cases
            ]
        _refuse_equal_ids(sets, [case.id for case in cases])
        if problems := leaks(cases):
            raise ReadError(
                "The data sets do not go together: " + "; ".join(problems),
                hint="All cases of a patient belong to one split. Where they are different people,"
                " name them apart.",
            )
        return Dataset(sets[0].folder, "marks", ("object",), tuple(cases))

    def of(self, split: str) -> tuple[Case, ...]:
        """Give the cases of one split, or of all."""
        return tuple(case for case in self.cases if split in {"all", case.split})


def _refuse_equal_ids(sets: Sequence[Dataset], ids: Sequence[str]) -> None:
    """Raise ReadError for data sets that name a case alike: one would be taken for the other."""
    if len(set(ids)) == len(ids):
        return
    owners: dict[str, list[Path]] = {}
    folders = (one.folder for one in sets for _ in one.cases)
    for name, folder in zip(ids, folders, strict=True):
        owners.setdefault(name, []).append(folder)
    name, (first, other, *_) = next(pair for pair in owners.items() if len(pair[1]) > 1)
    raise ReadError(
        f"The data sets {first} and {other} both have a case {name}.",
        hint="Name each data set once, and no two folders alike.",
    )


def leaks(cases: Sequence[Case]) -> list[str]:
    """Name the patients with cases in two splits: a score would then measure memory."""
    seen: dict[str, set[str]] = {}
    for case in cases:
        seen.setdefault(case.patient, set()).add(case.split)
    found = sorted(patient for patient, splits in seen.items() if len(splits) > 1)
    return [f"patients appear in more than one split: {', '.join(found)}"] if found else []


def with_folds(
    cases: Sequence[Case],
    folds: int,
    fold: int,
    seed: int,
    alike: Sequence[tuple[str, str]] = (),
) -> tuple[Case, ...]:
    """Deal the patients of train and val into folds; fold number `fold` becomes val.

    Patients named together in `alike` have images that are nearly the same, and go together.
    Test cases stay what they are; 0 folds leaves the index as it is.
    """
    if folds == 0:
        return tuple(cases)
    group = _together({case.patient for case in cases if case.split != "test"}, alike)
    groups = sorted(set(group.values()))
    if folds > len(groups):
        raise ReadError(f"{folds} folds need at least as many patients; there are {len(groups)}.")
    order = np.random.default_rng(seed).permutation(len(groups))
    held_out = {groups[index] for index in order[fold::folds]}
    return tuple(
        case
        if case.split == "test"
        else replace(case, split="val" if group[case.patient] in held_out else "train")
        for case in cases
    )


def _together(patients: set[str], alike: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Give every patient the first name of the group that `alike` joins it to."""
    group = {patient: patient for patient in patients}
    for pair in alike:
        if patients.issuperset(pair):
            one, other = sorted(group[patient] for patient in pair)
            group = {patient: one if name == other else name for patient, name in group.items()}
    return group


def without_copies(
    cases: Sequence[Case], alike: Sequence[tuple[str, str]]
) -> tuple[tuple[Case, ...], tuple[str, ...]]:
    """Take out training cases whose image is nearly one of another split; give these by id.

    `alike` holds pairs of case ids. Without this a score would measure memory.
    """
    split = {case.id: case.split for case in cases}
    gone = set()
    for one, other in alike:
        splits = {split[one], split[other]}
        if len(splits) > 1 and "train" in splits:
            gone |= {name for name in (one, other) if split[name] == "train"}
    return tuple(case for case in cases if case.id not in gone), tuple(sorted(gone))
