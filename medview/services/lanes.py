"""Lanes of background work: threads that take calls from a queue, some with a process at hand."""

from __future__ import annotations

import multiprocessing
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np

from medview.core.errors import Cancelled, MedviewError, ReadError
from medview.core.shared_array import SharedArray
from medview.services.import_worker import MARK_SHAPE, Answer, Order, Terms, serve

#: How often a lane looks up from a running call to see whether it is still wanted.
_LOOK_UP_S = 0.05

#: A worker imports its libraries in this time, even on a slow disk.
_START_S = 120.0

Deliver = Callable[[Any, BaseException | None], None]


def _undelivered(_result: Any, _error: BaseException | None) -> None:
    """Until the call is submitted."""


def _no_piece(_piece: Any) -> None:
    """Until the call is submitted."""


class LostAtError(ReadError):
    """A call that works in steps failed, with its worker or without.

    `at` is the step it was at, `part` the part of it where it named one.
    """

    def __init__(
        self, user_text: str, hint: str = "", detail: str = "", at: int = 0, part: int = 0
    ) -> None:
        super().__init__(user_text, hint, detail)
        self.at = at
        self.part = part


@dataclass(eq=False)
class Call:
    """One call: a function for a thread, or a target `module:function` for a process.

    A process may take `timeout_s` for it. With `step_cpu_s` the call works in steps: both that
    many seconds of its processor and `timeout_s` are for each step, however many there are.
    """

    arguments: tuple[Any, ...]
    function: Callable[..., Any] | None = None
    target: str = ""
    timeout_s: float = 0.0
    step_cpu_s: float = 0.0
    deliver: Deliver = _undelivered
    deliver_piece: Callable[[Any], None] = _no_piece
    cancelled: threading.Event = field(default_factory=threading.Event)


#: Calls by priority and order of coming; None tells all lanes of the queue to end.
Calls = queue.PriorityQueue[tuple[int, int, Call | None]]
_END = (-1_000, -1, None)


def start_thread(function: Callable[[], None], name: str) -> Callable[[], None]:
    """Run a function on a thread of its own; gives what waits for its end."""
    # The room for threads: whoever wants one asks services.tasks.
    thread = threading.Thread(target=function, name=name, daemon=True)  # noqa: TID251
    thread.start()
    return thread.join


class Lane:
    """A thread that works through a queue of calls until it is stopped."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._stopping = threading.Event()
        self._join: Callable[[], None] | None = None

    def start(self) -> None:
        """Start the thread, once."""
        if self._join is None:
            self._join = start_thread(self._work, "lane")

    def stop(self) -> None:
        """Ask the thread to end after the call at hand, and all others on the same queue."""
        self._stopping.set()
        self._calls.put(_END)

    def join(self) -> None:
        """Wait for the thread."""
        if self._join is not None:
            self._join()

    def _work(self) -> None:
        self._begin()
        while True:
            _, _, call = self._calls.get()
            if call is None:
                self._calls.put(_END)
                break
            if call.cancelled.is_set():
                call.deliver(None, Cancelled())
                continue
            self._perform(call)
        self._end()

    def _begin(self) -> None:
        """Before the first call."""

    def _perform(self, call: Call) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        """After the last call."""


class PoolLane(Lane):
    """Runs functions on its thread, behind the owner's thread where both want a processor."""

    def _begin(self) -> None:
        # Linux alone gives threads a priority of their own; threads that a library starts in a
        # call, to draw the 3D view with all cores, inherit it.
        if sys.platform == "linux":
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _niceness() + 5)

    def _perform(self, call: Call) -> None:
        if call.function is None:
            raise TypeError("A call for a thread needs a function")
        try:
            result = call.function(*call.arguments)
        except BaseException as error:  # noqa: BLE001  (the worker loop: told on the owner's thread)
            call.deliver(None, error)
        else:
            call.deliver(result, None)


def _niceness() -> int:
    """Of the program as it was started."""
    return os.getpriority(os.PRIO_PROCESS, os.getpid())


class _Clock:
    """How long a worker has been at one step, by the wall and by its own processor time."""

    def __init__(self, call: Call, marks: SharedArray, pid: int) -> None:
        self._call = call
        self._marks = marks
        self._pid = pid
        self.restart()

    def restart(self) -> None:
        """Something came."""
        self._ticks = int(self._marks.array[1])
        self._begun = time.monotonic()
        self._begun_cpu = _cpu_s(self._pid)

    def starting_s(self) -> float | None:
        """The limit for a worker that still imports its libraries; None while there is time."""
        return _START_S if time.monotonic() - self._begun > _START_S else None

    def exceeded_s(self) -> float | None:
        """The limit that was passed; None while there is time."""
        call = self._call
        if call.step_cpu_s and self._ticks != self._marks.array[1]:
            self.restart()
        if time.monotonic() - self._begun > call.timeout_s:
            return call.timeout_s
        if call.step_cpu_s and _cpu_s(self._pid) - self._begun_cpu > call.step_cpu_s:
            return call.step_cpu_s
        return None


