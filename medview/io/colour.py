"""Colour pixels to RGB in 8 bits: luminance and chroma, palettes (PS3.3 C.7.6.3.1.2, C.7.9)."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset

from medview.core.errors import ReadError
from medview.io.codestream import AGAIN
from medview.io.multiframe import damage_refused

Rgb = npt.NDArray[np.uint8]

_LEVELS = np.arange(256)

_PALETTE = "PaletteColorLookupTable"
_COLOURS = ("Red", "Green", "Blue")
_TAGS = [
    "PixelRepresentation",
    *(f"{colour}{_PALETTE}{part}" for colour in _COLOURS for part in ("Descriptor", "Data")),
    *(f"Segmented{colour}{_PALETTE}Data" for colour in _COLOURS),
]
#: Longest that a segmented table may unfold to.
_LONGEST = 1 << 16


def eight_bits(pixels: npt.NDArray[Any], bits: int) -> Rgb:
    """The upper 8 of so many bits."""
    return (pixels >> (bits - 8) if bits > 8 else pixels).astype(np.uint8)


def rgb_of(pixels: Rgb, colour: str) -> Rgb:
    """RGB of (rows, columns, 3) in another colour space.

    The names are those of Photometric Interpretation; YBR_RCT and YBR_ICT were undone by the
    decoder (PS3.3 C.7.6.3.1.2).
    """
    if not colour.startswith(("YBR_FULL", "YBR_PARTIAL")):
        return pixels
    partial = colour.startswith("YBR_PARTIAL")
    stretch = 255 / 224 if partial else 1.0
    luma, blue, red = (pixels[..., k] for k in range(3))
    level = _LEVELS.astype(np.int16)
    if partial:
        level = np.rint((_LEVELS - 16) * 255 / 219).astype(np.int16)
    chroma = (_LEVELS - 128) * stretch
    # ITU-R BT.601: green is what luminance leaves, in units of 1/65536 until the sum is rounded.
    of_blue = np.rint(-0.114 * 1.772 / 0.587 * chroma * 65536).astype(np.int32)
    of_red = np.rint(-0.299 * 1.402 / 0.587 * chroma * 65536).astype(np.int32) + 32768
    brightness = level[luma]
    out = np.empty(pixels.shape, np.uint8)
    for place, change in (
        (0, np.rint(1.402 * chroma).astype(np.int16)[red]),
        (1, ((of_blue[blue] + of_red[red]) >> 16).astype(np.int16)),
        (2, np.rint(1.772 * chroma).astype(np.int16)[blue]),
    ):
        out[..., place] = np.clip(brightness + change, 0, 255)
    return out


def full_chroma(pairs: Rgb, rows: int, columns: int) -> Rgb:
    """(rows, columns, 3) from samples Y1 Y2 Cb Cr of each two pixels (YBR_FULL_422)."""
    quads = pairs.reshape(rows, columns // 2, 4)
    out = np.empty((rows, columns // 2, 2, 3), np.uint8)
    out[..., 0] = quads[..., :2]
    out[..., 1:] = quads[:, :, None, 2:]
    return out.reshape(rows, columns, 3)


@dataclass(frozen=True, eq=False)
class Palette:
    """Colours (entries, 3) uint8 of stored values from `first` on."""

    first: int
    colours: Rgb

    def paint(self, stored: npt.NDArray[Any]) -> Rgb:
        """The colours of stored values; those beyond the table have its first or last one."""
        places = np.clip(stored.astype(np.int64) - self.first, 0, len(self.colours) - 1)
        painted: Rgb = self.colours[places]
        return painted


def palette_of(data: bytes) -> Palette:
    """The palette of a whole file in memory; ReadError where it is damaged or incomplete."""
    with damage_refused("The palette of the file is damaged"):
        ds = dcmread(io.BytesIO(data), force=True, stop_before_pixels=True, specific_tags=_TAGS)
        tables = [_table(ds, colour) for colour in _COLOURS]
        first = int(ds[f"Red{_PALETTE}Descriptor"].value[1])
        if ds.get("PixelRepresentation") == 1 and first > 32767:
            first -= 65536
        if len({len(table) for table in tables}) != 1:
            raise ReadError("The palettes of the three colours differ in length", AGAIN)
        return Palette(first, _in_eight_bits(np.stack(tables, axis=-1), ds))


def _in_eight_bits(entries: npt.NDArray[np.uint16], ds: Dataset) -> Rgb:
    """8-bit colours; many files call 8-bit entries 16 bits wide."""
    bits = int(ds[f"Red{_PALETTE}Descriptor"].value[2])
    return eight_bits(entries, 16 if bits > 8 and entries.max(initial=0) > 255 else 8)


def _table(ds: Dataset, colour: str) -> npt.NDArray[np.uint16]:
    """The entries of one colour's table, unfolded where it is segmented."""
    count, _, bits = (int(n) for n in ds[f"{colour}{_PALETTE}Descriptor"].value)
    count = count or 1 << 16
    raw = ds.get(f"{colour}{_PALETTE}Data")
    segmented = ds.get(f"Segmented{colour}{_PALETTE}Data")
    if not raw and segmented:
        return _unfolded(_words(segmented, bits), count, bits)
    if not raw:
        raise ReadError("The palette of the file is missing", AGAIN)
    # 8-bit entries lie one to a byte, but some files give each a word of its own.
    words = _words(raw, 16 if len(raw) >= 2 * count else bits)
    if len(words) < count:
        raise ReadError(f"The palette of the file has {len(words)} of {count} colours", AGAIN)
    return words[:count]


