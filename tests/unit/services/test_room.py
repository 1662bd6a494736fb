"""Room for volumes: in memory where it fits well, else in a file that does not stay behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from medview.core.errors import ReadError
from medview.core.shared_array import SharedArray
from medview.io.plan import VolumePlan
from medview.services import room
from medview.services.loading import Loading
from medview.services.room import Room
from medview.services.tasks import Tasks
from medview.services.workspace import Workspace
from tests.helpers.dicom_phantoms import write_ct
from tests.helpers.phantoms import Phantom

AFFINE = tuple(tuple(float(x) for x in line) for line in np.eye(4))


def sketch(slices: int) -> VolumePlan:
    return VolumePlan("v", "s", (slices, 64, 64), "<i2", AFFINE, ())


def test_a_volume_beyond_half_of_the_free_memory_lies_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "free_bytes", lambda: 200 << 20)
    finder = Room(tmp_path / "volumes")
    limit = (100 << 20) // sketch(1).nbytes
    with finder.allocate(sketch(limit)) as small, finder.allocate(sketch(limit + 1)) as large:
        assert not Path(small.key.name).is_absolute()
        path = Path(large.key.name)
        assert path.parent == tmp_path / "volumes"
        assert path.stat().st_mode & 0o077 == 0
        large.array[-1] = 5
        assert (large.array[-1] == 5).all()
    assert not path.exists()


def test_without_a_folder_or_disk_a_large_volume_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "free_bytes", lambda: 1000)
    with pytest.raises(ReadError, match="MB of memory"):
        Room().allocate(sketch(4))
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _path: SimpleNamespace(free=1000))
    with pytest.raises(ReadError, match="MB of memory"):
        Room(tmp_path).allocate(sketch(4))
    assert not list(tmp_path.iterdir())


def test_what_a_killed_run_left_is_removed_and_what_others_use_is_not(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    left, used = tmp_path / f"{child.pid}-0.voxels", tmp_path / f"{os.getpid()}-0.voxels"
    for path in (left, used, tmp_path / "letter.txt"):
        path.write_bytes(b"x")
    Room(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [used.name, "letter.txt"]


def test_a_series_too_large_for_memory_opens_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phantom = Phantom()
    write_ct(tmp_path / "ct", phantom)
    monkeypatch.setattr(room, "free_bytes", lambda: 1000)
    work, tasks = Workspace(), Tasks(workers=1, import_workers=1)
    try:
        loading = Loading(work, tasks, cache=tmp_path / "cache")
        loading.open_paths([tmp_path / "ct"])
        tasks.wait_until(lambda: loading.idle)
        (volume,) = work.volumes.values()
        assert np.allclose(volume.values(), phantom.values())
        assert len(list((tmp_path / "cache" / "volumes").iterdir())) == 1
        for uid in list(work.studies):
            work.close_study(uid)
        assert not list((tmp_path / "cache" / "volumes").iterdir())
    finally:
        tasks.close()


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="the system gives it no path")
def test_the_next_volume_takes_the_memory_that_is_at_hand_and_gives_the_rest_back() -> None:
    finder = Room()
    finder.make_spare(2 * sketch(8).nbytes)
    assert finder._spare is not None
    spare = Path("/dev/shm") / finder._spare.key.name
    # All of it was given by the system, not only promised.
    assert spare.stat().st_blocks * 512 >= spare.stat().st_size
    with finder.allocate(sketch(17)) as too_large:
        assert too_large.key.name != spare.name
        assert finder.has_spare
    with finder.allocate(sketch(8)) as volume:
        assert volume.key.name == spare.name
        assert not finder.has_spare
        finder.make_spare(sketch(100).nbytes)
        assert spare.stat().st_size == sketch(8).nbytes
        assert finder.has_spare
        with finder.allocate(sketch(9)) as too_small:
            assert finder.has_spare
            assert too_small.key.name != spare.name
        volume.array[...] = 7
        with SharedArray.attach(volume.key) as seen:
            assert seen.array.shape == (8, 64, 64)
            assert (seen.array == 7).all()
    assert not spare.exists()
    finder.make_spare(4096)
    finder.close()
    assert not finder.has_spare


def test_no_more_than_an_eighth_of_the_free_memory_is_kept_at_hand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room, "free_bytes", lambda: 8 << 20)
    finder = Room()
    finder.make_spare(1 << 30)
    monkeypatch.setattr(room, "free_bytes", lambda: 1 << 30)
    fits, beyond = (1 << 20) // sketch(1).nbytes, (1 << 20) // sketch(1).nbytes + 1
    with finder.allocate(sketch(beyond)):
        assert finder.has_spare
    with finder.allocate(sketch(fits)):
        assert not finder.has_spare


def test_after_each_opening_memory_is_at_hand_again_and_none_stays_at_the_end(
    tmp_path: Path,
) -> None:
    write_ct(tmp_path, Phantom())
    tasks, work = Tasks(import_workers=1), Workspace()
    loading = Loading(work, tasks)
    loading.keep_ready(1 << 20)
    tasks.wait_until(lambda: loading._room.has_spare)
    loading.open_paths([tmp_path])
    tasks.wait_until(lambda: bool(work.volumes) and loading.idle and tasks.idle)
    spare = loading._room._spare
    assert spare is not None
    with SharedArray.attach(spare.key):
        pass  # it is there
    loading.keep_ready(0)
    assert not loading._room.has_spare
    loading.keep_ready(1 << 20)
    tasks.wait_until(lambda: tasks.idle)
    spare = loading._room._spare
    assert spare is not None
    for uid in list(work.studies):
        work.close_study(uid)
    tasks.close()
    loading.close()
    with pytest.raises(FileNotFoundError):
        SharedArray.attach(spare.key)
