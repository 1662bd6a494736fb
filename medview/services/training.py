"""Training: one run of `medview train`, started, watched and stopped beside the window.

The run is a process of its own that knows nothing of this one. What it has reached is read from
the curves it writes after every epoch, what it said from its log, and it ends at an interrupt.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from medview.core.errors import CommandError, ModelError
from medview.core.events import Level, TrainingChanged
from medview.core.succession import Succession
from medview.inference.catalog import Catalog
from medview.learning.config import TrainConfig, load_config
from medview.reporting.succession import verdict_text
from medview.services.child_program import Child, begin, end, interrupt, last_line, own_command
from medview.services.successors import successor_in
from medview.services.workspace import Workspace

#: What a run leaves in its folder (`medview train`), and where its words go.
CURVES, CHECKPOINT, LOG = "curves.csv", "checkpoint.pt", "train.log"

#: Seconds between two looks at a run.
_LOOK_S = 1.0

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
    last line of the log. `succession` is how a finished model did against the one it started from.
    """

    config: Path
    out: Path
    epochs: int
    networks: int = 1
    model: str = ""
    state: RunState = RunState.RUNNING
    curves: Mapping[str, tuple[Row, ...]] = field(default_factory=lambda: MappingProxyType({}))
    said: str = ""
    succession: Succession | None = None

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

    def __init__(self, workspace: Workspace, catalog: Catalog) -> None:
        self._workspace = workspace
        self._catalog = catalog
        self._process: Child | None = None
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
            self._process = begin(words, out / LOG)
        except OSError as error:
            raise CommandError(f"The training could not be started in {out}: {error}") from error
        self.run = TrainingRun(config, out, plan.schedule.epochs, _networks(plan), plan.export.id)
        self._look()

    def stop(self) -> None:
        """Interrupt the run; its last epoch stays and can be taken up again."""
        if self._process is None or self.run is None:
            raise CommandError("No training is under way.")
        if self.run.state is RunState.RUNNING:
            interrupt(self._process)
            self._show(replace(self.run, state=RunState.STOPPING))

    def pump(self) -> None:
        """Look at the run, once a second at most; costs nothing while there is none."""
        if self._process is not None and time.monotonic() >= self._due:
            self._look()

    def close(self) -> None:
        """End the run with the program: interrupted, and killed if it does not hear."""
        if self._process is None:
            return
        end(self._process)
        self._look()

    def _look(self) -> None:
        self._due = time.monotonic() + _LOOK_S
        process, run = self._process, self.run
        if process is None or run is None:
            return
        code = process.poll()
        run = replace(run, curves=read_curves(run.out), said=last_line(run.out / LOG))
        if code is not None:
            self._process = None
            run = replace(run, state=_ending(code, stopped=run.state is RunState.STOPPING))
            run = replace(run, succession=self._compared(run))
        self._show(run)
        if run.state.is_over:
            self._tell(run)

    def _compared(self, run: TrainingRun) -> Succession | None:
        if run.state is not RunState.DONE or run.model_folder is None:
            return None
        try:
            return successor_in(run.model_folder, self._catalog)
        except ModelError as error:
            self._workspace.notify(Level.ERROR, error.user_text, error.hint)
            return None

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
            told = verdict_text(run.succession) if run.succession else f"It is in {run.out}"
            self._workspace.notify(
                Level.INFO, f"The training of {name} is done.", told, "train.watch"
            )


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


def _ending(code: int, *, stopped: bool) -> RunState:
    if code == 0:
        return RunState.DONE
    return RunState.STOPPED if stopped or code == _INTERRUPTED else RunState.FAILED
