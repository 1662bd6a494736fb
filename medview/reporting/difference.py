"""Two texts beside each other: which pieces stand in one of them only."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

_PIECES = re.compile(r"\s+|\w+|[^\w\s]")


@dataclass(frozen=True)
class Piece:
    """A stretch of text; `own` says that the other text does not have it here."""

    text: str
    own: bool


def compared(first: str, second: str) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """Both texts in pieces, word by word; put together each is what it was."""
    ours, theirs = _PIECES.findall(first), _PIECES.findall(second)
    left: list[Piece] = []
    right: list[Piece] = []
    matcher = difflib.SequenceMatcher(None, ours, theirs, autojunk=False)
    for tag, a0, a1, b0, b1 in matcher.get_opcodes():
        own = tag != "equal"
        for pieces, words in ((left, ours[a0:a1]), (right, theirs[b0:b1])):
            if words:
                pieces.append(Piece("".join(words), own))
    return tuple(left), tuple(right)
