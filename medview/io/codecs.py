"""Compressed pictures to pixels: one decoder for each format, and nothing that is in doubt.

A stream is compared with the header before it is decoded, and must be used up to its end:
Huffman-coded data are walked code by code, JPEG-LS and JPEG XL decoders check their ends
themselves, run-length segments must fill exactly, and the blocks of JPEG 2000 must use all their
bytes. What these formats cannot show is a changed byte that is data as good as the right one: a
literal byte of run-length data, the low bits of a value in Huffman-coded data or in high-throughput
JPEG 2000, a quantisation step. They carry no checksum.
"""

from __future__ import annotations

import importlib
import logging
import re
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from medview.core.errors import ReadError
from medview.io.codestream import (
    AGAIN,
    BASELINE,
    EXTENDED,
    LOSSLESS,
    LS,
    PROGRESSIVE,
    Codestream,
    Jpeg,
    Scan,
    check_jpeg2000,
    cut_short,
    damaged,
    inspect,
    parse_jpeg,
)
from medview.io.plan import PixelFormat

Plane = npt.NDArray[Any]

RLE = "1.2.840.10008.1.2.5"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
UNCOMPRESSED_FRAMES = "1.2.840.10008.1.2.1.98"
_HUFFMAN = "medview.io.huffman"
_DOUBTED = "A part of the compressed picture has another length than it should: it may be damaged"
#: Bytes that a block of JPEG 2000 may lack, as encoders end their code words differently.
_SLACK = 4
#: Bytes that encoders leave behind the end of a picture, out of the buffer they wrote from.
_RESIDUE = 16


@dataclass(frozen=True, eq=False)
class Unpacked:
    """Pixels of one frame, (rows, columns) or (rows, columns, samples), as the codec gives them.

    `colour` is RGB or YBR_FULL where the stream tells, else empty: then the header tells.
    `doubt` says in plain words what was odd about a picture that could be decoded all the same.
    """

    pixels: Plane
    colour: str = ""
    doubt: str = ""


def unpack(stream: bytes, form: PixelFormat) -> Unpacked:
    """Decode one frame; ReadError unless it is whole and is what the header says."""
    if form.encoding == RLE:
        return Unpacked(_run_lengths(stream, form))
    if form.encoding in (DEFLATED_FRAMES, UNCOMPRESSED_FRAMES):
        return Unpacked(_plain(stream, form))
    start = stream[: 1 << 16].find(b"\xff\x4f\xff\x51") if stream[4:8] == b"jP  " else 0
    stream = stream[max(0, start) :]
    found = inspect(stream)
    _agree(found, form)
    if found.kind in (0, 1):
        return _jpeg2000(stream, found) if found.kind == 0 else _jpeg_xl(stream, form)
    if found.kind == LS:
        return _jpeg_ls(stream, found)
    return unpack_jpeg(stream, form.photometric)


def _agree(found: Codestream, form: PixelFormat) -> None:
    """Refuse a stream of another size than the header says, before anything is allocated."""
    declared = (form.rows, form.columns, form.samples)
    said = (found.rows, found.columns, found.samples or form.samples)
    if said != declared:
        raise ReadError(
            f"The compressed picture is {found.columns} x {found.rows} in {found.samples} "
            f"samples, the header says {form.columns} x {form.rows} in {form.samples}",
            AGAIN,
        )
    if found.bits > np.dtype(form.dtype).itemsize * 8:
        raise ReadError(f"The compressed picture has {found.bits} bits, more than fit", AGAIN)


def _tail(stream: bytes, end: int) -> str:
    """A doubt about what stands behind the end of a picture; a little residue is none."""
    rest = len(stream[end:].strip(b"\0\xff "))
    return f"{rest:,} bytes follow the end of the compressed picture" if rest > _RESIDUE else ""


# Run lengths -------------------------------------------------------------------------------------


