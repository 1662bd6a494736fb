"""Training: one run of `medview train`, started, watched and stopped beside the window.

The run is a process of its own that knows nothing of this one. What it has reached is read from
the curves it writes after every epoch, what it said from its log, and it ends at an interrupt.
"""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

import psutil

from medview.core.errors import CommandError
from medview.core.events import Level, TrainingChanged
from medview.learning.config import TrainConfig, load_config
from medview.services.workspace import Workspace

#: What a run leaves in its folder (`medview train`), and where its words go.
CURVES, CHECKPOINT, LOG = "curves.csv", "checkpoint.pt", "train.log"

#: Seconds between two looks at a run, and how long it may take to end when the program does.
_LOOK_S, _END_S = 1.0, 5.0

#: Lower than the window's, so that reading goes before learning (`nice` values).
_NICE = 10

#: Bytes of the log that are looked through for its last line.
_TAIL = 4096

#: The exit code of a run that was interrupted.
_INTERRUPTED = 130

#: The figures of one epoch by name; what it does not have is left out.
Row = Mapping[str, float]


class RunState(StrEnum):
    """How a training goes."""

    RUNNING = "running"
    STOPPING = "stopping"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        """Whether its process has ended."""
        return self not in (RunState.RUNNING, RunState.STOPPING)


@dataclass(frozen=True)
class TrainingRun:
    """What is known of a run; `curves` by fold ("" where there is one network only).

    `epochs` is how many one network is to do and `networks` how many there are. `said` is the
    last line of the log.
    """

    config: Path
    out: Path
    epochs: int
    networks: int = 1
    model: str = ""
    state: RunState = RunState.RUNNING
    curves: Mapping[str, tuple[Row, ...]] = field(default_factory=lambda: MappingProxyType({}))
    said: str = ""

    @property
    def done(self) -> int:
        """Epochs that are done, of all networks."""
        return sum(len(rows) for rows in self.curves.values())

    @property
    def fraction(self) -> float:
        """How far it is, from 0 to 1."""
        return 1.0 if self.state is RunState.DONE else self.done / (self.epochs * self.networks)

    @property
    def seconds_left(self) -> float | None:
        """By the pace of the last ten epochs; None before the first."""
        recent = [row["seconds"] for rows in self.curves.values() for row in rows[-10:]]
        if not recent:
            return None
        return (self.epochs * self.networks - self.done) * sum(recent) / len(recent)

    @property
    def model_folder(self) -> Path | None:
        """Where the finished model lies; None before, and without an export."""
        folder = self.out / self.model
        return folder if self.model and (folder / "configs").is_dir() else None


