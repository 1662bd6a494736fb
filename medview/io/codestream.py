"""What a compressed picture says of itself, read marker by marker before any decoding."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from medview.core.errors import ReadError

AGAIN = "Get the file again from its source"
#: Starts of frame that are decoded: baseline, extended, progressive, lossless; and JPEG-LS.
BASELINE, EXTENDED, PROGRESSIVE, LOSSLESS, LS = 0xC0, 0xC1, 0xC2, 0xC3, 0xF7
_STARTS = frozenset((*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC),
                     *range(0xCD, 0xD0), LS))  # fmt: skip
_BARE = frozenset((0x01, *range(0xD0, 0xD9)))
_END, _SCAN, _TABLES, _QUANTISATION, _RESTART, _ADOBE = 0xD9, 0xDA, 0xC4, 0xDB, 0xDD, 0xEE
#: A marker in entropy-coded data is none if a zero, a restart or another FF follows.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
#: In JPEG-LS data a marker is FF with the next bit set (ISO 14495-1 A.1).
_LS_MARKER = re.compile(rb"\xff[\x80-\xfe]")
_J2K = b"\xff\x4f\xff\x51"
_XL = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")


@dataclass(frozen=True)
class Codestream:
    """Rows, columns, samples and bits of a compressed picture; `kind` is its start of frame.

    For JPEG 2000 and JPEG XL `kind` is 0 and 1.
    """

    rows: int
    columns: int
    samples: int
    bits: int
    kind: int = 0
    signed: bool = False


@dataclass(frozen=True)
class Component:
    """A component of a JPEG picture: identifier, sampling factors, quantisation table."""

    identifier: int
    across: int
    down: int
    table: int


@dataclass(frozen=True)
class Scan:
    """One scan: data [begin, end), its components with their tables, and its parameters.

    `first` and `last` coefficient (`first` is the predictor of a lossless scan), `high` and `low`
    bit of successive approximation (`low` is the point transform of a lossless scan). `restart`
    counts MCUs; `huffman` has the counts and symbols of each table, by class << 4 | number.
    """

    begin: int
    end: int
    components: tuple[tuple[int, int, int], ...]
    first: int
    last: int
    high: int
    low: int
    restart: int
    huffman: dict[int, tuple[bytes, bytes]]


@dataclass(frozen=True)
class Jpeg:
    """All of a JPEG picture but its coded data.

    `steps` are the 64 quantisation steps by table, in zigzag order; `transform` what an Adobe
    marker says of the colours (-1: nothing); `jfif` whether it is a JFIF file; `end` where the
    picture ends.
    """

    kind: int
    rows: int
    columns: int
    bits: int
    components: tuple[Component, ...]
    scans: tuple[Scan, ...]
    steps: dict[int, tuple[int, ...]]
    transform: int
    jfif: bool
    end: int


def damaged(detail: str = "") -> ReadError:
    """The error of a stream that makes no sense."""
    return ReadError("The compressed picture is damaged", AGAIN, detail)


def cut_short(detail: str = "") -> ReadError:
    """The error of a stream that ends too early."""
    return ReadError("The compressed picture is cut short", AGAIN, detail)


def inspect(data: bytes) -> Codestream:
    """The size a stream declares; ReadError if it is none, or lacks its end."""
    if data[:4] == _J2K:
        stream = _jpeg2000(data)
    elif data[:2] == b"\xff\xd8":
        stream = _jpeg(data)
    elif data.startswith(_XL):
        return _jpeg_xl(data)
    else:
        raise ReadError("The compressed picture is not what the file says it is", AGAIN)
    if data.rfind(b"\xff\xd9") < 0:
        raise cut_short("no end marker")
    return stream


def _jpeg2000(data: bytes) -> Codestream:
    """SIZ marker segment (ISO 15444-1 A.5.1)."""
    try:
        right, bottom, left, top = struct.unpack_from(">4L", data, 8)
        (samples,) = struct.unpack_from(">H", data, 40)
        depth = data[42]
    except (struct.error, IndexError) as error:
        raise cut_short() from error
    bits, signed = (depth & 0x7F) + 1, bool(depth & 0x80)
    return Codestream(bottom - top, right - left, samples, bits, signed=signed)


def _jpeg(data: bytes) -> Codestream:
    """Start of frame (ISO 10918-1 B.2.2; JPEG-LS: ISO 14495-1 C.2.2)."""
    for marker, begin, end in _segments(data):
        if marker in _STARTS and end - begin >= 6:
            bits, rows, columns, samples = struct.unpack_from(">BHHB", data, begin)
            return Codestream(rows, columns, samples, bits, marker)
        if marker == _SCAN:
            break
    raise damaged("no start of frame")


def _segments(data: bytes, pos: int = 2) -> Iterator[tuple[int, int, int]]:
    """Marker segments from `pos` on: marker, begin and end of its parameters (B.1.1)."""
    while pos + 4 <= len(data):
        if data[pos] != 0xFF:
            raise damaged(f"no marker at byte {pos}")
        marker = data[pos + 1]
        if marker == 0xFF or marker in _BARE:
            pos += 1 if marker == 0xFF else 2
            continue
        if marker in (0, _END):
            return
        (length,) = struct.unpack_from(">H", data, pos + 2)
        if length < 2 or pos + 2 + length > len(data):
            raise damaged(f"a segment of {length} bytes at byte {pos}")
        yield marker, pos + 4, pos + 2 + length
        pos += 2 + length


def _jpeg_xl(data: bytes) -> Codestream:
    """The size header of a JPEG XL picture (ISO 18181-1 D.2); samples and bits stay 0: unknown."""
    start = data.find(b"\xff\x0a") if data[:1] == b"\xff" else _box(data)
    bits = int.from_bytes(data[start + 2 : start + 14], "little")
    if start < 0 or len(data) < start + 14:
        raise cut_short()

    def take(count: int) -> int:
        nonlocal bits
        value, bits = bits & ((1 << count) - 1), bits >> count
        return value

    small = take(1)

    def length() -> int:
        return (take(5) + 1) * 8 if small else take((9, 13, 18, 30)[take(2)]) + 1

    rows = length()
    ratio = take(3)
    shares = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
    if ratio == 0:
        return Codestream(rows, length(), 0, 0, 1)
    across, down = shares[ratio - 1]
    return Codestream(rows, rows * across // down, 0, 0, 1)


def _box(data: bytes) -> int:
    """Where the codestream lies in a JPEG XL container (ISO 18181-2)."""
    for name in (b"jxlc", b"jxlp"):
        at = data.find(name, 0, 1 << 16)
        if at >= 0:
            return data.find(b"\xff\x0a", at, at + 16)
    return -1


@dataclass
class _Parser:
    """Collects the segments of a JPEG picture on the way to its end."""

    data: bytes
    kind: int = 0
    size: tuple[int, int, int] = (0, 0, 0)
    components: tuple[Component, ...] = ()
    scans: list[Scan] = field(default_factory=list)
    huffman: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    steps: dict[int, tuple[int, ...]] = field(default_factory=dict)
    restart: int = 0
    transform: int = -1
    jfif: bool = False

    def run(self) -> int:
        """Through all segments; gives where the picture ends."""
        pos = 2
        while True:
            for marker, begin, end in _segments(self.data, pos):
                pos = end
                if marker == _SCAN:
                    pos = self._scan(begin, end)
                    break
                self._take(marker, begin, end)
            else:
                at = self.data.find(b"\xff\xd9", pos)
                if at < 0:
                    raise cut_short("no end marker")
                if self.data[pos:at].strip(b"\xff"):
                    raise damaged(f"{at - pos} bytes of no meaning before the end")
                return at + 2

    def _take(self, marker: int, begin: int, end: int) -> None:
        part = self.data[begin:end]
        if marker in _STARTS:
            self._frame(marker, part)
        elif marker == _TABLES:
            self._huffman(part)
        elif marker == _QUANTISATION:
            self._quantisation(part)
        elif marker == _RESTART and len(part) >= 2:
            self.restart = int.from_bytes(part[:2], "big")
        elif marker == _ADOBE and part[:5] == b"Adobe" and len(part) >= 12:
            self.transform = part[11]
        elif marker == 0xE0 and part[:4] == b"JFIF":
            self.jfif = True

    def _frame(self, marker: int, part: bytes) -> None:
        if self.kind:
            raise damaged("two starts of frame")
        self.kind = marker
        bits, rows, columns, count = struct.unpack_from(">BHHB", part)
        if not count or len(part) != 6 + 3 * count:
            raise damaged("a frame header of the wrong length")
        self.size = (rows, columns, bits)
        self.components = tuple(
            Component(part[k], part[k + 1] >> 4, part[k + 1] & 15, part[k + 2])
            for k in range(6, len(part), 3)
        )
        if not all(1 <= n <= 4 for one in self.components for n in (one.across, one.down)):
            raise damaged("impossible sampling factors")

    def _huffman(self, part: bytes) -> None:
        while part:
            counts = part[1:17]
            total = sum(counts)
            if len(part) < 17 + total:
                raise damaged("a Huffman table that is cut short")
            self.huffman[part[0]] = (counts, part[17 : 17 + total])
            part = part[17 + total :]

    def _quantisation(self, part: bytes) -> None:
        while part:
            wide = part[0] >> 4
            length = 1 + 64 * (2 if wide else 1)
            if wide > 1 or len(part) < length:
                raise damaged("a quantisation table that is cut short")
            steps = struct.unpack_from(">64H" if wide else ">64B", part, 1)
            if not all(steps):
                raise damaged("a quantisation step of zero")
            self.steps[part[0] & 15] = steps
            part = part[length:]

    def _scan(self, begin: int, end: int) -> int:
        part = self.data[begin:end]
        count = part[0] if part else 0
        places = {one.identifier: k for k, one in enumerate(self.components)}
        if not 1 <= count <= 4 or len(part) != 4 + 2 * count:
            raise damaged("a scan header of the wrong length")
        chosen = [(places.get(part[k], -1), part[k + 1]) for k in range(1, 1 + 2 * count, 2)]
        if any(place < 0 for place, _ in chosen):
            raise damaged("a scan of a component that is not there")
        found = (_LS_MARKER if self.kind == LS else _MARKER).search(self.data, end)
        if found is None:
            raise cut_short("a scan without end")
        first, last, approximation = part[-3:]
        self.scans.append(
            Scan(
                begin=end,
                end=found.start(),
                components=tuple((place, byte >> 4, byte & 15) for place, byte in chosen),
                first=first,
                last=last,
                high=approximation >> 4,
                low=approximation & 15,
                restart=self.restart,
                huffman=dict(self.huffman),
            )
        )
        return found.start()


def parse_jpeg(data: bytes) -> Jpeg:
    """All marker segments of a JPEG picture, to its end; ReadError where they make no sense."""
    parser = _Parser(data)
    try:
        end = parser.run()
    except (struct.error, IndexError) as error:
        raise damaged(str(error)) from error
    if not parser.kind or not parser.scans:
        raise damaged("no picture")
    rows, columns, bits = parser.size
    return Jpeg(
        parser.kind,
        rows,
        columns,
        bits,
        parser.components,
        tuple(parser.scans),
        parser.steps,
        parser.transform,
        parser.jfif,
        end,
    )


def check_jpeg2000(data: bytes) -> int:
    """Walk the tile-parts of a JPEG 2000 codestream to its end (ISO 15444-1 A.4); gives the end.

    ReadError where a tile-part is cut, a tile is missing, or no end marker follows the last one.
    """
    pos = 2
    while pos + 4 <= len(data) and data[pos : pos + 2] != b"\xff\x90":
        (length,) = struct.unpack_from(">H", data, pos + 2)
        if data[pos] != 0xFF or length < 2:
            raise damaged(f"no marker at byte {pos}")
        pos += 2 + length
    tiles = set()
    while data[pos : pos + 2] == b"\xff\x90" and pos + 12 <= len(data):
        tile, length = struct.unpack_from(">HL", data, pos + 4)
        tiles.add(tile)
        if length == 0:
            length = data.rfind(b"\xff\xd9") - pos
        if length < 14 or pos + length > len(data):
            raise cut_short("a tile is cut")
        pos += length
    if data[pos : pos + 2] != b"\xff\xd9":
        raise cut_short("no end marker after the last tile")
    width, height, left, top = struct.unpack_from(">4L", data, 24)
    right, bottom = struct.unpack_from(">2L", data, 8)
    if not width or not height:
        raise damaged("tiles of no size")
    across, down = (right - left + width - 1) // width, (bottom - top + height - 1) // height
    if len(tiles) != across * down:
        raise cut_short(f"{len(tiles)} of {across * down} tiles are there")
    return pos + 2
