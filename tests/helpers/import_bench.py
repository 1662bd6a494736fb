"""A bench for single inputs: one import worker, its time and its memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medview.services import inspection
from medview.services.tasks import Tasks

MIB = 1 << 20


@dataclass(frozen=True)
class Outcome:
    """What `medview info` says, the seconds it took, and the bytes the worker grew by."""

    info: dict[str, Any]
    seconds: float
    grown: int

    @property
    def problems(self) -> list[dict[str, str]]:
        """Rows of the import report."""
        return list(self.info["problems"])

    def series(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """Each series with its patient."""
        for patient in self.info["patients"]:
            for study in patient["studies"]:
                for series in study["series"]:
                    yield patient, series


class Bench:
    """Runs inputs through the product, in one worker as the window has them."""

    def __init__(self) -> None:
        self._tasks = Tasks(workers=1, import_workers=1)

    def info(self, path: Path, password: str = "") -> Outcome:
        """What the worker makes of a path; the memory is the worker's alone."""
        before = self._watch()
        start = time.monotonic()
        found = inspection.info(self._tasks, [path], password)
        return Outcome(found, time.monotonic() - start, max(0, self._peak() - before))

    def close(self) -> None:
        """End the worker."""
        self._tasks.close()

    @property
    def _worker(self) -> Path | None:
        process = getattr(self._tasks._importers[0], "_process", None)
        return Path(f"/proc/{process.pid}") if process is not None else None

    def _watch(self) -> int:
        """Let the kernel measure the peak of the worker from here; its memory now."""
        worker = self._worker
        if worker is None or not worker.is_dir():
            return 0
        (worker / "clear_refs").write_text("5")
        return self._status(worker, "VmRSS")

    def _peak(self) -> int:
        worker = self._worker
        return 0 if worker is None or not worker.is_dir() else self._status(worker, "VmHWM")

    @staticmethod
    def _status(worker: Path, name: str) -> int:
        lines = (worker / "status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith(name))) << 10


@contextmanager
def bench() -> Iterator[Bench]:
    """A bench whose worker is warm."""
    made = Bench()
    try:
        made.info(Path(__file__))
        yield made
    finally:
        made.close()
