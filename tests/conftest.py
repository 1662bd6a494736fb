"""Checks that hold for every test, and the fixtures that all of them share."""

from __future__ import annotations

import gc
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

import psutil
import pytest

from medview.core import shared_array

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"

# Widgets are tested off screen, where several test runs cannot take each other's keyboard focus.
# The end-to-end tests open the real window on the display, in processes of their own.
os.environ["QT_QPA_PLATFORM"] = "offscreen"


@pytest.fixture(scope="session")
def resources() -> Path:
    """The shipped resources of this checkout."""
    return ROOT / "resources"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real studies beside the checkout; tests that need it skip without it."""
    if not (SHARED / "data" / "MANIFEST.csv").is_file():
        pytest.skip("needs the folder of real studies (shared/data) beside the checkout")
    return SHARED


def _children() -> set[int]:
    return {
        child.pid
        for child in psutil.Process().children(recursive=True)
        if "resource_tracker" not in " ".join(_command_of(child))
    }


def _command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.is_alive()}


def _gone(measure: Callable[[], set[Any]], before: set[Any], seconds: float = 3.0) -> set[Any]:
    """What `measure` still finds beyond `before` after giving it time to go."""
    deadline = time.monotonic() + seconds
    while (left := measure() - before) and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.02)
    return left


@pytest.fixture(autouse=True)
def nothing_left_behind(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """No thread, child process or shared block outlives its test."""
    made: set[str] = set()

    class Watched(shared_memory.SharedMemory):
        """Remembers the blocks this process makes."""

        def __init__(self, name: str | None = None, create: bool = False, size: int = 0) -> None:
            super().__init__(name, create, size)
            if create:
                made.add(self.name)

    monkeypatch.setattr(shared_array.shared_memory, "SharedMemory", Watched)
    if request.node.get_closest_marker("session_processes"):
        yield
        return
    threads, children = _threads(), _children()
    yield
    if left := _gone(_threads, threads):
        pytest.fail(f"threads left running: {sorted(thread.name for thread in left)}")
    if left := _gone(_children, children):
        pytest.fail(f"child processes left running: {sorted(left)}")
    if left := _gone(lambda: {name for name in made if _block_exists(name)}, set()):
        pytest.fail(f"shared memory left: {sorted(left)}")


def _block_exists(name: str) -> bool:
    try:
        block = shared_memory.SharedMemory(name)
    except FileNotFoundError:
        return False
    block.close()
    return True


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but this machine is ever spoken to."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = address[0]
            if host not in ("127.0.0.1", "::1", "localhost"):
                pytest.fail(f"a test tried to reach {host}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


class _Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("medview"):
            self.records.append(record)


@pytest.fixture(autouse=True)
def no_unexpected_warning(request: pytest.FixtureRequest) -> Iterator[None]:
    """A warning in our own log fails the test unless it is marked `expects_warnings`."""
    handler = _Warnings()
    logging.getLogger().addHandler(handler)
    yield
    logging.getLogger().removeHandler(handler)
    if handler.records and not request.node.get_closest_marker("expects_warnings"):
        pytest.fail(f"unexpected log: {[record.getMessage() for record in handler.records]}")
