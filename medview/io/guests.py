"""Formats of brain research that nibabel reads: MGH, PAR/REC, MINC 1, AFNI, ECAT."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError

from medview.core.errors import ReadError
from medview.core.geometry import Calibration, lps_from_ras, reorder_kji
from medview.core.study import Series
from medview.io.plan import PixelFormat, PlanePlan, SeriesPlan, VolumePlan

#: What nibabel and the libraries below it raise at damaged files.
_FAILURES = (ImageFileError, ValueError, KeyError, IndexError, TypeError, AttributeError, OSError,
             EOFError, ArithmeticError, MemoryError, ImportError, RuntimeError,
             AssertionError)  # fmt: skip
_AGAIN = "Get the file again from its source"
_MOST_VOXELS = 1 << 30
#: Extensions of files that hold the voxels of a header beside them.
_VOXELS = {".par": (".rec",), ".head": (".brik", ".brik.gz")}


def plan_guest(series: Series, password: str = "") -> SeriesPlan:
    """Volumes of such a file in real-world values; ReadError where nibabel finds none."""
    del password
    instance = series.instances[0]
    if instance.member:
        raise ReadError("This format is not read inside archives", "Unpack the archive first")
    _check_companions(instance.path)
    with _refusing():
        image = _loaded(instance.path)
        shape = tuple(int(n) for n in image.shape)
        affine = np.array(image.affine, dtype=np.float64)
        _let_go(image)
    if not 2 <= len(shape) <= 5 or min(shape) < 1 or np.prod(shape, dtype=float) > _MOST_VOXELS:
        raise ReadError("The file claims a size that no image has", _AGAIN)
    columns, rows, slices = (*shape, 1)[:3]
    form = PixelFormat("guest", rows, columns, "<f4")
    placed = _is_placed(image, affine)
    grid = reorder_kji(lps_from_ras(affine)) if placed else np.eye(4)
    count = int(np.prod(shape[3:], dtype=np.int64))
    volumes = [
        VolumePlan(
            uid=f"{series.uid}#{time}",
            series_uid=series.uid,
            shape=(slices, rows, columns),
            dtype="<f4",
            affine=tuple(tuple(float(x) for x in line) for line in grid),
            planes=tuple(
                PlanePlan(instance.path, form, frame=time * slices + k) for k in range(slices)
            ),
            frame_of_reference_uid=series.frame_of_reference_uid,
            calibration=Calibration.PATIENT if placed else Calibration.NONE,
            real_values=True,
            time_index=time if count > 1 else None,
            notes=() if placed else ("The file does not say how it lies in the patient",),
        )
        for time in range(count)
    ]
    return SeriesPlan(series.uid, tuple(volumes))


def _loaded(path: Path) -> Any:
    # nibabel does not know ECAT by its name or beginning.
    return nibabel.ecat.load(path) if path.suffix.lower() == ".v" else nibabel.load(path)


def _let_go(image: Any) -> None:
    """Close what nibabel leaves open: the .REC of PAR/REC."""
    close = getattr(getattr(image.dataobj, "file_like", None), "close", None)
    if close is not None:
        close()


def _is_placed(image: Any, affine: npt.NDArray[np.float64]) -> bool:
    """Whether the file says how it lies. ECAT names sides in a way that nibabel does not follow."""
    if isinstance(image, nibabel.ecat.EcatImage):
        return False
    good = image.header.get("goodRASFlag", 1) if hasattr(image.header, "get") else 1
    return bool(int(good) and np.isfinite(affine).all() and abs(np.linalg.det(affine)) > 1e-9)


def guest_pictures(planes: Sequence[PlanePlan]) -> Iterator[npt.NDArray[Any] | ReadError]:
    """Planes (rows, columns) in real-world values, float32; the file is read once for all."""
    path = planes[0].path
    if path is None:
        raise ReadError("The file is no longer there")
    try:
        with _refusing():
            image = _loaded(path)
            values = np.asarray(image.dataobj, dtype=np.float32)
            _let_go(image)
    except ReadError as error:
        yield from [error] * len(planes)
        return
    stack = values.reshape((*values.shape[:2], -1), order="F")
    for plane in planes:
        yield np.ascontiguousarray(stack[:, :, plane.frame].T)


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn what nibabel raises at a file into words; its warnings are not for the reader."""
    log = logging.getLogger("nibabel.global")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except _FAILURES as error:
        raise ReadError("The image is damaged, or of a kind that is not read", _AGAIN,
                        str(error)) from error  # fmt: skip
    finally:
        log.setLevel(level)


def _check_companions(path: Path) -> None:
    """The file with the voxels must lie beside its header, itself and no link."""
    endings = _VOXELS.get(path.suffix.lower())
    if endings is None:
        return
    stem = path.name[: -len(path.suffix)].lower()
    names = {stem + ending for ending in endings}
    beside = [one for one in path.parent.iterdir() if one.name.lower() in names]
    if not any(one.is_file() and not one.is_symlink() for one in beside):
        raise ReadError("The file with the voxels is not beside this header")
    if any(one.is_symlink() for one in beside):
        raise ReadError("The file with the voxels is a link to elsewhere; it was not read")