def _run_lengths(stream: bytes, form: PixelFormat) -> Plane:
    """PS3.5 annex G: a segment for each byte of each sample, the most significant first."""
    size, samples = np.dtype(form.dtype).itemsize, form.samples
    if len(stream) < 64:
        raise cut_short()
    count, *offsets = (int(n) for n in np.frombuffer(stream, "<u4", 16))
    if count != samples * size:
        raise ReadError(f"The picture has {count} run-length segments", AGAIN)
    ends = [*offsets[1:count], len(stream)]
    pixels = form.rows * form.columns
    out = np.empty((samples, pixels, size), np.uint8)
    for k, (begin, end) in enumerate(zip(offsets, ends, strict=False)):
        if not 64 <= begin < end <= len(stream):
            raise damaged("a segment out of its place")
        sample, byte = divmod(k, size)
        out[sample, :, size - 1 - byte] = _segment(stream[begin:end], pixels)
    planes = out.view(np.dtype(form.dtype).newbyteorder("<")).reshape(samples, form.rows, -1)
    return planes[0] if samples == 1 else np.moveaxis(planes, 0, -1)


def _segment(data: bytes, pixels: int) -> Plane:
    try:
        values = imagecodecs.packbits_decode(data)
    except (RuntimeError, ValueError) as error:
        raise cut_short(str(error)) from error
    if len(values) != pixels:
        raise damaged(f"a run-length segment of {len(values)} instead of {pixels} bytes")
    return np.frombuffer(values, np.uint8)


def _plain(stream: bytes, form: PixelFormat) -> Plane:
    """A frame that is not compressed, or deflated (PS3.5 A.4.11, A.4.12)."""
    pixels = form.rows * form.columns
    packed = (pixels + 7) // 8 if form.bits_stored == 1 else form.plane_bytes
    if form.encoding == DEFLATED_FRAMES:
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            stream = unpacker.decompress(stream, form.plane_bytes + 2)
        except zlib.error as error:
            raise damaged(str(error)) from error
        if not unpacker.eof:
            raise cut_short("the deflated picture has no end")
    if packed <= len(stream) <= packed + 1 < form.plane_bytes:
        bits = np.unpackbits(np.frombuffer(stream, np.uint8), bitorder="little")
        return bits[:pixels].reshape(form.rows, form.columns)
    if not form.plane_bytes <= len(stream) <= form.plane_bytes + 1:
        raise cut_short(f"{len(stream)} of {form.plane_bytes} bytes")
    flat = np.frombuffer(stream, form.dtype, pixels * form.samples)
    if form.samples == 1:
        return flat.reshape(form.rows, form.columns)
    if form.planar == 1:
        return np.moveaxis(flat.reshape(form.samples, form.rows, form.columns), 0, -1)
    return flat.reshape(form.rows, form.columns, form.samples)


# JPEG --------------------------------------------------------------------------------------------


def check_jpeg(stream: bytes) -> None:
    """Walk all data of a JPEG picture with a DCT; ReadError where it is not whole."""
    jpeg = parse_jpeg(stream)
    if jpeg.kind in (BASELINE, EXTENDED, PROGRESSIVE):
        try:
            _check_blocks(stream, jpeg)
        except (KeyError, IndexError, ValueError) as error:
            raise damaged(str(error)) from error


def unpack_jpeg(stream: bytes, photometric: str) -> Unpacked:
    """Decode a baseline, extended, progressive or lossless picture after walking all its data."""
    jpeg = parse_jpeg(stream)
    if jpeg.kind not in (BASELINE, EXTENDED, PROGRESSIVE, LOSSLESS):
        kind = "arithmetic coding" if jpeg.kind >= 0xC9 else "a hierarchy of pictures"
        raise ReadError(f"JPEG with {kind} is not read here", "Ask the sender for another format")
    doubt = _tail(stream, jpeg.end)
    try:
        if jpeg.kind == LOSSLESS:
            pixels = _lossless(stream, jpeg)
            return Unpacked(pixels, {0: "RGB", 1: "YBR_FULL"}.get(jpeg.transform, ""), doubt)
        _check_blocks(stream, jpeg)
        if len(jpeg.components) == 1:
            return Unpacked(_imagecodec(imagecodecs.jpeg8_decode, stream), "", doubt)
        kept = _colours(jpeg, photometric)
        pixels = _imagecodec(imagecodecs.jpeg8_decode, stream, colorspace=kept, outcolorspace="RGB")
    except (KeyError, IndexError, ValueError) as error:
        raise damaged(str(error)) from error
    return Unpacked(pixels, "RGB", doubt)


