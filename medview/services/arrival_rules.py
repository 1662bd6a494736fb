"""Rules on arrival: which model runs by itself on which images, from a file the reader writes.

`arrival.toml` in the profile:

    [[rule]]
    model = "ct_chest_rules"
    modality = ["CT"]
    body_part = ["CHEST", "THORAX"]
    description = "lung"
    on = true

A condition that is left out allows everything; models whose card refuses the image do not run.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medview.core.errors import ModelError
from medview.core.events import VolumeLoaded
from medview.core.models import ModelCard, Task
from medview.core.paths import write_whole
from medview.core.study import Series
from medview.core.toml import toml_text
from medview.core.volume import Volume
from medview.services.settings import Settings
from medview.services.workspace import Workspace

_KEYS = {"model", "modality", "body_part", "description", "on"}
_HEAD = "# Which model runs by itself on which images as they are opened. May be edited.\n"
_BY_SETTING = "all that fit, as Preferences say"


@dataclass(frozen=True)
class ArrivalRule:
    """One model and the images it runs on. Words in upper case, as DICOM has them.

    `description` is part of what a series is called, in any case of letters.
    """

    model_id: str
    modality: tuple[str, ...] = ()
    body_part: tuple[str, ...] = ()
    description: str = ""
    is_on: bool = True

    def matches(self, series: Series) -> bool:
        """Whether a series is of the kinds named; one that does not state its part is not."""
        part = series.body_part.strip().upper()
        return (
            (not self.modality or series.modality.upper() in self.modality)
            and (not self.body_part or part in self.body_part)
            and self.description.casefold() in series.description.casefold()
        )

    @property
    def words(self) -> str:
        """The images it is for: `CT, CHEST or THORAX, “lung” in the description`."""
        parts = [" or ".join(self.modality), " or ".join(self.body_part)]
        if self.description:
            parts.append(f"“{self.description}” in the description")
        return ", ".join(part for part in parts if part) or "every image"


class RuleBook:
    """The rules of one profile and their file. With `file` None they are kept in memory only.

    A file that makes no sense gives no rules and an `error` in the reader's words.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self.rules: tuple[ArrivalRule, ...] = ()
        self.error = ""
        try:
            self.rules = () if file is None else read_rules(file)
        except ModelError as error:
            self.error = error.user_text

    @property
    def in_force(self) -> tuple[ArrivalRule, ...]:
        """The rules that are switched on."""
        return tuple(rule for rule in self.rules if rule.is_on)

    def save(self, rules: Sequence[ArrivalRule]) -> None:
        """Let these rules hold from now on; ModelError if the file cannot be written.

        What was written there before is kept beside it as `.bak`.
        """
        if self._file is not None:
            text = _HEAD + toml_text({"rule": [_table(rule) for rule in rules]})
            try:
                with suppress(FileNotFoundError):
                    shutil.copyfile(self._file, self._file.with_name(self._file.name + ".bak"))
                write_whole(self._file, text)
            except OSError as error:
                raise ModelError(
                    f"{self._file} cannot be written ({error.strerror})",
                    hint="Check the disk and the rights of the profile folder.",
                ) from error
        self.rules, self.error = tuple(rules), ""


class Arrivals:
    """Volumes that were opened, and the models that run on them by themselves.

    `wake` is called when there is something to take. While `waits` gives True nothing is taken:
    kept results may be on their way back, and need no second run.
    """

    def __init__(
        self, workspace: Workspace, settings: Settings, book: RuleBook, wake: Callable[[], object]
    ) -> None:
        self._workspace = workspace
        self._settings = settings
        self._book = book
        self._wake = wake
        self._arrived: list[str] = []
        self.waits: Callable[[], bool] = lambda: False

    def watch(self) -> None:
        """Take note of what is opened from now on."""
        self._workspace.events.volume_loaded.connect(self._on_volume_loaded, unique=True)

    def stop(self) -> None:
        """Take note of nothing more."""
        self._arrived.clear()
        self._workspace.events.volume_loaded.disconnect(self._on_volume_loaded, missing_ok=True)

    def take(self) -> list[Volume]:
        """What came since the last call; of a series over time only its first volume."""
        if not self._arrived or self.waits():
            return []
        arrived, self._arrived = self._arrived, []
        volumes = (self._workspace.volumes.get(uid) for uid in arrived)
        return [volume for volume in volumes if volume is not None and not volume.time_index]

    def due(self, volume: Volume, fitting: Sequence[ModelCard]) -> dict[str, str]:
        """Which of the fitting models run by themselves, and why, in words.

        Those of the rules that are on; where none is, networks. A model that has given a result
        for this image in this version runs no second time.
        """
        rules = self._book.in_force
        if rules:
            series = self._workspace.study_of(volume.uid).find_series(volume.series_uid)
            why = {rule.model_id: rule.words for rule in reversed(rules) if rule.matches(series)}
        else:
            why = {card.id: _BY_SETTING for card in fitting if card.task is not Task.RULES}
        done = {
            (job.model_id, job.version)
            for job in self._workspace.jobs.values()
            if job.inputs[0].uid == volume.uid and not job.stale and not job.has_failed
        }
        return {
            card.id: why[card.id]
            for card in fitting
            if card.id in why and (card.id, card.version) not in done
        }

    def _on_volume_loaded(self, event: VolumeLoaded) -> None:
        """Only noted here: handlers change nothing."""
        if self._book.in_force or self._settings.flag("ai.run_on_open"):
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
    description, is_on = entry.get("description", ""), entry.get("on", True)
    if not isinstance(description, str):
        raise ModelError(f"description in rule {place} of {name} is no text.")
    if not isinstance(is_on, bool):
        raise ModelError(f"on in rule {place} of {name} is neither true nor false.")
    return ArrivalRule(model, lists[0], lists[1], description, is_on)


def _table(rule: ArrivalRule) -> dict[str, object]:
    """A rule as a table of its file; what it leaves open is left out."""
    told: dict[str, object] = {
        "modality": list(rule.modality),
        "body_part": list(rule.body_part),
        "description": rule.description,
    }
    switch = {} if rule.is_on else {"on": False}
    return {"model": rule.model_id, **{k: v for k, v in told.items() if v}, **switch}
