"""What a compressed picture says of itself, read from its first bytes before any decoding."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from medview.core.errors import ReadError

_JPEG_STARTS = frozenset((*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC),
                          *range(0xCD, 0xD0), 0xF7))  # fmt: skip
_BARE = frozenset((0x01, *range(0xD0, 0xD9)))
_AGAIN = "Get the file again from its source"


@dataclass(frozen=True)
class Codestream:
    """Rows, columns, samples and bits of a JPEG, JPEG-LS or JPEG 2000 picture."""

    rows: int
    columns: int
    samples: int
    bits: int


def inspect(data: bytes) -> Codestream:
    """The size a stream declares; ReadError if it is none, or lacks its end."""
    if data[:4] == b"\xff\x4f\xff\x51":
        stream = _jpeg2000(data)
    elif data[:2] == b"\xff\xd8":
        stream = _jpeg(data)
    else:
        raise ReadError("The compressed picture is not what the file says it is", _AGAIN)
    if b"\xff\xd9" not in data[-16:]:
        raise ReadError("The compressed picture is cut short", _AGAIN)
    return stream


def _jpeg2000(data: bytes) -> Codestream:
    """SIZ marker segment (ISO 15444-1 A.5.1)."""
    try:
        right, bottom, left, top = struct.unpack_from(">4L", data, 8)
        (samples,) = struct.unpack_from(">H", data, 40)
        return Codestream(bottom - top, right - left, samples, (data[42] & 0x7F) + 1)
    except (struct.error, IndexError) as error:
        raise ReadError("The compressed picture is cut short", _AGAIN) from error


def _jpeg(data: bytes) -> Codestream:
    """Start of frame (ISO 10918-1 B.2.2; JPEG-LS: ISO 14495-1 C.2.2)."""
    pos = 2
    while pos + 10 <= len(data):
        if data[pos] != 0xFF:
            break
        marker = data[pos + 1]
        if marker == 0xFF or marker in _BARE:
            pos += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", data, pos + 2)
        if marker in _JPEG_STARTS:
            bits, rows, columns, samples = struct.unpack_from(">BHHB", data, pos + 4)
            return Codestream(rows, columns, samples, bits)
        pos += 2 + length
    raise ReadError("The compressed picture is damaged", _AGAIN)
