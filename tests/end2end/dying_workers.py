"""Workers that die, hang or are stopped at random moments: what it costs, as a table.

    python -m tests.end2end.dying_workers --points 20

Each line: the fault, how often, how often the job ended in the state it should, how often the
reader's work and the next job were untouched, the longest time until the job was over, and the
longest until a worker had run the next job.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from medview.core.jobs import JobState
from medview.inference.orders import Limits
from tests.helpers import desk
from tests.helpers.program import Program

#: A run of the fake model that is still going when the fault comes.
_LONG: dict[str, object] = {"steps": 10_000, "step_s": 0.005}


@dataclass
class Line:
    """What one kind of fault came to."""

    fault: str
    wanted: JobState
    right: int = 0
    intact: int = 0
    points: int = 0
    over_s: list[float] = field(default_factory=list)
    back_s: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.fault:<28} {self.points:>3}  {self.wanted}: {self.right}/{self.points}  "
            f"intact: {self.intact}/{self.points}  over in {max(self.over_s):.2f} s  "
            f"next done in {max(self.back_s):.2f} s"
        )


def _kill(number: int) -> Callable[[Program, str], None]:
    return lambda program, uid: os.kill(program.pid(uid), number)


def _cancel(program: Program, uid: str) -> None:
    program.jobs.cancel(uid)


def _nothing(program: Program, uid: str) -> None:
    """The model does it to itself."""


@dataclass(frozen=True)
class Fault:
    """A fault: how the model behaves, what is done to it, and how its job should end."""

    name: str
    behaviour: dict[str, object]
    strike: Callable[[Program, str], None]
    wanted: JobState


FAULTS = (
    Fault("SIGKILL", _LONG, _kill(signal.SIGKILL), JobState.DIED),
    Fault("SIGSEGV", _LONG, _kill(signal.SIGSEGV), JobState.DIED),
    Fault("crash of its own", {"behave": "segv"}, _nothing, JobState.DIED),
    Fault("memory limit", {"behave": "memory_limit"}, _nothing, JobState.FAILED),
    Fault("hang, deaf, then cancelled", {"behave": "hang"}, _cancel, JobState.CANCELLED),
    Fault("cancel", _LONG, _cancel, JobState.CANCELLED),
)


def trial(program: Program, line: Line, fault: Fault, wait_s: float) -> None:
    """One fault at one moment, with another job waiting behind it."""
    before = desk.fingerprint(program.work)
    uid = program.run(**fault.behaviour)
    follower = program.run(behave="empty")
    program.heartbeat(wait_s)
    struck = time.monotonic()
    fault.strike(program, uid)
    program.until(lambda: program.state(uid).is_over)
    line.over_s.append(time.monotonic() - struck)
    program.until(lambda: program.state(follower).is_over)
    line.back_s.append(time.monotonic() - struck)
    line.points += 1
    line.right += program.state(uid) is line.wanted
    line.intact += (
        program.state(follower) is JobState.DONE and desk.fingerprint(program.work) == before
    )


def table(folder: Path, points: int, seed: int = 0) -> Iterator[Line]:
    """All faults at `points` random moments each, one kind after the other."""
    moments = random.Random(seed)  # noqa: S311  (when to strike, no secret)
    program = Program(folder, Limits())
    try:
        done = program.run()
        program.until(lambda: program.state(done).is_over)
        for fault in FAULTS:
            line = Line(fault.name, fault.wanted)
            for _ in range(points):
                trial(program, line, fault, moments.uniform(0.0, 1.0))
            yield line
    finally:
        program.jobs.close()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=20)
    points = parser.parse_args().points
    with tempfile.TemporaryDirectory() as folder:
        for line in table(Path(folder), points):
            print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
