"""What every foreign model folder has in common: a card made from the little that it says."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medview.core.errors import ModelError
from medview.core.models import InputSpec, ModelCard, OutputChannel, OutputSpec, Scope, Task
from medview.core.structures import readable, structure_of
from medview.core.tints import tint

#: What a card says where its folder does not.
NOT_STATED = "Not stated by those who made it."
_LIMITS = (
    "Its folder states no limits: on whom it was trained, and where it fails, is unknown.",
    "Its folder holds no figures that medview could check: how good it is, is unknown.",
    "Not for clinical use.",
)
_LARGEST_JSON = 16 << 20
_LICENCES = (
    ("Apache License", "Apache-2.0"), ("MIT License", "MIT"), ("BSD 3-Clause", "BSD-3-Clause"),
    ("Attribution-NonCommercial", "CC-BY-NC"), ("Attribution-ShareAlike", "CC-BY-SA"),
    ("GNU GENERAL PUBLIC LICENSE", "GPL"),
)  # fmt: skip


def model_id(folder: Path) -> str:
    """The id of a foreign model: the name of its folder in letters that ids are made of."""
    name = re.sub(r"[^a-z0-9_.-]+", "_", folder.name.lower()).strip("_.-")
    return name[:64].strip("_.-") or "model"


def channels_of(
    names: Mapping[int, str], colors: Mapping[int, tuple[int, int, int]] | None = None
) -> tuple[OutputChannel, ...]:
    """Output channels for label numbers and their names; the background (0) is none of them."""
    channels = []
    for position, (number, name) in enumerate(sorted(names.items())):
        if number == 0:
            continue
        code, _ = structure_of(name)
        color = (colors or {}).get(number) or tint(position - (0 in names))
        channels.append(OutputChannel(number, readable(name) or f"Label {number}", code, color))
    return tuple(channels)


def foreign_card(
    folder: Path,
    *,
    kind: str,
    engine: str,
    weights: str,
    channels: Sequence[OutputChannel],
    **more: Any,
) -> ModelCard:
    """A card with honest gaps: `more` fills those fields of ModelCard that the folder states.

    `kind` names the format. Limits in `more` come before those that hold for every such model.
    """
    limits = (*more.pop("limitations", ()), *_LIMITS)
    stated = {key: value for key, value in more.items() if value not in ("", None)}
    card = ModelCard(
        id=model_id(folder),
        version="unknown",
        title=readable(folder.name),
        task=Task.SEGMENTATION,
        engine=engine,
        intended_use=NOT_STATED,
        limitations=limits,
        scope=Scope(),
        inputs=InputSpec(),
        outputs=OutputSpec("labels", tuple(channels)),
        weights=weights,
        license=licence_of(folder),
        format=kind,
    )
    return replace(card, **stated)


def licence_of(folder: Path) -> str:
    """What the licence file of a folder is, as far as its words tell; "unknown" without one."""
    for name in ("LICENSE", "LICENCE", "LICENSE.txt", "LICENSE.md"):
        path = folder / name
        if path.is_file():
            with path.open(encoding="utf-8", errors="replace") as file:
                text = file.read(1 << 16)
            found = next((short for words, short in _LICENCES if words in text), "")
            return found or f"as {name} in its folder says"
    return "unknown"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of a model folder; ModelError for anything else."""
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise ModelError(f"The file {path.name} is too large to be what it claims.")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"The file {path.name} of {path.parent.name} cannot be read.",
            detail=type(error).__name__,
        ) from error
    if not isinstance(content, dict):
        raise ModelError(f"The file {path.name} of {path.parent.name} is not a JSON object.")
    return content


def is_number_list(value: object, length: int) -> bool:
    """Whether a JSON value is a list of so many numbers."""
    return (
        isinstance(value, list)
        and len(value) == length
        and all(type(item) in (int, float) for item in value)
    )
