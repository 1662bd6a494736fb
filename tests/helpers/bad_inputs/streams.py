"""Compressed pictures that are cut, damaged or lie about their size (lines C of the list)."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL import Image

from tests.helpers.bad_inputs.case import Case, file_case
from tests.helpers.bad_inputs.seeds import (
    COLUMNS,
    ROWS,
    encapsulated,
    part10,
    pixels,
    slice_elements,
)

RLE = "1.2.840.10008.1.2.5"
_JPEG = "1.2.840.10008.1.2.4."


def _narrow() -> npt.NDArray[np.uint8]:
    return np.asarray(pixels() >> 4, dtype=np.uint8)


def _baseline() -> bytes:
    out = io.BytesIO()
    Image.fromarray(_narrow()).save(out, "JPEG", quality=90)
    return out.getvalue()


def _rle() -> bytes:
    """Two segments of literal runs and repeats: high bytes, then low bytes (PS3.5 G.3)."""
    values = pixels()
    segments = [_packbits(bytes((values >> 8).astype(np.uint8).tobytes())),
                _packbits(bytes((values & 255).astype(np.uint8).tobytes()))]  # fmt: skip
    header = struct.pack("<16L", 2, 64, 64 + len(segments[0]), *[0] * 13)
    return header + b"".join(segments)


def _packbits(data: bytes) -> bytes:
    out = bytearray()
    for row in range(0, len(data), COLUMNS):
        line = data[row : row + COLUMNS]
        for at in range(0, len(line), 128):
            piece = line[at : at + 128]
            if len(set(piece)) == 1:
                out += bytes((257 - len(piece), piece[0]))
            else:
                out += bytes((len(piece) - 1,)) + piece
    return bytes(out) + b"\0" * (len(out) % 2)


@dataclass(frozen=True)
class Codec:
    """A compressed seed: transfer syntax, its encoder, bits, where its rows are declared."""

    name: str
    syntax: str
    encode: Callable[[], bytes]
    bits: int = 12
    lossless: bool = True

    def elements(self, stream: bytes | None = None, **changes: Any) -> dict[int, Any]:
        """The seed slice with this stream, or the intact one, as its pixel data."""
        values: dict[str, Any] = {"PixelData": ("OB", encapsulated([stream or self.stream()]))}
        if self.bits == 8:
            values |= {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
        return slice_elements(**(values | changes))

    def file(self, stream: bytes | None = None, **changes: Any) -> bytes:
        """A whole file."""
        return part10(self.elements(stream, **changes), self.syntax)

    @cache  # noqa: B019  (a handful of codecs that live as long as the tests)
    def stream(self) -> bytes:
        """The intact stream."""
        return self.encode()

    def cut(self, left: float = 0.5, *, ended: bool = False) -> bytes:
        """The stream without its rest; `ended` puts the marker of the end behind it again."""
        whole = self.stream()
        return whole[: int(len(whole) * left)] + (b"\xff\xd9" if ended else b"")

    def flipped(self, count: int = 20, seed: int = 3) -> bytes:
        """The stream with bytes exchanged behind its headers."""
        data = bytearray(self.stream())
        rng = np.random.default_rng(seed)
        for place in rng.integers(len(data) // 4, len(data) - 4, count):
            data[place] ^= int(rng.integers(1, 256))
        return bytes(data)

    def huge(self) -> bytes:
        """The stream with 60,000 rows and columns declared."""
        data = bytearray(self.stream())
        if data[:2] == b"\xff\x4f":
            data[8:16] = struct.pack(">2L", 60000, 60000)
            return bytes(data)
        small = struct.pack(">2H", ROWS, COLUMNS)
        at = bytes(data).index(small, 2)
        data[at : at + 4] = struct.pack(">2H", 60000, 60000)
        return bytes(data)


def _jpeg12() -> bytes:
    return bytes(imagecodecs.jpeg_encode(pixels(), level=95, bitspersample=12))


CODECS: tuple[Codec, ...] = (
    Codec(
        "j2k",
        _JPEG + "90",
        lambda: bytes(
            imagecodecs.jpeg2k_encode(pixels(), codecformat="j2k", reversible=True, level=0)
        ),
    ),
    Codec("jpeg", _JPEG + "50", _baseline, 8, lossless=False),
    Codec("jls", _JPEG + "80", lambda: bytes(imagecodecs.jpegls_encode(pixels()))),
    Codec("jpegext", _JPEG + "51", _jpeg12, lossless=False),
    Codec(
        "ljpeg", _JPEG + "70", lambda: bytes(imagecodecs.ljpeg_encode(pixels(), bitspersample=12))
    ),
    Codec(
        "htj2k",
        _JPEG + "201",
        lambda: bytes(imagecodecs.htj2k_encode(pixels())),
    ),
    Codec("rle", RLE, _rle),
)
_BY_NAME = {codec.name: codec for codec in CODECS}


def _of(codec: Codec) -> list[Case]:
    name = codec.name
    cases = [
        file_case(f"C0_{name}_intact.dcm", "L", codec.file, twin=codec.lossless),
        file_case(f"C1_{name}_trunc.dcm", "R", lambda: codec.file(codec.cut())),
        # Run lengths carry no check: what is exchanged in their values cannot be known.
        file_case(
            f"C2_{name}_flip.dcm",
            "RL" if codec.syntax == RLE else "R",
            lambda: codec.file(codec.flipped()),
            twin=codec.syntax != RLE,
        ),
    ]
    if codec.syntax != RLE:
        cases += [
            file_case(f"C1_{name}_trunc_ended.dcm", "R",
                      lambda: codec.file(codec.cut(ended=True))),
            file_case(f"C1_{name}_trunc_late.dcm", "R",
                      lambda: codec.file(codec.cut(0.97, ended=True))),
            file_case(f"C3_{name}_hugedims.dcm", "R", lambda: codec.file(codec.huge())),
            file_case(f"C4_{name}_hugedims_both.dcm", "R",
                      lambda: codec.file(codec.huge(), Rows=60000, Columns=60000)),
        ]  # fmt: skip
    return cases


def _rle_with(header: bytes) -> bytes:
    codec = _BY_NAME["rle"]
    return codec.file(header + codec.stream()[len(header) :])


def _garbage() -> bytes:
    noise = np.random.default_rng(9).integers(0, 256, 5000, np.uint8).tobytes()
    return _BY_NAME["j2k"].file(noise)


def _raw_pixel_data(data: bytes) -> bytes:
    codec = _BY_NAME["j2k"]
    return part10(slice_elements(PixelData=("OB", data)), codec.syntax)


def _two_frames_declared() -> bytes:
    return _BY_NAME["jls"].file(NumberOfFrames="2")


def _bits_differ() -> bytes:
    """Twelve bits in the stream, eight in the header."""
    return _BY_NAME["jls"].file(BitsAllocated=8, BitsStored=8, HighBit=7)


def _fragments_unended() -> bytes:
    stream = _BY_NAME["j2k"].stream()
    return _raw_pixel_data(encapsulated([stream], ended=False))


def _fragment_longer_than_file() -> bytes:
    stream = _BY_NAME["j2k"].stream()
    return _raw_pixel_data(encapsulated([stream]))[: -len(stream) // 2]


def _cut_after_first_item_tag() -> bytes:
    """The file ends inside the header of the basic offset table."""
    stream = _BY_NAME["jls"].stream()
    whole = _BY_NAME["jls"].file()
    return whole[: len(whole) - len(encapsulated([stream])) + 5]


STREAMS: tuple[Case, ...] = (
    *(case for codec in CODECS for case in _of(codec)),
    file_case("C01_rle_bad_offset.dcm", "R",
              lambda: _rle_with(struct.pack("<3L", 2, 64, 0x7FFFFFF0))),
    file_case("C02_rle_nseg_huge.dcm", "R", lambda: _rle_with(b"\xff\xff\xff\xff")),
    file_case("C40_ts_j2k_garbage.dcm", "R", _garbage),
    file_case("C41_no_fragments.dcm", "R", lambda: _raw_pixel_data(encapsulated([], b""))),
    file_case("C42_bot_out_of_range.dcm", "RL", lambda: _raw_pixel_data(
        encapsulated([_BY_NAME["j2k"].stream()], b"\0\xff\xff\xff"))),
    file_case("C43_ts_j2k_but_native.dcm", "RW",
              lambda: part10(slice_elements(), _BY_NAME["j2k"].syntax)),
    file_case("C44_two_frames_declared.dcm", "RW", _two_frames_declared),
    file_case("C45_bits_differ.dcm", "R", _bits_differ),
    file_case("C49_cut_after_item_tag.dcm", "R", _cut_after_first_item_tag),
    file_case("C46_fragments_unended.dcm", "RWL", _fragments_unended),
    file_case("C47_fragment_longer_than_file.dcm", "R", _fragment_longer_than_file),
    file_case("C48_wrong_codec.dcm", "RWL",
              lambda: part10(_BY_NAME["jls"].elements(), _BY_NAME["j2k"].syntax)),
)  # fmt: skip
