"""Small things that are kept in the profile from run to run: what is lost there is convenience."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from medview.core.paths import write_whole

_log = logging.getLogger(__name__)


class Remembered:
    """Values by their names in a JSON file, in the order they were put; without a file, in memory.

    A file that cannot be read starts anew; one that cannot be written is left.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._values = _read(file)

    def get(self, name: str) -> Any:
        """The value of a name as JSON has it; None if there is none."""
        return self._values.get(name)

    def names(self) -> tuple[str, ...]:
        """All names, the one put last at the end."""
        return tuple(self._values)

    def put(self, name: str, value: object) -> None:
        """Keep a value under a name."""
        self._values.pop(name, None)
        self._values[name] = value
        if self._file is not None:
            with suppress(OSError):  # nothing but convenience is lost
                write_whole(self._file, json.dumps(self._values))


def _read(file: Path | None) -> dict[str, Any]:
    if file is None or not file.is_file():
        return {}
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        data = None
    if isinstance(data, dict):
        return data
    _log.warning("%s cannot be read and starts anew", file.name)
    return {}
