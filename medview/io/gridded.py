"""Files that hold one regular grid of voxels after a header: NIfTI, Analyze, NRRD, MetaImage."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    of what they unpack to. `slabs` are files that hold equal shares of the planes instead, each
    from `start` on. Several `samples` per voxel are a colour, or a volume each. `scales` gives a
    slope and intercept for each volume. Without an affine (k, j, i, 1) to LPS mm there is no
    orientation.
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
    scales: tuple[tuple[float, float], ...] = ()
    slabs: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def colored(self) -> bool:
        """Whether the values of a voxel are red, green, blue and perhaps opacity."""
        return self.samples in (3, 4) and np.dtype(self.dtype) == np.uint8


def plan_grid(series: Series, file: GridFile, password: str) -> SeriesPlan:
    """A volume for each of the volumes of the grid; ReadError where the file cannot hold them."""
    form = PixelFormat(
        file.encoding,
        rows=file.shape[2],
        columns=file.shape[3],
        dtype=file.dtype,
        samples=file.samples,
        packed_at=file.packed_at,
    )
    _check_size(file, form)
    parts = [None] if file.samples == 1 or file.colored else list(range(file.samples))
    count = file.shape[0] * len(parts)
    volumes = [
        _volume(series, file, form, time, part) for time in range(file.shape[0]) for part in parts
    ]
    return SeriesPlan(
        series.uid,
        tuple(
            replace(
                volume,
                uid=f"{series.uid}#{n}",
                time_index=n if count > 1 else None,
                password=password,
            )
            for n, volume in enumerate(volumes)
        ),
    )


def _check_size(file: GridFile, form: PixelFormat) -> None:
    planes = file.shape[0] * file.shape[1]
    sizes = [path.stat().st_size for path in file.slabs] or [file.size]
    if planes % len(sizes):
        raise ReadError(f"{planes} planes cannot lie in {len(sizes)} files", _AGAIN)
    expected = planes // len(sizes) * form.plane_bytes
    held = min(sizes) - file.start
    packed = file.encoding != "raw"
    if not packed and (file.start < 0 or held < expected):
        raise ReadError(f"The image is cut short: {held:,} of {expected:,} bytes", _AGAIN)
    if packed and expected > max(_CLAIM_FROM, _CLAIM_RATIO * min(sizes)):
        raise ReadError("The file claims far more voxels than its data can hold", _AGAIN)


def _volume(
    series: Series, file: GridFile, form: PixelFormat, time: int, component: int | None
) -> VolumePlan:
    count, slices, rows, columns = file.shape
    stored = np.dtype(file.dtype)
    wide = stored.itemsize > 4
    slope, intercept = file.scales[time % len(file.scales)] if file.scales else (1.0, 0.0)
    files = tuple(map(str, file.slabs or (file.path,)))
    share = count * slices // len(files)
    planes = tuple(
        PlanePlan(
            files[number // share],
            form,
            file.member,
            offset=file.start + number % share * form.plane_bytes,
            slope=slope,
            intercept=intercept,
            component=component,
        )
        for number in range(time * slices, (time + 1) * slices)
    )
    affine = np.eye(4) if file.affine is None else file.affine
    shape = (slices, rows, columns)
    part = () if component is None else (f"Value {component + 1} of {file.samples} per voxel",)
    return VolumePlan(
        uid=series.uid,
        series_uid=series.uid,
        shape=(*shape, 3) if file.colored else shape,
        dtype="<f4" if wide else stored.newbyteorder("<").str,
        affine=tuple(tuple(float(x) for x in line) for line in affine),
        planes=planes,
        frame_of_reference_uid=series.frame_of_reference_uid,
        calibration=Calibration.NONE if file.affine is None else Calibration.PATIENT,
        slope=1.0 if wide else slope,
        intercept=0.0 if wide else intercept,
        real_values=wide,
        label="".join(part),
        notes=(*part, *file.notes),
    )
