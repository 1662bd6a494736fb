"""MINC 1 and MINC 2 (en.wikibooks.org/wiki/MINC/Reference): which axis is which, and what is safe.

MINC 1 is netCDF, MINC 2 is HDF5; the order of axes is a matter of each file.
"""

from __future__ import annotations

from pathlib import Path

import h5py
from nibabel.minc1 import Minc1Image
from nibabel.minc2 import Minc2Image
from scipy.io import netcdf_file

from medview.core.errors import ReadError

HDF5 = b"\x89HDF\r\n\x1a\n"
_DIMENSIONS = "minc-2.0/dimensions"
_IMAGE = "minc-2.0/image/0"
_PARTS = ("minc-2.0", "minc-2.0/image", _IMAGE, f"{_IMAGE}/image", f"{_IMAGE}/image-min",
          f"{_IMAGE}/image-max", _DIMENSIONS)  # fmt: skip
_SPACE = frozenset(("xspace", "yspace", "zspace"))


def minc_kind(path: Path) -> type[Minc1Image]:
    """The class of nibabel that reads a MINC file, by how it begins."""
    with path.open("rb") as file:
        kind: type[Minc1Image] = Minc2Image if file.read(len(HDF5)) == HDF5 else Minc1Image
    return kind


def axes_of_minc(path: Path) -> tuple[str, ...]:
    """Names of the axes in the order of the array, the time before the three of space or absent.

    ReadError for others, and for a file whose voxels lie in another file. Other errors are those
    of the libraries.
    """
    names = _axes_of_hdf5(path) if minc_kind(path) is Minc2Image else _axes_of_netcdf(path)
    if set(names[-3:]) != _SPACE or names[:-3] not in ((), ("time",)):
        raise ReadError(
            f"The axes of the image ({', '.join(names)}) are not those of a volume, nor of several",
            "Convert it to MINC with time, then space, or to NIfTI",
        )
    return names


def _axes_of_netcdf(path: Path) -> tuple[str, ...]:
    with netcdf_file(path, mmap=False) as file:
        return tuple(file.variables["image"].dimensions)


def _axes_of_hdf5(path: Path) -> tuple[str, ...]:
    """HDF5 can lead to other files by links and by storage; nothing of them is read."""
    with h5py.File(path, "r") as file:
        # From the outermost on: what is inside a link is looked at only if it is none.
        if any(_is_elsewhere(file, name) for name in _PARTS) or any(
            _is_elsewhere(file, f"{_DIMENSIONS}/{name}") for name in file[_DIMENSIONS]
        ):
            raise ReadError("The file leads to another file; it was not read")
        return tuple(file[f"{_IMAGE}/image"].attrs["dimorder"].decode("ascii").split(","))


def _is_elsewhere(file: h5py.File, name: str) -> bool:
    if isinstance(file.get(name, getlink=True), h5py.ExternalLink):
        return True
    found = file[name]
    return isinstance(found, h5py.Dataset) and bool(found.external or found.is_virtual)
