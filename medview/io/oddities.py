"""What is odd about a header though the image can be read: said, and kept with the series."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime

_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")
_LONGEST_UID = 64
#: Registered sets of (0008,0005) by their numbers (PS3.3 C.12.1.1.2), and those without one.
_CHARSETS = frozenset((6, 13, 14, 58, 87, 100, 101, 109, 110, 126, 127, 138, 144, 148, 149, 159,
                       166, 192, 203))  # fmt: skip
_NAMED_CHARSETS = frozenset(("", "GB18030", "GBK"))
_CHARSET = re.compile(r"ISO[ _-]?(?:2022[ _-]?)?IR[ _-]?([0-9]+)")
_DATES = {"StudyDate": "The study date", "PatientBirthDate": "The patient's birth date"}
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID")
#: Keywords that are looked at; a file that changes none of them has nothing new to tell.
WATCHED = frozenset((*_DATES, *_UIDS, "SpecificCharacterSet"))


def oddities(values: Mapping[str, str]) -> Iterator[str]:
    """Notes on the identifiers, dates and character set among these values.

    UIDs are digits and dots, at most 64 of them (PS3.5 9.1); dates are YYYYMMDD (PS3.5 6.2).
    """
    if any(not _well_formed(values[keyword]) for keyword in _UIDS if values.get(keyword)):
        yield "An identifier (UID) of study or series is not well formed; it is kept as it is"
    for keyword, name in _DATES.items():
        text = values.get(keyword, "")
        if text and not _is_date(text):
            yield f"{name} is no date"
    charsets = values.get("SpecificCharacterSet", "").upper().split("\\")
    if not all(_is_charset(one.strip()) for one in charsets):
        yield "The character set of the file is not known: names may be misspelled"


def odd_instance(uid: str) -> tuple[str, ...]:
    """Notes on the identifier of one image."""
    if not uid:
        return ("The image has no identifier of its own: results cannot refer to it",)
    if not _well_formed(uid):
        return ("The identifier (UID) of the image is not well formed; it is kept as it is",)
    return ()


def _well_formed(uid: str) -> bool:
    return len(uid) <= _LONGEST_UID and _UID.fullmatch(uid) is not None


def _is_charset(name: str) -> bool:
    found = _CHARSET.fullmatch(name)
    return name in _NAMED_CHARSETS or (found is not None and int(found[1]) in _CHARSETS)


def _is_date(text: str) -> bool:
    """Whether a day of the calendar is meant; the dots of ACR-NEMA are allowed."""
    try:
        datetime.strptime(text.replace(".", "").strip(), "%Y%m%d")  # noqa: DTZ007  (a day only)
    except ValueError:
        return False
    return True
