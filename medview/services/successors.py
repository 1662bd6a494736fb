"""Successors: models trained from one that is here, and what they did against it."""

from __future__ import annotations

import json
from pathlib import Path

from medview.core.errors import ModelError
from medview.core.models import ModelCard
from medview.core.plain import PlainError
from medview.core.succession import COMPARISON_FILE, Succession, read_succession
from medview.inference.catalog import Catalog, load_card

_LARGEST = 4 << 20


def comparison_in(folder: Path, card: ModelCard) -> Succession | None:
    """How the model of a folder did against the one it came from, by the folder's own word.

    None where it says nothing, or speaks of other weights; ModelError for a damaged file.
    """
    path = folder / COMPARISON_FILE
    try:
        if path.stat().st_size > _LARGEST:
            raise ModelError(f"{path.name} of {folder.name} is too large to be what it claims.")
        found = read_succession(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, PlainError, RecursionError) as error:
        raise ModelError(
            f"{path.name} of {folder.name} cannot be read.",
            hint="Compare the models again: `medview evaluate NEW DATA --against OLD --card`.",
            detail=repr(error),
        ) from error
    return found if found.new.weights_sha256 == card.sha256 else None


def successor_in(folder: Path, catalog: Catalog) -> Succession | None:
    """The comparison of a model folder that is not installed yet; None where there is none."""
    if not (folder / COMPARISON_FILE).is_file():
        return None
    return comparison_in(folder, load_card(folder, catalog.engines))


def may_replace(succession: Succession | None, catalog: Catalog) -> bool:
    """Whether these are the figures of a new model against one that is installed as it was."""
    if succession is None:
        return False
    installed = next((c for c in catalog.cards() if c.id == succession.old.id), None)
    return installed is not None and installed.sha256 == succession.old.weights_sha256


def put_in_place(folder: Path, succession: Succession) -> None:
    """Give a model's folder the id of the one it takes the place of, and a version of its own.

    The version names the weights (`1.0.0+3f2a9c1b`), so that findings of the two never look alike.
    """
    path = folder / "configs" / "metadata.json"
    metadata = json.loads(path.read_text(encoding="utf-8"))
    metadata["medview"]["id"] = succession.old.id
    if metadata["version"] == succession.old.version:
        metadata["version"] += f"+{succession.new.weights_sha256[:8]}"
    path.write_text(json.dumps(metadata, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
