"""Specific Character Set (0008,0005): whether what a file names is known, and whether it holds."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydicom.charset import python_encoding

_KEYWORD = "SpecificCharacterSet"
_GAP = re.compile(r"[\s_-]+")
_NAMES = frozenset(("PN", "LO", "SH", "ST", "LT", "UT", "UC"))
_WRONG = "Text of the file is not in the character set that it names: names may be wrong"


def _plain(term: str) -> str:
    return _GAP.sub(" ", term.strip().upper())


#: All defined terms, however their gaps are written (PS3.3 C.12.1.1.2).
_KNOWN = frozenset(_plain(term) for term in python_encoding)
_DEFAULTS = frozenset(("", "ISO IR 6", "ISO 2022 IR 6"))


def charset_notes(values: Mapping[str, str], kept: list[tuple[str, str, bytes]]) -> list[str]:
    """What to tell of a file's character sets; `kept` are its elements: keyword, VR, bytes.

    Unknown sets are read as Latin-1. The default repertoire has no letters beyond ASCII.
    """
    terms = [_plain(term) for term in values.get(_KEYWORD, "").split("\\")]
    if unknown := [term for term in terms if term not in _KNOWN]:
        return [f"The file names an unknown character set ({unknown[0][:30]}): names may be wrong"]
    bare = _DEFAULTS.issuperset(terms)
    for keyword, kind, raw in kept:
        if kind not in _NAMES or raw.isascii():
            continue
        if bare or ("\N{REPLACEMENT CHARACTER}" in values.get(keyword, "") and min(raw) >= 0x1B):
            return [_WRONG]
    return []