def _colours(jpeg: Jpeg, photometric: str) -> str:
    """What the three samples of a JPEG picture are: its own marks count for more than the header.

    An Adobe marker says it outright, a JFIF file is YCbCr, components named R, G and B or chroma
    of a lower resolution speak for themselves; the header decides where nothing does.
    """
    if len(jpeg.components) == 4:
        return "YCCK" if jpeg.transform == 2 else "CMYK"
    if jpeg.transform in (0, 1):
        return "YCBCR" if jpeg.transform else "RGB"
    sampled = {(one.across, one.down) for one in jpeg.components}
    if jpeg.jfif or len(sampled) > 1:
        return "YCBCR"
    named = bytes(one.identifier for one in jpeg.components) == b"RGB"
    return "RGB" if named or photometric == "RGB" else "YCBCR"


def _refused(code: int) -> None:
    """Raise what a walk through Huffman-coded data came to, unless the data were whole."""
    if code:
        raise cut_short("the data of a scan") if code == 1 else damaged("the data of a scan")


def _table(scan: Scan, kind: int, number: int, jpeg: Jpeg | None = None, place: int = 0) -> Plane:
    """A table of the scan; one of AC coefficients with what they can be in that component."""
    walker = importlib.import_module(_HUFFMAN)
    most: Sequence[int] = ()
    if jpeg is not None:
        low = scan.low if jpeg.kind == PROGRESSIVE else 0
        most = walker.categories(jpeg.steps[jpeg.components[place].table], jpeg.bits, low)
    table: Plane = walker.table_of(*scan.huffman[kind << 4 | number], most)
    return table


def _lossless(stream: bytes, jpeg: Jpeg) -> Plane:
    """ISO 10918-1 annex H, one or several scans, no subsampling."""
    walker = importlib.import_module(_HUFFMAN)
    if any((one.across, one.down) != (1, 1) for one in jpeg.components):
        first = jpeg.components[0]
        if any((one.across, one.down) != (first.across, first.down) for one in jpeg.components):
            raise ReadError("Lossless JPEG with samples of several sizes is not read here", AGAIN)
    if not 2 <= jpeg.bits <= 16:
        raise damaged(f"{jpeg.bits} bits")
    dtype = np.uint8 if jpeg.bits <= 8 else np.uint16
    out = np.empty((jpeg.rows, jpeg.columns, len(jpeg.components)), dtype)
    seen: set[int] = set()
    for scan in jpeg.scans:
        places = [place for place, _, _ in scan.components]
        if seen & set(places) or not 1 <= scan.first <= 7 or scan.low >= jpeg.bits:
            raise damaged("a scan header of no meaning")
        seen.update(places)
        tables = np.stack([_table(scan, 0, dc) for _, dc, _ in scan.components])
        bits = walker.bits_of(stream[scan.begin : scan.end])
        rows, rest = divmod(scan.restart, jpeg.columns) if scan.restart else (jpeg.rows, 0)
        if rest:
            raise damaged("a restart interval within a row")
        part = np.empty((jpeg.rows, jpeg.columns, len(places)), np.uint16)
        kind = (scan.first, jpeg.bits, scan.low)
        _refused(walker.lossless(bits.windows, bits.intervals, tables, rows, kind, part))
        if places == list(range(out.shape[-1])):
            out = part.astype(out.dtype, copy=False)
        else:
            out[..., places] = part
    if len(seen) != len(jpeg.components):
        raise cut_short("a component is missing")
    return out[..., 0] if out.shape[-1] == 1 else out


