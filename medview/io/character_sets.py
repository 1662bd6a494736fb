"""Specific Character Set (0008,0005): what a file names, whether it is known and holds."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping

from pydicom.charset import convert_encodings, python_encoding

#: What the default repertoire is read as: its letters, and those of old files that say nothing.
LATIN = ["iso8859"]
#: Switches to ISO-IR 58. The decoder of that set gives it back among the letters.
CHINESE_ESCAPE = "\x1b$)A"

_KEYWORD = "SpecificCharacterSet"
_GAP = re.compile(r"[\s_-]+")
_NAMES = frozenset(("PN", "LO", "SH", "ST", "LT", "UT", "UC"))
_WRONG = "Text of the file is not in the character set that it names: names may be wrong"


def _plain(term: str) -> str:
    return _GAP.sub(" ", term.strip().upper())


#: Sets that joined the standard later than the DICOM library: Latin alphabet No. 9.
_JOINED = {"ISO IR 203": "iso8859_15", "ISO 2022 IR 203": "iso8859_15"}
#: All defined terms, however their gaps are written (PS3.3 C.12.1.1.2).
_KNOWN = frozenset((*map(_plain, python_encoding), *_JOINED))
_DEFAULTS = frozenset(("", "ISO IR 6", "ISO 2022 IR 6"))


def encodings_of(text: str) -> list[str]:
    """Python's names for the values of (0008,0005); unknown ones become the default set."""
    if text in ("", "ISO_IR 6", "ISO_IR 100"):
        return LATIN
    terms = [part.strip() for part in text.split("\\")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return list(convert_encodings([_JOINED.get(_plain(term), term) for term in terms]))
        except (LookupError, ValueError):
            return LATIN


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
