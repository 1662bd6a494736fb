"""Rules on arrival: which model runs by itself on which images, from a file the reader writes.

`arrival.toml` in the profile:

    [[rule]]
    model = "ct_chest_rules"
    modality = ["CT"]
    body_part = ["CHEST", "THORAX"]

A list that is left out allows everything; models whose card refuses the image do not run.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medview.core.errors import ModelError
from medview.core.events import VolumeLoaded
from medview.core.models import ModelCard, Task
from medview.core.study import Series
from medview.core.volume import Volume
from medview.services.settings import Settings
from medview.services.workspace import Workspace

_KEYS = {"model", "modality", "body_part"}


@dataclass(frozen=True)
class ArrivalRule:
    """One model and the images it runs on. Words in upper case, as DICOM has them."""

    model_id: str
    modality: tuple[str, ...] = ()
    body_part: tuple[str, ...] = ()

    def matches(self, series: Series) -> bool:
        """Whether a series is of the kinds named; one that does not state its part is not."""
        part = series.body_part.strip().upper()
        return (not self.modality or series.modality.upper() in self.modality) and (
            not self.body_part or part in self.body_part
        )


class Arrivals:
    """Volumes that were opened, and the models that run on them by themselves.

    `wake` is called when there is something to take.
    """

    def __init__(
        self,
        workspace: Workspace,
        settings: Settings,
        rules: Sequence[ArrivalRule],
        wake: Callable[[], object],
    ) -> None:
        self._workspace = workspace
        self._settings = settings
        self._rules = tuple(rules)
        self._wake = wake
        self._arrived: list[str] = []

    def watch(self) -> None:
        """Take note of what is opened from now on."""
        self._workspace.events.volume_loaded.connect(self._on_volume_loaded, unique=True)

    def stop(self) -> None:
        """Take note of nothing more."""
        self._arrived.clear()
        self._workspace.events.volume_loaded.disconnect(self._on_volume_loaded, missing_ok=True)

    def take(self) -> list[Volume]:
        """What came since the last call; of a series over time only its first volume."""
        arrived, self._arrived = self._arrived, []
        volumes = (self._workspace.volumes.get(uid) for uid in arrived)
        return [volume for volume in volumes if volume is not None and not volume.time_index]

    def due(self, volume: Volume, fitting: Sequence[ModelCard]) -> list[str]:
        """Which of the fitting models run by themselves: those of the rules, else networks."""
        if not self._rules:
            return [card.id for card in fitting if card.task is not Task.RULES]
        series = self._workspace.study_of(volume.uid).find_series(volume.series_uid)
        named = {rule.model_id for rule in self._rules if rule.matches(series)}
        return [card.id for card in fitting if card.id in named]

    def _on_volume_loaded(self, event: VolumeLoaded) -> None:
        """Only noted here: handlers change nothing."""
        if self._rules or self._settings.flag("ai.run_on_open"):
            self._arrived.append(event.uid)
            self._wake()


def read_rules(file: Path) -> tuple[ArrivalRule, ...]:
    """The rules of a file, none if there is no file; ModelError naming what is wrong in it."""
    if not file.is_file():
        return ()
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file.name} cannot be read: no model runs by itself.") from error
    entries = data.get("rule", [])
    if set(data) - {"rule"} or not isinstance(entries, list):
        raise ModelError(f"{file.name} may hold [[rule]] tables only.")
    return tuple(_rule(entry, file.name, place) for place, entry in enumerate(entries, start=1))


def _rule(entry: Any, name: str, place: int) -> ArrivalRule:
    strange = sorted(set(entry) - _KEYS) if isinstance(entry, dict) else ["no table"]
    if strange:
        raise ModelError(f"Rule {place} of {name} has keys nobody knows: {', '.join(strange)}.")
    model = entry.get("model")
    if not isinstance(model, str) or not model:
        raise ModelError(f"Rule {place} of {name} names no model.")
    lists = []
    for key in ("modality", "body_part"):
        words = entry.get(key, [])
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ModelError(f"{key} in rule {place} of {name} is no list of words.")
        lists.append(tuple(word.upper() for word in words))
    return ArrivalRule(model, *lists)
