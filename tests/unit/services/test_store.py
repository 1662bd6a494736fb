"""The store: what was said to be saved is there after a kill, a torn file, an upgrade."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medview.core.errors import StoreError
from medview.core.events import Level
from medview.core.findings import SegmentRef
from medview.core.geometry import Box
from medview.core.report import KeyImage
from medview.services.edits import AddSegmentation, ChangeFindings, FindingStep
from medview.services.kept import read_kept
from medview.services.originals import Originals
from medview.services.settings import Settings
from medview.services.steps import KEPT_STEPS
from medview.services.store import Store
from medview.services.store_file import VERSION, connect
from medview.services.tasks import Tasks
from medview.services.two_readers import TwoReaders
from medview.services.workspace import Workspace
from tests.helpers import desk
from tests.helpers.desk import STUDY

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def tasks() -> Iterator[Tasks]:
    made = Tasks(preload=())
    yield made
    made.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "profile" / "store.sqlite"


def settle(tasks: Tasks, store: Store, limit_s: float = 20.0) -> None:
    end = time.monotonic() + limit_s
    while not (store.idle and tasks.idle):
        assert time.monotonic() < end, "never saved"
        tasks.wait(0.02)
        tasks.pump()


def paint(work: Workspace, box: Box, number: int) -> None:
    edit = desk.dab(work, box, number)
    assert edit is not None
    work.apply(edit)


def test_work_is_saved_by_itself_and_reads_back_the_same(path: Path, tasks: Tasks) -> None:
    store = Store(path, delay_s=0.05)
    work = desk.workspace()
    review, _ = desk.desk(work, store)
    store.attach(work, tasks)
    uids = desk.propose(work, review)
    review.accept(uids[0])
    review.reject(uids[1], "vessel")
    paint(work, Box((0, 2, 2), (2, 5, 5)), 1)
    review.add_key_image(STUDY, KeyImage("v", "axial", (1.0, 2.0, 3.0), "here", b"\x89PNG"))
    work.put_job(desk.job(work))
    assert not store.idle
    settle(tasks, store)
    kept = read_kept(path, STUDY)
    (labels,) = work.segmentations.values()
    ((series_uid, back),) = kept.segmentations
    assert series_uid == desk.SERIES
    assert np.array_equal(back.labels, labels.labels)
    assert back.segments == labels.segments
    assert back.geometry.agrees_with(labels.geometry)
    assert kept.findings == work.findings_of(STUDY)
    assert kept.reports == work.versions_of(STUDY)
    assert kept.reports[0].key_images[0].png == b"\x89PNG"
    assert kept.losses == 0
    store.close()


def test_what_is_undone_leaves_the_store(path: Path, tasks: Tasks) -> None:
    store = Store(path, delay_s=0.01)
    work = desk.workspace()
    review, _ = desk.desk(work, store)
    store.attach(work, tasks)
    review.accept(desk.propose(work, review)[0])
    settle(tasks, store)
    assert read_kept(path, STUDY)
    while work.history.undo():
        pass
    settle(tasks, store)
    assert not read_kept(path, STUDY)
    store.close()


def test_only_touched_slices_are_written_and_empty_ones_go(path: Path, tasks: Tasks) -> None:
    store = Store(path, delay_s=0.01)
    work = desk.workspace()
    store.attach(work, tasks)
    work.apply(AddSegmentation(STUDY, desk.segmentation(work), "Add"))
    settle(tasks, store)
    with closing(connect(path, writable=False)) as reading:
        query = "SELECT slice FROM segmentation_slice ORDER BY slice"
        assert reading.execute(query).fetchall() == [(1,), (2,)]
        paint(work, Box((2, 0, 0), (4, 10, 12)), 0)
        paint(work, Box((5, 0, 0), (6, 1, 1)), 2)
        settle(tasks, store)
        assert reading.execute(query).fetchall() == [(1,), (5,)]
    store.close()


def test_closing_the_study_saves_what_was_still_waiting(path: Path, tasks: Tasks) -> None:
    store = Store(path, delay_s=60.0)
    work = desk.workspace()
    store.attach(work, tasks)
    work.apply(AddSegmentation(STUDY, desk.segmentation(work), "Add"))
    work.close_study(STUDY)
    settle(tasks, store)
    assert len(read_kept(path, STUDY).segmentations) == 1
    store.close()
    assert Store(path).unfinished() == ()


def test_an_orderly_end_leaves_nothing_unfinished_and_a_kill_does(path: Path, tasks: Tasks) -> None:
    store = Store(path, delay_s=0.01)
    work = desk.workspace()
    store.attach(work, tasks)
    work.apply(AddSegmentation(STUDY, desk.segmentation(work), "Add"))
    settle(tasks, store)
    torn = path.with_name("torn.sqlite")
    for suffix in ("", "-wal"):
        torn.with_name(torn.name + suffix).write_bytes(
            path.with_name(path.name + suffix).read_bytes()
        )
    store.close()
    left = Store(torn)
    assert [one.study_uid for one in left.unfinished()] == [STUDY]
    assert "Brain" in left.unfinished()[0].title
    left.close()
    again = Store(path)
    assert again.unfinished() == ()
    again.close()


def test_a_second_program_is_told_and_saves_nothing(path: Path, tasks: Tasks) -> None:
    first = Store(path)
    second = Store(path)
    assert not second.is_writable
    assert str(os.getpid()) in second.notices[0].text
    work = desk.workspace()
    second.attach(work, tasks)
    work.apply(AddSegmentation(STUDY, desk.segmentation(work), "Add"))
    assert second.idle
    assert [notice.level for notice in work.notices] == [Level.WARNING]
    second.close()
    first.close()
    third = Store(path)
    assert third.is_writable
    assert not third.notices
    third.close()


def test_a_file_that_is_no_store_is_kept_aside(path: Path) -> None:
    path.parent.mkdir()
    for count in (1, 2):
        path.write_bytes(b"this is no database, but somebody's work" * 100)
        store = Store(path)
        assert store.is_writable
        assert "damaged" in store.notices[0].text
        store.close()
        names = sorted(p.name for p in path.parent.glob("*.damaged*"))
        assert names == ["store.sqlite.damaged", "store.sqlite.damaged-2"][:count]


def test_a_newer_store_is_left_alone(path: Path) -> None:
    Store(path).close()
    with closing(sqlite3.connect(path)) as newer:
        newer.execute(f"PRAGMA user_version = {VERSION + (1 << 16)}")
        newer.commit()
    before = path.read_bytes()
    store = Store(path)
    assert not store.is_writable
    assert "newer" in store.notices[0].text
    store.close()
    assert path.read_bytes() == before
    Store(path).close()


def test_a_newer_minor_is_used(path: Path) -> None:
    Store(path).close()
    with closing(sqlite3.connect(path)) as newer:
        newer.execute(f"PRAGMA user_version = {VERSION + 1}")
        newer.commit()
    store = Store(path)
    assert store.is_writable
    store.close()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="everything may be written here")
def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    store = Store(folder / "store.sqlite")
    assert not store.is_writable
    assert "not saved" in store.notices[0].text


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = Store(tmp_path / "file" / "store.sqlite")
    assert not store.is_writable
    assert "not saved" in store.notices[0].text


def test_a_damaged_row_costs_itself_alone(path: Path, tasks: Tasks) -> None:
    store = Store(path, delay_s=0.01)
    work = desk.workspace()
    review, _ = desk.desk(work, store)
    store.attach(work, tasks)
    uids = desk.propose(work, review)
    settle(tasks, store)
    store.close()
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("UPDATE finding SET content = '{\"label\": 7}' WHERE uid = ?", (uids[0],))
        raw.execute("UPDATE segmentation_slice SET labels = X'00' WHERE slice = 1")
        raw.commit()
    kept = read_kept(path, STUDY)
    assert kept.losses == 2
    assert [finding.uid for finding in kept.findings] == [uids[1]]
    assert (kept.segmentations[0][1].labels[2] == 2).all()


def test_every_truncation_of_the_journal_opens(path: Path, tasks: Tasks) -> None:
    """Cut the write-ahead log anywhere: the store opens with a prefix of what was saved (W3)."""
    store = Store(path, delay_s=0.0)
    work = desk.workspace()
    store.attach(work, tasks)
    for number in range(8):
        finding = desk.finding(None, float(number), f"Finding {number}")
        work.apply(ChangeFindings(STUDY, (FindingStep(None, finding),), "Add"))
        settle(tasks, store)
    whole = path.read_bytes()
    log = path.with_name(path.name + "-wal").read_bytes()
    store.close()
    chance = random.Random(7)  # noqa: S311
    seen = set[int]()
    for cut in sorted({0, len(log), *(chance.randrange(len(log)) for _ in range(30))}):
        copy = path.with_name(f"cut-{cut}.sqlite")
        copy.write_bytes(whole)
        copy.with_name(copy.name + "-wal").write_bytes(log[:cut])
        again = Store(copy)
        assert again.is_writable
        again.close()
        labels = [finding.label for finding in read_kept(copy, STUDY).findings]
        assert labels == [f"Finding {n}" for n in range(len(labels))]
        seen.add(len(labels))
    assert {0, 8} <= seen


def test_a_full_disk_is_told_once_and_saving_goes_on_after(
    path: Path, tasks: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medview.services.store._RETRY_S", 0.05)
    store = Store(path, delay_s=0.01)
    work = desk.workspace()
    store.attach(work, tasks)
    assert store._connection is not None
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    noisy = desk.segmentation(work)
    noisy.labels[...] = np.random.default_rng(1).integers(0, 3, noisy.labels.shape)
    work.apply(AddSegmentation(STUDY, noisy, "Add"))
    for number in range(40):
        finding = replace(desk.finding(None, 1.0, f"{number}"), text="long " * 100)
        work.apply(ChangeFindings(STUDY, (FindingStep(None, finding),), "Add"))
    end = time.monotonic() + 10
    while not work.notices and time.monotonic() < end:
        tasks.wait(0.02)
        tasks.pump()
    assert "full" in work.notices[0].text
    assert str(path) in work.notices[0].text
    assert "1 MB are needed" in work.notices[0].text
    with pytest.raises(StoreError):
        store.save_now()
    store._connection.execute("PRAGMA max_page_count = 1000000")
    settle(tasks, store)
    assert [notice.level for notice in work.notices] == [Level.ERROR, Level.INFO]
    assert len(read_kept(path, STUDY).findings) == 40
    store.close()


def test_a_signed_version_outlives_what_is_undone_after_it(path: Path, tasks: Tasks) -> None:
    store = Store(path, delay_s=0.01)
    work = desk.workspace()
    review, _ = desk.desk(work, store)
    store.attach(work, tasks)
    review.accept(desk.propose(work, review)[0])
    signed = review.sign(STUDY, despite_contradictions=True)
    review.amend(STUDY)
    settle(tasks, store)
    assert len(read_kept(path, STUDY).reports) == 2
    work.history.undo()
    settle(tasks, store)
    assert read_kept(path, STUDY).reports == (signed,)
    store.close()


def test_a_report_signed_and_amended_between_two_saves_is_kept_signed(
    path: Path, tasks: Tasks
) -> None:
    store = Store(path)
    work = desk.workspace()
    review, _ = desk.desk(work, store)
    store.attach(work, tasks)
    review.accept(desk.propose(work, review)[0])
    review.begin_report(STUDY)
    store.save_now()
    signed = review.sign(STUDY, despite_contradictions=True)
    review.amend(STUDY)
    store.save_now()
    assert read_kept(path, STUDY).reports == work.versions_of(STUDY)
    assert read_kept(path, STUDY).reports[0] == signed
    store.close()


def test_a_finished_reading_takes_the_steps_behind_it_out_of_the_store(
    path: Path, tasks: Tasks
) -> None:
    store = Store(path, delay_s=0.01)
    work = desk.workspace()
    review, audit = desk.desk(work, store)
    settings = Settings(None)
    settings.set("reading.readers", "two")
    two = TwoReaders(work, review, settings, audit, Originals(work))
    store.attach(work, tasks)
    work.apply(AddSegmentation(STUDY, desk.segmentation(work), "Add"))
    settle(tasks, store)
    assert len(read_kept(path, STUDY).steps) == 1
    two.finish(STUDY)
    assert not work.history.can_undo
    settle(tasks, store)
    assert read_kept(path, STUDY).steps == ()
    assert len(read_kept(path, STUDY).segmentations) == 1
    store.close()


def test_steps_that_come_in_again_when_later_ones_are_undone_are_the_oldest(
    path: Path, tasks: Tasks
) -> None:
    store = Store(path)
    work = desk.workspace()
    store.attach(work, tasks)
    for number in range(KEPT_STEPS + 9):
        step = FindingStep(None, desk.finding(None, float(number), f"Finding {number}"))
        work.apply(ChangeFindings(STUDY, (step,), f"Add {number}"))
        store.save_now()
    for turns in ("undo", "undo", "redo", "undo", "undo", "undo"):
        getattr(work.history, turns)()
        store.save_now()
        entries = work.history.entries(STUDY)
        kept = [one.title for one in read_kept(path, STUDY).steps]
        assert kept == [one.title for one in entries[-KEPT_STEPS:]]
    step = FindingStep(None, desk.finding(None, 99.0, "Another"))
    work.apply(ChangeFindings(STUDY, (step,), "Add another"))
    store.save_now()
    kept = [one.title for one in read_kept(path, STUDY).steps]
    assert kept == [one.title for one in work.history.entries(STUDY)[-KEPT_STEPS:]]
    store.close()


# Killed

_EDITOR = """
import sys, time
from pathlib import Path
from medview.core.geometry import Box
from medview.core.segmentation import LabelEdit
from medview.services.edits import AddSegmentation, PaintEdit
from medview.services.store import Store
from medview.services.tasks import Tasks
from tests.helpers import desk

