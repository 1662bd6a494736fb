"""What NRRD and MetaImage share: a header of `key: value` lines, and voxels in files beside it.

A header may name other files for its voxels; only plain names in its own folder are accepted.
"""

from __future__ import annotations

import math
import re
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

AGAIN = "Get the file again from its source"
UNPLACED = "The file does not say how it lies in the patient"
_LONGEST_HEADER = 1 << 20
_MOST_FILES = 100_000
#: A pattern of file names: text with one number in it, as C's printf writes it.
_NUMBERED = re.compile(r"([^%]*)%(0?\d{0,2})d([^%]*)")


@dataclass(frozen=True, eq=False)
class TextGrid:
    """What either header comes down to. `shape` is (volumes, k, j, i).

    `files` names the files with the voxels, none where they follow the header. `skip` bytes and
    `lines` come before them; a negative `skip` counts from the end.
    """

    shape: tuple[int, int, int, int]
    dtype: str
    samples: int = 1
    encoding: str = "raw"
    affine: npt.NDArray[np.float64] | None = None
    files: tuple[str, ...] = ()
    skip: int = 0
    lines: int = 0
    notes: tuple[str, ...] = field(default=())


def content_of(series: Series, password: str) -> bytes:
    """The file of a series."""
    instance = series.instances[0]
    entry = next(read_all(instance.path, [instance.member], password), None)
    if entry is None:
        raise ReadError("The file is no longer there")
    return entry.data


def fields_of(header: bytes, separator: str) -> dict[str, str]:
    """Values by their keys in lower case.

    What NRRD writes as `key:=value` are words of the writer's own, whatever their key.
    """
    fields = {}
    for line in header[:_LONGEST_HEADER].decode("utf-8", "replace").splitlines():
        key, found, value = line.partition(separator)
        if found and not line.startswith("#") and not value.startswith("="):
            fields[key.strip().lower()] = value.strip()
    return fields


def numbers_of(text: str) -> list[float]:
    """The numbers of a value; ReadError for anything else."""
    try:
        return [float(part) for part in text.replace(",", " ").strip("()").split()]
    except ValueError as error:
        raise ReadError("A number in the header makes no sense", AGAIN) from error


def count_of(text: str, default: int = 0) -> int:
    """A whole number; `default` where there is none."""
    found = numbers_of(text)
    if not found:
        return default
    if not math.isfinite(found[0]) or abs(found[0]) > 1 << 40:
        raise ReadError("A number in the header makes no sense", AGAIN)
    return int(found[0])


def shape_of(sizes: Sequence[float]) -> tuple[int, int, int, int]:
    """(volumes, k, j, i) of sizes that begin with i; ReadError for what no image has."""
    whole = [int(n) for n in sizes if math.isfinite(n)]
    if not 2 <= len(whole) == len(sizes) or min(whole) < 1 or math.prod(whole) > 1 << 40:
        raise ReadError("The header claims a size that no image has", AGAIN)
    whole += [1, 1]
    return math.prod(whole[3:]), whole[2], whole[1], whole[0]


def affine_of(
    directions_lps: npt.NDArray[np.float64], origin_lps: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64] | None:
    """(k, j, i, 1) to LPS mm of the steps along i, j and k; None where it cannot be inverted."""
    affine = np.eye(4)
    if directions_lps.shape != (3, 3) or origin_lps.shape != (3,):
        return None
    affine[:3, :3], affine[:3, 3] = directions_lps, origin_lps
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-9:
        return None
    return reorder_kji(affine)


def listed_files(lines: Sequence[str]) -> tuple[str, ...]:
    """File names, one a line; ReadError where there is none."""
    names = tuple(line.strip() for line in lines if line.strip())
    if not 0 < len(names) <= _MOST_FILES:
        raise ReadError("The header lists no files for its voxels", AGAIN)
    return names


def numbered(pattern: str, numbers: Sequence[int]) -> tuple[str, ...]:
    """File names of a pattern with one number in it: `slice%03d.raw`."""
    match = _NUMBERED.fullmatch(pattern)
    if match is None or not 0 < len(numbers) <= _MOST_FILES:
        raise ReadError("The header names its files in a way that is not read")
    before, width, after = match.groups()
    return tuple(f"{before}{number:{width or '1'}d}{after}" for number in numbers)


def plan_text(
    series: Series, grid: TextGrid, data: bytes, header_end: int, password: str
) -> SeriesPlan:
    """The volumes of a grid whose voxels follow its header or lie in files beside it."""
    instance = series.instances[0]
    path, member, size, start = instance.path, instance.member, len(data), header_end
    slabs: tuple[Path, ...] = ()
    first = data
    if grid.files:
        slabs = _beside(instance.path, grid.files, inside_archive=bool(member))
        path, size, start = slabs[0], slabs[0].stat().st_size, 0
        first = path.read_bytes() if grid.lines else b""
    start = _after_lines(first, start, grid.lines)
    packed = grid.encoding != "raw"
    if grid.skip < 0 and not packed:
        planes = math.prod(grid.shape) * grid.samples // max(1, len(slabs))
        start = size - planes * np.dtype(grid.dtype).itemsize
    elif not packed:
        start += max(grid.skip, 0)
    file = GridFile(
        path=path,
        member=member,
        size=size,
        # Bytes to skip in a packed file count after unpacking (NRRD, "byte skip").
        start=max(grid.skip, 0) if packed else start,
        shape=grid.shape,
        dtype=grid.dtype,
        samples=grid.samples,
        encoding=grid.encoding,
        packed_at=start if packed else 0,
        affine=grid.affine,
        slabs=slabs if len(slabs) > 1 else (),
        notes=grid.notes,
    )
    return plan_grid(series, file, password)


def _after_lines(data: bytes, start: int, lines: int) -> int:
    for _ in range(lines):
        end = data.find(b"\n", start)
        if end < 0:
            raise ReadError("The file ends inside the lines that its header skips", AGAIN)
        start = end + 1
    return start


def _beside(header: Path, names: Sequence[str], *, inside_archive: bool) -> tuple[Path, ...]:
    """The named files in the folder of the header; ReadError for any other place."""
    if inside_archive:
        raise ReadError("The voxels lie in another file", "Unpack the archive and open the folder")
    paths = []
    for name in names:
        plain = name.removeprefix("./")
        if not plain or "\0" in plain or Path(plain).name != plain or plain in (".", ".."):
            raise ReadError("The header names voxels outside its own folder; they were not read")
        path = header.with_name(plain)
        if path.is_symlink() or not path.is_file():
            raise ReadError(f"The file with the voxels, {plain}, is not beside the header")
        paths.append(path)
    return tuple(paths)
