"""Scanning by workers: the same as in one process, and a hostile file costs itself only."""

from __future__ import annotations

import io
import tarfile
import zipfile
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


def _unmarked(_number: int, _part: int = 0, /) -> None:
    """Nobody follows."""


def write_archive(path: Path, members: list[tuple[str, bytes]]) -> Path:
    """An archive of the kind that its name says."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, data in members:
                packed.writestr(name, data)
        return path
    with tarfile.open(path, "w:xz" if path.suffix == ".xz" else "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


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
    reading = io_scan.read_sealed(_unmarked, surveyed.files)
    pieces = list(io_scan.sort(_unmarked, surveyed, [reading]))
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


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.xz"])
@pytest.mark.parametrize("fate", ["kill", "busy"])
def test_a_member_that_costs_its_worker_costs_itself(
    tasks: Tasks,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fate: str,
    kind: str,
) -> None:
    monkeypatch.setattr(scanning, "_FILE_CPU_S", 1.5)
    files = sorted((folder / "p0").iterdir())[:6]
    words = {"SeriesDescription": f"{fate}-scan"}
    hostile = write_ct(tmp_path / "h", Phantom(shape=(2, 12, 10)), CtOptions(extra=words))
    names = [*files[:2], hostile[0], *files[2:4], hostile[1], *files[4:]]
    members = [(f"m/{n}.dcm", path.read_bytes()) for n, path in enumerate(names)]
    archive = write_archive(tmp_path / f"study.{kind}", members)
    (tmp_path / "beside.dcm").write_bytes(files[0].read_bytes())
    found = scan_now(tasks, [archive])
    good = io_scan.scan(files)
    assert [
        sorted(one.sop_instance_uid for one in series.instances)
        for study in found.studies
        for series in study.series
    ] == [
        sorted(one.sop_instance_uid for one in series.instances)
        for study in good.studies
        for series in study.series
    ]
    refused = [one for one in found.problems if one.severity is Severity.REFUSED]
    assert {one.path for one in refused} == {archive / "m/2.dcm", archive / "m/5.dcm"}
    assert all("stopped" in one.reason and one.hint for one in refused)


@pytest.mark.parametrize("fate", ["kill", "busy"])
def test_a_file_that_costs_its_worker_while_all_are_sorted_costs_itself(
    tasks: Tasks, folder: Path, monkeypatch: pytest.MonkeyPatch, fate: str
) -> None:
    monkeypatch.setattr(scanning, "_SORTING_CPU_S", 1.5)
    words = {"SeriesDescription": f"{fate}-sort"}
    (hostile,) = write_ct(folder / "h", Phantom(shape=(1, 12, 10)), CtOptions(extra=words))
    found = scan_now(tasks, [folder])
    assert [len(one.series[0].instances) for one in found.studies] == [8, 8, 8]
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
