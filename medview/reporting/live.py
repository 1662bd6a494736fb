"""Live numbers: marks in the reader's text that stand for measurements and follow them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from medview.core.findings import Finding
from medview.reporting.fields import measured_text

#: What stands where a measurement is gone: its finding was rejected, its segment deleted.
WITHDRAWN = "(no longer measured)"

_MARK = re.compile(r"⟦([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})⟧")


def mark(measurement_uid: str) -> str:
    """The mark that stands for a measurement."""
    return f"⟦{measurement_uid}⟧"


def has_marks(text: str) -> bool:
    """Whether a text has marks in it."""
    return _MARK.search(text) is not None


def parts(source: str, findings: Sequence[Finding]) -> Iterator[tuple[str, str]]:
    """A text as it is read, piece by piece: (words, UID of the measurement they tell or "")."""
    told = {m.uid: measured_text(m) for f in findings for m in f.measurements}
    end = 0
    for found in _MARK.finditer(source):
        if found.start() > end:
            yield source[end : found.start()], ""
        yield told.get(found.group(1), WITHDRAWN), found.group(1)
        end = found.end()
    if end < len(source):
        yield source[end:], ""


def resolved(source: str, findings: Sequence[Finding]) -> str:
    """A text with the numbers in the places of their marks."""
    return "".join(words for words, _ in parts(source, findings))