def _cpu_s(pid: int) -> float:
    """Processor time of a process, where the system tells (Linux: clock_getcpuclockid(3))."""
    if not hasattr(time, "clock_gettime"):
        return 0.0
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0.0


class ImportLane(Lane):
    """Keeps one worker process and gives it calls; replaces one that died or was stopped."""

    def __init__(self, calls: Calls, terms: Terms) -> None:
        super().__init__(calls)
        self._terms = terms
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._is_ready = False
        self._marks: SharedArray | None = None

    def _begin(self) -> None:
        self._marks = SharedArray.create(MARK_SHAPE, np.int64)
        self._process_at_hand(self._marks)

    def _perform(self, call: Call) -> None:
        marks = self._marks
        assert marks is not None  # noqa: S101  (_begin made it)
        process, connection = self._process_at_hand(marks)
        marks.array[0] = marks.array[2] = 0
        try:
            connection.send(Order(call.target, call.arguments, bool(call.step_cpu_s)))
        except OSError:
            self._bury()
            call.deliver(None, _died(call, None))
            return
        except BaseException as error:  # noqa: BLE001  (arguments that cannot be sent: a bug)
            call.deliver(None, error)
            return
        result, failure = self._listen(call, process, connection, marks)
        if (
            call.step_cpu_s
            and isinstance(failure, MedviewError)
            and not isinstance(failure, Cancelled)
        ):
            at, _, part = (int(number) for number in marks.array)
            failure = LostAtError(failure.user_text, failure.hint, failure.detail, at, part)
        call.deliver(result, failure)

    def _listen(
        self, call: Call, process: BaseProcess, connection: Connection, marks: SharedArray
    ) -> tuple[Any, BaseException | None]:
        """The answer to a call, or the error that takes its place."""
        clock = _Clock(call, marks, process.pid or 0)
        while True:
            if not wait([connection, process.sentinel], _LOOK_UP_S):
                limit_s = clock.exceeded_s() if self._is_ready else clock.starting_s()
                if self._stopping.is_set() or call.cancelled.is_set():
                    self._bury()
                    return None, Cancelled()
                if limit_s is not None:
                    self._bury()
                    return None, _too_slow(call, limit_s)
                continue
            try:
                kind, value = connection.recv()
            except (EOFError, OSError):
                return None, _died(call, self._bury())
            if kind is Answer.DONE or kind is Answer.FAILED:
                return (value, None) if kind is Answer.DONE else (None, value)
            if kind is Answer.PIECE:
                call.deliver_piece(value)
            else:
                self._is_ready = True
            clock.restart()

    def _process_at_hand(self, marks: SharedArray) -> tuple[BaseProcess, Connection]:
        if self._process is None or self._connection is None or not self._process.is_alive():
            self._bury()
            # Spawned, not forked: a fork would copy the window's threads in mid-step.
            context = multiprocessing.get_context("spawn")
            here, there = context.Pipe()
            process = context.Process(
                target=serve,
                args=(there, self._terms, marks.key),
                name="medview import worker",
                daemon=True,
            )
            process.start()
            there.close()
            self._process, self._connection, self._is_ready = process, here, False
        return self._process, self._connection

    def _bury(self) -> int | None:
        """Stop the process if it still runs and clean up after it; its exit code."""
        process, connection = self._process, self._connection
        self._process = self._connection = None
        if connection is not None:
            connection.close()
        if process is None:
            return None
        process.kill()
        process.join()
        code = process.exitcode
        process.close()
        return code

    def _end(self) -> None:
        self._bury()
        if self._marks is not None:
            self._marks.close()


def _too_slow(call: Call, limit_s: float) -> ReadError:
    return ReadError(
        f"Reading took longer than {round(limit_s, 1):g} s and was stopped",
        "The file may be damaged. The other files are not affected.",
        f"timeout in {call.target}",
    )


def _died(call: Call, code: int | None) -> ReadError:
    return ReadError(
        "The process reading the file stopped: the file is damaged or needs too much memory",
        "Reading went on in a new process; the other files are not affected.",
        f"exit code {code} in {call.target}",
    )
