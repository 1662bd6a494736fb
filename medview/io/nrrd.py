"""NRRD (teem.sourceforge.net/nrrd/format.html) and MetaImage: a text header, then the voxels.

Both may name another file for their voxels; only a plain name beside the header is accepted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medview.core.errors import ReadError
from medview.core.geometry import reorder_kji
from medview.core.study import Series
from medview.io.archives import read_all
from medview.io.gridded import GridFile, plan_grid
from medview.io.plan import SeriesPlan

_NRRD_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("longlong", "long long", "int64", "int64_t"), "i8"),
    **dict.fromkeys(("ulonglong", "unsigned long long", "uint64", "uint64_t"), "u8"),
    "float": "f4",
    "double": "f8",
}
_META_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_ENCODINGS = {"raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}
#: Signs that turn the axes of a named space into LPS.
_SPACES = {
    "left-posterior-superior": (1, 1, 1), "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1), "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1),
}  # fmt: skip
_LONGEST_HEADER = 1 << 20
_AGAIN = "Get the file again from its source"


@dataclass(frozen=True, eq=False)
class _Grid:
    """What either header comes down to. `shape` is (volumes, k, j, i)."""

    shape: tuple[int, int, int, int]
    dtype: str
    samples: int
    encoding: str
    affine: npt.NDArray[np.float64] | None
    data_file: str
    skip: int
    notes: tuple[str, ...] = field(default=())


def is_nrrd(head: bytes) -> bool:
    """Whether a file begins as NRRD does."""
    return head[:7] == b"NRRD000"


def is_meta_image(head: bytes) -> bool:
    """Whether a file begins as MetaImage does."""
    return head.lstrip()[:10] in (b"ObjectType", b"Comment = ") or head.lstrip()[:5] == b"NDims"


def plan_nrrd(series: Series, password: str = "") -> SeriesPlan:
    """Volumes of a NRRD file: one, or one for each further index of a 4D image."""
    data = _content(series, password)
    end, gap = min(
        ((at, len(mark)) for mark in (b"\n\n", b"\r\n\r\n") if (at := data.find(mark)) >= 0),
        default=(len(data), 0),
    )
    fields = _fields(data[: min(end, _LONGEST_HEADER)], ":")
    return _plan(series, _nrrd_grid(fields), data, end + gap, password)


def plan_meta_image(series: Series, password: str = "") -> SeriesPlan:
    """The volume of a MetaImage file."""
    data = _content(series, password)
    at = data.find(b"ElementDataFile")
    end = data.find(b"\n", at)
    if at < 0 or end < 0:
        raise ReadError("The MetaImage header is cut short", _AGAIN)
    return _plan(series, _meta_grid(_fields(data[:end], "=")), data, end + 1, password)


def _content(series: Series, password: str) -> bytes:
    instance = series.instances[0]
    entry = next(read_all(instance.path, [instance.member], password), None)
    if entry is None:
        raise ReadError("The file is no longer there")
    return entry.data


def _fields(header: bytes, separator: str) -> dict[str, str]:
    fields = {}
    for line in header.decode("utf-8", "replace").splitlines():
        key, found, value = line.partition(separator)
        if found and not line.startswith("#"):
            fields[key.strip().lower()] = value.strip()
    return fields


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.replace(",", " ").strip("()").split()]
    except ValueError as error:
        raise ReadError("A number in the header makes no sense", _AGAIN) from error


def _nrrd_grid(fields: dict[str, str]) -> _Grid:
    sizes = [int(n) for n in _numbers(fields.get("sizes", ""))]
    dtype = _NRRD_TYPES.get(fields.get("type", "").lower())
    encoding = _ENCODINGS.get(fields.get("encoding", "").lower())
    if not sizes or min(sizes) < 1 or dtype is None or encoding is None:
        raise ReadError("The NRRD header names no sizes, type or encoding that is read here")
    vectors = _directions(fields.get("space directions", ""))
    samples, sizes, vectors = _without_samples(sizes, vectors, fields.get("kinds", "").split())
    if fields.get("line skip", "0") != "0":
        raise ReadError("NRRD files that skip lines are not read")
    endian = ">" if fields.get("endian", "little").lower() == "big" else "<"
    affine, notes = _nrrd_affine(fields, vectors[:3])
    return _Grid(
        _shape(sizes),
        endian + dtype,
        samples,
        encoding,
        affine,
        fields.get("data file", fields.get("datafile", "")),
        int(fields.get("byte skip", fields.get("byteskip", "0")) or 0),
        notes,
    )


def _directions(text: str) -> list[list[float] | None]:
    """One vector for each axis, None for an axis that lies in no direction."""
    parts = text.replace("(", " (").split(" (")
    vectors: list[list[float] | None] = []
    for part in parts:
        inside, closed, after = part.partition(")")
        if closed:
            vectors.append(_numbers(inside))
        vectors += [None] * (after if closed else inside).split().count("none")
    return vectors


def _without_samples(
    sizes: list[int], vectors: list[list[float] | None], kinds: list[str]
) -> tuple[int, list[int], list[list[float] | None]]:
    """Take off a first axis that counts colours; other values per voxel are refused."""
    no_direction = bool(vectors) and vectors[0] is None
    color = bool(kinds) and kinds[0].lower() in ("rgb-color", "rgba-color")
    if not (no_direction or color):
        return 1, sizes, vectors
    if sizes[0] not in (1, 3, 4):
        raise ReadError(f"An image with {sizes[0]} values per voxel is not shown")
    return sizes[0], sizes[1:], vectors[1:]


def _shape(sizes: Sequence[int]) -> tuple[int, int, int, int]:
    if len(sizes) < 2 or math.prod(sizes) > 1 << 40:
        raise ReadError("The header claims a size that no image has", _AGAIN)
    whole = [*sizes, 1, 1]
    return math.prod(whole[3:]), whole[2], whole[1], whole[0]


def _nrrd_affine(
    fields: dict[str, str], vectors: list[list[float] | None]
) -> tuple[npt.NDArray[np.float64] | None, tuple[str, ...]]:
    signs = _SPACES.get(fields.get("space", "").lower())
    origin = fields.get("space origin", "")
    missing = None, ("The file does not say how it lies in the patient",)
    given = [vector for vector in vectors if vector is not None]
    if signs is None or not origin or len(given) < 2 or any(len(one) != 3 for one in given):
        return missing
    notes: tuple[str, ...] = ()
    if len(given) == 2:
        given.append([float(x) for x in _unit(np.cross(given[0], given[1]))])
        notes = ("A single slice of unknown thickness",)
    return _checked(np.array(given).T, np.array(_numbers(origin)), np.array(signs)), notes


def _unit(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    length = float(np.linalg.norm(vector))
    return vector / length if length else vector


def _checked(
    directions: npt.NDArray[np.float64],
    origin: npt.NDArray[np.float64],
    signs: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64] | None:
    """(k, j, i) to LPS mm, or None where it cannot be inverted."""
    affine = np.eye(4)
    if origin.shape != (3,):
        return None
    affine[:3, :3], affine[:3, 3] = directions * signs[:, None], origin * signs
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-9:
        return None
    return reorder_kji(affine)


def _meta_grid(fields: dict[str, str]) -> _Grid:
    """MetaImage: TransformMatrix holds the direction of each axis in turn, in LPS."""
    sizes = [int(n) for n in _numbers(fields.get("dimsize", ""))]
    dtype = _META_TYPES.get(fields.get("elementtype", "").upper())
    if not sizes or min(sizes) < 1 or dtype is None:
        raise ReadError("The MetaImage header names no sizes or type that is read here")
    samples = int(fields.get("elementnumberofchannels", "1") or 1)
    if samples not in (1, 3, 4):
        raise ReadError(f"An image with {samples} values per voxel is not shown")
    count = len(sizes)
    spacing = np.array(_numbers(fields.get("elementspacing", fields.get("elementsize", ""))))
    matrix = np.array(
        _numbers(
            fields.get("transformmatrix", fields.get("orientation", fields.get("rotation", "")))
        )
    )
    offset = np.array(
        _numbers(fields.get("offset", fields.get("position", fields.get("origin", ""))))
    )
    affine = None
    if count >= 3 and spacing.size == offset.size == count and matrix.size == count * count:
        directions = matrix.reshape(count, count).T[:3, :3] * spacing[:3]
        affine = _checked(directions, offset[:3], np.ones(3, dtype=np.int64))
    big = fields.get("binarydatabyteordermsb", fields.get("elementbyteordermsb", "False"))
    return _Grid(
        _shape(sizes),
        (">" if big.lower() == "true" else "<") + dtype,
        samples,
        "zlib" if fields.get("compresseddata", "False").lower() == "true" else "raw",
        affine,
        "" if fields["elementdatafile"].upper() == "LOCAL" else fields["elementdatafile"],
        int(fields.get("headersize", "0") or 0),
        () if affine is not None else ("The file does not say how it lies in the patient",),
    )


def _plan(series: Series, grid: _Grid, data: bytes, header_end: int, password: str) -> SeriesPlan:
    instance = series.instances[0]
    path, member, size, start = instance.path, instance.member, len(data), header_end
    if grid.data_file:
        path = _beside(instance.path, grid.data_file, inside_archive=bool(member))
        size, start = path.stat().st_size, 0
    packed = grid.encoding != "raw"
    if grid.skip < 0 and not packed:
        planes = math.prod(grid.shape) * grid.samples
        start = size - planes * np.dtype(grid.dtype).itemsize
    else:
        start += max(grid.skip, 0)
    file = GridFile(
        path=path,
        member=member,
        size=size,
        start=0 if packed else start,
        shape=grid.shape,
        dtype=grid.dtype,
        samples=grid.samples,
        encoding=grid.encoding,
        packed_at=start if packed else 0,
        affine=grid.affine,
        notes=grid.notes,
    )
    return plan_grid(series, file, password)


def _beside(header: Path, name: str, *, inside_archive: bool) -> Path:
    """The named file in the folder of the header; ReadError for any other place."""
    if inside_archive:
        raise ReadError("The voxels lie in another file", "Unpack the archive and open the folder")
    if name.upper().startswith("LIST") or "%" in name or Path(name).name != name:
        raise ReadError("The header names voxels outside its own folder; they were not read")
    path = header.with_name(name)
    if path.is_symlink() or not path.is_file():
        raise ReadError(f"The file with the voxels, {name}, is not beside the header")
    return path
