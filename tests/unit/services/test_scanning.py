"""Scanning by workers: the same as in one process, and a hostile file costs itself only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from medview.core.errors import Cancelled, MedviewError
from medview.core.study import Severity
from medview.io import scan as io_scan
from medview.services import scanning
from medview.services.scanning import Scan, scan_now
from medview.services.tasks import Tasks
from tests.helpers.dicom_phantoms import CtOptions, Who, write_ct
from tests.helpers.phantoms import Phantom

PHANTOM = Phantom(shape=(8, 12, 10))


@pytest.fixture
def tasks() -> Iterator[Tasks]:
    made = Tasks(workers=1, rooms=("medview.io.",), preload=("tests.helpers.hostile_reading",))
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three patients, 24 files, and a letter."""
    for n in range(3):
        write_ct(tmp_path / "d" / f"p{n}", PHANTOM, CtOptions(who=Who(f"P{n}"), series=f"s{n}"))
    (tmp_path / "d" / "letter.dcm").write_text("Dear colleague")
    return tmp_path / "d"


def test_batches_give_what_one_process_gives(
    tasks: Tasks, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "_SMALLEST", 3)
    monkeypatch.setattr(scanning, "_LARGEST", 5)
    alone = io_scan.scan([folder, folder / "nothing"])
    shared = scan_now(tasks, [folder, folder / "nothing"])
    assert shared.studies == alone.studies
    assert set(shared.problems) == set(alone.problems)
    for one, other in zip(alone.studies, shared.studies, strict=True):
        for series, same in zip(one.series, other.series, strict=True):
            assert series.headers == same.headers
            assert [i.headers for i in series.instances] == [i.headers for i in same.instances]


def test_a_folder_and_a_file_in_it_are_read_once(tasks: Tasks, folder: Path) -> None:
    file = next((folder / "p0").iterdir())
    found = scan_now(tasks, [folder, file])
    assert found == scan_now(tasks, [folder])
    again = scan_now(tasks, [file, folder])
    assert again.problems == found.problems
    assert [len(one.series[0].instances) for one in again.studies] == [8, 8, 8]


def test_a_large_study_comes_whole_out_of_its_pieces(
    tasks: Tasks, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(io_scan, "_PIECE", 3)
    surveyed = io_scan.survey([folder])
    reading = io_scan.read_sealed(lambda _: None, surveyed.files)
    pieces = list(io_scan.sort(surveyed, [reading]))
    images = [sum(len(s.instances) for s in study.series) for p in pieces for study in p.studies]
    assert max(images) == 3
    assert scanning._joined(pieces).studies == scan_now(tasks, [folder]).studies


@pytest.mark.parametrize("fate", ["kill", "busy"])
def test_a_file_that_costs_its_worker_is_named_and_the_rest_is_read(
    tasks: Tasks, folder: Path, monkeypatch: pytest.MonkeyPatch, fate: str
) -> None:
    monkeypatch.setattr(scanning, "_FILE_CPU_S", 1.0)
    hostile = folder / "p1" / f"{fate}-scan"
    hostile.write_bytes(b"\0" * 400)
    # In the middle of its batch, between good files.
    (folder / "p1" / "zz").write_bytes((next((folder / "p1").iterdir())).read_bytes()[:200])
    found = scan_now(tasks, [folder])
    assert sum(len(s.instances) for study in found.studies for s in study.series) == 24
    (problem,) = [one for one in found.problems if one.path == hostile]
    assert problem.severity is Severity.REFUSED
    assert "stopped" in problem.reason
    assert problem.hint


def test_progress_counts_files_and_cancelling_ends_it(tasks: Tasks, folder: Path) -> None:
    errors: list[MedviewError] = []
    seen: list[tuple[int, int]] = []
    results: list[object] = []
    scan = Scan(
        tasks,
        [folder],
        on_done=results.append,
        on_error=errors.append,
        on_progress=lambda: seen.append(scan.progress),
    )
    tasks.wait_until(lambda: bool(results))
    assert seen[-1] == (25, 25)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    stopped = Scan(tasks, [folder], on_done=results.append, on_error=errors.append)
    stopped.cancel()
    tasks.wait_until(lambda: tasks.idle)
    assert [type(error) for error in errors] == [Cancelled]
    assert len(results) == 1
