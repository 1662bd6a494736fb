"""MetaImage (itk.org/Wiki/ITK/MetaIO): a text header in .mha or .mhd, then the voxels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medview.core.errors import ReadError
from medview.core.study import Series
from medview.io.plan import SeriesPlan
from medview.io.text_header import (
    AGAIN,
    UNPLACED,
    TextGrid,
    affine_of,
    content_of,
    count_of,
    fields_of,
    listed_files,
    numbered,
    numbers_of,
    plan_text,
    shape_of,
)

_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
#: Where each letter of Anatomical Orientation comes from, as a direction it leads to in LPS.
_LETTERS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "I": (2, 1), "S": (2, -1)}


def is_meta_image(head: bytes) -> bool:
    """Whether a file begins as MetaImage does."""
    key = head.lstrip().split(b"=", 1)[0].strip()
    return key in (b"ObjectType", b"NDims", b"Comment", b"ObjectSubType")


def plan_meta_image(series: Series, password: str = "") -> SeriesPlan:
    """Volumes of a MetaImage file; the name of its voxels is the last line of its header."""
    data = content_of(series, password)
    at = data.find(b"ElementDataFile")
    end = data.find(b"\n", at)
    if at < 0:
        raise ReadError("The MetaImage header is cut short", AGAIN)
    end = len(data) if end < 0 else end
    fields = fields_of(data[:end], "=")
    listed = data[end + 1 :].decode("utf-8", "replace").splitlines()
    return plan_text(series, _grid(fields, listed), data, end + 1, password)


def _grid(fields: dict[str, str], listed: list[str]) -> TextGrid:
    sizes = numbers_of(fields.get("dimsize", ""))
    dtype = _TYPES.get(fields.get("elementtype", "").upper().removesuffix("_ARRAY"))
    if not sizes or min(sizes) < 1 or dtype is None:
        raise ReadError("The MetaImage header names no sizes or type that is read here")
    samples = count_of(fields.get("elementnumberofchannels", ""), 1)
    if not 1 <= samples <= 512:
        raise ReadError(f"An image with {samples} values per voxel is not shown")
    affine = _affine(fields, len(sizes))
    big = fields.get("binarydatabyteordermsb", fields.get("elementbyteordermsb", "False"))
    binary = _truth(fields.get("binarydata", "True"))
    packed = _truth(fields.get("compresseddata", "False"))
    return TextGrid(
        shape_of(sizes),
        (">" if _truth(big) else "<") + dtype,
        samples,
        "text" if not binary else "zlib" if packed else "raw",
        affine,
        _files(fields["elementdatafile"], listed, int(sizes[-1])),
        skip=count_of(fields.get("headersize", "")),
        notes=() if affine is not None else (UNPLACED,),
    )


def _truth(text: str) -> bool:
    return text.strip().lower() in ("true", "1", "t")


def _files(named: str, listed: list[str], count: int) -> tuple[str, ...]:
    words = named.split()
    if not words:
        raise ReadError("The MetaImage header does not name its voxels", AGAIN)
    if words[0].upper() == "LOCAL":
        return ()
    if words[0].upper().startswith("LIST"):
        return listed_files(listed[:count])
    if "%" in words[0]:
        first = count_of(words[1]) if len(words) > 1 else 1
        last = count_of(words[2]) if len(words) > 2 else first + count - 1
        step = max(1, count_of(words[3])) if len(words) > 3 else 1
        return numbered(words[0], range(first, last + 1, step))
    return (named,)


def _affine(fields: dict[str, str], count: int) -> npt.NDArray[np.float64] | None:
    """TransformMatrix holds the direction of each axis in turn, in LPS."""
    spacing = numbers_of(fields.get("elementspacing", fields.get("elementsize", "")))
    offset = _first(fields, "offset", "position", "origin")
    if count < 3 or len(spacing) != count or len(offset) != count:
        return None
    matrix = _first(fields, "transformmatrix", "orientation", "rotation")
    if len(matrix) == count * count:
        directions = np.array(matrix).reshape(count, count).T[:3, :3]
    else:
        directions = _anatomical(fields.get("anatomicalorientation", ""))
    return affine_of(directions * np.array(spacing[:3]), np.array(offset[:3]))


def _first(fields: dict[str, str], *keys: str) -> list[float]:
    return numbers_of(next((fields[key] for key in keys if key in fields), ""))


def _anatomical(letters: str) -> npt.NDArray[np.float64]:
    """Directions of the axes from the letters they come from: RAI leads to L, P and S."""
    directions = np.zeros((3, 3))
    for axis, letter in enumerate(letters.strip().upper()[:3]):
        if letter in _LETTERS:
            row, sign = _LETTERS[letter]
            directions[row, axis] = sign
    return directions
