"""How data is looked at, kept apart from what it is; and which layout fits which study."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from medview.core.study import Series, Study


class Plane(StrEnum):
    """The planes of the body, and `acquired` for images without patient space."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"
    ACQUIRED = "acquired"


@dataclass(frozen=True)
class ViewState:
    """What one slice view shows of a volume.

    `center_lps_mm` is the point in the middle of the view; `zoom` is 1 where the image fits;
    the window is in real-world values; `thickness_mm` 0 shows single slices. `quarter_turns` go
    clockwise; flips come after them.
    """

    orientation: Plane
    center_lps_mm: tuple[float, float, float]
    zoom: float = 1.0
    window_center: float = 0.0
    window_width: float = 1.0
    thickness_mm: float = 0.0
    inverted: bool = False
    quarter_turns: int = 0
    flipped_horizontally: bool = False
    flipped_vertically: bool = False

    def flipped(self, *, vertically: bool = False) -> ViewState:
        """Mirrored left to right, or upside down."""
        if vertically:
            return replace(self, flipped_vertically=not self.flipped_vertically)
        return replace(self, flipped_horizontally=not self.flipped_horizontally)

    def turned(self, quarter_turns: int) -> ViewState:
        """Turned clockwise as it is seen: what is mirrored turns the other way below its mirror."""
        mirrored = self.flipped_horizontally != self.flipped_vertically
        turns = self.quarter_turns + (-quarter_turns if mirrored else quarter_turns)
        return replace(self, quarter_turns=turns % 4)


@dataclass(frozen=True)
class SegmentDisplay:
    """How one segment is drawn."""

    visible: bool = True
    opacity: float = 0.4
    outline: bool = True


@dataclass(frozen=True)
class Layout:
    """Which views stand where: rows of view names (`axial`, `coronal`, `sagittal`, `volume`)."""

    name: str
    title: str
    rows: tuple[tuple[str, ...], ...]


LAYOUTS = (
    Layout("one", "One view", (("axial",),)),
    Layout("mpr", "Three planes", (("axial", "sagittal"), ("coronal",))),
    Layout("four", "Three planes and 3D", (("axial", "sagittal"), ("coronal", "volume"))),
    Layout("volume", "3D", (("volume",),)),
)


@dataclass(frozen=True)
class Rule:
    """One condition on a series: attribute, operator, value, weight.

    Operators: `equals`, `contains`, `matches` (regular expression), `at_least`, `at_most`.
    A `required` rule that fails rules the protocol out.
    """

    attribute: str
    op: str
    value: str
    weight: float = 1.0
    required: bool = False

    def __post_init__(self) -> None:
        if self.op not in _OPERATORS:
            raise ValueError(f"No operator {self.op!r}; there are {', '.join(_OPERATORS)}")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "equals": lambda have, want: have.casefold() == want.casefold(),
    "contains": lambda have, want: want.casefold() in have.casefold(),
    "matches": lambda have, want: re.search(want, have, re.IGNORECASE) is not None,
    "at_least": lambda have, want: _number(have) >= _number(want),
    "at_most": lambda have, want: _number(have) <= _number(want),
}


@dataclass(frozen=True)
class HangingProtocol:
    """Which series is shown first and in which layout, as data."""

    name: str
    layout: str
    rules: tuple[Rule, ...]


def attributes_of(series: Series) -> Mapping[str, str]:
    """What rules can ask of a series: its headers and its own fields, as text."""
    return {
        **series.headers,
        "Modality": series.modality,
        "SeriesDescription": series.description,
        "BodyPartExamined": series.body_part,
        "kind": series.kind.value,
        "images": str(sum(max(1, instance.frames) for instance in series.instances)),
    }


def score(protocol: HangingProtocol, series: Series) -> float | None:
    """Sum of the weights of the rules that hold; None if a required one does not."""
    have = attributes_of(series)
    total = 0.0
    for rule in protocol.rules:
        holds = _OPERATORS[rule.op](have.get(rule.attribute, ""), rule.value)
        if rule.required and not holds:
            return None
        total += rule.weight if holds else 0.0
    return total


def match(protocols: Sequence[HangingProtocol], study: Study) -> tuple[HangingProtocol, Series]:
    """The best protocol and its series for a study; the first of equals.

    LookupError if no protocol fits any series.
    """
    best: tuple[float, HangingProtocol, Series] | None = None
    for protocol in protocols:
        for series in study.series:
            points = score(protocol, series)
            if points is not None and (best is None or points > best[0]):
                best = (points, protocol, series)
    if best is None:
        raise LookupError("No hanging protocol fits this study")
    return best[1], best[2]
