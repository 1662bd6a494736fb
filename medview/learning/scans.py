"""Volumes with their label maps: read, checked, and brought to a spacing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import nibabel
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from scipy import ndimage

from medview.core.errors import ReadError
from medview.learning.data import Case

Number = TypeVar("Number", np.float32, np.uint8)


@dataclass(frozen=True)
class Scan:
    """One case in memory in the frame (right, anterior, superior): axes x, y, z; spacing in mm."""

    image: npt.NDArray[np.float32]
    label: npt.NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]


def load_scan(case: Case, classes: int) -> Scan:
    """Read one case into the frame (right, anterior, superior).

    Refuses with ReadError: a file that is missing or unreadable, grids that differ, values that
    are not finite, an image of one value, labels beyond the classes, a class without a voxel.
    """
    if case.label is None:
        raise ReadError("label is missing")
    image, affine = _read_nifti(case.image, "image")
    label, label_affine = _read_nifti(case.label, "label")
    if image.shape != label.shape or not np.allclose(affine, label_affine, atol=1e-3):
        raise ReadError("image and label lie on different grids")
    if not np.isfinite(image).all():
        raise ReadError("image holds values that are not finite")
    if image.min() == image.max():
        raise ReadError("image holds one value only")
    if not np.isin(label, range(classes + 1)).all():
        raise ReadError(f"label holds values other than 0 to {classes}")
    empty = [str(n) for n in range(1, classes + 1) if not (label == n).any()]
    if empty:
        raise ReadError(f"label has no voxel of class {', '.join(empty)}")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return Scan(
        image.astype(np.float32),
        label.astype(np.uint8),
        (float(spacing[0]), float(spacing[1]), float(spacing[2])),
    )


def _read_nifti(path: Path, what: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    if not path.is_file():
        raise ReadError(f"{what} is missing")
    try:
        volume = nibabel.as_closest_canonical(nibabel.load(path))
        array = np.asarray(volume.dataobj)
    except (OSError, ValueError, EOFError, ImageFileError) as error:
        raise ReadError(f"{what} cannot be read", detail=str(error)) from error
    if array.ndim != 3 or 0 in array.shape:
        raise ReadError(f"{what} is not a 3D volume")
    return array, np.asarray(volume.affine, dtype=np.float64)


def resize(
    array: npt.NDArray[Number], shape: tuple[int, ...], *, nearest: bool = False
) -> npt.NDArray[Number]:
    """Give the same field of view in another number of voxels, linearly or by nearest voxel."""
    if array.shape == shape:
        return array
    factors = [new / old for new, old in zip(shape, array.shape, strict=True)]
    result: npt.NDArray[Number] = ndimage.zoom(
        array, factors, order=0 if nearest else 1, mode="nearest", grid_mode=True
    )
    return result


def to_spacing(
    array: npt.NDArray[Number],
    spacing_mm: Sequence[float],
    wanted_mm: Sequence[float],
    *,
    nearest: bool = False,
) -> npt.NDArray[Number]:
    """Bring an array to another spacing, to the nearest whole number of voxels."""
    shape = tuple(
        max(1, round(size * old / new))
        for size, old, new in zip(array.shape, spacing_mm, wanted_mm, strict=True)
    )
    return resize(array, shape, nearest=nearest)
