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
    """Remembers what an engine said in `said`; `stop_after` cancels at that many words."""

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

    def progress(self, stage: str, fraction: float | None = None) -> None:
        self.said.append((stage, fraction))
        self.check_cancelled()

    def check_cancelled(self) -> None:
        if len(self.said) >= self.stop_after:
            raise Cancelled
