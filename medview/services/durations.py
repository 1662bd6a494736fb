"""How long models take on this machine, learned from their earlier runs and kept in the profile."""

from __future__ import annotations

import json
import logging
import statistics
from contextlib import suppress
from pathlib import Path

_log = logging.getLogger(__name__)

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
        self._file = file
        self._runs: dict[str, list[float]] = _read(file)

    def learn(self, model: ModelVersion, device: str, voxels: int, seconds: float) -> None:
        """Remember a run that ended well."""
        runs = [*self._runs.pop(_key(model, device), []), seconds / max(1.0, voxels / 1e6)]
        self._runs[_key(model, device)] = runs[-_MOST:]  # the device used last stands last
        if self._file is not None:
            with suppress(OSError):  # only an estimate is lost
                fresh = self._file.with_suffix(".new")
                fresh.write_text(json.dumps(self._runs), encoding="utf-8")
                fresh.replace(self._file)

    def expected_s(self, model: ModelVersion, device: str, voxels: int) -> float | None:
        """Seconds a run should take; None for a model that has not run here yet.

        `auto` means whichever device it ran on last.
        """
        keys = [_key(model, device)]
        if device == "auto":
            keys = [key for key in self._runs if key.startswith(_key(model, ""))][-1:]
        runs = [pace for key in keys for pace in self._runs.get(key, [])]
        return statistics.median(runs) * max(1.0, voxels / 1e6) if runs else None


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


def _read(file: Path | None) -> dict[str, list[float]]:
    """What is remembered; nothing where the file is missing or makes no sense."""
    if file is None or not file.is_file():
        return {}
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        return {str(key): [float(pace) for pace in runs] for key, runs in data.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        _log.warning("durations of earlier runs cannot be read and start anew")
        return {}
