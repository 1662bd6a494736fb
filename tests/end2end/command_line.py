"""How the end-to-end tests start the program: as a user does, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Outcome:
    """What a finished command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout, which has to be JSON and nothing else."""
        return json.loads(self.out)


def environment() -> dict[str, str]:
    """For the real window: on the display if there is one, else off screen."""
    own = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    if own.get("DISPLAY"):
        own.pop("QT_QPA_PLATFORM", None)
    return own


def medview(*arguments: object, profile: Path, seconds: float = 240) -> Outcome:
    """Run one command line to its end with a profile of its own."""
    words = [sys.executable, "-m", "medview", "--profile", str(profile), *map(str, arguments)]
    done = subprocess.run(
        words,
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=seconds,
        check=False,
        env=environment(),
    )
    return Outcome(done.returncode, done.stdout, done.stderr)
