"""Hanging protocols: read from TOML, one file each."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from medview.core.errors import MedviewError
from medview.core.views import LAYOUTS, HangingProtocol, Rule


def load_protocols(folder: Path) -> tuple[HangingProtocol, ...]:
    """The protocols of a folder in the order of their file names: the first of equals wins.

    MedviewError naming the file that is wrong and what is.
    """
    return tuple(_read(file) for file in sorted(folder.glob("*.toml")))


def _read(file: Path) -> HangingProtocol:
    try:
        tree = tomllib.loads(file.read_text(encoding="utf-8"))
        return _protocol(tree)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise MedviewError(
            f"The hanging protocol {file.name} cannot be used: {error}",
            "Mend the file or take it out of the folder.",
        ) from error


def _protocol(tree: dict[str, Any]) -> HangingProtocol:
    layout = tree["layout"]
    if layout not in {known.name for known in LAYOUTS}:
        raise ValueError(f"there is no layout {layout!r}")
    rules = tuple(Rule(**rule) for rule in tree["rules"])
    return HangingProtocol(tree["name"], layout, rules)
