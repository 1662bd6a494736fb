"""Volumes as NIfTI, NRRD or MetaImage: real-world values on the same grid."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from medview.core.errors import ExportError
from medview.core.geometry import Calibration, FloatArray, lps_from_ras, reorder_kji
from medview.core.volume import Volume
from medview.io.dicom_write import write_file

Writer = Callable[[Volume, npt.NDArray[Any]], bytes]

_NIFTI_TYPES = {"i2": 4, "i4": 8, "f4": 16, "u1": 2, "i1": 256, "u2": 512, "u4": 768}
_META_TYPES = {
    "i2": "MET_SHORT", "i4": "MET_INT", "f4": "MET_FLOAT", "u1": "MET_UCHAR", "i1": "MET_CHAR",
    "u2": "MET_USHORT", "u4": "MET_UINT",
}  # fmt: skip
_NRRD_TYPES = {
    "i2": "int16", "i4": "int32", "f4": "float", "u1": "uint8", "i1": "int8", "u2": "uint16",
    "u4": "uint32",
}  # fmt: skip


def write_grid(volume: Volume, path: Path) -> None:
    """Write a volume as .nii, .nii.gz, .nrrd or .mha, by the ending of the name.

    Whole numbers stay whole numbers, other values become float32. A grid without millimetres is
    written without orientation. Raises ExportError for other endings, and for a tilted stack as
    .mha, which cannot hold one.
    """
    name = path.name.lower()
    for ending, writer in _WRITERS.items():
        if name.endswith(ending):
            write_file(path, partial(_write, data=writer(volume, _values(volume))))
            return
    raise ExportError(
        f"{path.name} does not end in .nii.gz, .nrrd or .mha", "Choose one of these endings"
    )


def _write(file: IO[bytes], *, data: bytes) -> None:
    file.write(data)


def _values(volume: Volume) -> npt.NDArray[Any]:
    """Real-world values, in integers where they are whole and fit."""
    voxels = volume.voxels
    if voxels.dtype.kind == "f" or volume.slope != 1 or not float(volume.intercept).is_integer():
        if volume.slope == 1 and volume.intercept == 0 and voxels.dtype.kind in "iu":
            return voxels
        return volume.values()
    if volume.intercept == 0:
        return voxels
    shifted = voxels.astype(np.int64) + int(volume.intercept)
    low, high = int(shifted.min()), int(shifted.max())
    for dtype in (np.int16, np.int32):
        limits = np.iinfo(dtype)
        if limits.min <= low and high <= limits.max:
            return shifted.astype(dtype)
    return shifted.astype(np.float32)


def _little(values: npt.NDArray[Any]) -> tuple[str, bytes]:
    dtype = values.dtype.newbyteorder("<")
    return dtype.str[1:], np.ascontiguousarray(values, dtype=dtype).tobytes()


def _ijk(volume: Volume) -> FloatArray:
    """(i, j, k, 1) to LPS mm."""
    return reorder_kji(volume.geometry.affine)


def _is_rigid(affine: FloatArray) -> bool:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.allclose(axes.T @ axes, np.eye(3), atol=1e-5))


def _nifti(volume: Volume, values: npt.NDArray[Any]) -> bytes:
    """NIfTI-1 with the grid in its sform (nifti1.h)."""
    kind, data = _little(values)
    slices, rows, columns = volume.geometry.shape
    color = volume.channels > 1
    oriented = volume.geometry.calibration is Calibration.PATIENT
    affine = lps_from_ras(_ijk(volume))
    k_mm, j_mm, i_mm = volume.geometry.spacing_mm
    header = bytearray(352)
    struct.pack_into("<l", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, columns, rows, slices, 1, 1, 1, 1)
    code = 128 if color else _NIFTI_TYPES[kind]
    bits = 24 if color else values.dtype.itemsize * 8
    struct.pack_into("<hh", header, 70, code, bits)
    struct.pack_into("<8f", header, 76, 1.0, i_mm, j_mm, k_mm, 0, 0, 0, 0)
    struct.pack_into("<3f", header, 108, 352.0, 1.0, 0.0)
    header[123] = 2  # millimetres
    struct.pack_into("<hh", header, 252, 0, 1 if oriented else 0)
    if oriented:
        struct.pack_into("<12f", header, 280, *affine[:3].ravel())
    header[344:348] = b"n+1\0"
    return bytes(header) + data


def _nifti_packed(volume: Volume, values: npt.NDArray[Any]) -> bytes:
    return gzip.compress(_nifti(volume, values), compresslevel=4, mtime=0)


def _nrrd(volume: Volume, values: npt.NDArray[Any]) -> bytes:
    kind, data = _little(values)
    slices, rows, columns = volume.geometry.shape
    affine = _ijk(volume)
    vectors = ["(" + ",".join(f"{x:.17g}" for x in affine[:3, n]) + ")" for n in range(3)]
    color = volume.channels > 1
    lines = [
        "NRRD0004",
        f"type: {_NRRD_TYPES[kind]}",
        f"dimension: {4 if color else 3}",
        f"sizes: {'3 ' if color else ''}{columns} {rows} {slices}",
        f"kinds: {'RGB-color ' if color else ''}domain domain domain",
        "endian: little",
        "encoding: gzip",
    ]
    if volume.geometry.calibration is Calibration.PATIENT:
        origin = ",".join(f"{x:.17g}" for x in affine[:3, 3])
        lines += [
            "space: left-posterior-superior",
            f"space directions: {'none ' if color else ''}{' '.join(vectors)}",
            f"space origin: ({origin})",
        ]
    text = "\n".join(lines) + "\n\n"
    return text.encode("ascii") + gzip.compress(data, compresslevel=4, mtime=0)


def _meta(volume: Volume, values: npt.NDArray[Any]) -> bytes:
    kind, data = _little(values)
    affine = _ijk(volume)
    if not _is_rigid(affine):
        raise ExportError(
            "MetaImage cannot hold a stack of slices that is stacked askew",
            "Write it as .nii.gz or .nrrd",
        )
    slices, rows, columns = volume.geometry.shape
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    axes = (affine[:3, :3] / spacing).T
    packed = zlib.compress(data, 4)
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = True",
        f"CompressedDataSize = {len(packed)}",
        "TransformMatrix = " + " ".join(f"{x:.17g}" for x in axes.ravel()),
        "Offset = " + " ".join(f"{x:.17g}" for x in affine[:3, 3]),
        "ElementSpacing = " + " ".join(f"{x:.17g}" for x in spacing),
        f"DimSize = {columns} {rows} {slices}",
        f"ElementNumberOfChannels = {volume.channels}",
        f"ElementType = {_META_TYPES[kind]}",
        "ElementDataFile = LOCAL",
    ]
    return ("\n".join(lines) + "\n").encode("ascii") + packed


_WRITERS: dict[str, Writer] = {
    ".nii.gz": _nifti_packed,
    ".nii": _nifti,
    ".nrrd": _nrrd,
    ".mha": _meta,
}
