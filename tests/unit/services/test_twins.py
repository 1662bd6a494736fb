"""Files that come later under the identifier of an open image: told, and nothing is replaced."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medview.core.study import ProblemKind
from medview.services.loading import Loading
from medview.services.tasks import Tasks
from medview.services.workspace import Workspace
from tests.helpers.bad_inputs.case import write
from tests.helpers.bad_inputs.seeds import good


class Bench:
    """A workspace that files are opened in, one drop after the other."""

    def __init__(self) -> None:
        self.work, self.tasks = Workspace(), Tasks(import_workers=1)
        self.loading = Loading(self.work, self.tasks)

    def drop(self, path: Path) -> list[Path]:
        """What is told to be in conflict after a drop."""
        self.loading.open_paths([path])
        end = time.monotonic() + 60
        while not (self.loading.idle and self.tasks.idle):
            assert time.monotonic() < end, "never came to rest"
            self.tasks.wait(0.05)
            self.tasks.pump()
        return [one.path for one in self.work.problems if one.kind is ProblemKind.CONFLICT]

    def close(self) -> None:
        for uid in list(self.work.studies):
            self.work.close_study(uid)
        self.tasks.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def _flat(value: int) -> dict[str, Any]:
    return {"PixelData": ("OW", np.full((128, 128), value, np.uint16).tobytes())}


def test_other_pixels_from_a_second_source_are_told_and_left_out(
    bench: Bench, tmp_path: Path
) -> None:
    write(tmp_path / "first" / "a.dcm", good(1, **_flat(7)))
    write(tmp_path / "second" / "a.dcm", good(1, **_flat(8)))
    assert bench.drop(tmp_path / "first") == []
    assert bench.drop(tmp_path / "second") == [tmp_path / "second" / "a.dcm"]
    (volume,) = bench.work.volumes.values()
    assert set(np.unique(volume.voxels)) == {7}
    (study,) = bench.work.studies.values()
    assert any("other pixels" in note for note in study.series[0].notes)
    assert any("left out" in notice.text for notice in bench.work.notices)


def test_a_copy_with_another_header_is_no_conflict(bench: Bench, tmp_path: Path) -> None:
    write(tmp_path / "first" / "a.dcm", good(1))
    write(tmp_path / "second" / "b.dcm", good(1, StudyDescription="Sent again by another system"))
    bench.drop(tmp_path / "first")
    assert bench.drop(tmp_path / "second") == []
