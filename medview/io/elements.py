"""The elements of a little endian DICOM header one after the other, those in sequences too."""

from __future__ import annotations

import struct
from typing import NamedTuple

from medview.io.header import LONG_VRS, PIXELS, VRS, WANTED

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_SHORT = struct.Struct("<HH2sH")
_LONG = struct.Struct("<L")
_PLAIN = struct.Struct("<HHL")
_SEQUENCE, _IN_ITEM = False, True


class Element(NamedTuple):
    """One element, or the beginning or end of a sequence or item of undefined length.

    Its tag and VR stand from `start` on, its value in [begin, end), its length in the `width`
    bytes before the value; 0 where that is not to be taken as a length. `keyword` names what
    the header reader keeps, `kind` its VR.
    """

    tag: int
    start: int
    begin: int
    end: int
    width: int
    keyword: str = ""
    kind: str = ""


def elements_of(head: bytes, stop: int) -> list[Element] | None:
    """All elements of a file up to its pixel data, whose value begins at `stop` (PS3.5 7).

    They follow each other without a gap; the last is the pixel data element itself, without
    value. None for what is big endian, not whole in `head`, or not as the standard has it.
    """
    if stop > len(head):
        return None
    try:
        found, at = _meta(head)
        explicit = head[at + 4 : at + 6] in VRS
        return _data_set(head, at, stop, found, explicit=explicit)
    except struct.error:
        return None


def _meta(head: bytes) -> tuple[list[Element], int]:
    at = 132 if head[128:132] == b"DICM" else 0
    found = [Element(0, 0, at, at, 0)] if at else []
    while _SHORT.unpack_from(head, at)[0] == 2:
        one = _explicit(head, at)
        if one is None:
            raise struct.error
        found.append(one)
        at = one.end
    return found, at


def _data_set(
    head: bytes, at: int, stop: int, found: list[Element], *, explicit: bool
) -> list[Element] | None:
    """The elements of the data set, put behind those `found` before it."""
    nested: list[bool] = []
    while at < stop:
        one = _marker(head, at) or (_explicit(head, at) if explicit else _implicit(head, at))
        if one is None or one.end > stop or not _fits(one, nested):
            return None
        undefined = one.width == 0 and one.end < stop
        if nested or undefined:
            one = one._replace(keyword="")
        found.append(one)
        at = one.end
        if one.tag in (_ITEM_END, _SEQUENCE_END):
            nested.pop()
        elif undefined:
            nested.append(_IN_ITEM if one.tag == _ITEM else _SEQUENCE)
    return None if nested else found


def _fits(one: Element, nested: list[bool]) -> bool:
    """Whether an element may stand here: items in sequences, elements in items (PS3.5 7.5)."""
    if one.tag in (_ITEM, _SEQUENCE_END):
        return bool(nested) and nested[-1] is _SEQUENCE
    if one.tag == _ITEM_END:
        return bool(nested) and nested[-1] is _IN_ITEM
    return not nested or nested[-1] is _IN_ITEM


def _marker(head: bytes, at: int) -> Element | None:
    group, element, length = _PLAIN.unpack_from(head, at)
    tag = group << 16 | element
    if tag == _ITEM and length != _UNDEFINED:
        return Element(tag, at, at + 8, at + 8 + length, 4)
    if tag in (_ITEM, _ITEM_END, _SEQUENCE_END):
        return Element(tag, at, at + 8, at + 8, 0)
    return None


def _explicit(head: bytes, at: int) -> Element | None:
    group, element, vr, length = _SHORT.unpack_from(head, at)
    begin, width = at + 8, 2
    if vr not in VRS:
        return None
    if vr in LONG_VRS:
        (length,) = _LONG.unpack_from(head, at + 8)
        begin, width = at + 12, 4
        if length == _UNDEFINED:
            # What is undefined in a value of unknown type is encoded otherwise (PS3.5 6.2.2).
            return None if vr == b"UN" else _open(group, element, at, begin)
    kind = "" if vr == b"UN" else vr.decode("ascii")
    return _wanted(group << 16 | element, at, begin, length, width, kind)


def _implicit(head: bytes, at: int) -> Element | None:
    group, element, length = _PLAIN.unpack_from(head, at)
    if length == _UNDEFINED:
        return _open(group, element, at, at + 8)
    return _wanted(group << 16 | element, at, at + 8, length, 4, "")


def _open(group: int, element: int, at: int, begin: int) -> Element:
    return Element(group << 16 | element, at, begin, begin, 0)


def _wanted(tag: int, at: int, begin: int, length: int, width: int, kind: str) -> Element:
    if tag in PIXELS:
        return Element(tag, at, begin, begin, 0)
    keyword, usual = WANTED.get(tag, ("", ""))
    kind = kind or usual
    return Element(tag, at, begin, begin + length, width, "" if kind == "SQ" else keyword, kind)
