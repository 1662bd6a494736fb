"""Seeds of bad inputs: slices as lists of raw elements, written byte by byte.

A writer of its own, because the libraries rightly refuse to write most of this.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.datadict import dictionary_VR, tag_for_keyword

from tests.helpers.dicom_phantoms import uid

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED, BIG = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
CT = "1.2.840.10008.5.1.4.1.1.2"
ROWS = COLUMNS = 128

_LONG = ("OB", "OW", "OF", "OD", "OL", "OV", "SQ", "UT", "UN", "UC", "UR")
_BINARY = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "FL": "f", "FD": "d"}

#: Tag -> VR, value. A value of None in a VR of its own kind is written with undefined length.
Elements = dict[int, tuple[str, bytes]]


class Undefined(bytes):
    """A value written with undefined length; it brings its own end."""


def pixels() -> npt.NDArray[np.uint16]:
    """The seed picture: a ramp, a ball and noise in 12 bits. Never flat, the same every time."""
    y, x = np.mgrid[:ROWS, :COLUMNS]
    ball = np.hypot(y - 60, x - 70) < 30
    noise = np.random.default_rng(5).integers(0, 200, (ROWS, COLUMNS))
    return np.asarray(900 + 4 * x + 800 * ball + noise, dtype=np.uint16)


def slice_elements(
    number: int = 1, z_mm: float = 0.0, *, series: str = "bad", **changes: Any
) -> Elements:
    """An ordinary CT slice; `changes` by keyword, None leaves an element out.

    A change is text, a number, a list of numbers, bytes, or (VR, bytes).
    """
    values: dict[str, Any] = {
        "SpecificCharacterSet": "ISO_IR 192",
        "ImageType": "ORIGINAL\\PRIMARY\\AXIAL",
        "SOPClassUID": CT,
        "SOPInstanceUID": uid("bad inputs", series, number),
        "StudyDate": "20240501",
        "Modality": "CT",
        "StudyDescription": "Bad inputs",
        "SeriesDescription": series,
        "PatientName": "Phantom^Bad",
        "PatientID": "BAD-1",
        "PatientBirthDate": "19700131",
        "StudyInstanceUID": uid("bad inputs"),
        "SeriesInstanceUID": uid("bad inputs", series),
        "SeriesNumber": "1",
        "InstanceNumber": str(number),
        "FrameOfReferenceUID": uid("bad inputs", "frame"),
        "ImagePositionPatient": f"-64\\-64\\{z_mm:g}",
        "ImageOrientationPatient": "1\\0\\0\\0\\1\\0",
        "PixelSpacing": "0.8\\0.7",
        "SliceThickness": "2",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": ROWS,
        "Columns": COLUMNS,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "WindowCenter": "40",
        "WindowWidth": "400",
        "RescaleIntercept": "-1024",
        "RescaleSlope": "1",
        "PixelData": ("OW", pixels().tobytes()),
    }
    values.update(changes)
    return dict(sorted(_element(key, value) for key, value in values.items() if value is not None))


def _element(keyword: str, value: Any) -> tuple[int, tuple[str, bytes]]:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    if isinstance(value, tuple):
        return int(tag), value
    vr = dictionary_VR(tag)
    vr = vr if len(vr) == 2 else "US"
    if isinstance(value, bytes):
        return int(tag), (vr, value)
    if vr in _BINARY:
        numbers = value if isinstance(value, list) else [value]
        return int(tag), (vr, struct.pack(f"<{len(numbers)}{_BINARY[vr]}", *numbers))
    return int(tag), (vr, padded(str(value).encode("utf-8"), vr))


def padded(value: bytes, vr: str = "LO") -> bytes:
    """Of even length."""
    return value + (b"\0" if vr == "UI" else b" ") * (len(value) % 2)


def element(
    tag: int, vr: str, value: bytes, *, explicit: bool = True, endian: str = "<",
    length: int | None = None,
) -> bytes:  # fmt: skip
    """One element as bytes (PS3.5 7.1); `length` declares another one than it has."""
    declared = len(value) if length is None else length
    if isinstance(value, Undefined):
        declared = 0xFFFFFFFF
    start = struct.pack(endian + "HH", tag >> 16, tag & 0xFFFF)
    if not explicit:
        return start + struct.pack(endian + "L", declared) + value
    if vr in _LONG:
        return start + vr.encode() + b"\0\0" + struct.pack(endian + "L", declared) + value
    return start + vr.encode() + struct.pack(endian + "H", declared & 0xFFFF) + value


def encoded(
    elements: Mapping[int, tuple[str, bytes]], *, explicit: bool = True, endian: str = "<"
) -> bytes:
    """A data set, in the order given. Big endian swaps what is numbers."""
    parts = []
    for tag, (vr, value) in elements.items():
        kind = {"OW": "H", **_BINARY}.get(vr) if endian == ">" else None
        body = value
        if kind is not None and len(value) % struct.calcsize("<" + kind) == 0:
            count = len(value) // struct.calcsize("<" + kind)
            body = struct.pack(f">{count}{kind}", *struct.unpack(f"<{count}{kind}", value))
        parts.append(element(tag, vr, body, explicit=explicit, endian=endian))
    return b"".join(parts)


def meta(
    syntax: str | None, elements: Mapping[int, tuple[str, bytes]], extra: bytes = b""
) -> bytes:
    """File meta information (PS3.10 7.1) with its group length."""
    instance = elements.get(0x00080018, ("UI", b"1.2.3\0"))[1]
    parts = [
        element(0x00020001, "OB", b"\0\1"),
        element(0x00020002, "UI", padded(CT.encode(), "UI")),
        element(0x00020003, "UI", instance),
    ]
    if syntax is not None:
        parts.append(element(0x00020010, "UI", padded(syntax.encode(), "UI")))
    parts.append(element(0x00020012, "UI", padded(b"1.2.826.0.1.3680043.8.498.1", "UI")))
    body = b"".join(parts) + extra
    return element(0x00020000, "UL", struct.pack("<L", len(body))) + body


def part10(
    elements: Mapping[int, tuple[str, bytes]],
    syntax: str | None = EXPLICIT,
    *,
    preamble: bytes = b"\0" * 128,
    more: bytes = b"",
) -> bytes:
    """A whole file; `more` follows the last element."""
    explicit, endian = syntax != IMPLICIT, ">" if syntax == BIG else "<"
    start = preamble.ljust(128, b"\0") + b"DICM" + meta(syntax, elements)
    return start + encoded(elements, explicit=explicit, endian=endian) + more


def good(number: int = 1, z_mm: float = 0.0, *, series: str = "good", **changes: Any) -> bytes:
    """A slice without any fault."""
    return part10(slice_elements(number, z_mm, series=series, **changes))


def encapsulated(
    frames: Iterable[bytes], table: bytes | None = None, *, ended: bool = True
) -> Undefined:
    """Frames as fragments, one each, behind a basic offset table (PS3.5 A.4)."""
    parts = [frame + b"\0" * (len(frame) % 2) for frame in frames]
    offsets, at = b"", 0
    for part in parts:
        offsets, at = offsets + struct.pack("<L", at), at + 8 + len(part)
    table = offsets if table is None else table
    items = b"".join(
        b"\xfe\xff\x00\xe0" + struct.pack("<L", len(part)) + part for part in (table, *parts)
    )
    return Undefined(items + (b"\xfe\xff\xdd\xe0\0\0\0\0" if ended else b""))
