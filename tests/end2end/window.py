"""The program with its window, started as a process and driven by a script in the user's words."""

from __future__ import annotations

import faulthandler
import json
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, Protocol

import psutil

from tests.end2end.command_line import ROOT, environment

#: What every script can use besides `app, window, workspace, commands`.
PROLOGUE = """
import json, os, sys, time
from pathlib import Path
said = Path({said!r})
def say(**what):
    with said.open("a") as file:
        file.write(json.dumps(what) + "\\n")
        file.flush()
        os.fsync(file.fileno())
def study():
    return next(iter(workspace.studies.values()))
commands.wait_idle(600)
"""


class Running(Protocol):
    """What is asked of a process that runs the window; `subprocess.Popen` is one."""

    pid: int
    returncode: Any

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...
    def communicate(self, input: Any = None, timeout: float | None = None) -> Any: ...  # noqa: A002


class Forked:
    """`python -m medview ARGUMENTS`, forked from a process that has imported the libraries.

    It is a process of its own with its own window, there a second sooner: for programs that start
    hundreds of them. `before` is run in it first.
    """

    def __init__(
        self, arguments: list[str], folder: Path, before: Callable[[], object] = lambda: None
    ) -> None:
        nursery = multiprocessing.get_context("forkserver")
        nursery.set_forkserver_preload(_LIBRARIES)
        self._errors = folder / "errors.txt"
        words = (arguments, str(self._errors), before)
        self._process = nursery.Process(target=_medview, args=words)
        self._process.start()
        self.pid = self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        """The exit code, once it is over."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; TimeoutError if it does not come."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutError(f"{self.pid} runs on")
        return self._process.exitcode

    def send_signal(self, sig: int) -> None:
        """As of the system."""
        os.kill(self.pid, sig)

    def kill(self) -> None:
        """SIGKILL; nothing where it is over."""
        self._process.kill()

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[str, str]:  # noqa: A002, ARG002
        """Wait for the end: nothing, and what it said of errors."""
        self.wait(timeout)
        return "", self._errors.read_text() if self._errors.exists() else ""


#: What a window imports before it is there.
_LIBRARIES = [
    *("medview.app", "medview.cli", "medview.ui.volume_view", "numba.typed", "scipy.ndimage"),
    "tests.end2end.random_edits",
]


def _medview(arguments: list[str], errors: str, before: Callable[[], object]) -> None:
    """In the forked process: the program from its very beginning."""
    for number in (1, 2):
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    faulthandler.enable()
    # A tracker of its own takes the shared memory of a killed program away, as after `python -m`.
    tracker: Any = resource_tracker
    tracker._resource_tracker._fd = tracker._resource_tracker._pid = None
    before()
    sys.argv = ["medview", *arguments]
    runpy.run_module("medview", run_name="__main__", alter_sys=True)


class Driven:
    """A running window and what its script says."""

    def __init__(self, process: Running, said: Path) -> None:
        self.process = process
        self._said = said

    def said(self) -> list[dict[str, Any]]:
        """Everything the script said so far."""
        if not self._said.exists():
            return []
        whole, _, _ = self._said.read_text().rpartition("\n")  # what follows is being written
        return [json.loads(line) for line in whole.splitlines() if line]

    def wait_for(
        self, wanted: Callable[[list[dict[str, Any]]], bool], seconds: float = 120
    ) -> None:
        """Wait until the script has said enough; AssertionError if it ends or never does."""
        deadline = time.monotonic() + seconds
        while not wanted(self.said()):
            assert self.process.poll() is None, self._end()
            assert time.monotonic() < deadline, f"only said {self.said()[-3:]}"
            time.sleep(0.02)

    def _end(self) -> str:
        return f"ended: {self.process.communicate()}, {self.process.returncode}"

    def children(self) -> list[psutil.Process]:
        """The worker processes of the window."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def kill(self) -> None:
        """SIGKILL, as the system does when memory runs out. Its workers notice and go.

        AssertionError if it has ended by itself.
        """
        assert self.process.poll() is None, self._end()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(300)  # its memory goes back first, which a busy machine puts off

    def end(self, seconds: float = 120) -> int:
        """Wait for an orderly end; the exit code."""
        out, err = self.process.communicate(timeout=seconds)
        assert not out, out
        assert "Traceback" not in err, err
        return self.process.returncode


def started(arguments: list[str], folder: Path) -> Running:
    """`python -m medview ARGUMENTS`, as a user starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "medview", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


@contextmanager
def window(
    script: str,
    *paths: Path,
    profile: Path,
    folder: Path,
    start: Callable[[list[str], Path], Running] = started,
) -> Iterator[Driven]:
    """Start the window on `paths` with a script; it is gone when the block ends."""
    said = folder / "said.jsonl"
    said.unlink(missing_ok=True)
    file = folder / "script.py"
    file.write_text(PROLOGUE.format(said=str(said)) + script)
    words = ["--profile", str(profile), "--script", str(file), *map(str, paths)]
    process = start(words, folder)
    driven = Driven(process, said)
    try:
        yield driven
    finally:
        children = driven.children() if process.poll() is None else []
        process.kill()
        process.communicate()
        psutil.wait_procs(children, timeout=20)
