"""Flat pictures read from the files that hold them, whatever a data set is made of."""

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import nibabel
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from PIL import Image, UnidentifiedImageError

from medview.core.errors import ReadError
from medview.inference.engines.planes import picture_at
from medview.learning.data import Case
from medview.learning.opened import file_sha256, open_volume

#: What is read here; all else as the viewer opens it.
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})
_OWN_FORMATS = PICTURES | {".npz", ".nii", ".gz"}

#: Thumbnails of this many pixels a side are compared to find the same image twice.
_THUMBNAIL = 32
_ALIKE = 0.99


@functools.lru_cache(maxsize=4)
def _archive(path: Path, name: str) -> npt.NDArray[Any]:
    with np.load(path) as arrays:
        array: npt.NDArray[Any] = arrays[name]
    return array


def read_picture(case: Case) -> npt.NDArray[Any]:
    """Give (rows, columns) or (rows, columns, 3) of a case's image.

    Refuses with ReadError: a file that is missing or unreadable, other shapes, values that are
    not finite, a picture of one value.
    """
    picture = _read(case.image, "image", case.row, case.id.partition("_")[0])
    if picture.ndim == 3 and picture.shape[2] == 4:
        picture = picture[:, :, :3]
    if picture.ndim not in {2, 3} or picture.shape[2:] not in {(), (3,)} or 0 in picture.shape:
        raise ReadError("image is not a flat picture")
    if not np.isfinite(picture).all():
        raise ReadError("image holds values that are not finite")
    if picture.min() == picture.max():
        raise ReadError("image holds one value only")
    return picture


def read_map(path: Path | None) -> npt.NDArray[Any]:
    """Give a label map (rows, columns) of whole numbers; ReadError says what is wrong with it."""
    if path is None:
        raise ReadError("label is missing")
    labels = _read(path, "label")
    if labels.ndim == 3:
        labels = labels.max(axis=2)
    if labels.ndim != 2:
        raise ReadError("label is not a flat picture")
    return labels


def _read(path: Path, what: str, row: int = -1, split: str = "") -> npt.NDArray[Any]:
    if not path.exists():
        raise ReadError(f"{what} is missing")
    if path.is_dir() or path.suffix.lower() not in _OWN_FORMATS:
        volume = open_volume(path, what)
        if len(volume.voxels) > 1:
            raise ReadError(f"{what} is not a flat picture")
        return picture_at(volume, 0)
    try:
        if path.suffix == ".npz":
            picture: npt.NDArray[Any] = _archive(path, f"{split}_images")[row]
        elif path.name.endswith((".nii", ".nii.gz")):
            picture = np.squeeze(np.asarray(nibabel.load(path).dataobj)).T
        else:
            with Image.open(path) as image:
                plain = image.mode in {"L", "RGB", "I;16", "I", "F"}
                picture = np.asarray(image if plain else image.convert("RGB"))
    except (OSError, ValueError, KeyError, BadZipFile, ImageFileError) as error:
        raise ReadError(f"{what} cannot be read", detail=str(error)) from error
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ReadError(f"{what} cannot be read", detail=str(error)) from error
    return picture


def image_sha256(case: Case) -> str:
    """Give the SHA-256 of the image file, or of one picture in a file of many."""
    if case.row < 0:
        return file_sha256(case.image)
    return hashlib.sha256(np.ascontiguousarray(read_picture(case)).tobytes()).hexdigest()


def thumbnail(picture: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Give a small grey copy of a picture, as a vector of mean 0 and length 1."""
    grey = picture.mean(axis=2) if picture.ndim == 3 else picture
    whole = Image.fromarray(np.asarray(grey, np.float32))
    small: npt.NDArray[np.float32] = np.array(
        whole.resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
    )
    small -= small.mean(dtype=np.float32)
    vector: npt.NDArray[np.float32] = (small / max(float(np.linalg.norm(small)), 1e-6)).ravel()
    return vector


def near_copies(
    names: Sequence[str], thumbnails: Sequence[npt.NDArray[np.float32]]
) -> list[tuple[str, str]]:
    """Give pairs of images that are nearly the same: thumbnails that correlate at 0.99.

    It finds copies that were scaled, compressed again or made brighter, not mirrored or cut ones.
    """
    if not names:
        return []
    table = np.stack(thumbnails)
    pairs = []
    for number, one in enumerate(table[:-1]):
        alike = np.flatnonzero(table[number + 1 :] @ one > _ALIKE) + number + 1
        pairs += [(names[number], names[other]) for other in alike.tolist()]
    return pairs
