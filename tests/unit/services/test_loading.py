"""Loading: real files through real workers into shared memory, and every way it can fail."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from medview.core.errors import Cancelled, MedviewError
from medview.core.events import Level, LoadingChanged, Notice, StudyOpened, VolumeLoaded
from medview.core.shared_array import SharedArray
from medview.core.study import Series, Study
from medview.core.views import HangingProtocol
from medview.core.volume import Volume
from medview.services import planning
from medview.services.hanging import load_protocols
from medview.services.loading import Loading
from medview.services.tasks import Tasks
from medview.services.workspace import Workspace
from tests.helpers.dicom_phantoms import CtOptions, Who, write_ct
from tests.helpers.phantoms import Phantom

PHANTOM = Phantom()


@dataclass
class Bench:
    work: Workspace
    tasks: Tasks
    loading: Loading

    def settle(self, until: Callable[[], bool] | None = None) -> None:
        end = time.monotonic() + 60
        while not (until() if until else self.loading.idle and self.tasks.idle):
            assert time.monotonic() < end, "never came to rest"
            self.tasks.wait(0.05)
            self.tasks.pump()


@pytest.fixture
def bench(resources: Path) -> Iterator[Bench]:
    # One worker: tests wait for what it imports, not for what it reads.
    work, tasks = Workspace(), Tasks(import_workers=1)
    yield Bench(work, tasks, Loading(work, tasks, load_protocols(resources / "hanging")))
    for uid in list(work.studies):
        work.close_study(uid)
    tasks.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_ct(tmp_path / "ct", PHANTOM)
    return tmp_path / "ct"


def test_a_dropped_folder_becomes_a_volume_on_show(bench: Bench, folder: Path) -> None:
    chosen: list[tuple[Series, HangingProtocol | None]] = []
    heard: list[object] = []
    bench.loading.on_chosen = lambda series, protocol: chosen.append((series, protocol))
    for name in ("study_opened", "loading_changed", "volume_loaded"):
        getattr(bench.work.events, name).connect(heard.append)
    opened: list[tuple[Study, ...]] = []
    bench.loading.open_paths([folder], on_done=opened.append)
    assert not bench.loading.idle
    bench.settle()
    (study,) = bench.work.studies.values()
    assert opened == [(study,)]
    (series,) = study.series
    (volume,) = bench.work.volumes_of(series.uid)
    assert np.allclose(volume.values(), PHANTOM.values())
    assert volume.geometry.agrees_with(PHANTOM.geometry)
    assert isinstance(bench.work.hold_of(volume.uid), SharedArray)
    ((shown, protocol),) = chosen
    assert shown == series
    assert protocol is not None
    assert protocol.name == "CT"
    assert StudyOpened(study.uid) in heard
    assert VolumeLoaded(volume.uid) in heard
    loading = [event for event in heard if isinstance(event, LoadingChanged)]
    fractions = [event.fraction for event in loading if event.series_uid]
    assert fractions[0] == 0.0
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert bench.work.sources_of(study.uid) == (folder,)
    pictures: list[object] = []
    bench.loading.thumbnail(series.uid, pictures.append)
    bench.settle()
    bench.loading.thumbnail(series.uid, pictures.append)
    bench.settle()
    assert pictures[0] is pictures[1] is bench.loading.thumbnails[series.uid]
    assert isinstance(pictures[0], np.ndarray)
    assert max(pictures[0].shape) <= 96
    bench.work.close_study(study.uid)
    assert not bench.loading.thumbnails


def test_what_is_no_image_is_told_with_its_reason(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear colleague")
    opened: list[tuple[Study, ...]] = []
    bench.loading.open_paths([tmp_path / "letter.txt"], on_done=opened.append)
    bench.loading.open_paths([tmp_path / "not there"], on_done=opened.append)
    bench.settle()
    assert opened == [(), ()]
    assert [notice.level for notice in bench.work.notices] == [Level.ERROR] * 2
    assert "letter.txt" in bench.work.notices[0].text
    assert bench.work.problems


def test_a_series_asked_for_twice_is_loaded_once(bench: Bench, folder: Path) -> None:
    bench.loading.open_paths([folder])
    bench.settle(lambda: bench.loading.scanned is None)
    (series,) = next(iter(bench.work.studies.values())).series
    came: list[tuple[Volume, ...]] = []
    bench.loading.load_series(series.uid, came.append)
    bench.loading.load_series(series.uid, came.append)
    assert bench.loading.fraction(series.uid) is not None
    bench.settle()
    bench.loading.load_series(series.uid, came.append)
    bench.settle()
    assert len(came) == 3
    assert came[0] == came[1] == came[2]
    assert bench.loading.fraction(series.uid) is None
    assert len(bench.work.volumes) == 1


def test_cancelling_and_closing_leave_nothing(bench: Bench, folder: Path) -> None:
    bench.loading.open_paths([folder])
    bench.settle(lambda: bench.loading.scanned is None)
    (study,) = bench.work.studies.values()
    errors: list[MedviewError] = []
    bench.loading.load_series(study.series[0].uid, on_error=errors.append)
    bench.loading.cancel(study.series[0].uid)
    assert isinstance(errors[0], Cancelled)
    bench.loading.load_series(study.series[0].uid, on_error=errors.append)
    bench.work.close_study(study.uid)
    bench.settle()
    assert isinstance(errors[1], Cancelled)
    assert not bench.work.volumes
    assert not [n for n in bench.work.notices if n.level is Level.ERROR]


def test_files_that_went_away_are_told(bench: Bench, folder: Path) -> None:
    bench.loading._protocols = ()
    bench.loading.open_paths([folder])
    bench.settle(lambda: bench.loading.scanned is None)
    (study,) = bench.work.studies.values()
    bench.loading.cancel(study.series[0].uid)
    for file in folder.iterdir():
        file.unlink()
    errors: list[MedviewError] = []
    bench.loading.load_series(study.series[0].uid, on_error=errors.append)
    bench.settle()
    assert len(errors) == 1
    assert not bench.work.volumes
    assert bench.work.notices[-1].level is Level.ERROR


@pytest.mark.parametrize("fate", ["kill", "busy"])
def test_a_file_that_costs_its_worker_while_planned_costs_its_slice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fate: str
) -> None:
    monkeypatch.setattr(planning, "_FILE_CPU_S", 2.0)
    hostile = {n: {"SeriesDescription": f"{fate}-plan"} for n in (4, 9)}
    paths = write_ct(tmp_path / "ct", PHANTOM, CtOptions(per_slice=hostile))
    work, tasks = Workspace(), Tasks(import_workers=1, preload=("tests.helpers.hostile_reading",))
    bench = Bench(work, tasks, Loading(work, tasks))
    try:
        bench.loading.open_paths([tmp_path / "ct"])
        bench.settle()
        (study,) = work.studies.values()
        (volume,) = work.volumes_of(study.series[0].uid)
        assert volume.geometry.agrees_with(PHANTOM.geometry)
        assert set(volume.empty_slices) == {4, 9}
        good = [n for n in range(PHANTOM.shape[0]) if n not in (4, 9)]
        assert np.allclose(volume.values()[good], PHANTOM.values()[good])
        told = {one.path: one for one in work.problems}
        assert set(told) == {paths[4], paths[9]}
        assert all("stopped" in one.reason and one.hint for one in told.values())
    finally:
        for uid in list(work.studies):
            work.close_study(uid)
        tasks.close()


def test_where_the_first_study_is_broken_the_next_is_shown(
    bench: Bench, folder: Path, tmp_path: Path
) -> None:
    write_ct(tmp_path / "more" / "a", PHANTOM, CtOptions(who=Who("P2")))
    write_ct(tmp_path / "more" / "b", PHANTOM, CtOptions(who=Who("P3")))
    chosen: list[str] = []
    bench.loading.on_chosen = lambda series, _protocol: chosen.append(series.uid)
    bench.loading.open_paths([tmp_path / "more"])
    bench.settle(lambda: bench.loading.scanned is None)
    first, second = bench.work.studies.values()
    bench.loading.cancel(first.series[0].uid)
    for instance in first.series[0].instances:
        instance.path.unlink()
    bench.loading._show_first([first, second])
    bench.settle()
    assert chosen == [second.series[0].uid]


def test_a_volume_without_room_is_refused_before_it_is_read(
    bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path) -> SimpleNamespace:
        return SimpleNamespace(free=1000)

    monkeypatch.setattr("medview.services.room.shutil.disk_usage", full)
    monkeypatch.setattr("medview.services.room._SHARED_MEMORY", folder)
    notices: list[Notice] = []
    bench.work.events.notice.connect(notices.append)
    bench.loading.open_paths([folder])
    bench.settle()
    assert not bench.work.volumes
    assert "memory" in notices[-1].text
