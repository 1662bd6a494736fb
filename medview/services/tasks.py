"""Background work: a small pool of threads, and worker processes that read files.

Nothing else in the main process starts threads but the client of the model worker.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from medview.core.errors import Cancelled, MedviewError
from medview.services.import_worker import Terms, check_target
from medview.services.lanes import Call, Calls, ImportLane, Lane, PoolLane, start_thread

_log = logging.getLogger(__name__)

#: What import workers may run.
ROOMS = ("medview.io.",)

#: What they import while nobody waits yet.
PRELOAD = ("medview.io.scan", "medview.io.reading")

#: The owner is kept from other things no longer than this, if no single callback takes longer.
_PUMP_S = 0.02

Callback = Callable[[Any], object]
ErrorCallback = Callable[[MedviewError], object]


class Task:
    """One piece of background work; `cancel` drops it, and stops a worker process on it."""

    def __init__(
        self,
        on_done: Callback | None,
        on_error: ErrorCallback | None,
        on_piece: Callback | None = None,
    ) -> None:
        self._on_done = on_done
        self._on_error = on_error
        self._on_piece = on_piece
        self.call: Call | None = None
        self.is_over = False

    def cancel(self) -> None:
        """Ask for an end; the error callback hears Cancelled."""
        if self.call is not None:
            self.call.cancelled.set()

    def take(self, piece: Any) -> None:
        """A part of the result came, on the owner's thread."""
        if self._on_piece is not None and not (self.call and self.call.cancelled.is_set()):
            self._on_piece(piece)

    def finish(self, result: Any, error: BaseException | None) -> None:
        """Run the callback that fits, on the owner's thread. Bugs are raised here again."""
        self.is_over = True
        cancelled = self.call is not None and self.call.cancelled.is_set()
        if cancelled or isinstance(error, Cancelled):
            if self._on_error is not None:
                self._on_error(Cancelled())
        elif error is None:
            if self._on_done is not None:
                self._on_done(result)
        elif isinstance(error, MedviewError) and self._on_error is not None:
            # The reader's words may name files; only the technical detail goes into the log.
            _log.info("%s: %s", type(error).__name__, error.detail)
            self._on_error(error)
        else:
            if self._on_error is not None:
                self._on_error(MedviewError("Something went wrong inside medview"))
            raise error


