"""Planes out of files: every transfer syntax, checked before and after decoding.

Uncompressed pixels are taken from where they lie, compressed ones from their fragments; no data
set is built. What cannot be decoded for certain comes as an error in the place of its plane.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from medview.core.errors import ReadError
from medview.io.codecs import RLE, Unpacked, unpack
from medview.io.codestream import AGAIN
from medview.io.colour import Palette, eight_bits, full_chroma, palette_of, rgb_of
from medview.io.encapsulated import Fragments, fragments_of, frames_in, stream_of
from medview.io.header import (
    DEFLATED,
    EXPLICIT_BIG,
    Header,
    Texts,
    deflated_start,
    inflate,
    read_header,
)
from medview.io.plan import PixelFormat, PlanePlan
from medview.io.unpacking import MemoryBytes
from medview.io.values import NATIVE

Plane = npt.NDArray[Any]

_PALETTE = "PALETTE COLOR"
#: Syntaxes whose pixels are bit fields with a place for each bit (PS3.5 8.1.1).
_FIELDS = NATIVE | {RLE}
_SYNTAX = "1.2.840.10008.1.2.4."
#: Syntaxes that may lose detail. What they give beyond the stored bits is overshoot, no overlay.
_LOSSY = frozenset(_SYNTAX + number for number in ("50", "51", "81", "91", "112", "203"))


@dataclass(frozen=True, eq=False)
class Doubtful:
    """A plane that could be decoded, and what was odd about it, in plain words."""

    pixels: Plane
    reason: str


def unpacked(data: bytes, encoding: str) -> bytes:
    """The bytes that offsets of a file count in: a deflated one is inflated first."""
    return inflate(data, deflated_start(data)) if encoding == DEFLATED else data


def decode(
    data: bytes, planes: Sequence[PlanePlan], texts: Texts | None = None
) -> Iterator[Plane | Doubtful | ReadError]:
    """Stored values of planes of one file, in their order; an error in the place of a bad one.

    `data` is the whole file, `texts` what its header shares with those of others. A plane is
    (rows, columns), or (rows, columns, 3) uint8 for colour.
    """
    file = _File(data, planes[0].format, texts)
    for plane in planes:
        try:
            if plane.offset >= 0:
                yield decode_direct(file.content, plane)
            else:
                picture, doubt = file.picture(plane.frame)
                pixels = _tile(cleaned(picture, plane.format), plane)
                yield Doubtful(pixels, doubt) if doubt else pixels
        except ReadError as error:
            yield error


def decode_direct(data: bytes, plane: PlanePlan) -> Plane | Doubtful | ReadError:
    """Stored values of an uncompressed plane that begins at its offset in `data`.

    One that lacks no more than its last row is filled up with zeros, and doubtful.
    """
    form = plane.format
    dtype = np.dtype(form.dtype)
    if form.encoding == EXPLICIT_BIG:
        dtype = dtype.newbyteorder(">")
    count = form.rows * form.columns * form.samples
    missing = plane.offset + count * dtype.itemsize - len(data)
    if 0 < missing <= form.plane_bytes // form.rows:
        whole = decode_direct(data + bytes(missing), plane)
        told = f"The last {missing:,} of {form.plane_bytes:,} bytes of the picture are missing"
        return Doubtful(whole, f"{told}; shown empty") if isinstance(whole, np.ndarray) else whole
    if missing > 0:
        return ReadError("The pixel data are cut short", AGAIN)
    flat = np.frombuffer(data, dtype, count, plane.offset)
    shape = (form.rows, form.columns, form.samples) if form.samples > 1 else (form.rows, -1)
    picture = flat.reshape(shape)
    if plane.component is not None:
        picture = picture[..., plane.component]
    picture = picture.astype(dtype.newbyteorder("<"))
    return _tile(cleaned(picture, form), plane)


def _tile(picture: Plane, plane: PlanePlan) -> Plane:
    """The plane's own part of a mosaic."""
    if plane.tile is None:
        return picture
    top, left, rows, columns = plane.tile
    return picture[top : top + rows, left : left + columns]


def cleaned(picture: Plane, form: PixelFormat) -> Plane:
    """Stored values without the bits that are none (PS3.5 8.1.1): masked or sign-extended."""
    dtype = picture.dtype
    bits = dtype.itemsize * 8
    if dtype.kind not in "iu" or picture.ndim > 2 or form.bits_stored in (0, bits):
        return picture
    if form.encoding in _LOSSY and dtype.kind == "u":
        return picture
    # A codec delivers values; only pixels as they were are bit fields.
    shift_right = form.high_bit + 1 - form.bits_stored if form.encoding in _FIELDS else 0
    spare = bits - form.bits_stored
    shifted = np.left_shift(np.right_shift(picture, shift_right), spare)
    return np.right_shift(shifted, spare)


