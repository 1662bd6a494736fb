"""Bringing back: after a kill the work stands as it was saved, and undo goes on from there."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medview.core.geometry import Box
from medview.core.jobs import InferenceResult, InputHash, JobState
from medview.core.maps import MapKind, ScalarMap
from medview.core.report import KeyImage
from medview.core.segmentation import Segmentation
from medview.core.volume import Volume
from medview.services.edits import (
    AddSegmentation,
    ChangeFindings,
    ChangeSegments,
    Compound,
    FindingStep,
)
from medview.services.journal import pack_slice
from medview.services.kept import read_kept
from medview.services.kept_results import ModelOutput
from medview.services.loading import Loading
from medview.services.map_files import MapFiles
from medview.services.originals import Originals
from medview.services.outcomes import Outcomes
from medview.services.review import ReviewDesk
from medview.services.staleness import stale_reason
from medview.services.steps import KEPT_STEPS
from medview.services.store import Store
from medview.services.tasks import Tasks
from medview.services.thresholds import Thresholds
from medview.services.workspace import Workspace
from tests.helpers import desk
from tests.helpers.desk import SERIES, STUDY, VOLUME_UID


class Shelf(Loading):
    """Loading whose files are made up: one volume of the desk's grid, or none."""

    def __init__(
        self, work: Workspace, tasks: Tasks, *, shape: tuple[int, int, int], value: int = 0
    ) -> None:
        super().__init__(work, tasks)
        self._shape = shape
        self._value = value
        self.opened: list[Path] = []

    def open_paths(self, paths: Sequence[Path], _password: str = "", **_rest: Any) -> None:  # type: ignore[override]
        self.opened += paths
        self._workspace.open_studies([desk.study()], sources=paths)

    def load_series(self, series_uid: str, on_done: Any = None, **_rest: Any) -> None:  # type: ignore[override]
        assert series_uid == SERIES
        grid = desk.geometry(self._shape)
        if not self._workspace.volumes:
            volume = Volume(VOLUME_UID, SERIES, grid, np.full(self._shape, self._value, np.int16))
            self._workspace.add_volume(volume)
        self._tasks.post(lambda: on_done(self._workspace.volumes_of(series_uid)))


@pytest.fixture
def tasks() -> Iterator[Tasks]:
    made = Tasks(preload=())
    yield made
    made.close()


def settle(tasks: Tasks, store: Store) -> None:
    end = time.monotonic() + 20
    while not (store.idle and tasks.idle):
        assert time.monotonic() < end, "never came to rest"
        tasks.wait(0.02)
        tasks.pump()


def begin(tmp_path: Path, tasks: Tasks) -> tuple[Workspace, ReviewDesk, Store]:
    work = desk.workspace()
    work.open_studies([desk.study()], sources=[tmp_path])
    store = Store(tmp_path / "store.sqlite", delay_s=0.01)
    review, _ = desk.desk(work, store)
    store.attach(work, tasks)
    return work, review, store


def torn(tmp_path: Path) -> Path:
    """The store as a kill leaves it: the file and its log, whatever was in memory gone."""
    target = tmp_path / "torn.sqlite"
    for suffix in ("", "-wal"):
        shutil.copy(tmp_path / f"store.sqlite{suffix}", f"{target}{suffix}")
    return target


def again(
    path: Path, tasks: Tasks, shape: tuple[int, int, int] = (6, 10, 12)
) -> tuple[Workspace, ReviewDesk, Store, Shelf]:
    work = Workspace()
    work.reader = "Dr Ada"
    store = Store(path, delay_s=0.01)
    review, _ = desk.desk(work, store)
    shelf = Shelf(work, tasks, shape=shape)
    store.attach(work, tasks, shelf)
    return work, review, store, shelf


def paint(
    work: Workspace, box: Box, number: int, stroke: str = "", segmentation_uid: str = ""
) -> None:
    edit = desk.dab(work, box, number, stroke=stroke, segmentation_uid=segmentation_uid)
    assert edit is not None
    work.apply(edit)


