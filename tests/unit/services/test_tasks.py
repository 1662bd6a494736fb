"""Background work: results and errors arrive on the owner's thread; workers may die."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from medview.core.errors import Cancelled, MedviewError, ReadError
from medview.core.shared_array import SharedArray
from medview.services.tasks import Tasks

HERE = "tests.helpers.import_targets"


@pytest.fixture
def tasks() -> Iterator[Tasks]:
    made = Tasks(rooms=("tests.helpers.",), preload=(HERE,), memory_bytes=3 << 30)
    yield made
    made.close()
    assert not [t for t in threading.enumerate() if t.name in ("lane", "clock")]
    assert not multiprocessing.active_children()


def until(tasks: Tasks, condition: Callable[[], bool], limit_s: float = 20.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it never came"
        tasks.wait(0.05)
        tasks.pump()


def test_a_result_arrives_on_the_owners_thread(tasks: Tasks) -> None:
    seen: list[tuple[int, str]] = []
    tasks.run(
        threading.get_ident,
        on_done=lambda ident: seen.append((ident, threading.current_thread().name)),
    )
    assert not tasks.idle
    until(tasks, lambda: bool(seen))
    assert seen[0][0] != threading.get_ident()
    assert seen[0][1] == threading.current_thread().name
    assert tasks.idle


def test_nothing_is_called_back_without_pump(tasks: Tasks) -> None:
    seen: list[int] = []
    woken = threading.Event()
    tasks.on_wake = woken.set
    tasks.run(lambda: 1, on_done=seen.append)
    assert woken.wait(10)
    assert seen == []
    assert tasks.pump() == 1
    assert seen == [1]


def test_expected_errors_go_to_the_error_callback(tasks: Tasks) -> None:
    errors: list[MedviewError] = []

    def fail() -> None:
        raise ReadError("no")

    tasks.run(fail, on_error=errors.append)
    until(tasks, lambda: bool(errors))
    assert isinstance(errors[0], ReadError)


def test_bugs_are_raised_on_the_owners_thread(tasks: Tasks) -> None:
    errors: list[MedviewError] = []
    tasks.run(lambda: 1 // 0, on_error=errors.append)
    with pytest.raises(ZeroDivisionError):
        until(tasks, lambda: False)
    assert len(errors) == 1


def test_a_cancelled_task_never_delivers(tasks: Tasks) -> None:
    gate = threading.Event()
    seen: list[Any] = []
    errors: list[MedviewError] = []
    task = tasks.run(gate.wait, on_done=seen.append, on_error=errors.append)
    task.cancel()
    gate.set()
    until(tasks, lambda: tasks.idle)
    assert seen == []
    assert isinstance(errors[0], Cancelled)


def test_later_comes_later_and_once(tasks: Tasks) -> None:
    seen: list[str] = []
    tasks.after(0.10, lambda: seen.append("second"))
    tasks.after(0.02, lambda: seen.append("first"))
    until(tasks, lambda: len(seen) == 2)
    assert seen == ["first", "second"]


def test_import_workers_run_functions_by_name_in_other_processes(tasks: Tasks) -> None:
    assert tasks.wait_import(f"{HERE}:double", 21) == 42
    assert tasks.wait_import(f"{HERE}:process_id") != os.getpid()


def test_what_may_be_called_is_limited(tasks: Tasks) -> None:
    for target in ("os:system", "medview.core.codes:Code", f"{HERE}", f"{HERE}:a.b"):
        with pytest.raises(ValueError, match="do not run"):
            tasks.call_import(target)


def test_errors_of_workers_keep_their_words_and_hide_those_of_bugs(tasks: Tasks) -> None:
    with pytest.raises(ReadError, match="This is no image") as refused:
        tasks.wait_import(f"{HERE}:refuse")
    assert (refused.value.hint, refused.value.detail) == ("Try another", "magic number")
    with pytest.raises(ReadError) as stumbled:
        tasks.wait_import(f"{HERE}:stumble", "DOE^JANE")
    assert "ValueError in stumble:" in stumbled.value.detail
    assert "DOE" not in f"{stumbled.value.user_text}{stumbled.value.detail}"


def test_a_dead_worker_costs_one_call(tasks: Tasks) -> None:
    with pytest.raises(ReadError, match="stopped") as died:
        tasks.wait_import(f"{HERE}:die")
    assert "-9" in died.value.detail
    assert [tasks.wait_import(f"{HERE}:double", n) for n in range(4)] == [0, 2, 4, 6]


def test_a_hanging_worker_is_stopped_at_its_time_limit(tasks: Tasks) -> None:
    with pytest.raises(ReadError, match=r"longer than 0\.3 s"):
        tasks.wait_import(f"{HERE}:sleep", 60.0, timeout_s=0.3)
    assert tasks.wait_import(f"{HERE}:double", 1) == 2


def test_cancel_stops_a_worker_at_work(tasks: Tasks) -> None:
    errors: list[MedviewError] = []
    task = tasks.call_import(f"{HERE}:sleep", 60.0, on_error=errors.append, timeout_s=100.0)
    time.sleep(0.1)
    task.cancel()
    until(tasks, lambda: bool(errors))
    assert isinstance(errors[0], Cancelled)
    assert tasks.wait_import(f"{HERE}:double", 2) == 4


@pytest.mark.skipif(os.name == "nt", reason="this system bounds no address space")
def test_a_greedy_call_is_refused_memory(tasks: Tasks) -> None:
    with pytest.raises(ReadError, match="memory"):
        tasks.wait_import(f"{HERE}:devour", 4)
    assert tasks.wait_import(f"{HERE}:double", 3) == 6


def test_workers_write_into_shared_memory(tasks: Tasks) -> None:
    with SharedArray.create((4, 5), np.int16) as shared:
        tasks.wait_import(f"{HERE}:fill", shared.key, 7)
        assert (shared.array == 7).all()


def test_prints_of_workers_stay_out_of_standard_output(
    tasks: Tasks, capfd: pytest.CaptureFixture[str]
) -> None:
    tasks.wait_import(f"{HERE}:shout")
    tasks.close()
    assert "noise" not in capfd.readouterr().out


def test_closing_ends_work_under_way() -> None:
    tasks = Tasks(rooms=("tests.helpers.",), preload=())
    tasks.call_import(f"{HERE}:sleep", 60.0, timeout_s=100.0)
    tasks.call_import(f"{HERE}:sleep", 60.0, timeout_s=100.0)
    tasks.call_import(f"{HERE}:double", 1)
    time.sleep(0.3)
    begin = time.monotonic()
    tasks.close()
    assert time.monotonic() - begin < 10
    assert not multiprocessing.active_children()
    with pytest.raises(RuntimeError):
        tasks.run(print)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives threads a priority")
def test_background_work_goes_behind_the_window(tasks: Tasks) -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    told: list[int] = []
    tasks.run(niceness, on_done=told.append)
    until(tasks, lambda: bool(told))
    own = os.getpriority(os.PRIO_PROCESS, os.getpid())
    assert told == [min(19, own + 5)]
    assert niceness() == own
