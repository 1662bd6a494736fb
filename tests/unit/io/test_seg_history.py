"""What became of a segment, there and back as words."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone

import pytest

from medview.core.findings import Person, Provenance, Review, ReviewState
from medview.core.segmentation import SegmentState
from medview.io.seg_history import drawn_by, history_of, told_by
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


def test_words_of_others_say_nothing() -> None:
    nothing = (Review(), SegmentState.NOT_STARTED, False)
    assert told_by("work: whenever") == nothing
    assert told_by("accepted by nobody on some day UTC") == nothing
    assert told_by("") == nothing
