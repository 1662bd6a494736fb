"""NRRD (teem.sourceforge.net/nrrd/format.html): a text header, then the voxels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from medview.core.errors import ReadError
from medview.core.study import Series
from medview.io.plan import SeriesPlan
from medview.io.text_header import (
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
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16",
                     "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
                    "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long", "int64",
                     "int64_t"), "i8"),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int", "uint64",
                     "uint64_t"), "u8"),
    "float": "f4",
    "double": "f8",
}  # fmt: skip
_ENCODINGS = {"raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2",
              "txt": "text", "text": "text", "ascii": "text", "hex": "hex"}  # fmt: skip
#: Signs that turn the axes of a named space into LPS. Other spaces are not those of a patient.
_SPACES = {
    "left-posterior-superior": (1, 1, 1), "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1), "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1),
}  # fmt: skip
_TO_MM = {"m": 1e3, "cm": 10.0, "um": 1e-3, "nm": 1e-6}
#: Kinds of axes that lead from voxel to voxel.
_SPATIAL = frozenset(("domain", "space"))
_PLAIN_KINDS = _SPATIAL | {"???", "none", ""}

_Vectors = list[list[float] | None]


def is_nrrd(head: bytes) -> bool:
    """Whether a file begins as NRRD does."""
    return head[:7] == b"NRRD000"


def plan_nrrd(series: Series, password: str = "") -> SeriesPlan:
    """Volumes of a NRRD file: one, or one for each index of an axis that is no direction."""
    data = content_of(series, password)
    end, gap = min(
        ((at, len(mark)) for mark in (b"\n\n", b"\r\n\r\n") if (at := data.find(mark)) >= 0),
        default=(len(data), 0),
    )
    return plan_text(series, _grid(data[:end]), data, end + gap, password)


def _grid(header: bytes) -> TextGrid:
    fields = fields_of(header, ":")
    sizes = [int(n) for n in numbers_of(fields.get("sizes", ""))]
    dtype = _TYPES.get(" ".join(fields.get("type", "").lower().split()))
    encoding = _ENCODINGS.get(fields.get("encoding", "").lower())
    if not sizes or min(sizes) < 1 or dtype is None or encoding is None:
        raise ReadError("The NRRD header names no sizes, type or encoding that is read here")
    vectors = _directions(fields.get("space directions", ""))
    kinds = [kind.lower() for kind in fields.get("kinds", "").split()]
    samples, sizes, vectors = _without_samples(sizes, vectors, kinds)
    affine, notes = _affine(fields, [one for one in vectors if one is not None])
    endian = ">" if fields.get("endian", "little").lower() == "big" else "<"
    return TextGrid(
        shape_of(sizes),
        endian + dtype,
        samples,
        encoding,
        affine,
        _files(fields, header),
        skip=count_of(fields.get("byte skip", fields.get("byteskip", ""))),
        lines=max(0, count_of(fields.get("line skip", fields.get("lineskip", "")))),
        notes=notes,
    )


def _files(fields: dict[str, str], header: bytes) -> tuple[str, ...]:
    """The names of the files with the voxels: one, a numbered row of them, or a list."""
    named = fields.get("data file", fields.get("datafile", ""))
    words = named.split()
    if not words:
        return ()
    if words[0] == "LIST":
        lines = header.decode("utf-8", "replace").splitlines()
        at = next(n for n, line in enumerate(lines) if line.lower().startswith("data"))
        return listed_files(lines[at + 1 :])
    if "%" in words[0]:
        first, last, step = (count_of(word) for word in [*words[1:4], *"001"][:3])
        stop = last + (1 if step > 0 else -1)
        return numbered(words[0], range(first, stop, step or 1))
    return (named,)


def _directions(text: str) -> _Vectors:
    """One vector for each axis, None for an axis that lies in no direction."""
    vectors: _Vectors = []
    for part in text.replace("(", " (").split(" ("):
        inside, closed, after = part.partition(")")
        if closed:
            vectors.append(numbers_of(inside))
        vectors += [None] * (after if closed else inside).split().count("none")
    return vectors


def _without_samples(
    sizes: list[int], vectors: _Vectors, kinds: list[str]
) -> tuple[int, list[int], _Vectors]:
    """Take off a first axis that counts values of a voxel; one in the middle is refused."""
    aside = [
        (bool(vectors) and n < len(vectors) and vectors[n] is None)
        or (n < len(kinds) and kinds[n] not in _PLAIN_KINDS)
        for n in range(len(sizes))
    ]
    spatial = [n for n, one in enumerate(aside) if not one]
    if not spatial or spatial != list(range(spatial[0], spatial[-1] + 1)) or spatial[0] > 1:
        raise ReadError("The axes of this NRRD file lie in an order that is not read")
    if spatial[0] == 0:
        # Without any word on its axes, a fourth is taken as time.
        return 1, sizes, vectors[:3] if len(spatial) > 3 else vectors
    return sizes[0], sizes[1:], vectors[1:]


def _affine(
    fields: dict[str, str], given: Sequence[list[float]]
) -> tuple[npt.NDArray[np.float64] | None, tuple[str, ...]]:
    space = fields.get("space", "").lower().removesuffix("-time")
    signs = _SPACES.get("lps" if space == "lpst" else space.removesuffix("t"))
    origin = numbers_of(fields.get("space origin", ""))
    vectors = [vector[:3] for vector in given[:3]]
    if signs is None or len(origin) < 3 or len(vectors) < 2 or min(map(len, vectors)) < 3:
        why = f" (its space is {space})" if space and signs is None else ""
        return None, (UNPLACED + why,)
    notes: tuple[str, ...] = ()
    if len(vectors) == 2:
        across = np.cross(vectors[0], vectors[1])
        length = float(np.linalg.norm(across)) or 1.0
        vectors.append([float(x) for x in across / length])
        notes = ("A single slice, of unknown thickness",)
    units = fields.get("space units", "").replace('"', " ").split()
    to_mm = _TO_MM.get(units[0].lower(), 1.0) if units else 1.0
    flip = np.array(signs, dtype=np.float64) * to_mm
    affine = affine_of(np.array(vectors).T * flip[:, None], np.array(origin[:3]) * flip)
    return affine, notes if affine is not None else (UNPLACED,)
