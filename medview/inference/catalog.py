"""The catalogue of models: finds model folders, reads their cards, checks their files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from medview.core.errors import ModelError
from medview.core.models import ModelCard
from medview.inference.formats import lone_network, meshnet, monai_bundle, nnunet
from medview.inference.metadata import read_card, read_metrics
from medview.inference.receipts import Receipt, make_receipt, read_receipt, verify_folder
from medview.inference.trust import Trusted, TrustFile

#: The engines a model folder may ask for, by the word in its metadata. Nothing else is imported.
ENGINES: Mapping[str, str] = MappingProxyType(
    {
        "classification": "medview.inference.engines.classification:Engine",
        "detection": "medview.inference.engines.detection:Engine",
        "instances": "medview.inference.engines.instances:Engine",
        "segmentation": "medview.inference.engines.segmentation:Engine",
        "motion": "medview.inference.engines.motion:Engine",
        "rules": "medview.inference.engines.rules:engine",
        "torchscript": "medview.inference.engines.torchscript:Engine",
        "onnx": "medview.inference.engines.onnx:Engine",
    }
)
#: The engines that answer a reader's marks in the window's process; they are asked nothing else.
ANSWERERS: Mapping[str, str] = MappingProxyType({"marks": "medview.inference.marks:MarkAnswerer"})
#: What models of others are recognised by, tried in this order.
_FORMATS = (nnunet.describe, meshnet.describe, monai_bundle.describe, lone_network.describe)

_METADATA = Path("configs") / "metadata.json"
_LARGEST_METADATA = 4 << 20


@dataclass(frozen=True)
class ModelProblem:
    """A folder that is not offered as a model, and why, in the reader's words."""

    folder: Path
    reason: str


class Catalog:
    """Models in some folders, each model a folder of its own; the first of two equal ids wins.

    Only one that was put in the place of another by the reader's word wins over it.

    `engines` maps the engine word of the metadata to `module:Class`; plug-ins add to it.
    `trust` is the list of folders whose programs the reader allows. `beside` are models that are
    asked in other ways: not found by id here, but known by their cards.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        engines: Mapping[str, str] = ENGINES,
        trust: TrustFile | None = None,
        beside: Catalog | None = None,
    ) -> None:
        self.beside = beside
        self._folders = tuple(folders)
        self._engines = dict(engines)
        self._trust = trust
        self._models: dict[str, tuple[ModelCard, Path]] = {}
        self.problems: tuple[ModelProblem, ...] = ()
        self.refresh()

    @property
    def engines(self) -> Mapping[str, str]:
        """The engines a model folder may ask for."""
        return MappingProxyType(self._engines)

    def refresh(self) -> None:
        """Look at the folders again, also of those beside."""
        if self.beside is not None:
            self.beside.refresh()
        self._models = {}
        problems: list[ModelProblem] = []
        trusted = self._trusted(problems)
        for folder in self._model_folders():
            try:
                card = _added_card(folder, self._engines)
            except ModelError as error:
                problems.append(ModelProblem(folder, error.user_text))
                continue
            if card.id in self._models and not _takes_a_place(folder):
                problems.append(ModelProblem(folder, f"Another model has the id {card.id}."))
            else:
                allowed = bool(card.code) and card.folder_sha256 in trusted
                self._models[card.id] = replace(card, trusted=allowed), folder
        self.problems = tuple(problems)

    def cards(self) -> tuple[ModelCard, ...]:
        """All usable models, by title."""
        cards = (card for card, _ in self._models.values())
        return tuple(sorted(cards, key=lambda card: (card.title.lower(), card.id)))

    def in_order(self) -> tuple[ModelCard, ...]:
        """All usable models as they were found: folder after folder, in each by their names."""
        return tuple(card for card, _ in self._models.values())

    def every_card(self) -> tuple[ModelCard, ...]:
        """All usable models, and those beside them."""
        return (*self.cards(), *(self.beside.cards() if self.beside is not None else ()))

    def card(self, model_id: str) -> ModelCard:
        """The card of one model; ModelError if there is no such model."""
        return self._find(model_id)[0]

    def folder(self, model_id: str) -> Path:
        """Where a model lies; ModelError if there is no such model."""
        return self._find(model_id)[1]

    def verify(self, model_id: str) -> None:
        """Hash the files of a model; ModelError unless they are those released, or added."""
        verify_model(*self._find(model_id))

    def _trusted(self, problems: list[ModelProblem]) -> Mapping[str, Trusted]:
        if self._trust is None:
            return {}
        try:
            return self._trust.entries()
        except ModelError as error:
            problems.append(ModelProblem(self._folders[-1], error.user_text))
            return {}

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

    A folder of another program gets a card from what it says; its hashes are made here, which
    takes as long as reading it. What is recognised and cannot be run is refused by what it is.
    """
    card = _stated_card(folder, engines)
    return card if card.sha256 else _hashed(card, make_receipt(folder, ""))


def _added_card(folder: Path, engines: Mapping[str, str]) -> ModelCard:
    """The card of a folder among the installed ones, its hashes those of its receipt."""
    card = _stated_card(folder, engines)
    receipt = read_receipt(folder)
    if receipt is not None:
        return _hashed(card, receipt)
    if not card.sha256 or card.code:
        raise ModelError(
            f"{folder.name} ({card.format}) was put here by hand: what its files should be is not"
            " known.",
            hint="Take it out and add it with `medview models add FOLDER`.",
        )
    return card


def _takes_a_place(folder: Path) -> bool:
    """Whether the reader put this model in the place of another one."""
    receipt = read_receipt(folder)
    return receipt is not None and bool(receipt.replaces)


def _hashed(card: ModelCard, receipt: Receipt) -> ModelCard:
    """The card bound to the files of a receipt."""
    own = card.sha256 or receipt.files.get(card.weights, "")
    return replace(card, sha256=own, folder_sha256=receipt.folder_sha256)


def _stated_card(folder: Path, engines: Mapping[str, str]) -> ModelCard:
    """The card of a folder as its files say, without hashes where they state none."""
    if not (folder / _METADATA).is_file():
        return _foreign_card(folder)
    metadata = _read_json(folder / _METADATA, folder.name)
    if not isinstance(metadata, dict):
        raise ModelError(f"The metadata of {folder.name} is not a JSON object.")
    if "medview" not in metadata:
        return _foreign_card(folder)
    card, metrics_file = read_card(metadata, engines, folder.name)
    if card.weights:
        weights_file(card, folder)
    if not metrics_file:
        return card
    metrics = _inside(folder, metrics_file, "metrics")
    if not metrics.is_file():
        return card
    return read_metrics(card, _read_json(metrics, folder.name), folder.name)


def _foreign_card(folder: Path) -> ModelCard:
    try:
        for describe in _FORMATS:
            card = describe(folder)
            if card is not None:
                return card
    except OSError as error:
        raise ModelError(
            f"The files of {folder.name} cannot be read.",
            detail=repr(error),
        ) from error
    if (folder / _METADATA).is_file():
        raise ModelError(
            f"{folder.name} is a bundle without a medview block: it does not say how it is run,"
            " nor its limits."
        )
    raise ModelError(
        f"{folder.name} has no {_METADATA.name}: it is not a model folder.", detail=str(_METADATA)
    )


def verify_model(card: ModelCard, folder: Path) -> None:
    """Raise ModelError unless the weights, and all files of a model that was added, are right."""
    if card.folder_sha256:
        verify_folder(folder, card.folder_sha256, card.title or card.id)
    if card.weights:
        verify_weights(card, folder)


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
