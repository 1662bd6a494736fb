"""NIfTI-1 and NIfTI-2 (nifti.nimh.nih.gov, nifti1.h and nifti2.h), and Analyze 7.5 before them."""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medview.core.errors import ReadError
from medview.core.geometry import lps_from_ras, reorder_kji
from medview.core.study import Series
from medview.io.archives import read_all
from medview.io.gridded import GridFile, plan_grid
from medview.io.plan import SeriesPlan

_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4",
    1024: "i8", 1280: "u8", 128: "u1", 2304: "u1",
}  # fmt: skip
_SAMPLES = {128: 3, 2304: 4}
_REFUSED = {1: "single bits", 32: "complex numbers", 1792: "complex numbers",
            2048: "complex numbers", 1536: "numbers of 128 bits"}  # fmt: skip
#: Analyze 7.5 as SPM extended it (nibabel and SPM agree on these).
_ANALYZE_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 128: "u1", 130: "i1", 132: "u2",
                  136: "u4"}  # fmt: skip
#: Two statements of orientation that differ by more than this, somewhere in the image, differ.
_DIFFERENT_MM = 0.5
_TO_MM = {1: 1000.0, 3: 0.001}
_HEADER_BYTES = 544
_AGAIN = "Get the file again from its source"
_CONVERT = "Convert the file to real numbers"


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """What matters of a header.

    `shape` is (volumes, k, j, i), the affine takes (k, j, i, 1) to LPS mm. Without an affine the
    file has no orientation (sform and qform codes are zero).
    """

    shape: tuple[int, int, int, int]
    dtype: str
    samples: int
    offset: int
    affine: npt.NDArray[np.float64] | None
    slope: float
    intercept: float
    pair: bool
    notes: tuple[str, ...] = ()


def is_nifti(head: bytes) -> bool:
    """Whether unpacked bytes begin as NIfTI does."""
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")


def unpacked_head(data: bytes, count: int = _HEADER_BYTES) -> bytes:
    """The first bytes of a file, through gzip if it is packed so; empty if it is damaged."""
    if data[:2] != b"\x1f\x8b":
        return data[:count]
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data, count)
    except zlib.error:
        return b""


def parse_header(head: bytes) -> NiftiHeader:
    """The header of NIfTI-1 or 2; ReadError for nonsense."""
    second = head[4:8] in (b"n+2\0", b"ni2\0")
    size = 540 if second else 348
    if len(head) < size:
        raise ReadError("The NIfTI header is cut short", _AGAIN)
    endian = "<" if struct.unpack_from("<l", head)[0] == size else ">"
    if struct.unpack_from(endian + "l", head)[0] != size:
        raise ReadError("The NIfTI header is damaged", _AGAIN)
    fields = _second(head, endian) if second else _first(head, endian)
    shape = _shape(fields.dim)
    if fields.datatype not in _TYPES:
        what = _REFUSED.get(fields.datatype, f"values of an unknown type ({fields.datatype})")
        raise ReadError(f"The file holds {what}, which are not shown", _CONVERT)
    affine, notes = _affine(fields, shape)
    scaled = fields.slope != 0 and math.isfinite(fields.slope) and math.isfinite(fields.intercept)
    return NiftiHeader(
        shape=shape,
        dtype=endian + _TYPES[fields.datatype],
        samples=_SAMPLES.get(fields.datatype, 1),
        offset=int(fields.offset) if math.isfinite(fields.offset) else -1,
        affine=affine,
        slope=fields.slope if scaled else 1.0,
        intercept=fields.intercept if scaled else 0.0,
        pair=b"ni" in head[4:8] or head[344:346] == b"ni",
        notes=notes,
    )


@dataclass(frozen=True)
class _Fields:
    dim: tuple[int, ...]
    datatype: int
    pixdim: tuple[float, ...]
    offset: float
    slope: float
    intercept: float
    units: int
    codes: tuple[int, int]
    quaternion: tuple[float, ...]
    rows: tuple[float, ...]


