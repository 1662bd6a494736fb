"""Rules without a network: which rule a model folder names."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from medview.core.errors import ModelError
from medview.core.models import ModelCard
from medview.inference.adapter import ModelAdapter
from medview.inference.engines import chest_rules, threshold

#: Rules by the word `find` of the rules file; a file without the word is about a threshold.
_RULES: Mapping[str, Callable[[ModelCard, Path], ModelAdapter]] = MappingProxyType(
    {"chest_ct": chest_rules.Engine, "threshold": threshold.Engine}
)


def engine(card: ModelCard, folder: Path) -> ModelAdapter:
    """The engine for the rules of a folder; ModelError for rules that nobody here knows."""
    try:
        rules = json.loads((folder / card.weights).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"The rules of {card.title} cannot be read.") from error
    name = rules.get("find", "threshold") if isinstance(rules, dict) else ""
    if name not in _RULES:
        raise ModelError(f"The rules of {card.title} are not known.")
    return _RULES[name](card, folder)