def _words(raw: bytes, bits: int) -> npt.NDArray[np.uint16]:
    """Entries as numbers; pydicom has turned those of big endian files."""
    usable = raw if bits <= 8 else raw[: len(raw) // 2 * 2]
    return np.frombuffer(usable, "<u2" if bits > 8 else "<u1").astype(np.uint16)


def _unfolded(words: npt.NDArray[np.uint16], count: int, bits: int) -> npt.NDArray[np.uint16]:
    """Discrete, linear and indirect segments as entries (PS3.3 C.7.9.2)."""
    out: list[int] = []
    pos = 0
    while pos + 1 < len(words):
        if words[pos] == 2:
            _segments(words, _offset(words, pos, bits), int(words[pos + 1]), out)
            pos += 4 if bits > 8 else 6
        else:
            pos = _segments(words, pos, 1, out)
    if len(out) != count:
        raise ReadError(f"The palette of the file has {len(out)} of {count} colours", AGAIN)
    return np.array(out, np.uint16)


def _segments(words: npt.NDArray[np.uint16], pos: int, count: int, out: list[int]) -> int:
    """Unfold `count` plain segments from `pos` on, behind what is in `out`; gives their end."""
    for _ in range(count):
        kind, length = (int(n) for n in words[pos : pos + 2])
        if kind == 0:
            out += words[pos + 2 : pos + 2 + length].tolist()
            pos += 2 + length
        elif kind == 1 and out:
            line = np.linspace(out[-1], int(words[pos + 2]), length + 1)[1:]
            out += np.rint(line).astype(int).tolist()
            pos += 3
        else:
            raise ReadError("The palette of the file is damaged", AGAIN, f"segment {kind}")
        if len(out) > _LONGEST:
            raise ReadError("The palette of the file unfolds to too many colours", AGAIN)
    return pos


def _offset(words: npt.NDArray[np.uint16], pos: int, bits: int) -> int:
    """Where the segments lie that an indirect one repeats: an offset in bytes, of 32 bits."""
    parts = words[pos + 2 : pos + 4] if bits > 8 else words[pos + 2 : pos + 6]
    width = 16 if bits > 8 else 8
    offset = sum(int(part) << (width * k) for k, part in enumerate(parts))
    return offset // 2 if bits > 8 else offset
