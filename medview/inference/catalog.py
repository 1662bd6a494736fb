"""The catalogue of models: finds model folders, reads their cards, checks their weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from medview.core.errors import ModelError
from medview.core.models import ModelCard
from medview.inference.metadata import read_card, read_metrics

#: The engines a model folder may ask for, by the word in its metadata. Nothing else is imported.
ENGINES: Mapping[str, str] = MappingProxyType(
    {
        "segmentation": "medview.inference.engines.segmentation:Engine",
        "motion": "medview.inference.engines.motion:Engine",
        "rules": "medview.inference.engines.threshold:Engine",
    }
)

_METADATA = Path("configs") / "metadata.json"
_LARGEST_METADATA = 4 << 20


@dataclass(frozen=True)
class ModelProblem:
    """A folder that is not offered as a model, and why, in the reader's words."""

    folder: Path
    reason: str


class Catalog:
    """Models in some folders, each model a folder of its own; the first of two equal ids wins.

    `engines` maps the engine word of the metadata to `module:Class`; plug-ins add to it.
    """

    def __init__(self, folders: Sequence[Path], engines: Mapping[str, str] = ENGINES) -> None:
        self._folders = tuple(folders)
        self._engines = dict(engines)
        self._models: dict[str, tuple[ModelCard, Path]] = {}
        self.problems: tuple[ModelProblem, ...] = ()
        self.refresh()

    def refresh(self) -> None:
        """Look at the folders again."""
        self._models, problems = {}, []
        for folder in self._model_folders():
            try:
                card = load_card(folder, self._engines)
            except ModelError as error:
                problems.append(ModelProblem(folder, error.user_text))
                continue
            if card.id in self._models:
                problems.append(ModelProblem(folder, f"Another model has the id {card.id}."))
            else:
                self._models[card.id] = card, folder
        self.problems = tuple(problems)

    def cards(self) -> tuple[ModelCard, ...]:
        """All usable models, by title."""
        cards = (card for card, _ in self._models.values())
        return tuple(sorted(cards, key=lambda card: (card.title.lower(), card.id)))

    def card(self, model_id: str) -> ModelCard:
        """The card of one model; ModelError if there is no such model."""
        return self._find(model_id)[0]

    def folder(self, model_id: str) -> Path:
        """Where a model lies; ModelError if there is no such model."""
        return self._find(model_id)[1]

    def verify(self, model_id: str) -> None:
        """Hash the weights of a model; ModelError unless they are the released ones."""
        card, folder = self._find(model_id)
        verify_weights(card, folder)

    def _find(self, model_id: str) -> tuple[ModelCard, Path]:
        if model_id not in self._models:
            known = ", ".join(sorted(self._models)) or "none"
            raise ModelError(f"There is no model {model_id}.", hint=f"Installed models: {known}.")
        return self._models[model_id]

    def _model_folders(self) -> list[Path]:
        return [
            child
            for folder in self._folders
            if folder.is_dir()
            for child in sorted(folder.iterdir())
            if child.is_dir() and not child.name.startswith(".")
        ]


def load_card(folder: Path, engines: Mapping[str, str] = ENGINES) -> ModelCard:
    """The card of one model folder; ModelError naming every key that is missing or wrong.

    A MONAI bundle without the `medview` block is recognised and refused for what it lacks.
    """
    metadata = _read_json(folder / _METADATA, folder.name)
    if not isinstance(metadata, dict):
        raise ModelError(f"The metadata of {folder.name} is not a JSON object.")
    if "medview" not in metadata:
        raise ModelError(
            f"{folder.name} is a bundle without a medview block: it does not say how it is run,"
            " nor its limits."
        )
    card, metrics_file = read_card(metadata, engines, folder.name)
    if card.weights:
        weights_file(card, folder)
    if not metrics_file:
        return card
    metrics = _inside(folder, metrics_file, "metrics")
    if not metrics.is_file():
        return card
    return read_metrics(card, _read_json(metrics, folder.name), folder.name)


def weights_file(card: ModelCard, folder: Path) -> Path:
    """Where the weights lie; ModelError if missing or outside the folder (links followed)."""
    path = _inside(folder, card.weights, "weights")
    if not path.is_file():
        raise ModelError(
            f"The weights of {card.title} are missing.", hint="Install the model again."
        )
    return path


def verify_weights(card: ModelCard, folder: Path) -> None:
    """Raise ModelError unless the weights are, byte for byte, the ones the card names."""
    path = weights_file(card, folder)
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(
            f"The weights of {card.title} cannot be read.", detail=type(error).__name__
        ) from error
    if found != card.sha256:
        raise ModelError(
            f"The weights of {card.title} are not the ones it was released with.",
            hint="Install the model again.",
            detail=f"expected {card.sha256}, found {found}",
        )


def _inside(folder: Path, name: str, what: str) -> Path:
    """The file `name` of a folder; ModelError if the name or a link leads outside."""
    path = (folder / name).resolve()
    if Path(name).is_absolute() or not path.is_relative_to(folder.resolve()):
        raise ModelError(f"The {what} file of {folder.name} lies outside its folder.")
    return path


def _read_json(path: Path, model: str) -> object:
    try:
        if path.stat().st_size > _LARGEST_METADATA:
            raise ModelError(f"The file {path.name} of {model} is too large to be what it claims.")
        result: object = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"{model} has no {path.name}: it is not a model folder.", detail=str(_METADATA)
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"The file {path.name} of {model} cannot be read.", detail=type(error).__name__
        ) from error
    return result
