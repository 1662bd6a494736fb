"""The program with its window, started as a process and driven by a script in the user's words."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


class Driven:
    """A running window and what its script says."""

    def __init__(self, process: subprocess.Popen[str], said: Path) -> None:
        self.process = process
        self._said = said

    def said(self) -> list[dict[str, Any]]:
        """Everything the script said so far."""
        if not self._said.exists():
            return []
        return [json.loads(line) for line in self._said.read_text().splitlines() if line]

    def wait_for(
        self, wanted: Callable[[list[dict[str, Any]]], bool], seconds: float = 120
    ) -> None:
        """Wait until the script has said enough; AssertionError if it ends or never does."""
        deadline = time.monotonic() + seconds
        while not wanted(self.said()):
            assert self.process.poll() is None, f"ended: {self.process.communicate()}"
            assert time.monotonic() < deadline, f"only said {self.said()[-3:]}"
            time.sleep(0.02)

    def children(self) -> list[psutil.Process]:
        """The worker processes of the window."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def kill(self) -> None:
        """SIGKILL, as the system does when memory runs out. Its workers notice and go."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(300)  # its memory goes back first, which a busy machine puts off

    def end(self, seconds: float = 120) -> int:
        """Wait for an orderly end; the exit code."""
        out, err = self.process.communicate(timeout=seconds)
        assert not out, out
        assert "Traceback" not in err, err
        return self.process.returncode


@contextmanager
def window(script: str, *paths: Path, profile: Path, folder: Path) -> Iterator[Driven]:
    """Start the window on `paths` with a script; it is gone when the block ends."""
    said = folder / "said.jsonl"
    said.unlink(missing_ok=True)
    file = folder / "script.py"
    file.write_text(PROLOGUE.format(said=str(said)) + script)
    words = [sys.executable, "-m", "medview", "--profile", str(profile), "--script", str(file)]
    process = subprocess.Popen(
        [*words, *map(str, paths)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    driven = Driven(process, said)
    try:
        yield driven
    finally:
        children = driven.children() if process.poll() is None else []
        process.kill()
        process.communicate()
        psutil.wait_procs(children, timeout=20)
