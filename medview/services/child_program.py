"""Starts the program once more beside the window: at low priority, in a process group of its own.

It knows nothing of this process; what it has done is read from the files it writes, what it says
from its log, and it ends at an interrupt.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

#: Lower than the window's, so that reading goes before it (`nice` values).
_NICE = 10

#: Bytes of the log that are looked through for its last line.
_TAIL = 4096

#: Seconds that it may take to end when the program does.
_END_S = 5.0

Child = subprocess.Popen[bytes]


def own_command() -> list[str]:
    """What starts this program again: itself where it is frozen, else its interpreter."""
    frozen = getattr(sys, "frozen", False)
    return [sys.executable] if frozen else [sys.executable, "-m", "medview"]


def begin(words: list[str], log: Path) -> Child:
    """Start a process group, so that an interrupt reaches all of it and no other; OSError."""
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.BELOW_NORMAL_PRIORITY_CLASS
    with log.open("wb") as said:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            creationflags=flags,
            start_new_session=sys.platform != "win32",
        )
    if sys.platform != "win32":
        psutil.Process(process.pid).nice(_NICE)
    return process


def last_line(log: Path) -> str:
    """The last thing it said; "" while it has said nothing."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - _TAIL))
            lines = stream.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def interrupt(process: Child) -> None:
    """Ask it to end."""
    if sys.platform == "win32":  # there is no interrupt for another group; files are whole
        process.terminate()
    else:
        _signal(process, signal.SIGINT)


def end(process: Child) -> None:
    """End it: interrupted, and killed if it does not hear."""
    interrupt(process)
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        _kill(process)
        process.wait()


def _kill(process: Child) -> None:
    if sys.platform == "win32":
        process.kill()
    else:
        _signal(process, signal.SIGKILL)


def _signal(process: Child, number: signal.Signals) -> None:
    if sys.platform != "win32":
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:  # it ended by itself in this moment
            return
