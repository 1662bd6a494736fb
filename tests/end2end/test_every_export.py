"""Everything that can be written of a study, before every program that judges it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end2end.every_export import SOURCES, export, judged


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("name", ["MR, on the side", "CR of the chest"])
def test_no_program_complains(shared: Path, tmp_path: Path, name: str) -> None:
    files = export(shared / "data" / SOURCES[name], tmp_path / "out", 1, tmp_path / "profile")
    assert {path.suffix for path in files} >= {".dcm", ".pdf", ".html", ".json", ".csv", ".png"}
    assert list(judged(files)) == []
