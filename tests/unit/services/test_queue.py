"""Who runs next, how long it should take, and what runs by itself."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medview.core.errors import ModelError
from medview.core.jobs import Priority
from medview.core.study import Series
from medview.services.arrival_rules import ArrivalRule, RuleBook, read_rules
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
        ('[[rule]]\nmodel = "m"\ndescription = 3', "no text"),
        ('[[rule]]\nmodel = "m"\non = "yes"', "neither true nor false"),
    ],
)
def test_a_wrong_rule_file_says_what_is_wrong(tmp_path: Path, text: str, word: str) -> None:
    file = tmp_path / "arrival.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=word):
        read_rules(file)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
WORDS = st.lists(TEXT.map(str.upper), max_size=3).map(tuple)


@given(st.lists(st.builds(ArrivalRule, TEXT.filter(bool), WORDS, WORDS, TEXT, st.booleans())))
def test_rules_are_read_as_they_were_written(rules: list[ArrivalRule]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "arrival.toml"
        RuleBook(file).save(rules)
        assert read_rules(file) == tuple(rules)


def test_a_description_is_looked_for_in_any_case() -> None:
    rule = ArrivalRule("m", description="lUng")
    assert rule.matches(Series("s", "st", "CT", "Thorax LUNG 1.0", ()))
    assert not rule.matches(Series("s", "st", "CT", "Thorax", ()))
    assert rule.words == "“lUng” in the description"
    assert ArrivalRule("m", ("CT", "PT"), ("CHEST",)).words == "CT or PT, CHEST"
    assert ArrivalRule("m").words == "every image"


def test_saving_keeps_what_was_written_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "arrival.toml"
    by_hand = '# mine\n[[rule]]\nmodel = "a"\n'
    file.write_text(by_hand, encoding="utf-8")
    book = RuleBook(file)
    book.save([*book.rules, ArrivalRule("b", is_on=False)])
    assert file.with_name("arrival.toml.bak").read_text(encoding="utf-8") == by_hand
    assert [rule.model_id for rule in book.in_force] == ["a"]


def test_a_broken_file_gives_no_rules_and_says_so(tmp_path: Path) -> None:
    file = tmp_path / "arrival.toml"
    file.write_text("[[rule", encoding="utf-8")
    book = RuleBook(file)
    assert book.rules == ()
    assert "cannot be read" in book.error
    book.save([ArrivalRule("a")])
    assert not book.error
    assert RuleBook(file).rules == (ArrivalRule("a"),)


def test_a_folder_that_takes_no_file_is_told(tmp_path: Path) -> None:
    book = RuleBook(tmp_path / "gone" / "arrival.toml")
    with pytest.raises(ModelError, match="cannot be written"):
        book.save([ArrivalRule("a")])
    assert book.rules == ()
