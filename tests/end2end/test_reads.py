"""Four studies read from drop to signed report in the real window, by mouse and by keys alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PyQt6.QtPdf import QPdfDocument

from medview.reporting.fields import value_text
from tests.end2end.reads import MENDED, PLANS, READER, SCRIPT, WAYS
from tests.end2end.window import window

pytestmark = pytest.mark.usefixtures("own_screen")


def words_of(pdf: Path) -> str:
    """All text of a PDF, its lines joined."""
    document = QPdfDocument(None)
    document.load(str(pdf))
    pages = [document.getAllText(page).text() for page in range(document.pageCount())]
    return " ".join(" ".join(pages).split())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("study", PLANS)
def test_a_study_is_read_from_drop_to_signed_report(
    tmp_path: Path, shared: Path, study: str, way: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    script = SCRIPT.format(study=study, way=way, data=str(shared / "data"), out=str(out))
    with window(script, profile=tmp_path / "p", folder=tmp_path) as driven:
        driven.wait_for(bool, 1200)
        [told] = driven.said()
        assert driven.end() == 0
    assert told["named"], "the contradiction was not named before signing"
    assert told["signed"]
    export = out / "export"
    findings = json.loads((export / "result.json").read_text())["findings"]
    plan = PLANS[study]
    states = [one["state"] for one in findings]
    words = words_of(export / "report.pdf")
    assert len(states) == told["findings"]
    if plan.is_clip:
        assert "No AI model contributed to this report." in words
        assert [one["label"] for one in findings] == [plan.marked]
        assert f"{plan.marked}." in words
        assert f"{plan.marked} – – {READER} added by {READER}" in words
        assert re.search(r"Frame \d+, PS LAX", words)  # the caption of the key image
        assert (export / "key-01.png").is_file()
    else:
        assert states.count("rejected") == states.count("edited") == 1
        assert states.count("accepted") == len(states) - 2 > 0
        accepted = states.count("accepted")
        assert f"{accepted} accepted unchanged; 1 corrected" in words
        for one, state in zip(findings, states, strict=True):
            first = one["measurements"][0]
            number = f"{first['name']} {value_text(first['value'], first['unit'])}"
            assert (number in words) is (state != "rejected"), number
    assert MENDED in words
    assert plan.claim not in words
    assert READER in words
    assert "FINAL" in words
    assert len(list(out.glob("*.png"))) >= 8
