"""What is odd about a header though the image can be read: said, and kept with the series."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime

_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")
_LONGEST_UID = 64
_DATES = {"StudyDate": "The study date", "PatientBirthDate": "The patient's birth date"}
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID")
#: Keywords that are looked at; a file that changes none of them has nothing new to tell.
WATCHED = frozenset((*_DATES, *_UIDS, "_PixelLength", "NumberOfFrames"))
_SIZE = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")


def oddities(values: Mapping[str, str]) -> Iterator[str]:
    """Notes on identifiers, dates and the size of the picture.

    UIDs are digits and dots, at most 64 of them (PS3.5 9.1); dates are YYYYMMDD (PS3.5 6.2).
    """
    if any(not _well_formed(values[keyword]) for keyword in _UIDS if values.get(keyword)):
        yield "An identifier (UID) of study or series is not well formed; it is kept as it is"
    for keyword, name in _DATES.items():
        text = values.get(keyword, "")
        if text and not _is_date(text):
            yield f"{name} is no date"
    if values.get("_PixelKind") and not values.get("PhotometricInterpretation"):
        yield "The file does not say what its grey values mean (Photometric Interpretation)"
    if _is_too_long(values):
        yield "The file holds more pixel data than its picture has; the rest was not read"


def _is_too_long(values: Mapping[str, str]) -> bool:
    """Whether uncompressed pixels go on behind the last frame, by more than padding."""
    try:
        rows, columns, samples, bits = (int(values.get(keyword) or 1) for keyword in _SIZE)
        frames = int(values.get("NumberOfFrames") or 1)
        needed = -(-rows * columns * samples * bits * frames // 8)
        return int(values.get("_PixelLength", "")) > needed + 1
    except ValueError:
        return False


def odd_instance(uid: str) -> tuple[str, ...]:
    """Notes on the identifier of one image."""
    if not uid:
        return ("The image has no identifier of its own: results cannot refer to it",)
    if not _well_formed(uid):
        return ("The identifier (UID) of the image is not well formed; it is kept as it is",)
    return ()


def _well_formed(uid: str) -> bool:
    return len(uid) <= _LONGEST_UID and _UID.fullmatch(uid) is not None


def _is_date(text: str) -> bool:
    """Whether a day of the calendar is meant; the dots of ACR-NEMA are allowed."""
    try:
        datetime.strptime(text.replace(".", "").strip(), "%Y%m%d")  # noqa: DTZ007  (a day only)
    except ValueError:
        return False
    return True
