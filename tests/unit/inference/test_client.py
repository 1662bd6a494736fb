"""The AI worker as a real process: its good runs, its deaths, and what is left of them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from medview.core.findings import ModelAuthor
from medview.inference import supervisor
from medview.inference.client import WorkerClient
from medview.inference.orders import (
    JobCancelled,
    JobDied,
    JobDone,
    JobFailed,
    JobProgress,
    JobRunning,
    JobSilent,
    Limits,
    WorkerReady,
    WorkerStopped,
)
from tests.helpers.worker_desk import Desk, own_blocks, small_volume

DeskMaker = Callable[..., Desk]


@pytest.fixture
def make_desk(tmp_path: Path) -> Iterator[DeskMaker]:
    desks: list[Desk] = []

    def make(**limits: float) -> Desk:
        desks.append(Desk(tmp_path, Limits(**limits)))  # type: ignore[arg-type]
        return desks[-1]

    yield make
    for desk in desks:
        desk.client.close()


@pytest.fixture
def desk(make_desk: DeskMaker) -> Desk:
    return make_desk()


def test_a_run_gives_a_proposal_on_the_grid_of_the_volume(desk: Desk) -> None:
    volume = small_volume()
    order = desk.order(volume=volume, behave="segment")
    result = desk.wait(JobDone).result
    (segmentation,) = result.segmentations
    expected = np.zeros(volume.geometry.shape, np.uint8)
    expected[1:4, 2:6, 2:7] = 1
    np.testing.assert_array_equal(segmentation.labels, expected)
    assert segmentation.geometry is volume.geometry
    assert segmentation.labels.flags.writeable
    (finding,) = result.findings
    assert finding.measurements[0].value == pytest.approx(expected.sum() * 2.5 * 0.8 * 0.7 / 1000)
    assert finding.provenance.author == ModelAuthor("fake1", "1.2.3", order.card.sha256)
    assert finding.provenance.job_uid == order.job_uid
    assert finding.provenance.derived_from == ("volume",)
    assert result.device == "cpu"
    assert result.seconds > 0
    kinds = [type(one) for one in desk.heard if not isinstance(one, JobProgress)]
    assert kinds == [WorkerReady, JobRunning, JobDone]


def test_copies_give_way_to_newer_ones_beyond_the_limit(make_desk: DeskMaker) -> None:
    one = small_volume("one")
    desk = make_desk(copies_bytes=one.voxels.nbytes)
    before = own_blocks()
    for number, uid in enumerate(("one", "two", "one")):
        desk.order(volume=small_volume(uid))
        desk.wait(JobDone, number + 1)
        assert len(own_blocks() - before) == 2


def test_the_log_of_a_failing_model_names_no_patient(desk: Desk) -> None:
    desk.order(behave="error")
    failed = desk.wait(JobFailed)
    assert failed.text == "Fake model stopped with an error of its own."
    assert "RuntimeError" in failed.detail
    desk.client.close()
    log = "".join(path.read_text() for path in desk.logs.iterdir())
    assert "RuntimeError" in log
    assert "secret" not in log + failed.text + failed.detail


def test_what_engines_print_stays_off_standard_output(
    desk: Desk, capfd: pytest.CaptureFixture[str]
) -> None:
    desk.order(behave="print")
    desk.wait(JobDone)
    desk.client.close()
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("engine noise") == 2


# Cancel


@pytest.mark.parametrize("behave", ["hang", "hang_loading", "half_frame"])
def test_a_deaf_run_is_killed_and_the_worker_is_back(make_desk: DeskMaker, behave: str) -> None:
    desk = make_desk(cancel_grace_s=0.2)
    order = desk.order(behave=behave)
    desk.wait(WorkerReady)
    if behave != "hang_loading":
        desk.pid(order)
    desk.client.cancel(order.job_uid)
    desk.wait(JobCancelled)
    desk.wait(WorkerReady, 2)
    desk.order()
    desk.wait(JobDone)
    assert not [one for one in desk.heard if isinstance(one, JobDied)]


def test_a_worker_that_the_system_stopped_is_cancelled_too(make_desk: DeskMaker) -> None:
    desk = make_desk(cancel_grace_s=0.1)
    order = desk.order(steps=10_000, step_s=0.01)
    os.kill(desk.pid(order), signal.SIGSTOP)
    desk.client.cancel(order.job_uid)
    desk.wait(JobCancelled)
    desk.order()
    desk.wait(JobDone)


def test_cancel_before_the_worker_is_up_costs_nothing(desk: Desk) -> None:
    order = desk.order(behave="hang")
    desk.client.cancel(order.job_uid)
    desk.wait(JobCancelled)
    desk.order()
    desk.wait(JobDone)
    assert len([one for one in desk.heard if isinstance(one, WorkerReady)]) == 1


# Death


@pytest.mark.parametrize(
    ("behave", "code", "words"),
    [
        ("exit", 7, "ended by itself (code 7)"),
        ("exit_loading", 9, "ended by itself (code 9)"),
        ("segv", -signal.SIGSEGV, "crashed"),
        ("garbage", -signal.SIGKILL, "makes no sense"),
    ],
)
def test_a_dying_worker_is_named_and_replaced(
    desk: Desk, behave: str, code: int, words: str
) -> None:
    desk.order(behave=behave)
    died = desk.wait(JobDied)
    assert died.exit_code == code
    assert words in died.text
    desk.wait(WorkerReady, 2)
    desk.order()
    desk.wait(JobDone)


def test_kill_9_during_a_run_is_noticed_and_worded(desk: Desk) -> None:
    order = desk.order(behave="hang")
    os.kill(desk.pid(order), signal.SIGKILL)
    died = desk.wait(JobDied)
    assert died.text == "The AI process stopped (killed), probably out of memory."
    assert died.exit_code == -signal.SIGKILL
    again = desk.order()
    desk.wait(JobDone)
    assert desk.pid(again) != desk.pid(order)


def test_kill_9_while_idle_brings_another_worker(desk: Desk) -> None:
    order = desk.order()
    desk.wait(JobDone)
    os.kill(desk.pid(order), signal.SIGKILL)
    desk.wait(WorkerReady, 2)
    desk.order()
    desk.wait(JobDone, 2)


def test_a_worker_that_never_starts_is_given_up_with_words(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Limits(starts=3))
    desk.logs.write_text("a file where the folder of logs should be")
    try:
        order = desk.order()
        stopped = desk.wait(WorkerStopped)
        assert "3 times in a row" in stopped.text
        assert desk.wait(JobDied).job_uid == order.job_uid
        # Once what was in the way is gone, the next order starts it again.
        desk.logs.unlink()
        desk.order()
        desk.wait(JobDone)
    finally:
        desk.client.close()


def test_a_worker_that_cannot_be_started_is_said_to_be(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more(_start: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(supervisor, "WorkerProcess", no_more)
    desk.order()
    assert "could not be started (Resource" in desk.wait(JobDied).text
    desk.wait(WorkerStopped)
    monkeypatch.undo()
    desk.order()
    desk.wait(JobDone)


def test_without_torch_rules_still_run_and_networks_say_why_not(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken" / "torch").mkdir(parents=True)
    (tmp_path / "broken" / "torch" / "__init__.py").write_text("raise ImportError('no')")
    monkeypatch.syspath_prepend(tmp_path / "broken")
    desk.client.warm()
    assert desk.wait(WorkerReady).devices == ()
    desk.order(task="segmentation")
    assert "PyTorch" in desk.wait(JobFailed).text
    desk.order()
    desk.wait(JobDone)


def test_a_warm_worker_knows_its_devices_and_falls_back_where_there_is_none(desk: Desk) -> None:
    desk.client.warm()
    assert desk.wait(WorkerReady).devices[-1] == "cpu"
    desk.order(task="segmentation", device="cuda:77")
    result = desk.wait(JobDone).result
    assert result.device == "cpu"
    assert result.fallbacks == ("There is no cuda:77 here; the processor was used.",)


def test_silence_is_told_and_the_run_goes_on_until_cancelled(make_desk: DeskMaker) -> None:
    desk = make_desk(silence_s=0.2, cancel_grace_s=0.1)
    order = desk.order(behave="hang")
    desk.pid(order)
    silent = desk.wait(JobSilent, 2)
    assert silent.job_uid == order.job_uid
    assert silent.silent_s >= 0.2
    desk.client.cancel(order.job_uid)
    desk.wait(JobCancelled)


def test_progress_comes_at_most_every_tenth_of_a_second(make_desk: DeskMaker) -> None:
    desk = make_desk(progress_s=0.1)
    desk.order(behave="say", seconds=1.0)
    result = desk.wait(JobDone).result
    said = [one for one in desk.heard if isinstance(one, JobProgress)]
    assert 3 <= len(said) <= result.seconds / 0.1 + 2


# Nothing left behind


def test_close_during_a_run_leaves_no_process_thread_or_block(desk: Desk) -> None:
    order = desk.order(behave="hang")
    process = psutil.Process(desk.pid(order))
    blocks = own_blocks()
    desk.client.close()
    assert not process.is_running()
    assert not [thread for thread in threading.enumerate() if "medview-ai" in thread.name]
    assert len(blocks) == 3  # flag, image, labels
    assert not own_blocks() & blocks
    desk.client.close()
    with pytest.raises(RuntimeError):
        desk.client.warm()


def test_a_client_that_was_never_used_starts_nothing(tmp_path: Path) -> None:
    threads = threading.active_count()
    client = WorkerClient(tmp_path, tmp_path)
    client.cancel("job")
    client.forget("volume")
    assert client.poll() == []
    assert threading.active_count() == threads
    client.close()


def test_the_worker_ends_when_its_parent_is_gone(desk: Desk, tmp_path: Path) -> None:
    """A window that is killed leaves no AI process computing on."""
    import subprocess
    import sys

    script = tmp_path / "parent.py"
    script.write_text(
        "import pathlib, sys, os, time\n"
        "from tests.helpers.worker_desk import Desk, own_blocks\n"
        "if __name__ == '__main__':\n"
        "    desk = Desk(pathlib.Path(sys.argv[1]))\n"
        "    order = desk.order(steps=100000, step_s=0.01)\n"
        "    print(desk.pid(order), *own_blocks(), flush=True)\n"
        "    time.sleep(600)\n"
    )
    root = Path(__file__).resolve().parents[3]
    with subprocess.Popen(
        [sys.executable, script, tmp_path / "home"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as parent:
        assert parent.stdout is not None
        pid, *blocks = parent.stdout.readline().decode().split()
        worker = psutil.Process(int(pid))
        parent.kill()
        psutil.wait_procs([worker], timeout=10)
        assert not worker.is_running()
    assert len(blocks) == 3  # flag, image, labels: the system's tracker removes them
    deadline = time.monotonic() + 10
    while any((Path("/dev/shm") / name).exists() for name in blocks):
        assert time.monotonic() < deadline, "shared memory was left"
        time.sleep(0.02)


def test_on_wake_is_called_for_everything_heard(desk: Desk) -> None:
    woken = threading.Semaphore(0)
    desk.client.on_wake = woken.release
    desk.order()
    desk.wait(JobDone)
    for _ in desk.heard:
        assert woken.acquire(timeout=5)
