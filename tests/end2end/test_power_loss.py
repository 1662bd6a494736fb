"""Saves are on the disk before they are acknowledged, and a log may end anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end2end.power_loss import _read, can_trace, cut, traced


@pytest.mark.skipif(not can_trace(), reason="strace is not here, or may not look at processes")
def test_nothing_is_acknowledged_before_it_is_on_the_disk(tmp_path: Path) -> None:
    told = traced(tmp_path, 12)
    assert told.acknowledged == 12
    assert told.renamed >= 2
    assert not told.faults


def test_what_is_not_synced_would_be_seen() -> None:
    wrote = '7 pwrite64(3</p/store.sqlite-wal>, "..."..., 24, 32) = 24'
    synced = "7 fdatasync(3</p/store.sqlite-wal>) = 0"
    said = '7 write(1</dev/null>, "acknowledged\\n", 13) = 13'
    renamed = '7 rename("/p/.writing-a", "/p/report.pdf") = 0'
    filled, kept = "7 write(4</p/.writing-a>, 5) = 5", "7 fsync(4</p/.writing-a>) = 0"
    folder = "7 fsync(5</p>) = 0"
    assert not _read([wrote, synced, said], "/p").faults
    assert _read([wrote, said, synced], "/p").faults
    assert not _read([filled, kept, renamed, folder, said], "/p").faults
    assert _read([filled, renamed, kept, folder, said], "/p").faults
    assert _read([filled, kept, renamed, said], "/p").faults


def test_a_log_that_ends_anywhere_gives_every_whole_save(tmp_path: Path) -> None:
    told = cut(tmp_path, 12, saves=20)
    assert told.boundaries > 3
    assert not told.faults