tasks, work = Tasks(preload=()), desk.workspace()
store = Store(Path(sys.argv[1]), delay_s=0.001)
review, _ = desk.desk(work, store)
store.attach(work, tasks)
work.apply(AddSegmentation(desk.STUDY, desk.segmentation(work), "Add"))
for n in range(1, 100_000):
    # Every step leaves its number in the labels of one row: 16 bits over the last slice.
    bits = [(n >> place) & 1 for place in range(16)]
    first = next(iter(work.segmentations.values()))
    after = first.labels[5:6].copy()
    after.reshape(-1)[:16] = bits
    edit = LabelEdit.between(first, Box((5, 0, 0), (6, 10, 12)), after, str(n))
    work.apply(PaintEdit(desk.STUDY, edit))
    while not store.idle:
        tasks.wait(0.01)
        tasks.pump()
    print(n, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_nothing_confirmed_is_lost_when_the_program_is_killed(path: Path) -> None:
    """Kill an editing program again and again: all it said to be saved is there (promise W1)."""
    chance = random.Random(11)  # noqa: S311
    for _ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", _EDITOR, str(path)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        ) as editor:
            assert editor.stdout is not None
            editor.stdout.readline()
            time.sleep(chance.uniform(0.0, 0.3))
            editor.kill()
            confirmed = [1, *(int(line) for line in editor.stdout.read().split())]
        store = Store(path)
        assert not store.notices
        assert [one.study_uid for one in store.unfinished()] == [STUDY]
        kept = read_kept(path, STUDY)
        bits = kept.segmentations[-1][1].labels[5].reshape(-1)[:16]
        found = sum(int(bit) << place for place, bit in enumerate(bits))
        assert confirmed[-1] <= found <= confirmed[-1] + 1
        store.close()


def test_restoring_needs_something_to_restore(path: Path) -> None:
    store = Store(path)
    with pytest.raises(StoreError):
        store.restore("nothing")
    store.close()


def test_segment_references_survive(path: Path, tasks: Tasks) -> None:
    store = Store(path, delay_s=0.01)
    work = desk.workspace()
    review, _ = desk.desk(work, store)
    store.attach(work, tasks)
    desk.propose(work, review)
    settle(tasks, store)
    (uid,) = work.segmentations
    assert [f.segment_ref for f in read_kept(path, STUDY).findings] == [
        SegmentRef(uid, 1),
        SegmentRef(uid, 2),
    ]
    store.close()