def _first(head: bytes, endian: str) -> _Fields:
    def get(kind: str, at: int) -> tuple[float, ...]:
        return struct.unpack_from(endian + kind, head, at)

    return _Fields(
        tuple(int(n) for n in get("8h", 40)), int(get("h", 70)[0]), get("8f", 76),
        get("f", 108)[0], get("f", 112)[0], get("f", 116)[0], head[123],
        (int(get("h", 252)[0]), int(get("h", 254)[0])), get("6f", 256), get("12f", 280),
    )  # fmt: skip


def _second(head: bytes, endian: str) -> _Fields:
    def get(kind: str, at: int) -> tuple[float, ...]:
        return struct.unpack_from(endian + kind, head, at)

    return _Fields(
        tuple(int(n) for n in get("8q", 16)), int(get("h", 12)[0]), get("8d", 104),
        get("q", 168)[0], get("d", 176)[0], get("d", 184)[0], int(get("l", 500)[0]),
        (int(get("l", 344)[0]), int(get("l", 348)[0])), get("6d", 352), get("12d", 400),
    )  # fmt: skip


def _shape(dim: tuple[int, ...]) -> tuple[int, int, int, int]:
    count = dim[0]
    if not 1 <= count <= 7:
        raise ReadError("The NIfTI header is damaged", _AGAIN)
    # Some writers count no further volumes as 0 of them.
    sizes = [dim[n] if n <= min(count, 3) else max(dim[n], 1) for n in range(1, count + 1)]
    sizes += [1] * (7 - count)
    if min(sizes) < 1:
        raise ReadError("The NIfTI header counts no voxels", _AGAIN)
    return math.prod(sizes[3:]), sizes[2], sizes[1], sizes[0]


def _affine(
    fields: _Fields, shape: tuple[int, int, int, int]
) -> tuple[npt.NDArray[np.float64] | None, tuple[str, ...]]:
    """The sform where it is set, else the qform (nifti1.h, methods 3 and 2), else nothing."""
    qform_code, sform_code = fields.codes
    to_mm = _TO_MM.get(fields.units & 7, 1.0)
    stated = []
    if sform_code > 0:
        sform = np.eye(4)
        sform[:3] = np.array(fields.rows).reshape(3, 4)
        stated.append(sform)
    if qform_code > 0:
        stated.append(_from_quaternion(fields))
    if not stated:
        return None, ("The file has no orientation (sform and qform are unset)",)
    for affine in stated:
        affine[:3] *= to_mm
    sound = [affine for affine in stated if _is_sound(affine)]
    if not sound:
        return None, ("The orientation of the file makes no sense",)
    notes = []
    if len(sound) < len(stated):
        notes.append("One of the two orientations of the file makes no sense; the other is used")
    elif len(sound) == 2 and (apart := _apart_mm(sound[0], sound[1], shape)) > _DIFFERENT_MM:
        notes.append(
            f"The file states two orientations (sform, qform) up to {apart:.3g} mm apart; "
            "the sform is used"
        )
    return reorder_kji(lps_from_ras(sound[0])), tuple(notes)


def _is_sound(affine: npt.NDArray[np.float64]) -> bool:
    return bool(np.isfinite(affine).all() and abs(np.linalg.det(affine)) > 1e-9)


def _apart_mm(
    one: npt.NDArray[np.float64], other: npt.NDArray[np.float64], shape: tuple[int, int, int, int]
) -> float:
    """How far apart two affines place the corners of the image."""
    _, slices, rows, columns = shape
    corners = np.array(
        [(i, j, k, 1) for i in (0, columns - 1) for j in (0, rows - 1) for k in (0, slices - 1)]
    )
    return float(np.linalg.norm(((one - other) @ corners.T)[:3], axis=0).max())


def _from_quaternion(fields: _Fields) -> npt.NDArray[np.float64]:
    """The qform (nifti1.h, method 2). Rounding may leave b, c, d longer than 1: a is 0 then."""
    b, c, d = fields.quaternion[:3]
    length = math.sqrt(b * b + c * c + d * d)
    b, c, d = (part / max(length, 1.0) for part in (b, c, d))
    a = math.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    flip = -1.0 if fields.pixdim[0] < 0 else 1.0
    affine = np.eye(4)
    # Sizes of voxels are positive; only the first number may say that an axis is turned.
    affine[:3, :3] = rotation * np.abs(fields.pixdim[1:4]) * np.array([1.0, 1.0, flip])
    affine[:3, 3] = fields.quaternion[3:]
    return affine


