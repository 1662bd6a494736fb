"""Rules without a network: which rule a model folder names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from medview.core.errors import ModelError
from medview.core.models import ModelCard
from medview.inference.adapter import ModelAdapter
from medview.inference.engines import chest_rules, threshold
from medview.inference.formats.described import read_json

#: Rules by the word `find` of the rules file; a file without the word is about a threshold.
_RULES: Mapping[str, Callable[[ModelCard, Mapping[str, Any]], ModelAdapter]] = MappingProxyType(
    {"chest_ct": chest_rules.Engine, "threshold": threshold.Engine}
)


def engine(card: ModelCard, folder: Path) -> ModelAdapter:
    """The engine for the rules of a folder, which are read here and nowhere else.

    ModelError for a file that cannot be read and for rules that nobody here knows.
    """
    rules = read_json(folder / card.weights)
    name = str(rules.get("find", "threshold"))
    if name not in _RULES:
        raise ModelError(f"The rules of {card.title} are not known.")
    return _RULES[name](card, rules)
