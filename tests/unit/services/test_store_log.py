"""The log of a store: what lies behind a damaged byte is not lost, and its damage is told."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from medview.core.events import Level
from medview.services.store import Store
from medview.services.store_file import VERSION, connect, fetch, open_store, write_meta
from medview.services.store_log import read_log, replace_log

_PAGE = 4096
_STEP = _PAGE + 24
SAVES = 12


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A store as a kill leaves it: every save in the log, behind an older log's remains."""
    live = tmp_path / "live.sqlite"
    connection = open_store(live)
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    for number in range(40):
        _save(connection, f"old-{number}")
    connection.execute("PRAGMA wal_checkpoint(RESTART)")
    for number in range(SAVES):
        _save(connection, f"new-{number}")
    path = tmp_path / "store.sqlite"
    for suffix in ("", "-wal"):
        shutil.copy(tmp_path / f"live.sqlite{suffix}", tmp_path / f"store.sqlite{suffix}")
    connection.close()
    return path


def _save(connection: sqlite3.Connection, name: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    write_meta(connection, {name: "x" * 900, "clean": "0"})
    connection.execute("COMMIT")


def _wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _flip(path: Path, *offsets: int) -> None:
    data = bytearray(_wal(path).read_bytes())
    for offset in offsets:
        data[offset] ^= 0x40
    _wal(path).write_bytes(data)


def _names(path: Path) -> set[str]:
    with closing(connect(path)) as connection:
        return {str(row[0]) for row in fetch(connection, "SELECT name FROM meta")}


def _opened(path: Path) -> tuple[set[str], list[str]]:
    store = Store(path)
    assert store.is_writable
    store.close()
    assert all(one.level is Level.ERROR for one in store.notices)
    return _names(path), [one.text for one in store.notices]


def test_a_log_is_read_as_sqlite_reads_it(left: Path) -> None:
    log = read_log(left)
    assert log is not None
    assert not log.is_damaged
    assert log.saves == (SAVES, 0)
    assert len(_wal(left).read_bytes()) > len(log.mended())  # the older log's remains
    with closing(sqlite3.connect(left)) as connection:
        # SQLite's own count of the frames it replayed.
        assert connection.execute("PRAGMA wal_checkpoint").fetchone()[2] == len(log.frames)


def test_a_log_written_anew_says_the_same(left: Path) -> None:
    log = read_log(left)
    assert log is not None
    replace_log(left, log)
    assert _wal(left).read_bytes() == log.mended()
    assert {f"new-{number}" for number in range(SAVES)} <= _names(left)


@pytest.mark.parametrize("frame", [0, 1, 5, 11])
@pytest.mark.parametrize("at", [0, 5, 9, 14, 17, 22, 24, 2000, 4119])
def test_one_flipped_byte_costs_no_save_behind_it(left: Path, frame: int, at: int) -> None:
    """Offsets lie in the page number, the commit mark, salts, sums and the page."""
    _flip(left, 32 + frame * _STEP + at)
    names, told = _opened(left)
    missing = {f"new-{number}" for number in range(SAVES)} - names
    assert len(missing) <= 1 + (frame == 11)
    assert {f"old-{number}" for number in range(40)} <= names
    # Damage in the last frame's own marks looks like a save that was not finished.
    assert told or not missing or frame == 11
    assert (left.with_name("store.sqlite.damaged-wal").exists()) == bool(told)


@pytest.mark.parametrize("at", [0, 2, 6, 9, 13, 17, 21, 25, 31])
def test_a_damaged_header_costs_nothing(left: Path, at: int) -> None:
    """SQLite alone would not replay one frame of it."""
    _flip(left, at)
    names, told = _opened(left)
    assert {f"new-{number}" for number in range(SAVES)} <= names
    assert len(told) == 1
    assert "0 of the last 12 saves" in told[0]


def test_without_mending_the_saves_behind_would_be_gone(left: Path) -> None:
    _flip(left, 32 + 2000)
    assert "new-11" not in _names(left)


def test_an_unfinished_save_is_no_damage(left: Path) -> None:
    """Cut off within a frame, or its page never written: nobody was told that it is saved."""
    log = read_log(left)
    assert log is not None
    end = 32 + len(log.frames) * _STEP
    whole = _wal(left).read_bytes()
    unmarked = bytearray(whole[:end])
    unmarked[end - _STEP + 4 : end - _STEP + 8] = bytes(4)
    for data in (whole[: end - 1], whole[: end - _STEP + 24], whole[: end - 2 * _STEP], unmarked):
        _wal(left).write_bytes(data)
        found = read_log(left)
        assert found is not None
        assert not found.is_damaged


@pytest.mark.parametrize("spoil", [
    lambda wal: wal.unlink(),
    lambda wal: wal.write_bytes(b""),
    lambda wal: wal.write_bytes(bytes(9000)),
])  # fmt: skip
def test_a_log_that_is_gone_is_left_to_sqlite(left: Path, spoil: Callable[[Path], object]) -> None:
    spoil(_wal(left))
    names, told = _opened(left)
    assert "old-39" in names
    assert not told


def test_what_is_no_log_is_told(left: Path) -> None:
    _wal(left).write_bytes(b"no log at all" * 1000)
    names, told = _opened(left)
    assert "old-39" in names
    assert len(told) == 1


def test_a_database_without_page_size_has_no_log_to_read(left: Path) -> None:
    left.write_bytes(b"")
    assert read_log(left) is None


def test_a_page_that_only_the_damaged_frame_had_costs_its_rows_alone(left: Path) -> None:
    """The mended database does not hold together: what can be read is taken over."""
    chance = random.Random(3)  # noqa: S311
    log = read_log(left)
    assert log is not None
    frames = range(len(log.frames))
    _flip(left, *(32 + frame * _STEP + 500 for frame in chance.sample(frames, 4)))
    names, told = _opened(left)
    assert told
    assert len({f"new-{number}" for number in range(SAVES)} - names) <= 4


@pytest.mark.parametrize("in_log", [True, False])
def test_a_newer_store_with_a_damaged_log_is_left_untouched(left: Path, in_log: bool) -> None:
    newer = left.with_name("newer")
    with closing(connect(left)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + (1 << 16)}")
        if not in_log:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        _save(connection, "a")
        _save(connection, "b")
        for suffix in ("", "-wal"):
            shutil.copy(left.with_name(left.name + suffix), newer.with_name(newer.name + suffix))
    log = read_log(newer)
    assert log is not None
    _flip(newer, 32 + (len(log.frames) - 2) * _STEP + 100)
    before = newer.read_bytes(), _wal(newer).read_bytes()
    store = Store(newer)
    assert not store.is_writable
    assert "newer medview" in store.notices[0].text
    assert (newer.read_bytes(), _wal(newer).read_bytes()) == before


def test_a_key_that_became_nothing_costs_its_row_alone(left: Path) -> None:
    with closing(connect(left)) as connection:
        write_meta(connection, {"abcdefg": "hijklmn"})
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(left.read_bytes())
    # A record: length of its head, then the kinds of its two values, texts of seven letters.
    place = data.index(bytes([3, 13 + 2 * 7, 13 + 2 * 7]) + b"abcdefghijklmn")
    data[place + 1] = 0  # NULL
    left.write_bytes(data)
    names, told = _opened(left)
    assert len(told) == 1
    assert {"old-39", "new-11"} <= names
    assert "abcdefg" not in names
