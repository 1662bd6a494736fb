"""Formats of brain research that nibabel reads: MGH, PAR/REC, MINC, AFNI, ECAT."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from nibabel.brikhead import AFNIImage
from nibabel.ecat import EcatImage
from nibabel.filebasedimages import ImageFileError
from nibabel.freesurfer.mghformat import MGHImage
from nibabel.openers import ImageOpener
from nibabel.parrec import PARRECImage

from medview.core.errors import ReadError
from medview.core.geometry import Calibration, lps_from_ras, reorder_kji
from medview.core.study import Series
from medview.io.minc import axes_of_minc, minc_kind
from medview.io.plan import PixelFormat, PlanePlan, SeriesPlan, VolumePlan

#: What nibabel and the libraries below it raise at damaged files.
_FAILURES = (ImageFileError, ValueError, KeyError, IndexError, TypeError, AttributeError, OSError,
             EOFError, ArithmeticError, MemoryError, ImportError, RuntimeError,
             AssertionError)  # fmt: skip
_AGAIN = "Get the file again from its source"
_KINDS: Mapping[str, Any] = MappingProxyType({
    ".mgh": MGHImage, ".mgz": MGHImage, ".par": PARRECImage,
    ".head": AFNIImage,
    ".v": EcatImage,
})  # fmt: skip
_MINC = ".mnc"
_MOST_VOXELS = 1 << 30
#: Above this many voxels a file must have a byte for every so many of them; headers have few.
_BIG_VOXELS, _BEYOND_BELIEF = 1 << 28, 200
#: Extensions of files that hold the voxels of a header beside them.
_VOXELS = {".par": (".rec",), ".head": (".brik", ".brik.gz")}


def plan_guest(series: Series, password: str = "") -> SeriesPlan:
    """Volumes of such a file in real-world values; ReadError where nibabel finds none."""
    del password
    instance = series.instances[0]
    if instance.member:
        raise ReadError("This format is not read inside archives", "Unpack the archive first")
    _check_companions(instance.path)
    with _opened(instance.path) as image:
        shape = tuple(int(n) for n in image.shape)
        if _is_time_first(instance.path, len(shape)):
            shape = (*shape[1:], shape[0])
        affine = np.array(image.affine, dtype=np.float64)
        placed = _is_placed(image, affine)
    size = np.prod(shape, dtype=float)
    beyond = size > max(_BIG_VOXELS, _BEYOND_BELIEF * instance.path.stat().st_size)
    if not 2 <= len(shape) <= 5 or min(shape) < 1 or size > _MOST_VOXELS or beyond:
        raise ReadError("The file claims a size that no image has", _AGAIN)
    columns, rows, slices = (*shape, 1)[:3]
    form = PixelFormat("guest", rows, columns, "<f4")
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
                PlanePlan(instance.file, form, frame=time * slices + k) for k in range(slices)
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


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The image in a file, open for as long as its values are wanted.

    nibabel leaves the files that it opens itself to the collector of garbage.
    """
    with _refusing(), ExitStack() as stack:
        minc = path.suffix.lower() == _MINC
        if minc:
            axes_of_minc(path)
        kind = minc_kind(path) if minc else _KINDS[path.suffix.lower()]
        files = kind.filespec_to_file_map(str(path))
        for part in ("image", "header"):
            own = part in files and (part == "image" or kind is EcatImage)
            if own:
                files[part].fileobj = stack.enter_context(ImageOpener(files[part].filename))
        yield kind.from_file_map(files)


def _is_time_first(path: Path, axes: int) -> bool:
    """Whether the moments of a series of volumes are its first axis, not its last: MINC alone."""
    return path.suffix.lower() == _MINC and axes == 4


def _is_placed(image: Any, affine: npt.NDArray[np.float64]) -> bool:
    """Whether the file says how it lies. ECAT names sides in a way that nibabel does not follow."""
    if isinstance(image, EcatImage):
        return False
    good = image.header.get("goodRASFlag", 1) if hasattr(image.header, "get") else 1
    return bool(int(good) and np.isfinite(affine).all() and abs(np.linalg.det(affine)) > 1e-9)


def guest_pictures(planes: Sequence[PlanePlan]) -> Iterator[npt.NDArray[Any] | ReadError]:
    """Planes (rows, columns) in real-world values, float32; the file is read once for all."""
    path = planes[0].path
    if path is None:
        raise ReadError("The file is no longer there")
    try:
        with _opened(path) as image:
            values = np.asarray(image.dataobj, dtype=np.float32)
    except ReadError as error:
        yield from [error] * len(planes)
        return
    if _is_time_first(path, values.ndim):
        values = np.moveaxis(values, 0, -1)
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