def moved(work: Workspace, box: Box) -> None:
    """What segment 2 has in a box moves into a segmentation of its own, as one step."""
    first = next(iter(work.segmentations.values()))
    labels = np.zeros_like(first.labels)
    labels[box.slices] = np.where(first.labels[box.slices] == 2, 2, 0)
    there = Segmentation(first.volume_uid, first.geometry, labels, (first.find_segment(2),), "Own")
    gone = desk.dab(work, box, 0)
    assert gone is not None
    rest = tuple(one for one in first.segments if one.number != 2)
    parts = (
        AddSegmentation(STUDY, there, "Move"),
        gone,
        ChangeSegments(STUDY, first.uid, first.segments, rest, "Move"),
    )
    work.apply(Compound(STUDY, "Move", parts))


def worked(work: Workspace, review: ReviewDesk) -> list[str]:
    """A bit of everything; the states of the work before it and after each step."""
    states = [desk.fingerprint(work)]
    uids = desk.propose(work, review)
    states.append(desk.fingerprint(work))
    own = replace(desk.segmentation(work, (4,)), title="Mine")
    own.labels[...] = 0
    image = KeyImage(VOLUME_UID, "axial", (1.0, 2.0, 3.0), "Here", b"png")
    for row in range(3):
        paint(work, Box((3, row, 0), (4, row + 2, 6)), 1, stroke="one")
    states.append(desk.fingerprint(work))
    for step in (
        lambda: review.accept(uids[0]),
        lambda: paint(work, Box((1, 0, 0), (2, 4, 4)), 2),
        lambda: review.set_section(STUDY, "Advice", "None."),
        lambda: review.add_key_image(STUDY, image),
        lambda: work.apply(AddSegmentation(STUDY, own, "New")),
        lambda: paint(work, Box((4, 2, 2), (5, 6, 9)), 4, segmentation_uid=own.uid),
        lambda: review.reject(uids[1], "vessel"),
        lambda: moved(work, Box((2, 0, 0), (3, 5, 12))),
    ):
        step()
        states.append(desk.fingerprint(work))
    return states


def test_all_work_and_the_way_back_survive_a_kill(tmp_path: Path, tasks: Tasks) -> None:
    work, review, store = begin(tmp_path, tasks)
    states = worked(work, review)
    settle(tasks, store)
    work.history.undo()
    states.pop()
    settle(tasks, store)
    path = torn(tmp_path)
    store.close()

    work, _, store, shelf = again(path, tasks)
    assert [one.study_uid for one in store.unfinished()] == [STUDY]
    store.restore(STUDY)
    settle(tasks, store)
    assert shelf.opened == [tmp_path]
    assert desk.fingerprint(work) == states[-1]
    for state in reversed(states[:-1]):
        assert work.history.undo()
        assert desk.fingerprint(work) == state
    assert not work.history.can_undo
    while work.history.redo():
        pass
    assert desk.fingerprint(work) == states[-1]
    paint(work, Box((4, 0, 0), (5, 1, 1)), 1)
    settle(tasks, store)
    last = desk.fingerprint(work)
    store.close()

    work, _, store, _ = again(path, tasks)
    assert store.unfinished() == ()
    work.open_studies([desk.study()])
    settle(tasks, store)
    assert desk.fingerprint(work) == last
    assert work.history.undo_title == "Paint: 1"
    store.close()


