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
from medview.core.geometry import Calibration, Geometry
from medview.core.volume import Volume
from medview.learning.data import Case
from medview.learning.opened import open_volume

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
    are not finite, an image of one value, labels beyond the classes, a class without a voxel
    that this case may not lack.
    """
    image, affine = _read_image(case)
    label = _read_label(case, image.shape, affine, classes)
    wanted = (n for n in range(1, classes + 1) if n not in case.may_lack)
    empty = [str(n) for n in wanted if not (label == n).any()]
    if empty:
        raise ReadError(
            f"label has no voxel of class {', '.join(empty)}",
            hint="Where that is how it is, name the class under may_lack in dataset.toml.",
        )
    return Scan(image, label, _spacing(affine))


def load_unlabelled(case: Case) -> Scan:
    """Read the image of a case alone, with an empty label map; refuses what `load_scan` does."""
    image, affine = _read_image(case)
    return Scan(image, np.zeros(image.shape, np.uint8), _spacing(affine))


def _spacing(affine: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    return float(edges[0]), float(edges[1]), float(edges[2])


#: From mm to the right, the front and the head (NIfTI) to mm to the left, the back and the head.
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def load_volume(case: Case) -> Volume:
    """Read the image of a case alone, with its place; refuses what `load_scan` refuses in it."""
    image, affine = _read_image(case)
    x, y, z = image.shape
    return Volume(case.id, case.id, Geometry((x, y, z), _TO_LPS @ affine), image)


def load_label(case: Case, volume: Volume, classes: int) -> npt.NDArray[np.uint8]:
    """Read the label map of a case whose image was read; classes may be missing from it."""
    affine = _TO_LPS @ volume.geometry.affine
    return _read_label(case, volume.geometry.shape, affine, classes)


def _read_image(case: Case) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    image, affine = _read_grid(case.image, "image")
    if not np.isfinite(image).all():
        raise ReadError("image holds values that are not finite")
    if sorted(image.shape)[1] == 1:
        raise ReadError("image is a single voxel" if image.size == 1 else "image is a single line")
    if image.min() == image.max():
        raise ReadError("image holds one value only")
    return image.astype(np.float32), affine


def _read_label(
    case: Case, shape: Sequence[int], affine: npt.NDArray[np.float64], classes: int
) -> npt.NDArray[np.uint8]:
    if case.label is None:
        raise ReadError("label is missing")
    label, label_affine = _read_grid(case.label, "label")
    if label.shape != tuple(shape) or not np.allclose(affine, label_affine, atol=1e-3):
        raise ReadError("image and label lie on different grids")
    if not np.isin(label, range(classes + 1)).all():
        raise ReadError(f"label holds values other than 0 to {classes}")
    return label.astype(np.uint8)


def _read_grid(path: Path, what: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Give an array with its axes to the right, the front and the head, and where it lies."""
    if not path.exists():
        raise ReadError(f"{what} is missing")
    try:
        nifti = path.is_file() and path.name.endswith((".nii", ".nii.gz"))
        opened = nibabel.load(path) if nifti else _opened(path, what)
        volume = nibabel.as_closest_canonical(opened)
        array = np.asarray(volume.dataobj)
    except (OSError, ValueError, EOFError, ImageFileError) as error:
        raise ReadError(f"{what} cannot be read", detail=str(error)) from error
    if array.ndim != 3 or 0 in array.shape:
        raise ReadError(f"{what} is not a 3D volume")
    return array, np.asarray(volume.affine, dtype=np.float64)


def _opened(path: Path, what: str) -> nibabel.Nifti1Image:
    """Give a volume in a file or folder of another kind, as the viewer opens it."""
    volume = open_volume(path, what)
    if volume.geometry.calibration is not Calibration.PATIENT:
        raise ReadError(f"{what} does not say where in the patient it lies")
    return nibabel.Nifti1Image(volume.values(), _TO_LPS @ volume.geometry.affine)


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
