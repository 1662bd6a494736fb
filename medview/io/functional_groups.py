"""Functional groups of frames (PS3.3 C.7.6.16), read and written as the many alike that they are.

Where a slice lies, what it was made from and which segment is drawn stand again and again in the
thousands of frames of an object: each such element is parsed, or encoded, once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from pydicom import DataElement, Dataset
from pydicom.dataelem import RawDataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.sequence import Sequence as Items
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

PER_FRAME = Tag("PerFrameFunctionalGroupsSequence")
_ITEM = (0xFFFE, 0xE000)
_UNDEFINED = 0xFFFFFFFF
#: What is said alike stands near each other: of more different elements the rest is forgotten.
_MOST_KNOWN = 20_000


class _OtherEncodingError(Exception):
    """Items or elements that end with a delimiter: their lengths are not told."""


def share_groups(ds: Dataset) -> None:
    """Have the frames of an object that was just read share what is said alike of them.

    What is encoded without lengths, or in big endian, stays as the library reads it.
    """
    raw = _raw(ds, PER_FRAME)
    if raw is None:
        return
    try:
        groups = list(_sharing(raw, ds))
    except (_OtherEncodingError, struct.error):
        return  # whoever looks at it learns from the library what is wrong
    ds[PER_FRAME] = DataElement(PER_FRAME, "SQ", Items(groups))


def items_of(ds: Dataset, keyword: str) -> Iterator[Dataset]:
    """The items of a sequence one after the other: of tens of thousands none is held for long."""
    raw, given = _raw(ds, Tag(keyword)), 0
    try:
        for item in _sharing(raw, ds) if raw is not None else ():
            yield item
            given += 1
    except (_OtherEncodingError, struct.error):
        raw = None
    if raw is None:
        yield from (ds.get(keyword) or ())[given:]


def _raw(ds: Dataset, tag: BaseTag) -> RawDataElement | None:
    """A sequence that nobody looked at yet, in little endian; None for others."""
    raw: Any = ds.get_item(tag) if tag in ds else None
    if not isinstance(raw, RawDataElement) or not raw.is_little_endian or not raw.value:
        return None
    return raw


def _sharing(raw: RawDataElement, ds: Dataset) -> Iterator[Dataset]:
    """The items of a sequence, elements that are encoded alike being the same object.

    What was not met before is left to be parsed by whoever looks at it.
    """
    known: dict[bytes, DataElement | None] = {}
    signed = ds.get("PixelRepresentation") == 1
    for item in _items(raw.value or b""):
        group = Dataset(parent_encoding=ds.original_character_set)
        if signed:
            _signed(group)
        for element, unread in _elements(item, implicit=raw.is_implicit_VR):
            if len(known) >= _MOST_KNOWN:
                known.clear()
            met = element in known
            shared = known.setdefault(element, None)
            group[unread.tag] = unread if shared is None else shared
            if met and shared is None:
                known[element] = group[unread.tag]
        yield group


def _signed(group: Dataset) -> None:
    """Have numbers of VR US or SS in a group read as signed, as what holds it says (PS3.5 A.1)."""
    holder = Dataset()
    holder.PixelRepresentation = 1
    holder[PER_FRAME] = DataElement(PER_FRAME, "SQ", Items([group]))


def _items(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        group, element, length = struct.unpack_from("<HHI", data, at)
        if (group, element) != _ITEM or length == _UNDEFINED or at + 8 + length > len(data):
            raise _OtherEncodingError
        yield data[at + 8 : at + 8 + length]
        at += 8 + length


def _elements(item: bytes, *, implicit: bool) -> Iterator[tuple[bytes, RawDataElement]]:
    """Each element of an item (PS3.5 7.1): all of its bytes, and what the library reads it from."""
    at = 0
    while at < len(item):
        group, element = struct.unpack_from("<HH", item, at)
        vr = None if implicit else item[at + 4 : at + 6].decode("latin-1")
        if vr is None:
            (length,), head = struct.unpack_from("<I", item, at + 4), 8
        elif vr in EXPLICIT_VR_LENGTH_32:
            (length,), head = struct.unpack_from("<I", item, at + 8), 12
        else:
            (length,), head = struct.unpack_from("<H", item, at + 6), 8
        start, end = at + head, at + head + length
        if length == _UNDEFINED or end > len(item):
            raise _OtherEncodingError
        tag = Tag(group, element)
        yield item[at:end], RawDataElement(tag, vr, length, item[start:end], 0, implicit, True)
        at = end


class Ready(NamedTuple):
    """An element that is encoded already, its header too."""

    tag: BaseTag
    data: bytes


class Numbered:
    """A sequence of one item that many frames have, but for the whole numbers in one element of it.

    Encoded once; `within` is the tag of that element, of VR UL.
    """

    def __init__(self, sequence: DataElement, within: BaseTag) -> None:
        element = sequence.value[0][within]
        self._tag, whole, part = sequence.tag, _encoded(sequence), _encoded(element)
        self._count = element.VM
        start = whole.index(part) + len(part)
        self._head, self._rest = whole[: start - 4 * self._count], whole[start:]

    def numbered(self, numbers: Sequence[int]) -> Ready:
        """The sequence with other numbers, as many as it had."""
        values = struct.pack(f"<{self._count}I", *numbers)
        return Ready(self._tag, self._head + values + self._rest)


def encoded_groups(frames: Iterable[Sequence[DataElement | Ready]]) -> bytes:
    """The items of the sequence in Explicit VR Little Endian, from the elements of each frame.

    An element that many frames have (the same object, not an equal one) is encoded once.
    """
    known: dict[int, tuple[DataElement, bytes]] = {}

    def encoded(element: DataElement | Ready) -> bytes:
        if isinstance(element, Ready):
            return element.data
        if id(element) not in known:
            known[id(element)] = element, _encoded(element)
        return known[id(element)][1]

    whole = bytearray()
    for elements in frames:
        item = b"".join(encoded(one) for one in sorted(elements, key=attrgetter("tag")))
        whole += struct.pack("<HHI", *_ITEM, len(item)) + item
    return bytes(whole)


def _encoded(element: DataElement) -> bytes:
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, False
    write_data_element(file, element)
    return file.getvalue()
