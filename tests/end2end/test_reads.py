"""An ultrasound clip read from drop to signed report in the real window, by keys alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PyQt6.QtPdf import QPdfDocument

from tests.end2end.reads import CLAIM, MENDED, PLANS, READER, SCRIPT
from tests.end2end.window import window

pytestmark = pytest.mark.xdist_group("window")


def words_of(pdf: Path) -> str:
    """All text of a PDF, its lines joined."""
    document = QPdfDocument(None)
    document.load(str(pdf))
    pages = [document.getAllText(page).text() for page in range(document.pageCount())]
    return " ".join(" ".join(pages).split())


@pytest.mark.parametrize(("study", "way"), [("us", "keys")])
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
    if not plan.is_clip:
        states = [one["state"] for one in findings]
        assert len(states) == told["findings"]
        assert "proposed" not in states
        if 0 <= plan.rejected < len(states):
            assert states.count("rejected") == 1
    words = words_of(export / "report.pdf")
    assert MENDED in words
    assert CLAIM not in words
    assert READER in words
    assert "FINAL" in words
    assert len(list(out.glob("*.png"))) >= 8
