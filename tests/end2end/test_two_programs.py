"""Two windows on one profile: the second is told, and what the first saved stays its own."""

from __future__ import annotations

from pathlib import Path

from tests.end2end.two_programs import together


def test_the_second_window_is_told_and_mixes_nothing(tmp_path: Path) -> None:
    told = together(tmp_path, 24)
    assert told.edits >= 24
    assert told.second_told
    assert not told.first_told
    assert told.is_kept
    assert not told.is_mixed
    assert told.faults == ()
