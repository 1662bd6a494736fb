"""Undo leads back to every state there was, and redo forward again, through random edits."""

from __future__ import annotations

from pathlib import Path

import pytest

from medview.core.paths import Paths
from tests.end2end.undo_honest import sequences


@pytest.mark.parametrize("readers", ["one", "two"])
def test_random_steps_are_taken_back_and_done_again(
    tmp_path: Path, resources: Path, readers: str
) -> None:
    paths = Paths.in_profile(resources, tmp_path / "profile")
    told = sequences(paths, count=6, seed=3, readers=readers)
    assert told.faults == []
    assert told.sequences == 6
    assert told.undone > 20