class Training:
    """At most one run at a time. All methods belong to the owner's thread; `pump` looks at it."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._process: subprocess.Popen[bytes] | None = None
        self._due = 0.0
        self.run: TrainingRun | None = None

    @property
    def is_running(self) -> bool:
        """Whether a process is at work."""
        return self._process is not None

    def start(self, config: Path, out: Path, *, resume: bool = False) -> None:
        """Begin a run in the folder `out`, or take up the one that lies there.

        ReadError for a configuration that is not valid, CommandError where a run is under way or
        `out` holds another one.
        """
        if self.is_running:
            raise CommandError("A training is under way.", "Stop it first, or wait for its end.")
        plan = load_config(config)
        if is_begun(out) and not resume:
            raise CommandError(f"{out} holds a training already.", "Resume it, or choose another.")
        words = [*own_command(), "train", str(config), "--out", str(out)]
        words += ["--resume"] * (resume and is_begun(out))
        try:
            out.mkdir(parents=True, exist_ok=True)
            with (out / LOG).open("wb") as log:
                self._process = _begin(words, log.fileno())
        except OSError as error:
            raise CommandError(f"The training could not be started in {out}: {error}") from error
        self.run = TrainingRun(config, out, plan.schedule.epochs, _networks(plan), plan.export.id)
        self._look()

    def stop(self) -> None:
        """Interrupt the run; its last epoch stays and can be taken up again."""
        if self._process is None or self.run is None:
            raise CommandError("No training is under way.")
        if self.run.state is RunState.RUNNING:
            _interrupt(self._process)
            self._show(replace(self.run, state=RunState.STOPPING))

    def pump(self) -> None:
        """Look at the run, once a second at most; costs nothing while there is none."""
        if self._process is not None and time.monotonic() >= self._due:
            self._look()

    def close(self) -> None:
        """End the run with the program: interrupted, and killed if it does not hear."""
        if self._process is None:
            return
        _interrupt(self._process)
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            _kill(self._process)
            self._process.wait()
        self._look()

    def _look(self) -> None:
        self._due = time.monotonic() + _LOOK_S
        process, run = self._process, self.run
        if process is None or run is None:
            return
        code = process.poll()
        run = replace(run, curves=read_curves(run.out), said=_last_line(run.out / LOG))
        if code is not None:
            self._process = None
            run = replace(run, state=_ending(code, stopped=run.state is RunState.STOPPING))
        self._show(run)
        if run.state.is_over:
            self._tell(run)

    def _show(self, run: TrainingRun) -> None:
        if run != self.run:
            self.run = run
            self._workspace.emit(TrainingChanged())

    def _tell(self, run: TrainingRun) -> None:
        name = run.model or run.config.name
        if run.state is RunState.FAILED:
            self._workspace.notify(
                Level.ERROR, f"The training of {name} failed: {run.said}", f"See {run.out / LOG}"
            )
        elif run.state is RunState.STOPPED:
            hint = "It can be resumed." if is_begun(run.out) else ""
            self._workspace.notify(Level.INFO, f"The training of {name} was stopped.", hint)
        else:
            self._workspace.notify(
                Level.INFO, f"The training of {name} is done.", f"It is in {run.out}", "train.watch"
            )


def own_command() -> list[str]:
    """What starts this program again: itself where it is frozen, else its interpreter."""
    frozen = getattr(sys, "frozen", False)
    return [sys.executable] if frozen else [sys.executable, "-m", "medview"]


def is_begun(out: Path) -> bool:
    """Whether a folder holds a run that got beyond its first epoch."""
    return any(True for _ in _files(out, CHECKPOINT))


def read_curves(out: Path) -> Mapping[str, tuple[Row, ...]]:
    """The epochs of a run by fold, as far as they are written; a damaged file tells nothing."""
    return {path.parent.name * (path.parent != out): _rows(path) for path in _files(out, CURVES)}


def _files(out: Path, name: str) -> list[Path]:
    return [path for path in (out / name, *sorted(out.glob(f"fold-*/{name}"))) if path.is_file()]


def _rows(path: Path) -> tuple[Row, ...]:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            return tuple(
                {name: float(text) for name, text in row.items() if name and text}
                for row in csv.DictReader(stream)
            )
    except (OSError, ValueError, TypeError, csv.Error):
        return ()


def _networks(plan: TrainConfig) -> int:
    return plan.data.folds if plan.data.folds and plan.data.fold < 0 else 1


def _last_line(log: Path) -> str:
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - _TAIL))
            lines = stream.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _ending(code: int, *, stopped: bool) -> RunState:
    if code == 0:
        return RunState.DONE
    return RunState.STOPPED if stopped or code == _INTERRUPTED else RunState.FAILED


def _begin(words: list[str], log: int) -> subprocess.Popen[bytes]:
    """Start a process group of its own, so that an interrupt reaches all of it and no other."""
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.BELOW_NORMAL_PRIORITY_CLASS
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        creationflags=flags,
        start_new_session=sys.platform != "win32",
    )
    if sys.platform != "win32":
        psutil.Process(process.pid).nice(_NICE)
    return process


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":  # there is no interrupt for another group; checkpoints are whole
        process.terminate()
    else:
        _signal(process, signal.SIGINT)


def _kill(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":
        process.kill()
    else:
        _signal(process, signal.SIGKILL)


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if sys.platform != "win32":
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:  # it ended by itself in this moment
            return