def _check_blocks(stream: bytes, jpeg: Jpeg) -> None:
    """Walk all scans of a DCT picture; ReadError for any that is not whole, or that is missing."""
    walker = importlib.import_module(_HUFFMAN)
    most = (max(one.across for one in jpeg.components), max(one.down for one in jpeg.components))
    known: dict[int, Plane] = {}
    #: The bit down to which each coefficient is there, by component.
    reached = np.full((len(jpeg.components), 64), 99)
    progressive = jpeg.kind == PROGRESSIVE
    for scan in jpeg.scans:
        places = [place for place, _, _ in scan.components]
        bits = walker.bits_of(stream[scan.begin : scan.end])
        if progressive and scan.first > 0:
            (place, _, number), *others = scan.components
            if others or not scan.first <= scan.last < 64:
                raise damaged("a scan header of no meaning")
            across, down = _size_in_blocks(jpeg, place, most)
            flags = known.setdefault(place, np.zeros((across * down, 64), np.uint8))
            band = (scan.first, scan.last, scan.high)
            table = _table(scan, 1, number, jpeg, place)[None]
            interval = scan.restart or len(flags)
            _refused(walker.bands(bits.windows, bits.intervals, table, interval, band, flags))
        else:
            tables, rows = _parts(jpeg, scan, progressive=progressive)
            count = _units(jpeg, places, most)
            units = (count, scan.restart or count, 0)
            kind = (jpeg.bits, scan.high, scan.low) if progressive else (jpeg.bits, 0, 0)
            _refused(walker.blocks(bits.windows, bits.intervals, tables, units, rows, kind))
        last = scan.last if progressive else 63
        reached[places, scan.first : last + 1] = scan.low if progressive else 0
    if reached.any():
        raise cut_short("scans of finer detail are missing")


def _parts(jpeg: Jpeg, scan: Scan, *, progressive: bool) -> tuple[Plane, Plane]:
    """Tables of a scan, and for each component its blocks in an MCU, tables and DC step."""
    empty = importlib.import_module(_HUFFMAN).table_of(bytes(16), b"")
    tables: list[Plane] = []
    rows = []
    for place, dc, ac in scan.components:
        one = jpeg.components[place]
        blocks = one.across * one.down if len(scan.components) > 1 else 1
        first = len(tables)
        refining = progressive and scan.high > 0
        tables.append(empty if refining else _table(scan, 0, dc, jpeg, place))
        if not progressive:
            tables.append(_table(scan, 1, ac, jpeg, place))
        rows.append((blocks, first, -1 if progressive else first + 1, jpeg.steps[one.table][0]))
    return np.stack(tables), np.array(rows, np.int64)


