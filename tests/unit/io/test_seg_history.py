"""What became of a segment, there and back as words."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone

import pytest

from medview.core.findings import Author, ModelAuthor, Person, Provenance, Review, ReviewState
from medview.core.segmentation import SegmentState
from medview.io.seg_history import drawn_by, helped_by, history_of, told_by
from tests.helpers.exports import AT, MODEL, segment

EAST = AT.astimezone(timezone(timedelta(hours=5)))


@pytest.mark.parametrize("state", list(SegmentState))
@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize(
    "review",
    [
        Review(),
        Review(ReviewState.ACCEPTED, "Dr Ada; by night", EAST),
        Review(ReviewState.EDITED, "Müller on call", AT),
    ],
)
def test_decision_state_and_lock_come_back(
    state: SegmentState, locked: bool, review: Review
) -> None:
    one = replace(segment(1, "Lobe", review), state=state, locked=locked)
    assert told_by(history_of(one)) == (review, state, locked)


@pytest.mark.parametrize("locked", [False, True])
def test_who_drew_it_with_a_model_comes_back(locked: bool) -> None:
    review = Review(ReviewState.ACCEPTED, "Dr Ada; by night", EAST)
    drawn = Provenance(Person("Dr Ada; with it"), AT, aids=(MODEL,))
    one = replace(segment(1, "Lobe", review, provenance=drawn), locked=locked)
    assert drawn_by(history_of(one)) == "Dr Ada; with it"
    assert told_by(history_of(one)) == (review, SegmentState.NOT_STARTED, locked)
    assert drawn_by(history_of(segment(1, "Lobe", review))) == ""


@pytest.mark.parametrize("author", [Person('Dr Ada; helped by "x" "1"'), MODEL])
def test_further_models_come_back_by_name_version_and_weights(author: Author) -> None:
    odd = ModelAuthor('say "; helped by\\n', "1, 2 more\n", "")
    others = (ModelAuthor("Größe", "2.1.0", "cd" * 32), odd)
    made = Provenance(author, AT, aids=(MODEL, *others))
    review = Review(ReviewState.ACCEPTED, 'Dr Bea; helped by "y" "2"', AT)
    told = history_of(replace(segment(1, "Lobe", review, provenance=made), locked=True))
    assert helped_by(told) == others
    assert drawn_by(told) == (author.name if isinstance(author, Person) else "")
    assert told_by(told) == (review, SegmentState.NOT_STARTED, True)


def test_of_more_models_than_a_description_holds_the_last_are_counted() -> None:
    others = tuple(ModelAuthor(f"model {n}", "1.0", "cd" * 32) for n in range(20))
    drawn = Provenance(Person("Dr Ada " * 60), AT, aids=(MODEL, *others))
    review = Review(ReviewState.ACCEPTED, "Dr Bea " * 60, AT)
    told = history_of(segment(1, "Lobe", review, provenance=drawn))
    known = helped_by(told)
    assert 900 < len(told) <= 1024
    assert 0 < len(known) < 20
    assert known == others[: len(known)]
    assert told.endswith(f", {20 - len(known)} more")
    assert drawn_by(told) == ("Dr Ada " * 60)[:256]


def test_words_of_others_say_nothing() -> None:
    nothing = (Review(), SegmentState.NOT_STARTED, False)
    assert told_by("work: whenever") == nothing
    assert told_by("accepted by nobody on some day UTC") == nothing
    assert told_by("") == nothing
