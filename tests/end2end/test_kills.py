"""Windows killed at random moments, one after the other: what was saved is there again."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.end2end.kills import judge, run_chain

pytestmark = pytest.mark.usefixtures("own_screen")


def test_nothing_that_was_saved_is_lost(tmp_path: Path) -> None:
    log = tmp_path / "kills.jsonl"
    assert run_chain(log, random.Random(11), 2) == 2  # noqa: S311
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert {row["verdict"] for row in rows} <= {"kept", "early"}, rows


def test_a_loss_would_be_seen() -> None:
    said = [
        {"back": "a", "stack": [], "kept": 0},
        {"state": "b", "stack": ["a"]},
        {"acked": 1},
        {"state": "c", "stack": ["a", "b"]},
    ]
    for state, kept, faults, verdict in (
        ("a", 0, [], "lost"),
        ("b", 1, [], "kept"),
        ("c", 2, [], "kept"),
        ("c", 0, [], "no way back"),
        ("c", 2, ["undo Paint"], "no way back"),
        ("d", 2, [], "mixed"),
    ):
        back = [{"back": state, "stack": [], "kept": kept}, {"undone": 1, "faults": faults}]
        assert judge(said, back, 0).verdict == verdict
