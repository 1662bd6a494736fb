"""Frames of multi-frame objects out of their pixel data, one after the other."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import pixel_array, unpack_bits

from medview.core.errors import ReadError

_DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def decoded_frames(ds: Dataset, count: int) -> Iterator[npt.NDArray[Any]]:
    """Frames (rows, columns) as they are stored, decoded one by one. ReadError where cut short."""
    rows, columns = int(ds.Rows), int(ds.Columns)
    syntax = ds.file_meta.TransferSyntaxUID
    needed = rows * columns * count * int(ds.BitsAllocated)
    stored = next((ds[name].value for name in _PIXELS if name in ds), b"")
    # The library does not know all syntaxes, and refuses to tell of those.
    encapsulated = syntax == _DEFLATED_FRAMES or syntax.is_encapsulated
    if not encapsulated and len(stored) * 8 < needed:
        raise ReadError("The pixel data of the object are cut short")
    if syntax == _DEFLATED_FRAMES:
        yield from _deflated(ds, rows, columns, count)
    elif int(ds.BitsAllocated) == 1 and not encapsulated:
        for number in range(count):
            start = number * rows * columns
            first, last = start // 8, (start + rows * columns + 7) // 8
            bits = unpack_bits(ds.PixelData[first:last])
            skip = start - first * 8
            yield np.asarray(bits[skip : skip + rows * columns]).reshape(rows, columns)
    elif _as_stored(ds):
        kind = np.dtype(f"<u{int(ds.BitsAllocated) // 8}")
        flat = np.frombuffer(ds.PixelData, dtype=kind, count=rows * columns * count)
        yield from flat.reshape(count, rows, columns)
    else:
        for number in range(count):
            yield pixel_array(ds, index=number)


def _as_stored(ds: Dataset) -> bool:
    """Whether the bytes are whole numbers of 8 or 16 bits and nothing besides."""
    syntax, bits = ds.file_meta.TransferSyntaxUID, int(ds.BitsAllocated)
    return (
        not syntax.is_encapsulated
        and syntax.is_little_endian
        and "PixelData" in ds
        and bits in (8, 16)
        and int(ds.get("BitsStored", bits)) == bits
        and int(ds.get("PixelRepresentation", 0)) == 0
        and int(ds.get("SamplesPerPixel", 1)) == 1
    )


def _deflated(ds: Dataset, rows: int, columns: int, count: int) -> Iterator[npt.NDArray[Any]]:
    """Frames each deflated on its own (PS3.5 A.4.11)."""
    bits = int(ds.BitsAllocated)
    size = (rows * columns * bits + 7) // 8
    for frame in generate_frames(ds.PixelData, number_of_frames=count):
        raw = zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame, size)
        if len(raw) < size:
            raise ReadError("The pixel data of the object are cut short")
        if bits == 1:
            flat = np.asarray(unpack_bits(raw))[: rows * columns]
        else:
            flat = np.frombuffer(raw, dtype=f"<u{bits // 8}")
        yield flat.reshape(rows, columns)
