"""Trust: folders whose programs the reader allows to run, each by the hash of all its files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medview.core.errors import ModelError
from medview.core.findings import utc_now
from medview.core.paths import write_whole
from medview.core.plain import PlainError, from_plain, to_plain


@dataclass(frozen=True)
class Trusted:
    """Who trusted which model, and when."""

    model_id: str
    by: str
    at: str


@dataclass(frozen=True)
class _Content:
    trusted: Mapping[str, Trusted]


class TrustFile:
    """The list in the profile. A file that cannot be read trusts nothing, and is said."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def entries(self) -> Mapping[str, Trusted]:
        """What is trusted, by the hash of the folder; ModelError for a damaged file."""
        try:
            data = json.loads(self._path.read_text(encoding="utf-8"))
            return from_plain(_Content, data).trusted
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, PlainError) as error:
            raise ModelError(
                "The list of trusted models cannot be read; none is trusted.",
                hint=f"Delete {self._path.name} in the profile and trust them anew.",
                detail=type(error).__name__,
            ) from error

    def trust(self, folder_sha256: str, model_id: str, by: str) -> None:
        """Allow the programs of a folder with this hash, and of no other."""
        entry = Trusted(model_id, by, utc_now().isoformat(timespec="seconds"))
        self._write({**self.entries(), folder_sha256: entry})

    def withdraw(self, folder_sha256: str) -> bool:
        """Allow them no more; whether they were allowed."""
        entries = dict(self.entries())
        known = entries.pop(folder_sha256, None) is not None
        if known:
            self._write(entries)
        return known

    def _write(self, entries: Mapping[str, Trusted]) -> None:
        write_whole(self._path, json.dumps(to_plain(_Content(entries)), indent=1) + "\n")
