"""Words on the screen: readable, whole, and inert."""

from __future__ import annotations

from typing import Any

import pytest
from PyQt6.QtCore import Qt

from medview.core.study import Patient
from medview.services.corrections import Correction
from medview.ui import text


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("DOE^JANE^M^Dr", "DOE, JANE M"),
        ("DOE", "DOE"),
        ("^JANE", "JANE"),
        ("", "Name unknown"),
        ("^^^^", "Name unknown"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou / 山田, 太郎"),
        ("=山田^太郎", "山田, 太郎"),
    ],
)
def test_names_are_read_as_people_read_them(name: str, read: str) -> None:
    assert text.person_name(name) == read


def test_what_controls_or_reverses_becomes_a_sign() -> None:
    assert (
        text.shown("a\u202eb\x00c\nd") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c d"
    )
    persian = "می\N{ZERO WIDTH NON-JOINER}خواهم"
    assert text.shown(persian) == persian
    assert len(text.shown("x" * 100_000)) == 1000


def test_tool_tips_show_tags_instead_of_obeying() -> None:
    assert Qt.mightBeRichText("<b>x</b>")
    assert "<b>" not in text.tip("<b>x</b>")
    assert text.tip("plain & simple") == "plain & simple"


@pytest.mark.parametrize(
    ("change", "read"),
    [
        (0.126, "Dice 0.92, volume +12.6 %"),
        (-0.126, "Dice 0.92, volume \N{MINUS SIGN}12.6 %"),
        (-0.0004, "Dice 0.92, volume under 0.1 %"),
        (None, "Dice 0.92, not there before"),
    ],
)
def test_corrections_are_told_in_figures(change: float | None, read: str) -> None:
    assert text.correction_words(Correction(0.92, change)) == f"changed by the reader: {read}"
    assert text.correction_words(None) == ""


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        ("20260102", "2026-01-02"),
        ("1994.01.30", "1994-01-30"),
        ("1994.1.30", "1994.1.30"),
        ("", ""),
        ("2026", "2026"),
        ("<b>", "<b>"),
    ],
)
def test_dates(raw: str, read: str) -> None:
    assert text.date(raw) == read


def test_patient_line_tells_two_patients_apart() -> None:
    line = text.patient_line(Patient("7", "DOE^JANE", "19700131"))
    assert line == "DOE, JANE  ·  ID 7  ·  born 1970-01-31"
    assert "ID none" in text.patient_line(Patient("", ""))


def test_a_line_that_shortens_itself_keeps_the_whole(qtbot: Any) -> None:
    line = text.ElidedLabel("W" * 200)
    qtbot.addWidget(line)
    line.resize(80, 20)
    line.show()
    assert line.text().endswith("…")
    assert line.full_text == "W" * 200
    assert line.toolTip() == "W" * 200