class _File:
    """One file in memory, and what its planes have in common, each found when it is asked for.

    Everything may raise ReadError.
    """

    def __init__(self, data: bytes, form: PixelFormat, texts: Texts | None) -> None:
        self._data = data
        self._form = form
        self._texts = texts

    @cached_property
    def content(self) -> bytes:
        """The bytes that offsets count in."""
        return unpacked(self._data, self._form.encoding)

    @cached_property
    def _header(self) -> Header:
        """The header, which must still say what it said when the plane was planned."""
        header = read_header(MemoryBytes(self._data), texts=self._texts)
        values, form = header.values, self._form
        size = (values.get("Rows"), values.get("Columns"))
        if header.pixel_offset < 0 or size != (str(form.rows), str(form.columns)):
            raise ReadError("The file has changed since it was opened", "Open it again")
        return header

    @cached_property
    def _palette(self) -> Palette:
        return palette_of(self._data)

    @cached_property
    def _fragments(self) -> Fragments:
        return fragments_of(self.content, self._header.pixel_offset)

    @cached_property
    def _frames(self) -> list[tuple[int, ...]]:
        return frames_in(self.content, self._fragments, self._form.frames)

    def picture(self, frame: int) -> tuple[Plane, str]:
        """One frame, as RGB where it is in colour, and what was odd about it."""
        form = self._form
        if form.encoding in NATIVE:
            found = Unpacked(self._native(frame))
        else:
            stream = stream_of(self.content, self._fragments, self._frames[frame])
            found = unpack(stream, form)
        expected = (form.rows, form.columns) + ((form.samples,) if form.samples > 1 else ())
        if found.pixels.shape != expected:
            shape = found.pixels.shape
            raise ReadError(f"The picture decodes to {shape}, not {expected}", AGAIN)
        return self._shown(found), found.doubt

    def _shown(self, found: Unpacked) -> Plane:
        form = self._form
        if form.photometric == _PALETTE:
            stored = cleaned(found.pixels.astype(form.dtype, casting="unsafe"), form)
            return self._palette.paint(stored)
        if form.samples == 3:
            bits = form.bits_stored or np.dtype(form.dtype).itemsize * 8
            return rgb_of(eight_bits(found.pixels, bits), found.colour or form.photometric)
        return found.pixels.astype(form.dtype, casting="unsafe", copy=False)

    def _native(self, frame: int) -> Plane:
        """A frame that is not compressed: (rows, columns) or (rows, columns, samples)."""
        form = self._form
        pixels = form.rows * form.columns
        if self._header.values.get("BitsAllocated") == "1":
            return self._bits(frame * pixels, pixels).reshape(form.rows, form.columns)
        if form.photometric.endswith("_420"):
            raise ReadError("Uncompressed pictures in YBR_PARTIAL_420 are not known")
        if form.photometric.endswith("_422"):
            if form.columns % 2:
                raise ReadError("A picture in pairs of pixels has an odd number of columns", AGAIN)
            return full_chroma(self._samples(frame, pixels * 2), form.rows, form.columns)
        flat = self._samples(frame, pixels * form.samples)
        if form.samples == 1:
            return flat.reshape(form.rows, form.columns)
        if form.planar == 1:
            return np.moveaxis(flat.reshape(form.samples, form.rows, form.columns), 0, -1)
        return flat.reshape(form.rows, form.columns, form.samples)

    def _samples(self, frame: int, count: int) -> Plane:
        dtype = np.dtype(self._form.dtype)
        if self._swapped and dtype.itemsize > 1:
            dtype = dtype.newbyteorder(">")
        raw = self._raw(frame * count * dtype.itemsize, count * dtype.itemsize)
        return np.frombuffer(raw, dtype)

    def _bits(self, first: int, count: int) -> Plane:
        """Pixels of one bit, packed across frames, the first in the lowest (PS3.5 8.1.1)."""
        raw = self._raw(first // 8, (first % 8 + count + 7) // 8)
        bits = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")
        return bits[first % 8 : first % 8 + count].astype(self._form.dtype)

    @property
    def _swapped(self) -> bool:
        return self._form.encoding == EXPLICIT_BIG

    def _raw(self, begin: int, length: int) -> bytes:
        """Bytes of the pixel data. Those in words of a big endian file are turned (PS3.5 7.3)."""
        start = self._header.pixel_offset
        words = self._swapped and self.content[start - 8 : start - 6] == b"OW"
        first = begin - begin % 2 if words else begin
        stop = begin + length + (begin + length) % 2 if words else begin + length
        raw = self.content[start + first : start + stop]
        if words and (np.dtype(self._form.dtype).itemsize == 1):
            raw = np.frombuffer(raw[: len(raw) // 2 * 2], "<u2").byteswap().tobytes()
        raw = raw[begin - first : begin - first + length]
        if len(raw) < length:
            raise ReadError("The pixel data are cut short", AGAIN)
        return raw
