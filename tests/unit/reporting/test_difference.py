"""Two texts side by side: put together again each is what it was, and only changes are marked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from medview.reporting.difference import compared

WORDS = st.lists(st.sampled_from(["left", "right", "3.42", "mL", ".", "\n", "nodule"]), max_size=12)


@given(WORDS, WORDS)
def test_nothing_is_lost_and_common_pieces_agree(first: list[str], second: list[str]) -> None:
    one, other = " ".join(first), " ".join(second)
    left, right = compared(one, other)
    assert "".join(piece.text for piece in left) == one
    assert "".join(piece.text for piece in right) == other
    shared = ["".join(p.text for p in pieces if not p.own) for pieces in (left, right)]
    assert shared[0] == shared[1]


def test_what_was_changed_is_marked() -> None:
    left, right = compared("Nodule of 12 mm.", "Nodule of 15 mm, left.")
    assert [piece.text for piece in left if piece.own] == ["12"]
    assert [piece.text for piece in right if piece.own] == ["15", ", left"]