def _size_in_blocks(jpeg: Jpeg, place: int, most: tuple[int, int]) -> tuple[int, int]:
    """Blocks of a component across and down, in a scan of its own (ISO 10918-1 A.1.1, A.2.2)."""
    one = jpeg.components[place]
    across = -(-jpeg.columns * one.across // most[0])
    down = -(-jpeg.rows * one.down // most[1])
    return -(-across // 8), -(-down // 8)


def _units(jpeg: Jpeg, places: list[int], most: tuple[int, int]) -> int:
    """Minimum coded units of a scan (ISO 10918-1 A.2)."""
    if len(places) == 1:
        across, down = _size_in_blocks(jpeg, places[0], most)
        return across * down
    return -(-jpeg.columns // (8 * most[0])) * -(-jpeg.rows // (8 * most[1]))


# JPEG-LS, JPEG 2000, JPEG XL ----------------------------------------------------------------------


def _imagecodec(decoder: Callable[..., Any], stream: bytes, **options: Any) -> Plane:
    """What a decoder makes of a stream; ReadError instead of its own errors."""
    try:
        picture: Plane = decoder(stream, **options)
    except (RuntimeError, ValueError, TypeError, MemoryError) as error:
        raise damaged(str(error)) from error
    return picture


def _jpeg_ls(stream: bytes, found: Codestream) -> Unpacked:
    end = stream.rfind(b"\xff\xd9")
    picture = _imagecodec(imagecodecs.jpegls_decode, stream)
    limit = 1 << found.bits
    if limit < 1 << (8 * picture.dtype.itemsize) and picture.max(initial=0) >= limit:
        raise damaged("a value beyond the range of the picture")
    return Unpacked(picture, doubt=_tail(stream, end + 2))


def _jpeg_xl(stream: bytes, form: PixelFormat) -> Unpacked:
    picture = _imagecodec(imagecodecs.jpegxl_decode, stream, numthreads=1)
    if picture.dtype.itemsize > np.dtype(form.dtype).itemsize:
        raise ReadError(f"The compressed picture is of type {picture.dtype}", AGAIN)
    return Unpacked(picture, "RGB" if form.samples == 3 else "")


def _jpeg2000(stream: bytes, found: Codestream) -> Unpacked:
    """ISO 15444-1 and -15. Every block of a Part 1 stream must have used its bytes to the end.

    The decoder tells of what is left or lacking where the stream asks for predictable
    termination (table A.19), which changes nothing else: so it is asked for in a copy.
    """
    end = check_jpeg2000(stream)
    asked, reversible = _asking(stream)
    with _words() as said:
        picture = _imagecodec(imagecodecs.jpeg2k_decode, asked, verbose=2, numthreads=1)
    left, lacking, other = _judged(said)
    if other or left > _SLACK or (reversible and lacking > _SLACK):
        raise damaged(other or f"{left} bytes of a block unused, {lacking} lacking")
    doubt = _DOUBTED if left or lacking > _SLACK else _tail(stream, end)
    if picture.shape[:2] != (found.rows, found.columns):
        raise damaged(f"a picture of {picture.shape}")
    return Unpacked(picture, _colour_of_2000(stream, found), doubt)


def _coding_style(stream: bytes) -> int:
    """Where the COD segment of the main header begins (ISO 15444-1 A.6.1)."""
    pos = 2
    while stream[pos : pos + 2] not in (b"\xff\x52", b"\xff\x90") and pos + 4 <= len(stream):
        pos += 2 + int.from_bytes(stream[pos + 2 : pos + 4], "big")
    if stream[pos : pos + 2] != b"\xff\x52" or pos + 14 > len(stream):
        raise damaged("no coding style")
    return pos


def _asking(stream: bytes) -> tuple[bytes, bool]:
    """The stream with predictable termination asked for; whether it can be reversible."""
    at = _coding_style(stream)
    style, reversible = stream[at + 12], stream[at + 13] == 1
    if style & 0x45:  # bypass, termination of every pass, high throughput: other endings
        return stream, reversible
    patched = bytearray(stream)
    patched[at + 12] = style | 0x10
    return bytes(patched), reversible


def _colour_of_2000(stream: bytes, found: Codestream) -> str:
    """RGB where the stream has the multiple component transformation (the decoder undid it)."""
    return "RGB" if found.samples == 3 and stream[_coding_style(stream) + 8] else ""


class _Words(logging.Filter):
    """Collects what the decoder says, for each thread its own, instead of passing it on."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the words of a decoder that somebody listens to."""
        said = getattr(self.heard, "said", None)
        if said is not None:
            said.append(record.getMessage())
        return said is None


@cache
def _listener() -> _Words:
    """The one filter of this process."""
    words = _Words()
    logging.getLogger("imagecodecs").addFilter(words)
    return words


@contextmanager
def _words() -> Iterator[list[str]]:
    """What the decoder says on this thread, line by line."""
    said: list[str] = []
    heard = _listener().heard
    heard.said = said
    try:
        yield said
    finally:
        heard.said = None


_LEFT = re.compile(r"(\d+) remaining bytes in code block")
_LACKING = re.compile(r"(\d+) synthesized 0xFF markers")
#: Tile-parts numbered from 1, as some encoders do: nothing of the picture is missing.
_HARMLESS = "TPsot==TNsot"


def _judged(said: list[str]) -> tuple[int, int, str]:
    """Most bytes left over, most bytes lacking, and the first word about anything else."""
    left = lacking = 0
    other = ""
    for text in said:
        if match := _LEFT.search(text):
            left = max(left, int(match[1]))
        elif match := _LACKING.search(text):
            lacking = max(lacking, int(match[1]))
        elif _HARMLESS not in text:
            other = other or text
    return left, lacking, other
