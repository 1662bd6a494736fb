"""Dataclasses as plain values and back: what went in, or a refusal."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medview.core.codes import Code
from medview.core.findings import ModelAuthor, Person, Provenance, Review, utc_now
from medview.core.plain import PlainError, from_plain, to_plain
from medview.core.study import Instance, Patient, Series, Study


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Everything:
    number: int
    fraction: float
    text: str
    yes: bool
    color: Color
    at: datetime
    path: Path
    pair: tuple[int, float]
    many: tuple[str, ...]
    table: Mapping[str, tuple[int, ...]]
    maybe: int | None
    author: Person | ModelAuthor
    anything: Any = None
    extra: Mapping[str, Any] = field(default_factory=dict)


def everything(**fields: Any) -> Everything:
    values: dict[str, Any] = {
        "number": -3,
        "fraction": 0.1,
        "text": "µ\n\0",
        "yes": True,
        "color": Color.BLUE,
        "at": datetime(2026, 1, 2, 3, 4, 5, 6, UTC),
        "path": Path("a") / "b",
        "pair": (1, 2.5),
        "many": ("x", ""),
        "table": {"a": (1, 2), "b": ()},
        "maybe": None,
        "author": ModelAuthor("m", "1", "ff"),
        "anything": (1, {"deep": (None, "x")}),
        "extra": {"k": 1.5},
    }
    return Everything(**(values | fields))


def there_and_back(value: Any) -> Any:
    return from_plain(type(value), json.loads(json.dumps(to_plain(value))))


def test_everything_comes_back_as_it_went() -> None:
    assert there_and_back(everything()) == everything()
    assert there_and_back(everything(author=Person("A"), maybe=7)).author == Person("A")


@given(st.floats(allow_nan=False), st.text(), st.lists(st.text()), st.integers())
def test_any_values_come_back(number: float, text: str, many: list[str], count: int) -> None:
    value = everything(fraction=number, text=text, many=tuple(many), number=count)
    assert there_and_back(value) == value


def test_types_of_the_program_come_back() -> None:
    made = Provenance(ModelAuthor("m", "1", "ff"), utc_now(), "job", ("v",))
    assert there_and_back(made) == made
    image = Instance("1", "2", "x", number=4)
    series = Series("s", "t", "MR", "d", (image,), headers={"EchoTime": "3"})
    study = Study("t", Patient("1", "Ö"), series=(series,))
    assert there_and_back(study) == study


def test_numbers_of_numpy_are_numbers() -> None:
    value = everything(fraction=np.float32(0.5), number=np.int64(4), yes=np.bool_(True))
    assert there_and_back(value) == everything(fraction=0.5, number=4, yes=True)


def test_a_whole_number_may_stand_for_a_fraction_but_not_the_reverse() -> None:
    data = to_plain(everything())
    assert from_plain(Everything, data | {"fraction": 2}).fraction == 2.0
    with pytest.raises(PlainError, match="number"):
        from_plain(Everything, data | {"number": 2.0})


def test_missing_fields_take_their_default() -> None:
    assert from_plain(Review, {}) == Review()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("number", True, "expected int, found bool"),
        ("number", "3", "expected int"),
        ("fraction", None, "expected a number"),
        ("fraction", 10**400, "too large"),
        ("text", 3, "expected str"),
        ("yes", 1, "expected bool"),
        ("color", "green", "green"),
        ("color", 1, "expected text"),
        ("at", "yesterday", "yesterday"),
        ("at", 5, "expected text"),
        ("pair", [1], "expected 2 items"),
        ("pair", "ab", "expected a list"),
        ("many", [1], "expected str"),
        ("table", [], "expected a mapping"),
        ("table", {"a": [1.5]}, "expected int"),
        ("maybe", "x", "expected int, found str or expected NoneType"),
        ("author", {"name": " "}, "needs a name"),
        ("author", {"name": "A", "model_id": "m"}, "expected Person"),
        ("unknown", 1, "expected Everything"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(name: str, value: Any, words: str) -> None:
    with pytest.raises(PlainError) as refused:
        from_plain(Everything, to_plain(everything()) | {name: value})
    assert words in str(refused.value)
    if name != "unknown":
        assert f"Everything.{name}" in str(refused.value)


@pytest.mark.parametrize("data", [None, [], 3, "x", {}])
def test_what_is_no_object_is_refused(data: object) -> None:
    with pytest.raises(PlainError):
        from_plain(Code, data)


def test_objects_that_would_be_invalid_do_not_come_to_be() -> None:
    with pytest.raises(PlainError, match="needs a value"):
        from_plain(Code, {"value": "", "scheme": "S", "meaning": "m"})


def test_not_a_number_stays_for_others_to_judge() -> None:
    assert math.isnan(there_and_back(everything(fraction=math.nan)).fraction)


ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class Pair(Generic[ItemT]):
    one: ItemT
    more: tuple[ItemT | None, ...] = ()


@dataclass(frozen=True)
class Pairs:
    names: Pair[str]
    people: Pair[Person]


def test_generic_dataclasses_are_read_as_the_types_they_were_given() -> None:
    pairs = Pairs(Pair("a", ("b", None)), Pair(Person("Ada"), (Person("Eve"),)))
    assert there_and_back(pairs) == pairs
    with pytest.raises(PlainError, match="one: expected str"):
        from_plain(Pairs, {"names": {"one": 3}, "people": {"one": {"name": "Ada"}}})


@dataclass(frozen=True)
class WithArray:
    values: np.ndarray[Any, Any]


@dataclass(frozen=True)
class WithSet:
    values: set[str]


def test_arrays_are_not_plain() -> None:
    with pytest.raises(TypeError, match="ndarray is not plain"):
        to_plain(WithArray(np.zeros(2)))
    for kind in (WithArray, WithSet):
        with pytest.raises(TypeError, match="plain"):
            from_plain(kind, {"values": []})
