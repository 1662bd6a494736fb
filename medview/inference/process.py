"""One AI worker as its parent sees it: started, spoken to, and buried with words."""

from __future__ import annotations

import multiprocessing
import signal
import socket
from collections.abc import Mapping
from types import MappingProxyType

from medview.inference import wire, worker

#: What an exit says, by exit code (negative: signal).
_SIGNAL_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "SIGKILL": "The AI process stopped (killed), probably out of memory.",
        "SIGSEGV": "The AI process crashed (it used memory that is not its own).",
        "SIGBUS": "The AI process crashed (the memory it shares is full or gone).",
        "SIGABRT": "The AI process crashed (it stopped itself).",
        "SIGFPE": "The AI process crashed (an impossible calculation).",
        "SIGILL": "The AI process crashed (this processor lacks something it needs).",
        "SIGTERM": "The AI process was ended from outside.",
    }
)
_ACCESS_VIOLATION = 0xC0000005  # what Windows calls SIGSEGV

_SEND_TIMEOUT_S = 2.0


class WorkerProcess:
    """A spawned worker and the wire to it."""

    def __init__(self, start: worker.WorkerStart) -> None:
        ours, theirs = socket.socketpair()
        # A worker that stopped reading must not stop us: a send that takes this long fails.
        ours.settimeout(_SEND_TIMEOUT_S)
        self._process = multiprocessing.get_context("spawn").Process(
            target=worker.main, args=(theirs, start), name="medview-ai", daemon=True
        )
        try:
            self._process.start()
        finally:
            theirs.close()
        self.channel = wire.Channel(ours, worker=False)

    @property
    def sentinel(self) -> int:
        """Becomes ready when the process ends."""
        return self._process.sentinel

    @property
    def has_ended(self) -> bool:
        """Whether it is dead, buried or not."""
        return not self._process.is_alive()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid or 0

    def ask_to_end(self, timeout_s: float) -> None:
        """Let it end by itself if it does so soon; it may be killed after that at any time."""
        try:
            self.channel.send(wire.Shutdown())
        except OSError:
            return
        self._process.join(timeout_s)

    def kill(self) -> None:
        """End it now; the burial may wait."""
        self._process.kill()

    def bury(self) -> int | None:
        """Make sure it is gone, without leaving a trace; its exit code (negative: signal)."""
        # One that is ending by itself is let go of its own accord, so that its code is its own.
        self._process.join(0.05)
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        code = self._process.exitcode
        self._process.close()
        self.channel.close()
        return code


def words_for(exit_code: int | None) -> str:
    """Why a worker ended, in the reader's words."""
    if exit_code is None:
        return "The AI process stopped."
    if exit_code == _ACCESS_VIOLATION:
        return _SIGNAL_WORDS["SIGSEGV"]
    if exit_code >= 0:
        return f"The AI process ended by itself (code {exit_code})."
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = str(-exit_code)
    return _SIGNAL_WORDS.get(name, f"The AI process stopped (signal {name}).")
