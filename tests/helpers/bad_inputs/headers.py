"""Files and headers that are cut, forged, swollen or disguised (lines A of the list)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np

from tests.helpers.bad_inputs.case import Case, file_case
from tests.helpers.bad_inputs.seeds import (
    BIG,
    DEFLATED,
    IMPLICIT,
    Elements,
    Undefined,
    element,
    encoded,
    good,
    meta,
    part10,
    slice_elements,
)

_PIXELS = 0x7FE00010
_ITEM = b"\xfe\xff\x00\xe0"


def _seed() -> bytes:
    return part10(slice_elements())


def _pixel_start() -> int:
    return len(_seed()) - len(slice_elements()[_PIXELS][1])


def _flipped(count: int, seed: int, *, header: bool) -> bytes:
    """The seed with bytes exchanged, anywhere behind the preamble or in the header only."""
    data = bytearray(_seed())
    rng = np.random.default_rng(seed)
    for place in rng.integers(132, _pixel_start() if header else len(data), count):
        data[place] ^= int(rng.integers(1, 256))
    return bytes(data)


def _without_meta() -> bytes:
    return encoded(slice_elements(), explicit=False)


def _meta_says(syntax: str) -> bytes:
    elements = slice_elements()
    return b"\0" * 128 + b"DICM" + meta(syntax, elements) + encoded(elements)


def _spliced(extra: bytes, *, before: int = 0x00200000, **changes: object) -> bytes:
    """The seed with bytes put between its elements, before the first tag from `before` on."""
    elements = slice_elements(**changes)  # type: ignore[arg-type]
    first = {tag: value for tag, value in elements.items() if tag < before}
    rest = {tag: value for tag, value in elements.items() if tag >= before}
    return part10(first) + extra + encoded(rest)


def _undefined_pixels() -> bytes:
    elements = slice_elements()
    elements[_PIXELS] = ("OB", Undefined(elements[_PIXELS][1]))
    return part10(elements)


def _bad_meta() -> bytes:
    elements = slice_elements()
    junk = b"".join(struct.pack("<HH2sH", 2, 0x0200 + n, b"ZZ", 32) + b"x" * 32 for n in range(500))
    start = b"\0" * 128 + b"DICM"
    return start + meta("1.2.840.10008.1.2.1", elements, junk) + encoded(elements)


def _huge_group() -> bytes:
    data = bytearray(_seed())
    data[140:144] = b"\xff" * 4
    return bytes(data)


def deflated_zeros(mebibytes: int) -> bytes:
    """A deflate stream of that many MiB of zeros, made by repeating one block of it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(b"\0" * (1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * mebibytes + packer.flush()


def _deflate_bomb() -> bytes:
    """Two GiB of one element, after a header that is fine."""
    elements = slice_elements()
    del elements[_PIXELS]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    start = packer.compress(encoded(elements) + element(_PIXELS, "OW", b"", length=(2 << 30) - 2))
    start += packer.flush(zlib.Z_FULL_FLUSH)
    return b"\0" * 128 + b"DICM" + meta(DEFLATED, elements) + start + deflated_zeros(2048)


def _deflate_bomb_in_header() -> bytes:
    """Two GiB in front of the pixels, which a reader has to pass."""
    elements = slice_elements()
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    start = packer.compress(element(0x00080005, "CS", b"ISO_IR 192"))
    start += packer.compress(element(0x00091010, "OB", b"", length=(2 << 30) - 2))
    start += packer.flush(zlib.Z_FULL_FLUSH)
    return b"\0" * 128 + b"DICM" + meta(DEFLATED, elements) + start + deflated_zeros(2048)


def _nested(depth: int) -> bytes:
    """Sequences in sequences, all of undefined length."""
    opening = struct.pack("<HH2sHL", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF)
    opening += _ITEM + b"\xff\xff\xff\xff"
    closing = b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    return _spliced(opening * depth + closing * depth, before=0x00400000)


def _million_items() -> bytes:
    items = (_ITEM + b"\0\0\0\0") * 1_000_000
    opening = struct.pack("<HH2sHL", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF)
    return _spliced(opening + items + b"\xfe\xff\xdd\xe0\0\0\0\0", before=0x00400000)


def _million_elements() -> bytes:
    tags = np.arange(1_000_000, dtype=np.uint32) % 0xF000 + 0x1000
    table = np.zeros(1_000_000, dtype="<u2,<u2,S2,<u2,<u2")
    table["f0"], table["f1"], table["f2"], table["f3"] = 0x0029, tags, b"US", 2
    return _spliced(table.tobytes(), before=0x00400000)


def _named_twice() -> bytes:
    again = element(0x00100010, "PN", b"Other^Somebody")
    return _spliced(again, before=0x00280000)


def _preamble(start: bytes) -> Callable[[], bytes]:
    return lambda: part10(slice_elements(), preamble=start)


def _cut(elements: Elements, left: float) -> bytes:
    data = part10(elements)
    return data[: int(len(data) * left)]


def _big_endian() -> bytes:
    return part10(slice_elements(), BIG)


HEADERS: tuple[Case, ...] = (
    file_case("A00_intact.dcm", "L", _seed),
    file_case("A00_big_endian.dcm", "L", _big_endian),
    file_case("A00_implicit.dcm", "L", lambda: part10(slice_elements(), IMPLICIT)),
    file_case("A01_empty.dcm", "R", bytes),
    file_case("A02_100bytes.dcm", "R", lambda: bytes(range(100))),
    file_case("A03_preamble_only.dcm", "R", lambda: b"\0" * 128 + b"DICM"),
    file_case("A04_no_preamble_implicit.dcm", "LW", _without_meta),
    file_case("A05_text_renamed.dcm", "R", lambda: b"Dear colleague, please find enclosed.\n" * 9),
    file_case("A06_png_renamed.dcm", "R", lambda: b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9),
    file_case("A07_trunc_header.dcm", "R", lambda: _seed()[:600]),
    file_case("A08_trunc_pixels.dcm", "R", lambda: _cut(slice_elements(), 0.6)),
    file_case("A09_trunc_last_byte.dcm", "W", lambda: _seed()[:-1]),
    file_case("A10_unknown_ts.dcm", "R", lambda: part10(slice_elements(), "1.2.3.4.5.6")),
    file_case("A11_no_ts.dcm", "LW", lambda: part10(slice_elements(), None)),
    file_case("A12_meta_says_implicit_is_explicit.dcm", "W", lambda: _meta_says(IMPLICIT)),
    file_case("A13_meta_says_bigendian.dcm", "RW", lambda: _meta_says(BIG)),
    file_case(
        "A14_len_over_eof.dcm", "R",
        lambda: _spliced(element(0x00104000, "UT", b"short", length=0xFFFFFFF0)),
    ),
    file_case("A15_undefined_len_OB.dcm", "R", _undefined_pixels),
    file_case("A16_bad_vr_in_meta.dcm", "R", _bad_meta),
    file_case("A17_meta_grouplen_huge.dcm", "LW", _huge_group),
    file_case("A18_deflate_bomb_2GiB.dcm", "R", _deflate_bomb, seconds=5, twin=False),
    file_case("A18_deflate_bomb_header.dcm", "R", _deflate_bomb_in_header, seconds=5, twin=False),
    file_case("A19_nest_300.dcm", "R", lambda: _nested(300)),
    file_case("A20_nest_100k.dcm", "R", lambda: _nested(100_000), seconds=5),
    file_case("A21_million_items.dcm", "RL", _million_items, seconds=5),
    file_case("A22_million_private.dcm", "RL", _million_elements, seconds=5),
    file_case("A23_dup_tags.dcm", "W", _named_twice),
    file_case("A24_pe_polyglot.dcm", "W", _preamble(b"MZ\x90\0\3\0\0\0")),
    file_case("A25_elf_polyglot.dcm", "W", _preamble(b"\x7fELF\2\1\1")),
    file_case("A26_html_preamble.dcm", "W", _preamble(b"<html><script>alert(1)</script>")),
    file_case("A27_script_preamble.dcm", "W", _preamble(b"#!/bin/sh\ntouch canary\n")),
    file_case("A28_two_files_in_one.dcm", "LW", lambda: _seed() + good(2, 2)),
    *(
        file_case(f"A{30 + n}_bitflip.dcm", "LRWUS", lambda n=n: _flipped(60, n, header=False),
                  twin=False)
        for n in range(6)
    ),
    *(
        file_case(f"A{40 + n}_hdrflip.dcm", "LRWUS", lambda n=n: _flipped(40, n, header=True),
                  twin=False)
        for n in range(6)
    ),
)  # fmt: skip
