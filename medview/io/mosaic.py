"""Siemens mosaics: slices of one moment laid out as tiles of one picture.

The position of a mosaic is that of a slice as large as the whole picture would be; the normal
and the number of slices stand in the vendor's private header.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping

import numpy as np
from pydicom.dataset import Dataset

from medview.core.errors import ReadError
from medview.io.values import Values, numbers, whole_number

#: First row, first column, rows, columns of a tile, and header texts of the slice in it.
Tile = tuple[tuple[int, int, int, int], Mapping[str, str]]

_CSA_CREATOR, _CSA_GROUP, _CSA_ELEMENT = "SIEMENS CSA HEADER", 0x0029, 0x10


def mosaic_tiles(ds: Dataset, values: Values) -> list[Tile]:
    """Corner (row, column) and header texts of every slice in a mosaic picture.

    Slice positions follow from the slice normal and Spacing Between Slices, which for a mosaic
    is the only statement of the step. Raises ReadError if any part is missing, rather than guess.
    """
    private = _csa_fields(ds)
    stated = (*private.get("NumberOfImagesInMosaic", ()), values.get("MosaicImages", ""))
    count = next((int(text) for text in stated if text), 0)
    normal = np.array([float(part) for part in private.get("SliceNormalVector", [])])
    step, spacing = numbers(values, "SpacingBetweenSlices"), numbers(values, "PixelSpacing")
    cosines = numbers(values, "ImageOrientationPatient")
    corner = numbers(values, "ImagePositionPatient")
    if not (count and step and len(normal) == 3 and len(spacing) == 2 and len(cosines) == 6
            and len(corner) == 3):  # fmt: skip
        raise ReadError("This mosaic of slices does not say where they lie")
    across = math.ceil(math.sqrt(count))
    rows = whole_number(values, "Rows", 0) // across
    columns = whole_number(values, "Columns", 0) // across
    margin_columns = (across - 1) * columns / 2 * spacing[1] * np.array(cosines[:3])
    margin_rows = (across - 1) * rows / 2 * spacing[0] * np.array(cosines[3:])
    first = np.array(corner) + margin_columns + margin_rows
    tiles: list[Tile] = []
    for number in range(count):
        position = first + number * step[0] * normal
        texts = {
            "ImagePositionPatient": "\\".join(repr(float(x)) for x in position),
            "Rows": str(rows),
            "Columns": str(columns),
        }
        corner_px = (number // across) * rows, (number % across) * columns
        tiles.append(((*corner_px, rows, columns), texts))
    return tiles


def _csa_fields(ds: Dataset) -> dict[str, list[str]]:
    """Values of the Siemens CSA image header (format SV10), empty if there is none."""
    try:
        data = ds.private_block(_CSA_GROUP, _CSA_CREATOR)[_CSA_ELEMENT].value
    except KeyError:
        return {}
    if not isinstance(data, bytes) or data[:4] != b"SV10":
        return {}
    fields: dict[str, list[str]] = {}
    try:
        (count,) = struct.unpack_from("<L", data, 8)
        pos = 16
        for _ in range(min(count, 1000)):
            name = data[pos : pos + 64].split(b"\0")[0].decode("latin-1")
            (items,) = struct.unpack_from("<L", data, pos + 76)
            pos += 84
            texts = []
            for _ in range(min(items, 1000)):
                (length,) = struct.unpack_from("<L", data, pos + 4)
                text = data[pos + 16 : pos + 16 + length].split(b"\0")[0]
                texts.append(text.decode("latin-1").strip())
                pos += 16 + (length + 3) // 4 * 4
            fields[name] = [text for text in texts if text]
    except struct.error as error:
        raise ReadError("The private header of the mosaic is damaged") from error
    return fields
