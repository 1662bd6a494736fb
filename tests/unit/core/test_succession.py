"""Better, worse or not told apart: by intervals, directions and the number of people."""

from __future__ import annotations

import json
from typing import Any

import pytest

from medview.core.plain import PlainError
from medview.core.succession import (
    FEWEST_PATIENTS,
    Difference,
    Rival,
    Succession,
    Verdict,
    plain_succession,
    read_succession,
)
from medview.reporting.succession import succession_table, verdict_text


def difference(low: float, high: float, *, more: bool = True, headline: bool = True) -> Difference:
    middle = (low + high) / 2
    return Difference(0.5, 0.5 + middle, middle, (low, high), more, headline)


def succession(patients: int = 8, **metrics: Difference) -> Succession:
    new, old = Rival("discs_tuned", "0.1.0", "b" * 64), Rival("discs", "0.1.0", "a" * 64)
    return Succession(new, old, "segmentation", "val", 2 * patients, patients, metrics, ("a note",))


@pytest.mark.parametrize(
    ("interval", "more", "verdict"),
    [
        ((0.01, 0.2), True, Verdict.BETTER),
        ((-0.2, -0.01), True, Verdict.WORSE),
        ((-0.01, 0.2), True, Verdict.UNCLEAR),
        ((0.0, 0.2), True, Verdict.UNCLEAR),
        ((0.01, 0.2), False, Verdict.WORSE),
        ((-0.2, -0.01), False, Verdict.BETTER),
    ],
)
def test_a_figure_is_told_apart_where_its_interval_leaves_out_no_difference(
    interval: tuple[float, float], more: bool, verdict: Verdict
) -> None:
    assert difference(*interval, more=more).verdict is verdict


def test_one_headline_that_is_worse_makes_the_model_worse() -> None:
    good, bad, level = difference(0.1, 0.2), difference(-0.2, -0.1), difference(-0.1, 0.1)
    assert succession(dice_a=good, dice_b=level).verdict is Verdict.BETTER
    assert succession(dice_a=good, dice_b=bad).verdict is Verdict.WORSE
    assert succession(dice_a=level).verdict is Verdict.UNCLEAR
    aside = difference(-0.2, -0.1, headline=False)
    assert succession(dice_a=good, ece=aside).verdict is Verdict.BETTER
    assert succession().verdict is Verdict.UNCLEAR


def test_few_people_cannot_tell_models_apart() -> None:
    """As many patients as the two-sided sign test needs to call "all of them" no chance."""
    needed = next(n for n in range(1, 20) if 2 * 0.5**n < 0.05)
    assert needed == FEWEST_PATIENTS
    good = difference(0.1, 0.2)
    assert succession(needed, dice_a=good).verdict is Verdict.BETTER
    few = succession(needed - 1, dice_a=good)
    assert few.verdict is Verdict.UNCLEAR
    assert "Fewer than 6 patients cannot tell models apart." in verdict_text(few)
    assert succession_table(few)[1][-1] == "cannot be told apart"


def test_the_words_say_what_against_what_on_how_many() -> None:
    told = verdict_text(succession(dice_a=difference(-0.2, -0.1)))
    assert told == (
        "The new model is worse than discs 0.1.0 on the same 16 held-out cases of 8 patients: "
        "Dice, a 0.500 before, 0.350 now (-0.150, -0.200 to -0.100)."
    )


def test_the_json_comes_back_and_its_words_are_not_believed() -> None:
    one = succession(dice_a=difference(0.1, 0.2), ece=difference(-0.1, 0.1, more=False))
    plain: dict[str, Any] = json.loads(json.dumps(plain_succession(one, "words")))
    assert plain["verdict"] == "better"
    assert read_succession(plain) == one
    plain["verdict"] = "worse"
    assert read_succession(plain).verdict is Verdict.BETTER
    for key, value in (("count", "many"), ("metrics", {"dice_a": {"old": 1}})):
        with pytest.raises(PlainError):
            read_succession({**plain, key: value})
    plain["metrics"]["dice_a"]["new"] = float("nan")
    with pytest.raises((PlainError, ValueError)):
        read_succession(plain)
    with pytest.raises(PlainError):
        read_succession([])
