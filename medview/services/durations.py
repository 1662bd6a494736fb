"""How long models take on this machine, learned from their earlier runs and kept in the profile."""

from __future__ import annotations

import statistics
from pathlib import Path

from medview.services.remembered import Remembered

#: Runs of one model on one device that are remembered.
_MOST = 12
#: Below this share of a run its own pace says less than the runs before.
_EARLY = 0.15

#: Id and version of a model.
ModelVersion = tuple[str, str]


class Durations:
    """Seconds per million voxels of earlier runs, by model, version and device.

    Without a file nothing is kept beyond the program's end.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._runs = Remembered(file)

    def learn(self, model: ModelVersion, device: str, voxels: int, seconds: float) -> None:
        """Remember a run that ended well."""
        key = _key(model, device)
        runs = [*self._of(key), seconds / max(1.0, voxels / 1e6)]
        self._runs.put(key, runs[-_MOST:])  # the device used last stands last

    def expected_s(self, model: ModelVersion, device: str, voxels: int) -> float | None:
        """Seconds a run should take; None for a model that has not run here yet.

        `auto` means whichever device it ran on last.
        """
        keys = [_key(model, device)]
        if device == "auto":
            keys = [key for key in self._runs.names() if key.startswith(_key(model, ""))][-1:]
        runs = [pace for key in keys for pace in self._of(key)]
        return statistics.median(runs) * max(1.0, voxels / 1e6) if runs else None

    def _of(self, key: str) -> list[float]:
        """What is remembered under a key; nothing where that makes no sense."""
        try:
            return [float(pace) for pace in self._runs.get(key) or ()]
        except (TypeError, ValueError):
            return []


def seconds_left(
    elapsed_s: float, fraction: float | None, expected_s: float | None
) -> float | None:
    """What is left of a run: by its own pace once that tells, before by runs of the same model."""
    if fraction is not None and fraction >= _EARLY:
        return elapsed_s * (1 - fraction) / fraction
    if expected_s is None:
        return None
    return max(0.0, expected_s - elapsed_s)


def _key(model: ModelVersion, device: str) -> str:
    return f"{model[0]} {model[1]} {device}"
