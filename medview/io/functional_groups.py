"""Functional groups of frames (PS3.3 C.7.6.16), read and written as the many alike that they are.

Where a slice lies, what it was made from and which segment is drawn stand again and again in the
thousands of frames of an object: each such element is parsed, or encoded, once.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydicom import DataElement, Dataset
from pydicom.dataelem import RawDataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_data_element
from pydicom.sequence import Sequence as Items
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

PER_FRAME = Tag("PerFrameFunctionalGroupsSequence")
_ITEM = (0xFFFE, 0xE000)
_UNDEFINED = 0xFFFFFFFF


class _OtherEncodingError(Exception):
    """Items or elements that end with a delimiter: their lengths are not told."""


def share_groups(ds: Dataset) -> None:
    """Have the frames of an object that was just read share what is said alike of them.

    What is encoded without lengths, or in big endian, stays as the library reads it.
    """
    raw: Any = ds.get_item(PER_FRAME) if PER_FRAME in ds else None
    if not isinstance(raw, RawDataElement) or not raw.is_little_endian or not raw.value:
        return
    known: dict[bytes, DataElement] = {}
    groups = list[Dataset]()
    try:
        for item in _items(raw.value):
            group = Dataset()
            for tag, element in _elements(item, implicit=raw.is_implicit_VR):
                if element not in known:
                    part = read_dataset(
                        io.BytesIO(element),
                        raw.is_implicit_VR,
                        is_little_endian=True,
                        parent_encoding=ds.original_character_set,
                    )
                    known[element] = part[tag]
                group[tag] = known[element]
            groups.append(group)
    except (_OtherEncodingError, struct.error):
        return  # whoever looks at it learns from the library what is wrong
    ds[PER_FRAME] = DataElement(PER_FRAME, "SQ", Items(groups))


def _items(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        group, element, length = struct.unpack_from("<HHI", data, at)
        if (group, element) != _ITEM or length == _UNDEFINED or at + 8 + length > len(data):
            raise _OtherEncodingError
        yield data[at + 8 : at + 8 + length]
        at += 8 + length


def _elements(item: bytes, *, implicit: bool) -> Iterator[tuple[BaseTag, bytes]]:
    """Tag and bytes, the header's too, of each element of an item (PS3.5 7.1)."""
    at = 0
    while at < len(item):
        group, element = struct.unpack_from("<HH", item, at)
        if implicit:
            (length,), head = struct.unpack_from("<I", item, at + 4), 8
        elif item[at + 4 : at + 6].decode("latin-1") in EXPLICIT_VR_LENGTH_32:
            (length,), head = struct.unpack_from("<I", item, at + 8), 12
        else:
            (length,), head = struct.unpack_from("<H", item, at + 6), 8
        end = at + head + length
        if length == _UNDEFINED or end > len(item):
            raise _OtherEncodingError
        yield Tag(group, element), item[at:end]
        at = end


def encoded_groups(frames: Iterable[Sequence[DataElement]]) -> bytes:
    """The items of the sequence in Explicit VR Little Endian, from the elements of each frame.

    An element that many frames have (the same object, not an equal one) is encoded once.
    """
    known: dict[int, tuple[DataElement, bytes]] = {}

    def encoded(element: DataElement) -> bytes:
        if id(element) not in known:
            known[id(element)] = element, _encoded(element)
        return known[id(element)][1]

    whole = bytearray()
    for elements in frames:
        item = b"".join(encoded(one) for one in sorted(elements, key=lambda one: one.tag))
        whole += struct.pack("<HHI", *_ITEM, len(item)) + item
    return bytes(whole)


def _encoded(element: DataElement) -> bytes:
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, False
    write_data_element(file, element)
    return file.getvalue()