class Tasks:
    """Runs functions beside the owner's thread and brings their results back to it.

    `run` uses `workers` threads, `call_import` as many warm processes as `import_workers`, each
    with a bound on memory and time. Callbacks run in `pump()`, which the owner calls; `on_wake`
    is called from another thread whenever there is something to pump. All other methods belong
    to the owner's thread.
    """

    def __init__(
        self,
        workers: int = 2,
        *,
        import_workers: int = 2,
        rooms: tuple[str, ...] = ROOMS,
        preload: tuple[str, ...] = PRELOAD,
        memory_bytes: int | None = None,
    ) -> None:
        self.on_wake: Callable[[], object] = _nothing
        self._rooms = rooms
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._arrived = threading.Event()
        self._open: set[Task] = set()
        self._order = itertools.count()
        self._short: Calls = queue.PriorityQueue()
        self._imports: Calls = queue.PriorityQueue()
        terms = Terms(rooms, memory_bytes or _memory_bound(), preload)
        self._pool: list[Lane] = [PoolLane(self._short) for _ in range(workers)]
        self._importers: list[Lane] = [
            ImportLane(self._imports, terms) for _ in range(import_workers)
        ]
        self._clock = _Clock(self._post)
        self._closed = False

    @property
    def idle(self) -> bool:
        """Whether nothing is queued, running or waiting to be pumped. Timers do not count."""
        return not self._open and self._inbox.empty()

    def run(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        on_done: Callback | None = None,
        on_error: ErrorCallback | None = None,
    ) -> Task:
        """Run a function on the thread pool; without `on_error` its errors are raised in pump."""
        call = Call(function=function, arguments=arguments)
        return self._submit(call, self._short, self._pool, Task(on_done, on_error), 0)

    def call_import(
        self,
        target: str,
        *arguments: Any,
        on_done: Callback | None = None,
        on_error: ErrorCallback | None = None,
        on_piece: Callback | None = None,
        timeout_s: float = 120.0,
        step_cpu_s: float = 0.0,
        priority: int = 0,
    ) -> Task:
        """Run `module:function` of `io` in a worker process; lower priorities go first.

        A worker that dies, or works longer than `timeout_s`, is replaced, and its call ends
        in ReadError. What a generator yields goes to `on_piece`. With `step_cpu_s` the function
        is given, as its first argument, what it calls with the number of each step it begins:
        the limits of time hold for one step, and the call fails with LostAtError.
        """
        check_target(target, self._rooms)
        call = Call(target=target, arguments=arguments, timeout_s=timeout_s, step_cpu_s=step_cpu_s)
        task = Task(on_done, on_error, on_piece)
        return self._submit(call, self._imports, self._importers, task, priority)

    def wait_import(self, target: str, *arguments: Any, timeout_s: float = 600.0) -> Any:
        """Run `module:function` of `io` in a worker and wait for it, pumping meanwhile."""
        results: list[Any] = []
        errors: list[MedviewError] = []
        task = self.call_import(
            target,
            *arguments,
            on_done=results.append,
            on_error=errors.append,
            timeout_s=timeout_s,
        )
        self.wait_until(lambda: task.is_over)
        if errors:
            raise errors[0]
        return results[0]

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Pump until something holds: for callers without an event loop."""
        while not condition():
            self.wait(0.1)
            self.pump()

    def post(self, function: Callable[[], object]) -> None:
        """Run a function on the owner's thread at the next pump: for what a handler put off."""
        task = Task(lambda _: function(), None)
        self._open.add(task)
        self._post(lambda: self._finish(task, None, None))

    def after(self, delay_s: float, function: Callable[[], object]) -> None:
        """Run a function on the owner's thread, in the first pump after `delay_s`."""
        if not self._closed:
            self._clock.add(delay_s, lambda: self._run_late(function))

    def warm(self) -> None:
        """Start the import workers before anybody waits for them: after the first paint."""
        for lane in self._importers:
            lane.start()

    def wait(self, timeout_s: float) -> None:
        """Sleep until something is there to pump, at most `timeout_s`."""
        if self._inbox.empty():
            self._arrived.clear()
            if self._inbox.empty():
                self._arrived.wait(timeout_s)

    def pump(self) -> int:
        """Run the callbacks of everything that ended, on this thread; gives how many.

        After a while it stops and wakes the owner again, which has other things to do as well.
        """
        count = 0
        end = time.monotonic() + _PUMP_S
        for _ in range(self._inbox.qsize()):
            if time.monotonic() > end:
                self.on_wake()
                break
            try:
                callback = self._inbox.get_nowait()
            except queue.Empty:
                break
            count += 1
            callback()
        return count

    def close(self) -> None:
        """Stop all threads and workers; queued work is dropped, running functions are awaited."""
        if self._closed:
            return
        self._closed = True
        for task in self._open:
            task.cancel()
        self._clock.close()
        for lane in (*self._pool, *self._importers):
            lane.stop()
        for lane in (*self._pool, *self._importers):
            lane.join()
        while not self._inbox.empty():
            self._inbox.get_nowait()
        self._open.clear()

    def _submit(
        self,
        call: Call,
        calls: Calls,
        lanes: list[Lane],
        task: Task,
        priority: int,
    ) -> Task:
        if self._closed:
            raise RuntimeError("Background work ended with the program")
        task.call = call
        call.deliver_piece = lambda piece: self._post(lambda: task.take(piece))
        call.deliver = lambda result, error: self._post(lambda: self._finish(task, result, error))
        self._open.add(task)
        for lane in lanes:
            lane.start()
        calls.put((priority, next(self._order), call))
        return task

    def _post(self, callback: Callable[[], None]) -> None:
        self._inbox.put(callback)
        self._arrived.set()
        self.on_wake()

    def _finish(self, task: Task, result: Any, error: BaseException | None) -> None:
        self._open.discard(task)
        task.finish(result, error)

    def _run_late(self, function: Callable[[], object]) -> None:
        if not self._closed:
            function()


class _Clock:
    """Posts functions when their time has come; its thread starts with the first one."""

    def __init__(self, post: Callable[[Callable[[], None]], None]) -> None:
        self._post = post
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._closed = False
        self._join: Callable[[], None] | None = None

    def add(self, delay_s: float, function: Callable[[], None]) -> None:
        with self._changed:
            heapq.heappush(self._due, (time.monotonic() + delay_s, next(self._order), function))
            self._changed.notify()
        if self._join is None:
            self._join = start_thread(self._tick, "clock")

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._join is not None:
            self._join()

    def _tick(self) -> None:
        with self._changed:
            while not self._closed:
                if not self._due:
                    self._changed.wait()
                    continue
                wait_s = self._due[0][0] - time.monotonic()
                if wait_s > 0:
                    self._changed.wait(wait_s)
                else:
                    self._post(heapq.heappop(self._due)[2])


def _memory_bound() -> int:
    """Half of the machine's memory, from 3 to 8 GiB: one hostile file must not take it all."""
    gib = 1 << 30
    if hasattr(os, "sysconf"):
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return max(3 * gib, min(physical // 2, 8 * gib))
    return 8 * gib


def _nothing() -> None:
    """Nobody to wake."""