def plan_nifti(series: Series, password: str = "") -> SeriesPlan:
    """Volumes of a NIfTI file: one, or one for each further index of a 4D image."""
    instance = series.instances[0]
    entry = next(read_all(instance.path, [instance.member], password), None)
    if entry is None:
        raise ReadError("The file is no longer there")
    packed = entry.data[:2] == b"\x1f\x8b"
    header = parse_header(unpacked_head(entry.data))
    path, size = instance.path, len(entry.data)
    if header.pair:
        path, size = _data_file(instance.path)
        packed = path.suffix == ".gz"
    file = GridFile(
        path=path,
        member=instance.member,
        size=size,
        start=max(header.offset, 0 if header.pair else 352),
        shape=header.shape,
        dtype=header.dtype,
        samples=header.samples,
        encoding="gzip" if packed else "raw",
        affine=header.affine,
        scales=((header.slope, header.intercept),),
        notes=header.notes,
    )
    return plan_grid(series, file, password)


def is_analyze(head: bytes) -> bool:
    """Whether unpacked bytes may begin an Analyze 7.5 header: its size, and sane dimensions."""
    if len(head) < 348 or is_nifti(head):
        return False
    endian = _endian(head, 348)
    return bool(endian) and 1 <= struct.unpack_from(endian + "h", head, 40)[0] <= 7


def _endian(head: bytes, size: int) -> str:
    """The byte order in which a header begins with its own size; "" for neither."""
    return next((e for e in "<>" if struct.unpack_from(e + "l", head)[0] == size), "")


def plan_analyze(series: Series, password: str = "") -> SeriesPlan:
    """Volumes of an Analyze 7.5 pair. It never says which side is left: no orientation."""
    instance = series.instances[0]
    entry = next(read_all(instance.path, [instance.member], password), None)
    if entry is None:
        raise ReadError("The file is no longer there")
    if instance.member:
        raise ReadError("The voxels lie in another file", "Unpack the archive and open the folder")
    head = unpacked_head(entry.data)
    endian = _endian(head, 348)
    fields = _first(head, endian)
    if fields.datatype not in _ANALYZE_TYPES:
        what = _REFUSED.get(fields.datatype, f"values of an unknown type ({fields.datatype})")
        raise ReadError(f"The file holds {what}, which are not shown", _CONVERT)
    path, size = _data_file(instance.path)
    # SPM keeps its scale where NIfTI has its slope; other programs leave nothing there.
    slope = fields.slope if math.isfinite(fields.slope) and fields.slope > 0 else 1.0
    offset = int(fields.offset) if math.isfinite(fields.offset) else 0
    file = GridFile(
        path=path,
        member="",
        size=size,
        start=max(0, offset),
        shape=_shape(fields.dim),
        dtype=endian + _ANALYZE_TYPES[fields.datatype],
        samples=_SAMPLES.get(fields.datatype, 1),
        encoding="gzip" if path.suffix == ".gz" else "raw",
        scales=((slope, 0.0),),
        notes=("An Analyze file does not say which side is left: no sides, no millimetres",),
    )
    return plan_grid(series, file, password)


def _data_file(header_file: Path) -> tuple[Path, int]:
    """The .img beside a .hdr; never another place."""
    name = header_file.name
    for ending, other in ((".hdr.gz", ".img.gz"), (".hdr", ".img"), (".hdr", ".img.gz")):
        if name.lower().endswith(ending):
            stem = name[: -len(ending)]
            beside = [header_file.with_name(stem + text) for text in (other, other.upper())]
            path = next((one for one in beside if one.is_file()), beside[0])
            if path.is_symlink():
                raise ReadError("The .img file is a link to elsewhere; it was not read")
            if path.is_file():
                return path, path.stat().st_size
    raise ReadError("The .img file that belongs to this header is not beside it")
