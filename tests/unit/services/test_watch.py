"""Files that change, shrink, are replaced or go while their study is open."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from medview.core.study import ProblemKind
from medview.services.loading import Loading
from medview.services.tasks import Tasks
from medview.services.watch import Watch
from medview.services.workspace import Workspace
from tests.helpers.dicom_phantoms import write_ct
from tests.helpers.phantoms import Phantom

PHANTOM = Phantom()


class Bench:
    """A study opened from a folder, its volume in memory, and the watch over its files."""

    def __init__(self, folder: Path) -> None:
        write_ct(folder, PHANTOM)
        self.files = sorted(folder.iterdir())
        self.work, self.tasks = Workspace(), Tasks(import_workers=1)
        self.loading = Loading(self.work, self.tasks)
        self.watch = Watch(self.work, self.tasks)
        self.loading.open_paths([folder])
        self.settle()

    def settle(self) -> None:
        end = time.monotonic() + 60
        while not (self.loading.idle and self.tasks.idle):
            assert time.monotonic() < end, "never came to rest"
            self.tasks.wait(0.05)
            self.tasks.pump()

    def look(self) -> list[str]:
        """What is told of files after the watch looked."""
        self.watch.check()
        self.settle()
        return [one.reason for one in self.work.problems if one.kind is ProblemKind.CHANGED]

    def notes(self) -> tuple[str, ...]:
        (study,) = self.work.studies.values()
        return study.series[0].notes

    def close(self) -> None:
        for uid in list(self.work.studies):
            self.work.close_study(uid)
        self.tasks.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "ct")
    yield made
    made.close()


def _replace(path: Path) -> None:
    """Another file of the same size under the same name, as copying programs do it."""
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes())
    other.replace(path)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (Path.unlink, "no longer there"),
        (lambda path: os.truncate(path, 200), "changed"),
        (lambda path: path.write_bytes(b"other"), "changed"),
        (_replace, "changed"),
    ],
    ids=["deleted", "shrunk", "rewritten", "replaced"],
)
def test_a_series_whose_file_changed_is_marked_and_its_picture_stays(
    bench: Bench, change: Callable[[Path], object], word: str
) -> None:
    assert bench.look() == []
    (volume,) = bench.work.volumes.values()
    before = volume.voxels.copy()
    change(bench.files[1])
    (told,) = bench.look()
    assert word in told
    assert bench.notes() == ("Files of this series changed or went after it was opened",)
    assert any(bench.files[1].name in notice.text for notice in bench.work.notices)
    assert np.array_equal(volume.voxels, before)
    # Told once, not at every look.
    assert len(bench.look()) == 1


def test_a_closed_study_is_watched_no_longer(bench: Bench) -> None:
    (uid,) = bench.work.studies
    bench.work.close_study(uid)
    bench.files[0].unlink()
    assert bench.look() == []
