"""The context of a run for engines that are tested without the worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from medview.core.errors import Cancelled
from medview.core.findings import ModelAuthor, Provenance, utc_now

RESOURCES = Path(__file__).resolve().parents[2] / "resources"


@dataclass
class RunContext:
    """Remembers in `said` what an engine said; nothing it says is empty or beyond 0 to 1.

    An engine looks whether it shall stop with each word, and between words: the look with the
    number `stop_after` is the one that stops it.
    """

    stop_after: int = 1 << 30
    job_uid: str = "job"
    seed: int = 0
    device: str = "cpu"
    resources: Path = RESOURCES
    parameters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    provenance: Provenance = field(
        default_factory=lambda: Provenance(ModelAuthor("m", "1", "0" * 64), utc_now(), "job")
    )
    said: list[tuple[str, float | None]] = field(default_factory=list)
    looks: int = 0

    @property
    def fractions(self) -> list[float]:
        """How far the run said to be, where it said so."""
        return [fraction for _, fraction in self.said if fraction is not None]

    def progress(self, stage: str, fraction: float | None = None) -> None:
        assert stage
        assert fraction is None or 0 <= fraction <= 1
        self.said.append((stage, fraction))
        self.check_cancelled()

    def check_cancelled(self) -> None:
        self.looks += 1
        if self.looks >= self.stop_after:
            raise Cancelled
