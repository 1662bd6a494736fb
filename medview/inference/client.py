"""The window's side of the AI worker: one thread that listens, and an inbox for the owner."""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing import connection
from pathlib import Path

from medview.inference.orders import Heard, Limits, Order
from medview.inference.supervisor import Supervisor


class WorkerClient:
    """One AI worker, from the owner's thread: no method waits for the worker.

    What is heard is collected by `poll`; `on_wake` is called, from the listening thread, when
    there is something to collect. Nothing is started before `warm` or `submit`. The worker may
    read `resources` and `models`, write `logs` and `scratch`, and of other folders only what
    orders name.
    """

    def __init__(
        self,
        resources: Path,
        logs: Path,
        limits: Limits | None = None,
        on_wake: Callable[[], object] | None = None,
        *,
        models: Path | None = None,
        scratch: Path | None = None,
    ) -> None:
        self.on_wake = on_wake
        self._make_supervisor = partial(
            Supervisor, resources, logs, limits or Limits(), self._tell, models, scratch
        )
        self._inbox: deque[Heard] = deque()
        self._arrived = threading.Event()
        self._wishes: deque[Callable[[Supervisor], None]] = deque()
        self._thread: threading.Thread | None = None  # noqa: TID251
        self._bell: socket.socket | None = None
        self._closing = False

    def warm(self) -> None:
        """Start the worker and let it import what takes long."""
        self._wish(Supervisor.warm)

    def submit(self, order: Order) -> None:
        """Have one order run; only when the one before is over."""
        self._wish(lambda supervisor: supervisor.submit(order))

    def cancel(self, job_uid: str) -> None:
        """Stop the order in hand if it is that job."""
        if self._thread is not None:
            self._wish(lambda supervisor: supervisor.cancel(job_uid))

    def forget(self, volume_uid: str) -> None:
        """Let a closed volume go."""
        if self._thread is not None:
            self._wish(lambda supervisor: supervisor.forget(volume_uid))

    def poll(self) -> list[Heard]:
        """What was heard since the last call, in order."""
        self._arrived.clear()
        heard = []
        while self._inbox:
            heard.append(self._inbox.popleft())
        return heard

    def wait(self, timeout_s: float) -> bool:
        """Wait until there is something to collect; whether there is."""
        return self._arrived.wait(timeout_s)

    def close(self) -> None:
        """End the worker and everything of it. May be called twice; nothing can follow."""
        self._closing = True
        thread, self._thread = self._thread, None
        if thread is not None:
            self._ring()
            thread.join()
        if self._bell is not None:
            self._bell.close()
            self._bell = None

    def _wish(self, wish: Callable[[Supervisor], None]) -> None:
        if self._closing:
            raise RuntimeError("The client of the AI worker is closed")
        if self._thread is None or not self._thread.is_alive():
            self._start_listening()
        self._wishes.append(wish)
        self._ring()

    def _start_listening(self) -> None:
        self._wishes.clear()
        if self._bell is not None:
            self._bell.close()
        supervisor = self._make_supervisor()
        self._bell, heard = socket.socketpair()
        self._thread = threading.Thread(  # noqa: TID251  (one of the two places that may)
            target=self._listen, args=(heard, supervisor), name="medview-ai-client", daemon=True
        )
        self._thread.start()

    def _ring(self) -> None:
        if self._bell is not None:
            with suppress(OSError):  # nobody listens: the thread is at its end
                self._bell.send(b"!")

    def _tell(self, heard: Heard) -> None:
        self._inbox.append(heard)
        self._arrived.set()
        if self.on_wake is not None:
            self.on_wake()

    def _listen(self, bell: socket.socket, supervisor: Supervisor) -> None:
        """The thread: waits for the owner, the wire and the process, and acts."""
        fault = "The part of medview that watches the AI process failed."
        try:
            while not self._closing:
                ready = connection.wait([bell, *supervisor.handles], supervisor.timeout_s())
                if bell in ready:
                    bell.recv(4096)
                while self._wishes and not self._closing:
                    self._wishes.popleft()(supervisor)
                supervisor.turn(ready)
            fault = ""
        finally:
            # Also when the loop itself is at fault: nothing may outlive it, no job may hang.
            supervisor.end(fault)
            bell.close()
