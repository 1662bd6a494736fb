"""Maps on the disk: the same values come back, or none; never more bytes than allowed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medview.core.errors import StoreError
from medview.core.maps import MapKind, ScalarMap
from medview.services.map_files import MapFiles
from tests.helpers import desk


def _map(uid: str, seed: int = 0) -> ScalarMap:
    grid = desk.geometry()
    values = np.random.default_rng(seed).random(grid.shape).astype(np.float16)
    return ScalarMap("v", MapKind.UNCERTAINTY, grid, values, (0.0, 1.0), uid=uid)


@pytest.mark.parametrize("dtype", ["<f2", "<f4"])
def test_what_was_written_comes_back(tmp_path: Path, dtype: str) -> None:
    files = MapFiles(tmp_path / "maps", 1 << 20)
    one = _map("one")
    one = replace(one, values=one.values.astype(dtype))
    files.write([one, _map("two", 2)])
    back = files.read("one", one.values.dtype.str, one.geometry.shape)
    np.testing.assert_array_equal(back, one.values)
    assert back.dtype == one.values.dtype
    for path in (tmp_path / "maps").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(StoreError, match="no longer kept"):
        files.read("three", dtype, one.geometry.shape)


def test_those_used_longest_ago_go_first(tmp_path: Path) -> None:
    size = MapFiles(tmp_path / "one", 1 << 20)
    size.write([_map("a")])
    (file,) = (tmp_path / "one").iterdir()
    files = MapFiles(tmp_path / "maps", int(file.stat().st_size * 2.5))
    for number, uid in enumerate("ab"):
        files.write([_map(uid, number)])
        os.utime(files._path(uid), (number, number))
    grid = desk.geometry().shape
    files.read("a", "<f2", grid)  # used now
    files.write([_map("c", 3)])
    files.read("a", "<f2", grid)
    files.read("c", "<f2", grid)
    with pytest.raises(StoreError):
        files.read("b", "<f2", grid)


def test_a_map_larger_than_all_room_is_not_kept(tmp_path: Path) -> None:
    files = MapFiles(tmp_path, 10)
    files.write([_map("a")])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("spoil", ["flip", "cut", "empty"])
def test_a_damaged_file_is_no_map(tmp_path: Path, spoil: str) -> None:
    files = MapFiles(tmp_path, 1 << 20)
    files.write([_map("a")])
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes({"flip": content, "cut": content[:-5], "empty": b""}[spoil])
    with pytest.raises(StoreError, match="damaged"):
        files.read("a", "<f2", desk.geometry().shape)


def test_a_file_of_another_size_is_no_map(tmp_path: Path) -> None:
    files = MapFiles(tmp_path, 1 << 20)
    files.write([_map("a")])
    for dtype, shape in (("<f2", (6, 10, 11)), ("<f4", (6, 10, 12)), ("<i2", (6, 10, 12))):
        with pytest.raises(StoreError, match="damaged"):
            files.read("a", dtype, shape)


def test_names_of_models_reach_no_other_file(tmp_path: Path) -> None:
    files = MapFiles(tmp_path / "maps", 1 << 20)
    files.write([_map("../../evil")])
    assert [path.name for path in tmp_path.iterdir()] == ["maps"]


def test_a_disk_that_takes_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(StoreError, match="could not be kept"):
        MapFiles(tmp_path / "file" / "maps", 1 << 20).write([_map("a")])
