"""Models that medview knows where to fetch: shown to the reader, fetched on their word alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Offer:
    """A published model: where it lies, how large it is and what it has to be.

    `needs` names what has to be installed to run it, `note` what a reader should know before.
    """

    id: str
    title: str
    url: str
    bytes: int
    sha256: str
    licence: str
    needs: str
    note: str

    @property
    def size(self) -> str:
        """How much has to be fetched, in words."""
        return f"{self.bytes / 1e6:,.0f} MB"


def offers_in(folder: Path) -> tuple[Offer, ...]:
    """The models offered by the descriptions in a folder, by their id."""
    found = []
    for path in sorted(folder.glob("*.json")):
        download = json.loads(path.read_text(encoding="utf-8")).get("download")
        if download is not None:
            found.append(Offer(**download))
    return tuple(sorted(found, key=lambda offer: offer.id))
