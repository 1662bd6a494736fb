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
from medview.core.report import KeyImage
from medview.core.volume import Volume
from medview.services.loading import Loading
from medview.services.review import ReviewDesk
from medview.services.store import Store
from medview.services.tasks import Tasks
from medview.services.workspace import Workspace
from tests.helpers import desk
from tests.helpers.desk import SERIES, STUDY, VOLUME_UID


class Shelf(Loading):
    """Loading whose files are made up: one volume of the desk's grid, or none."""

    def __init__(self, work: Workspace, tasks: Tasks, *, shape: tuple[int, int, int]) -> None:
        super().__init__(work, tasks)
        self._shape = shape
        self.opened: list[Path] = []

    def open_paths(self, paths: Sequence[Path], _password: str = "", **_rest: Any) -> None:  # type: ignore[override]
        self.opened += paths
        self._workspace.open_studies([desk.study()], sources=paths)

    def load_series(self, series_uid: str, on_done: Any = None, **_rest: Any) -> None:  # type: ignore[override]
        assert series_uid == SERIES
        grid = desk.geometry(self._shape)
        if not self._workspace.volumes:
            volume = Volume(VOLUME_UID, SERIES, grid, np.zeros(self._shape, np.int16))
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


def paint(work: Workspace, box: Box, number: int, stroke: str = "") -> None:
    edit = desk.dab(work, box, number, stroke=stroke)
    assert edit is not None
    work.apply(edit)


def worked(work: Workspace, review: ReviewDesk) -> list[str]:
    """A bit of everything; the states of the work behind the proposal, after each step."""
    uids = desk.propose(work, review)
    states = [desk.fingerprint(work)]
    image = KeyImage(VOLUME_UID, "axial", (1.0, 2.0, 3.0), "Here", b"png")
    for row in range(3):
        paint(work, Box((3, row, 0), (4, row + 2, 6)), 1, stroke="one")
    states.append(desk.fingerprint(work))
    for step in (
        lambda: review.accept(uids[0]),
        lambda: paint(work, Box((1, 0, 0), (2, 4, 4)), 2),
        lambda: review.set_section(STUDY, "Advice", "None."),
        lambda: review.add_key_image(STUDY, image),
        lambda: review.reject(uids[1], "vessel"),
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
