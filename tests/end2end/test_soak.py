"""Some studies after one another: files and threads do not grow."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end2end.soak import _told, soak


def test_studies_leave_no_files_and_threads_behind(tmp_path: Path) -> None:
    told = soak(tmp_path, minutes=30, studies=4)
    assert told.studies == 4
    assert told.files_grown <= 0
    assert told.threads_grown <= 0


def test_growth_would_be_seen() -> None:
    rows = [
        {"at": 36.0 * n, "rss": 100e6 + 1e6 * n, "files": 20 + n, "threads": 5} for n in range(111)
    ]
    told = _told(rows)
    assert told.grown_mb == 100.0
    assert told.files_grown == 100
    assert told.threads_grown == 0
    assert told.grown_percent_an_hour == pytest.approx(100 * 100 / 110, abs=0.1)
