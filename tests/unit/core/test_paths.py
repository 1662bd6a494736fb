"""Files that are there whole or not at all, and what is said of a full disk."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from medview.core.paths import room_words, sync_folder, write_whole


def test_a_file_is_synced_before_it_has_its_name_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.toml"
    write_whole(path, "first")
    seen: list[tuple[str, str]] = []
    fsync = os.fsync

    def noting(handle: int) -> None:
        seen.append((Path(f"/proc/self/fd/{handle}").readlink().name, path.read_text()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noting)
    write_whole(path, "Läsion")
    assert path.read_text(encoding="utf-8") == "Läsion"
    assert seen == [("a.toml.new", "first"), (tmp_path.name, "Läsion")]
    assert [one.name for one in tmp_path.iterdir()] == ["a.toml"]


def test_what_cannot_be_written_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.toml"
    write_whole(path, "first")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "second")
    assert path.read_text() == "first"
    with pytest.raises(OSError, match="No space left"):
        sync_folder(tmp_path)


def test_room_is_told_in_whole_megabytes(tmp_path: Path) -> None:
    words = room_words(1_000_001, tmp_path)
    found = re.fullmatch(r"2 MB are needed, (\d+) MB are free", words)
    assert found is not None
    assert abs(int(found[1]) - shutil.disk_usage(tmp_path).free / 1e6) < 500
