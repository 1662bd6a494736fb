"""Arrays that processes share: in memory and in files, whole and plane by plane."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from medview.core import shared_array
from medview.core.errors import MedviewError
from medview.core.shared_array import SharedArray, SharedPlanes


def block(kind: str, folder: Path, dtype: str = "<i2") -> SharedArray:
    if kind == "memory":
        return SharedArray.create((5, 4, 3), dtype)
    return SharedArray.create_file(folder / "v.voxels", (5, 4, 3), dtype)


@pytest.mark.parametrize("kind", ["memory", "file"])
@pytest.mark.parametrize("mapped", [False, True])
def test_planes_written_from_beside_are_seen(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, mapped: bool
) -> None:
    if mapped:  # a system that gives shared memory no path
        monkeypatch.setattr(Path, "is_file", lambda _path: False)
    truth = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    with block(kind, tmp_path) as shared:
        assert not shared.array.any()
        with SharedPlanes(shared.key) as planes:
            for k in (4, 0, 2):
                planes[k] = truth[k]
            planes[1] = truth[1][:, ::-1].copy()[:, ::-1]  # not in one piece
            planes[3] = -7
        expected = truth.copy()
        expected[3] = -7
        assert np.array_equal(shared.array, expected)
        with SharedArray.attach(shared.key) as other:
            assert np.array_equal(other.array, expected)


def test_other_types_are_converted_as_an_array_would() -> None:
    with SharedArray.create((2, 3), np.float32) as shared:
        with SharedPlanes(shared.key) as planes:
            planes[1] = np.array([1, 2, 3], dtype=np.uint8)
        assert shared.array.tolist() == [[0, 0, 0], [1, 2, 3]]


def test_a_file_goes_with_its_owner_and_views_outlive_it(tmp_path: Path) -> None:
    shared = block("file", tmp_path)
    path = Path(shared.key.name)
    assert path.stat().st_size == shared.key.nbytes == 120
    with pytest.raises(FileExistsError):
        block("file", tmp_path)
    view = shared.array[2]
    view[...] = 9
    with SharedArray.attach(shared.key):
        pass
    assert path.exists()
    shared.close()
    shared.close()
    assert not path.exists()
    assert (view == 9).all()


def test_no_memory_left_is_told_and_not_suffered(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> int:
        raise OSError(28, "No space left on device")

    with SharedArray.create((2, 3), np.int16) as shared, SharedPlanes(shared.key) as planes:
        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(MedviewError, match="no memory left"):
            planes[0] = 1
    assert shared_array.SharedArrayName("x", (2, 3), "<f4").nbytes == 24