def test_what_is_on_disk_belongs_to_one_moment(
    tmp_path: Path, tasks: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Painting goes on while labels are read for the disk: still no two moments are mixed."""

    def slow(labels: np.ndarray) -> bytes:
        time.sleep(0.004)
        return pack_slice(labels)

    monkeypatch.setattr("medview.services.batch.pack_slice", slow)
    work, review, store = begin(tmp_path, tasks)
    assert store._connection is not None
    store._connection.execute("PRAGMA wal_autocheckpoint = 0")  # copies are taken in mid-save
    desk.propose(work, review)
    settle(tasks, store)
    moments = {desk.fingerprint(work): len(work.history.entries(STUDY))}
    chance = np.random.default_rng(5)
    seen = set[int]()
    for _ in range(60):
        j, i = (int(chance.integers(0, n)) for n in (8, 10))
        change = desk.dab(work, Box((0, j, i), (6, j + 2, i + 2)), int(chance.integers(0, 3)))
        if change is not None:
            work.apply(change)
        moments[desk.fingerprint(work)] = len(work.history.entries(STUDY))
        for _ in range(int(chance.integers(1, 4))):
            tasks.wait(0.002)
            tasks.pump()
        kept = read_kept(torn(tmp_path), STUDY)
        back = Workspace()
        back.open_studies([desk.study()])
        for _, labels in kept.segmentations:
            back.apply(AddSegmentation(STUDY, labels, "Back"))
        steps = tuple(FindingStep(None, finding) for finding in kept.findings)
        back.apply(ChangeFindings(STUDY, steps, "Back"))
        assert min(moments[desk.fingerprint(back)], KEPT_STEPS) == len(kept.steps)
        seen.add(len(kept.steps))
    assert len(seen) > 2  # several saves, however slow the disk
    settle(tasks, store)
    store.close()


def test_steps_that_do_not_fit_the_labels_are_left_out(tmp_path: Path, tasks: Tasks) -> None:
    """Labels newer than the last step, as a kill in mid-save may leave them: no undo, no harm."""
    work, review, store = begin(tmp_path, tasks)
    desk.propose(work, review)
    paint(work, Box((3, 0, 0), (4, 2, 6)), 1)
    settle(tasks, store)
    assert store._connection is not None
    store._connection.execute("DELETE FROM segmentation_slice WHERE slice = 3")
    path = torn(tmp_path)
    store.close()
    work, _, store, _ = again(path, tasks)
    work.open_studies([desk.study()])
    settle(tasks, store)
    assert len(work.segmentations) == 1
    assert not work.history.can_undo
    store.close()


def test_a_damaged_step_costs_the_steps_and_no_work(tmp_path: Path, tasks: Tasks) -> None:
    work, review, store = begin(tmp_path, tasks)
    review.accept(desk.propose(work, review)[0])
    settle(tasks, store)
    assert store._connection is not None
    store._connection.execute("UPDATE step SET content = X'1234'")
    path = torn(tmp_path)
    store.close()
    work, _, store, _ = again(path, tasks)
    work.open_studies([desk.study()])
    settle(tasks, store)
    assert len(work.findings) == 2
    assert len(work.reports) == 1
    assert not work.history.can_undo
    store.close()


def test_labels_never_return_onto_another_grid(tmp_path: Path, tasks: Tasks) -> None:
    work, review, store = begin(tmp_path, tasks)
    review.accept(desk.propose(work, review)[0])
    settle(tasks, store)
    path = torn(tmp_path)
    store.close()
    work, _, store, _ = again(path, tasks, shape=(7, 10, 12))
    work.open_studies([desk.study()])
    settle(tasks, store)
    assert not work.segmentations
    assert not work.findings
    assert "do not fit" in work.notices[-1].text
    store.close()
    work, _, store, _ = again(path, tasks)
    work.open_studies([desk.study()])
    settle(tasks, store)
    assert len(work.segmentations) == 1
    store.close()


def test_a_study_whose_files_are_gone_is_told(tmp_path: Path, tasks: Tasks) -> None:
    work, review, store = begin(tmp_path, tasks)
    work.open_studies([replace(desk.study())], sources=[tmp_path / "gone"])
    desk.propose(work, review)
    settle(tasks, store)
    path = torn(tmp_path)
    store.close()
    work, _, store, shelf = again(path, tasks)
    store.restore(STUDY)
    settle(tasks, store)
    assert shelf.opened == []
    assert "gone" in work.notices[-1].text
    store.close()


def test_an_offer_declined_is_not_made_again_and_the_work_stays(
    tmp_path: Path, tasks: Tasks
) -> None:
    work, review, store = begin(tmp_path, tasks)
    desk.propose(work, review)
    settle(tasks, store)
    path = torn(tmp_path)
    store.close()
    _, _, store, _ = again(path, tasks)
    store.dismiss(STUDY)
    settle(tasks, store)
    store.close()
    work, _, store, _ = again(path, tasks)
    assert store.unfinished() == ()
    work.open_studies([desk.study()])
    settle(tasks, store)
    assert len(work.findings) == 2
    store.close()


def test_an_offer_that_was_taken_is_not_declined_afterwards(tmp_path: Path, tasks: Tasks) -> None:
    work, review, store = begin(tmp_path, tasks)
    desk.propose(work, review)
    settle(tasks, store)
    (tmp_path / "next").mkdir()
    path = Path(shutil.move(torn(tmp_path), tmp_path / "next" / "store.sqlite"))
    shutil.move(tmp_path / "torn.sqlite-wal", f"{path}-wal")
    store.close()
    _, _, store, _ = again(path, tasks)
    store.restore(STUDY)
    settle(tasks, store)
    store.dismiss(STUDY)  # the question was still there and went with the window
    settle(tasks, store)
    path = torn(path.parent)
    store.close()
    _, _, store, _ = again(path, tasks)
    assert [one.study_uid for one in store.unfinished()] == [STUDY]
    store.close()


def test_a_study_closed_while_its_work_is_read_stays_closed(tmp_path: Path, tasks: Tasks) -> None:
    work, review, store = begin(tmp_path, tasks)
    desk.propose(work, review)
    settle(tasks, store)
    path = torn(tmp_path)
    store.close()
    work, _, store, _ = again(path, tasks)
    work.open_studies([desk.study()])
    work.close_study(STUDY)
    settle(tasks, store)
    assert not work.findings
    store.close()


# What models gave beside the work


def output_of(work: Workspace, tmp_path: Path) -> ModelOutput:
    return ModelOutput(Outcomes(), Originals(work), MapFiles(tmp_path / "maps", 1 << 20))


def run_of(work: Workspace, review: ReviewDesk, output: ModelOutput) -> InferenceResult:
    """A run that ended well: two structures, three boxes of which one stands, a map."""
    result = desk.result(work)
    boxes = [
        replace(desk.finding(None, 1.0, f"Spot {p}"), probability=p, measurements=())
        for p in (0.7, 0.4, 0.2)
    ]
    volume = work.volumes[VOLUME_UID]
    values = np.linspace(0, 1, volume.voxels.size, dtype=np.float16).reshape(volume.voxels.shape)
    one = ScalarMap(
        volume.uid, MapKind.SALIENCY, volume.geometry, values, (-1.0, 1.0), "Spot", boxes[0].uid
    )
    result = replace(
        result,
        findings=(*result.findings, boxes[0]),
        candidates=tuple(boxes[1:]),
        threshold=0.5,
        maps=(one,),
        inputs=(InputHash.of(volume),),
        notes=("A note",),
        seconds=2.5,
        author=desk.MODEL,
    )
    job = desk.job(work)
    review.propose(result, job)
    output.outcomes.put(result)
    for state in (JobState.LOADING, JobState.RUNNING, JobState.DONE):
        job = job.step(state)
    work.put_job(job)
    return result


def begin_with_output(
    tmp_path: Path, tasks: Tasks
) -> tuple[Workspace, ReviewDesk, Store, ModelOutput]:
    work = desk.workspace()
    store = Store(tmp_path / "store.sqlite", delay_s=0.01)
    review, _ = desk.desk(work, store)
    output = output_of(work, tmp_path)
    store.attach(work, tasks, output=output)
    return work, review, store, output


def again_with_output(
    path: Path, tmp_path: Path, tasks: Tasks, *, value: int = 0
) -> tuple[Workspace, Store, ModelOutput]:
    """The next start; the voxels of the image at hand are all `value`."""
    work = Workspace()
    work.reader = "Dr Ada"
    store = Store(path, delay_s=0.01)
    desk.desk(work, store)
    output = output_of(work, tmp_path)
    shelf = Shelf(work, tasks, shape=(6, 10, 12), value=value)
    store.attach(work, tasks, shelf, output)
    work.open_studies([desk.study()])
    settle(tasks, store)
    return work, store, output


def test_results_come_back_as_they_were(tmp_path: Path, tasks: Tasks) -> None:
    work, review, store, output = begin_with_output(tmp_path, tasks)
    result = run_of(work, review, output)
    thresholds = Thresholds(work, output.outcomes, review._audit)
    assert thresholds.set("job", 0.3).above == 2
    settle(tasks, store)
    path = torn(tmp_path)
    store.close()

    work, store, output = again_with_output(path, tmp_path, tasks)
    back = output.outcomes.result("job")
    (was,), (now,) = result.maps, back.maps
    np.testing.assert_array_equal(now.values, was.values)
    assert replace(now, values=was.values, geometry=was.geometry).uid == was.uid
    assert now.geometry.agrees_with(was.geometry)
    assert (now.kind, now.value_range, now.finding_uid) == (
        was.kind,
        was.value_range,
        was.finding_uid,
    )
    assert replace(back, maps=()) == replace(result, maps=(), segmentations=())
    thresholds = Thresholds(work, output.outcomes, review._audit)
    assert thresholds.line("job") == 0.3
    assert thresholds.count("job", 0.1).above == 3
    assert work.jobs["job"].state is JobState.DONE
    assert not any(stale_reason(work, finding) for finding in work.findings.values())
    assert thresholds.set("job", 0.1).above == 3
    store.close()


def test_originals_come_back_and_go_on(tmp_path: Path, tasks: Tasks) -> None:
    work, review, store, output = begin_with_output(tmp_path, tasks)
    run_of(work, review, output)
    (uid,) = work.segmentations
    kept = work.segmentations[uid].labels.copy()
    paint(work, Box((3, 0, 0), (4, 2, 6)), 1)
    settle(tasks, store)
    paint(work, Box((1, 0, 0), (2, 5, 6)), 2)
    settle(tasks, store)
    path = torn(tmp_path)
    store.close()
    work, store, output = again_with_output(path, tmp_path, tasks)
    paint(work, Box((2, 0, 0), (3, 4, 4)), 1)
    settle(tasks, store)
    store.close()
    work, store, output = again_with_output(path, tmp_path, tasks)
    original = output.originals.changed(uid)
    assert original is not None
    assert len(original.patches) == 3
    np.testing.assert_array_equal(original.restored(work.segmentations[uid]).labels, kept)
    store.close()


def test_a_run_on_other_voxels_is_stale_and_shows_no_map(tmp_path: Path, tasks: Tasks) -> None:
    work, review, store, output = begin_with_output(tmp_path, tasks)
    run_of(work, review, output)
    settle(tasks, store)
    path = torn(tmp_path)
    store.close()
    work, store, output = again_with_output(path, tmp_path, tasks, value=7)
    assert all("not the one" in stale_reason(work, one) for one in work.findings.values())
    assert output.outcomes.result("job").maps == ()
    store.close()
    work, store, output = again_with_output(path, tmp_path, tasks)
    assert output.outcomes.result("job").maps, "the files lie there still"
    store.close()


def test_a_proposal_taken_back_leaves_no_original_behind(tmp_path: Path, tasks: Tasks) -> None:
    work, review, store, output = begin_with_output(tmp_path, tasks)
    run_of(work, review, output)
    paint(work, Box((3, 0, 0), (4, 2, 6)), 1)
    settle(tasks, store)
    work.history.undo()
    work.history.undo()
    assert not work.segmentations
    settle(tasks, store)
    assert store._connection is not None
    for table in ("original", "patch"):
        assert not store._connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608
    work.history.redo()
    work.history.redo()
    settle(tasks, store)
    path = torn(tmp_path)
    store.close()
    work, store, output = again_with_output(path, tmp_path, tasks)
    (uid,) = work.segmentations
    assert output.originals.changed(uid) is not None
    store.close()


@pytest.mark.parametrize("table", ["result", "job", "original", "patch"])
def test_damage_beside_the_work_costs_no_work(tmp_path: Path, tasks: Tasks, table: str) -> None:
    work, review, store, output = begin_with_output(tmp_path, tasks)
    run_of(work, review, output)
    paint(work, Box((3, 0, 0), (4, 2, 6)), 1)
    settle(tasks, store)
    state = desk.fingerprint(work)
    assert store._connection is not None
    column = "labels" if table == "patch" else "content"
    store._connection.execute(f"UPDATE {table} SET {column} = '{{'")  # noqa: S608
    path = torn(tmp_path)
    store.close()
    work, store, output = again_with_output(path, tmp_path, tasks)
    assert desk.fingerprint(work) == state
    assert work.history.can_undo
    if table in ("result", "job"):
        assert not work.jobs
    else:
        assert output.originals.of(next(iter(work.segmentations))) is None
    assert "1 parts could not be read" in work.notices[-1].text
    store.close()
