"""Files that hold one regular grid of voxels after a header: NIfTI, NRRD, MetaImage."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medview.core.errors import ReadError
from medview.core.geometry import Calibration
from medview.core.study import Series
from medview.io.plan import PixelFormat, PlanePlan, SeriesPlan, VolumePlan

#: A packed file may claim this many bytes before its ratio is questioned.
_CLAIM_FROM, _CLAIM_RATIO = 1 << 30, 200
_AGAIN = "Get the file again from its source"


@dataclass(frozen=True, eq=False)
class GridFile:
    """Where the voxels lie: `shape` is (volumes, k, j, i).

    Packed data begin at `packed_at` of the file, which has `size` bytes, and the voxels at `start`
    of what they unpack to. Without an affine (k, j, i, 1) to LPS mm there is no orientation.
    """

    path: Path
    member: str
    size: int
    start: int
    shape: tuple[int, int, int, int]
    dtype: str
    samples: int = 1
    encoding: str = "raw"
    packed_at: int = 0
    affine: npt.NDArray[np.float64] | None = None
    slope: float = 1.0
    intercept: float = 0.0
    notes: tuple[str, ...] = ()


def plan_grid(series: Series, file: GridFile, password: str) -> SeriesPlan:
    """A volume for each of the volumes of the grid; ReadError where the file cannot hold them."""
    packed = file.encoding != "raw"
    count, slices, rows, columns = file.shape
    form = PixelFormat(
        file.encoding,
        rows=rows,
        columns=columns,
        dtype=file.dtype,
        samples=file.samples,
        packed_at=file.packed_at,
    )
    expected = math.prod((count, slices, form.plane_bytes))
    held = file.size - file.start
    if not packed and (file.start < 0 or held < expected):
        raise ReadError(f"The image is cut short: {held:,} of {expected:,} bytes", _AGAIN)
    if packed and expected > max(_CLAIM_FROM, _CLAIM_RATIO * file.size):
        raise ReadError("The file claims far more voxels than its data can hold", _AGAIN)
    volumes = tuple(_volume(series, file, form, time, password) for time in range(count))
    return SeriesPlan(series.uid, volumes)


def _volume(
    series: Series, file: GridFile, form: PixelFormat, time: int, password: str
) -> VolumePlan:
    count, slices, rows, columns = file.shape
    stored = np.dtype(file.dtype)
    wide = stored.itemsize > 4
    shape = (slices, rows, columns)
    first = file.start + time * slices * form.plane_bytes
    affine = np.eye(4) if file.affine is None else file.affine
    return VolumePlan(
        uid=f"{series.uid}#{time}",
        series_uid=series.uid,
        shape=shape if form.samples == 1 else (*shape, 3),
        dtype="<f4" if wide else stored.newbyteorder("<").str,
        affine=tuple(tuple(float(x) for x in line) for line in affine),
        planes=tuple(
            PlanePlan(
                file.path,
                form,
                file.member,
                offset=first + k * form.plane_bytes,
                slope=file.slope,
                intercept=file.intercept,
            )
            for k in range(slices)
        ),
        frame_of_reference_uid=series.frame_of_reference_uid,
        calibration=Calibration.NONE if file.affine is None else Calibration.PATIENT,
        slope=1.0 if wide else file.slope,
        intercept=0.0 if wide else file.intercept,
        real_values=wide,
        time_index=time if count > 1 else None,
        notes=file.notes,
        password=password,
    )
