"""A new model held against the one it came from: what both reached on the same cases."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from medview.core.plain import from_plain, to_plain

#: Where a model folder keeps how it did against the one it came from.
COMPARISON_FILE = Path("docs") / "comparison.json"

#: With fewer patients even a difference that all of them show may be chance: the sign test gives
#: five of five 0.06, six of six 0.03.
FEWEST_PATIENTS = 6


class Verdict(StrEnum):
    """How a new model did against the old one."""

    BETTER = "better"
    WORSE = "worse"
    UNCLEAR = "cannot be told apart"


@dataclass(frozen=True)
class Rival:
    """One of the two models, by the SHA-256 of its weights."""

    id: str
    version: str
    weights_sha256: str


@dataclass(frozen=True)
class Difference:
    """A figure of both models on the same cases.

    `ci95` is the 95 % interval of new - old when whole patients are drawn anew, both models on the
    same ones. `headline` marks the figures that decide.
    """

    old: float
    new: float
    difference: float
    ci95: tuple[float, float]
    more_is_better: bool
    headline: bool

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.old, self.new, self.difference, *self.ci95))):
            raise ValueError("a figure is not a number")

    @property
    def verdict(self) -> Verdict:
        """Better or worse where the interval leaves out no difference."""
        low, high = self.ci95 if self.more_is_better else (-self.ci95[1], -self.ci95[0])
        if low > 0:
            return Verdict.BETTER
        return Verdict.WORSE if high < 0 else Verdict.UNCLEAR


@dataclass(frozen=True)
class Succession:
    """Two models on the same held-out cases; `notes` say what the figures are not."""

    new: Rival
    old: Rival
    task: str
    split: str
    count: int
    patients: int
    metrics: Mapping[str, Difference]
    notes: tuple[str, ...] = ()

    @property
    def headlines(self) -> Mapping[str, Difference]:
        """The figures that decide, by name."""
        deciding = {name: one for name, one in self.metrics.items() if one.headline}
        return MappingProxyType(deciding)

    @property
    def verdict(self) -> Verdict:
        """Worse where any figure that decides is, else better where one is.

        Nothing is told apart with fewer than `FEWEST_PATIENTS`.
        """
        found = {one.verdict for one in self.headlines.values()}
        if self.patients < FEWEST_PATIENTS:
            return Verdict.UNCLEAR
        told = (one for one in (Verdict.WORSE, Verdict.BETTER) if one in found)
        return next(told, Verdict.UNCLEAR)

    def is_of(self, new_sha256: str, old_sha256: str) -> bool:
        """Whether these are the weights that were compared."""
        return (self.new.weights_sha256, self.old.weights_sha256) == (new_sha256, old_sha256)


def read_succession(data: object) -> Succession:
    """A comparison from the JSON that was written of it; PlainError where it is none."""
    known = {field.name for field in fields(Succession)}
    own = {k: v for k, v in data.items() if k in known} if isinstance(data, dict) else data
    return from_plain(Succession, own)


def plain_succession(succession: Succession, words: str) -> dict[str, Any]:
    """The JSON of a comparison, with its verdict, and `words` for people."""
    return {"verdict": succession.verdict.value, "words": words, **to_plain(succession)}
