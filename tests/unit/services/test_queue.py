"""Who runs next, how long it should take, and what runs by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from medview.core.errors import ModelError
from medview.core.jobs import Priority
from medview.core.study import Series
from medview.services.arrival_rules import read_rules
from medview.services.durations import Durations, seconds_left
from medview.services.waiting import Waiting

MODEL = ("model", "1")


def test_the_reader_goes_before_what_came_by_itself() -> None:
    waiting = Waiting()
    for uid, priority in (
        ("arrived 1", Priority.ARRIVAL),
        ("clicked 1", Priority.READER),
        ("arrived 2", Priority.ARRIVAL),
        ("clicked 2", Priority.READER),
    ):
        waiting.put(uid, priority)
    waiting.put_first("arrived 2")
    assert list(waiting) == ["arrived 2", "clicked 1", "clicked 2", "arrived 1"]
    waiting.remove("clicked 1")
    assert "clicked 1" not in waiting
    assert [waiting.pop() for _ in range(len(waiting))] == ["arrived 2", "clicked 2", "arrived 1"]
    with pytest.raises(IndexError):
        waiting.pop()
    with pytest.raises(ValueError, match="does not wait"):
        waiting.put_first("clicked 1")


def test_what_is_closed_waits_no_longer() -> None:
    waiting = Waiting()
    waiting.put("a", Priority.READER)
    waiting.put("b", Priority.ARRIVAL)
    waiting.keep_only({"b"})
    assert list(waiting) == ["b"]


def test_time_is_learned_by_model_version_device_and_size(tmp_path: Path) -> None:
    file = tmp_path / "durations.json"
    durations = Durations(file)
    assert durations.expected_s(MODEL, "cpu", 10_000_000) is None
    for seconds in (9.0, 10.0, 50.0):  # one slow run does not spoil the estimate
        durations.learn(MODEL, "cpu", 10_000_000, seconds)
    assert Durations(file).expected_s(MODEL, "cpu", 20_000_000) == pytest.approx(20.0)
    assert Durations(file).expected_s(MODEL, "auto", 20_000_000) == pytest.approx(20.0)
    assert durations.expected_s(MODEL, "cuda:0", 10_000_000) is None
    assert durations.expected_s(("model", "2"), "cpu", 10_000_000) is None
    assert "model 1 cpu" in file.read_text(encoding="utf-8")
    durations.learn(MODEL, "cuda:0", 10_000_000, 1.0)
    assert Durations(file).expected_s(MODEL, "auto", 10_000_000) == pytest.approx(1.0)
    durations.learn(MODEL, "cpu", 10_000_000, 10.0)  # "auto" is where it ran last
    assert Durations(file).expected_s(MODEL, "auto", 10_000_000) == pytest.approx(10.0)


@pytest.mark.expects_warnings
@pytest.mark.parametrize("text", ["", "[]", "{", '{"model 1 cpu": "x"}', '{"model 1 cpu": [null]}'])
def test_a_damaged_memory_starts_anew(tmp_path: Path, text: str) -> None:
    file = tmp_path / "durations.json"
    file.write_text(text, encoding="utf-8")
    durations = Durations(file)
    assert durations.expected_s(MODEL, "cpu", 1_000_000) is None
    durations.learn(MODEL, "cpu", 1_000_000, 3.0)
    assert Durations(file).expected_s(MODEL, "cpu", 1_000_000) == pytest.approx(3.0)


def test_what_is_left_is_told_by_earlier_runs_first_and_by_the_pace_later() -> None:
    assert seconds_left(1.0, 0.05, 20.0) == pytest.approx(19.0)
    assert seconds_left(5.0, 0.5, 20.0) == pytest.approx(5.0)
    assert seconds_left(30.0, None, 20.0) == 0.0
    assert seconds_left(1.0, None, None) is None


def test_rules_name_models_by_modality_and_part(tmp_path: Path) -> None:
    file = tmp_path / "arrival.toml"
    assert read_rules(file) == ()
    file.write_text(
        '[[rule]]\nmodel = "chest"\nmodality = ["ct"]\nbody_part = ["CHEST"]\n'
        '[[rule]]\nmodel = "any"\n',
        encoding="utf-8",
    )
    chest, anything = read_rules(file)
    ct = Series("s", "st", "CT", "", (), body_part="Chest")
    assert chest.matches(ct)
    assert anything.matches(ct)
    assert not chest.matches(Series("s", "st", "MR", "", (), body_part="CHEST"))
    assert not chest.matches(Series("s", "st", "CT", "", (), body_part=""))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[[rule", "cannot be read"),
        ("[other]", "rule"),
        ("[[rule]]", "names no model"),
        ('[[rule]]\nmodel = "m"\nage = 3', "age"),
        ('[[rule]]\nmodel = "m"\nmodality = "CT"', "modality"),
    ],
)
def test_a_wrong_rule_file_says_what_is_wrong(tmp_path: Path, text: str, word: str) -> None:
    file = tmp_path / "arrival.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=word):
        read_rules(file)
