"""Arrival: the middle first, what dies costs one plane, and what is missing is never shown."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from medview.core.arriving import Arriving
from medview.core.shared_array import SharedArray
from medview.core.study import Study
from medview.core.views import Plane
from medview.core.volume import Window
from medview.imaging.windowing import initial_window
from medview.io.plan import PixelFormat, PlanePlan, VolumePlan
from medview.io.reading import load, plan
from medview.io.scan import scan
from medview.services import arrival as arrivals
from medview.services.arrival import Arrival, portions
from medview.services.loading import Loading
from medview.services.tasks import Tasks
from medview.services.viewing import Viewing
from medview.services.workspace import Workspace
from tests.helpers.dicom_phantoms import write_ct
from tests.helpers.phantoms import Phantom

PHANTOM = Phantom()


@pytest.fixture
def tasks() -> Iterator[Tasks]:
    made = Tasks(
        workers=1,
        import_workers=1,
        rooms=("medview.io.",),
        preload=("tests.helpers.hostile_reading",),
    )
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_ct(tmp_path / "ct", PHANTOM)
    return tmp_path / "ct"


def study_in(folder: Path) -> Study:
    (study,) = scan([folder]).studies
    return study


def sketch(count: int, encoding: str = "raw", *, files: int = 1, offset: int = 0) -> VolumePlan:
    form = PixelFormat(encoding, 512, 512, "<i2")
    planes = tuple(PlanePlan(f"f{k % files}", form, offset=offset) for k in range(count))
    affine = tuple(tuple(float(x) for x in line) for line in np.eye(4))
    return VolumePlan("v", "s", (count, 512, 512), "<i2", affine, planes)


@pytest.mark.parametrize("count", [1, 2, 3, 16, 17, 600])
def test_portions_cover_every_plane_once_and_begin_with_the_middle(count: int) -> None:
    found = portions(sketch(count, files=count))
    assert sorted(k for start, stop in found for k in range(start, stop)) == list(range(count))
    assert found[0] == (count // 2, count // 2 + 1)
    assert max(stop - start for start, stop in found) <= 16


def test_what_must_be_unpacked_from_its_beginning_is_unpacked_once() -> None:
    assert portions(sketch(600, "gzip")) == [(0, 600)]
    assert len(portions(sketch(600, "1.2.840.10008.1.2.4.90", offset=-1))) == 3
    inside = sketch(600)
    tar = tuple(replace(plane, file="a.tar.gz", member="m") for plane in inside.planes)
    assert portions(replace(inside, planes=tar)) == [(0, 600)]
    # Files packed one by one are no archive that all planes share.
    packed = tuple(replace(one, file=f"{k}.dcm.gz", member=f"{k}.dcm")
                   for k, one in enumerate(inside.planes))  # fmt: skip
    assert len(portions(replace(inside, planes=packed))) > 2
    zipped = tuple(replace(plane, file="a.zip") for plane in tar)
    assert len(portions(replace(inside, planes=zipped))) > 2


def test_planes_arrive_from_the_middle_and_are_right(
    tasks: Tasks, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "_PORTION_BYTES", 1)
    series = study_in(folder).series[0]
    (one,) = plan(series).volumes
    (truth,) = load(series).volumes
    order: list[int] = []
    with SharedArray.create(one.shape, one.dtype) as shared:

        def changed(arrival: Arrival) -> None:
            order.extend(int(k) for k in np.flatnonzero(arrival.there) if k not in order)
            # What is said to be there is there, with its true values.
            for k in np.flatnonzero(arrival.there):
                assert np.array_equal(shared.array[k], truth.voxels[k])

        arrival = Arrival(tasks, one, shared, changed)
        tasks.wait_until(lambda: arrival.is_complete)
        assert not arrival.lost
        assert not arrival.problems
    middle = one.shape[0] // 2
    assert order[0] == middle
    distances = [abs(k - middle) for k in order]
    assert max(b - a for a, b in pairwise(distances)) <= 1


def test_the_plane_looked_at_is_read_before_the_others(
    tasks: Tasks, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "_PORTION_BYTES", 1)
    monkeypatch.setattr(arrivals, "_AT_ONCE", 1)
    (one,) = plan(study_in(folder).series[0]).volumes
    order: list[int] = []
    with SharedArray.create(one.shape, one.dtype) as shared:

        def changed(arrival: Arrival) -> None:
            order.extend(int(k) for k in np.flatnonzero(arrival.there) if k not in order)
            arrival.nearest = 0

        arrival = Arrival(tasks, one, shared, changed)
        tasks.wait_until(lambda: arrival.is_complete)
    assert order[1:4] == [0, 1, 2]


@pytest.mark.parametrize("fate", ["kill", "busy"])
def test_a_slice_that_costs_its_worker_is_lost_alone_and_in_its_place(
    tasks: Tasks, folder: Path, monkeypatch: pytest.MonkeyPatch, fate: str
) -> None:
    monkeypatch.setattr(arrivals, "_PLANE_CPU_S", 1.0)
    series = study_in(folder).series[0]
    (truth,) = load(series).volumes
    hostile = series.instances[3].path
    hostile.rename(hostile.with_name(f"{fate}-fill"))
    series = study_in(folder).series[0]
    (one,) = plan(series).volumes
    at = [plane.path for plane in one.planes].index(hostile.with_name(f"{fate}-fill"))
    with SharedArray.create(one.shape, one.dtype) as shared:
        arrival = Arrival(tasks, one, shared, lambda _: None)
        tasks.wait_until(lambda: arrival.is_complete)
        assert arrival.lost == {at}
        (problem,) = arrival.problems
        assert problem.path.name == f"{fate}-fill"
        assert f"slice {at + 1} of {one.shape[0]}" in problem.reason
        expected = truth.voxels.copy()
        expected[at] = one.blank
        assert np.array_equal(shared.array, expected)


def test_cancelling_leaves_nothing_running(tasks: Tasks, folder: Path) -> None:
    (one,) = plan(study_in(folder).series[0]).volumes
    with SharedArray.create(one.shape, one.dtype) as shared:
        heard: list[Arrival] = []
        arrival = Arrival(tasks, one, shared, heard.append)
        arrival.cancel()
        tasks.wait_until(lambda: tasks.idle)
        assert not heard
        assert not arrival.is_complete


class Scene:
    """A workspace with a study whose volume is half there."""

    def __init__(self, folder: Path) -> None:
        self.work = Workspace()
        study = study_in(folder)
        self.series = study.series[0]
        self.work.open_studies([study])
        (self.whole,) = load(self.series).volumes
        voxels = self.whole.voxels.copy()
        self.there = np.zeros(len(voxels), dtype=np.bool_)
        self.there[6:11] = True
        voxels[~self.there] = 31000
        # Without a window of its own: one has to be found in the values.
        self.partial = replace(self.whole, voxels=voxels, default_windows=(), unit="1")
        self.arriving = Arriving(study, self.series, self.partial, self.there)
        self.work.put_arriving(self.arriving)
        self.viewing = Viewing(self.work)
        self.viewing.show_series(self.series.uid)


def test_only_slices_that_are_there_are_drawn(folder: Path) -> None:
    scene = Scene(folder)
    viewing = scene.viewing
    assert viewing.picture is scene.partial
    assert viewing.volume is None
    assert viewing.is_there(Plane.AXIAL)
    assert not viewing.is_there(Plane.CORONAL)
    seen = []
    viewing.scroll_to_end(Plane.AXIAL, last=False)
    for _ in range(len(scene.there)):
        seen.append((viewing.slice_number(Plane.AXIAL), viewing.is_there(Plane.AXIAL)))
        assert viewing.plane_on_show(scene.partial.uid) == seen[-1][0]
        viewing.scroll(Plane.AXIAL, 1)
    assert sorted(seen) == [(k, bool(scene.there[k])) for k in range(len(scene.there))]


def test_a_window_is_found_in_what_is_there_and_again_when_all_is(folder: Path) -> None:
    scene = Scene(folder)
    assert scene.viewing.window.center < 2000
    whole = replace(scene.whole, default_windows=(), unit="1")
    scene.work.add_volume(whole)
    assert scene.work.arriving_of(scene.series.uid) is None
    assert scene.viewing.volume is whole
    assert scene.viewing.is_there(Plane.CORONAL)
    assert scene.viewing.window == initial_window(whole)


def test_what_the_reader_chose_meanwhile_is_kept(folder: Path) -> None:
    scene = Scene(folder)
    scene.viewing.set_window(Window(70, 300))
    scene.viewing.set_view(Plane.AXIAL, zoom=2.0)
    scene.work.add_volume(replace(scene.whole, default_windows=(), unit="1"))
    assert (scene.viewing.window.center, scene.viewing.window.width) == (70, 300)
    assert scene.viewing.view(Plane.AXIAL).zoom == 2.0


def test_a_first_image_stands_before_everything_and_goes(folder: Path) -> None:
    scene = Scene(folder)
    one = replace(scene.arriving, there=np.ones(1, dtype=np.bool_))
    scene.viewing.preview(one)
    assert scene.viewing.shown.arriving is one
    assert scene.viewing.series_uid == ""
    assert scene.viewing.study is one.study
    assert scene.viewing.volume is None
    scene.viewing.show_series(scene.series.uid)
    assert scene.viewing.shown.arriving is scene.arriving
    scene.viewing.preview(one)
    scene.viewing.preview(None)
    assert scene.viewing.series_uid == scene.series.uid
    scene.work.close_study(one.study.uid)
    assert not scene.work.arriving


def test_the_first_image_met_comes_before_the_series_and_the_series_before_its_end(
    tasks: Tasks, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "_PORTION_BYTES", 1)
    work = Workspace()
    loading = Loading(work, tasks)
    order: list[str] = []
    looks: list[Arriving] = []

    def met(first: Arriving | None) -> None:
        if first is not None:
            looks.append(first)
            order.append("first image")

    loading.on_first_look = met
    loading.on_chosen = lambda series, _protocol: order.append(
        "arriving" if work.arriving_of(series.uid) else "complete"
    )
    loading.open_paths([folder], on_done=lambda _studies: order.append("sorted"))
    end = time.monotonic() + 60
    tasks.wait_until(lambda: loading.idle or time.monotonic() > end)
    assert order == ["first image", "sorted", "arriving"]
    (look,) = looks
    (truth,) = load(look.series).volumes
    assert np.array_equal(look.volume.voxels, truth.voxels)
    (volume,) = work.volumes.values()
    assert not work.arriving
    assert look.study.patient == work.study_of(volume.uid).patient
    for uid in list(work.studies):
        work.close_study(uid)
