"""Values off the grid: oblique slices and slabs, and volumes and labels on another grid.

Loads numba, like `medview.imaging.kernels`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medview.core.errors import GeometryError
from medview.core.geometry import FloatArray, Geometry
from medview.core.segmentation import LabelArray
from medview.core.volume import Volume
from medview.imaging import kernels
from medview.imaging.reslice import Projection

_MODES = {Projection.MAXIMUM: 1, Projection.MEAN: 0, Projection.MINIMUM: -1}


def oblique_geometry(
    center_lps_mm: npt.ArrayLike,
    right_lps: npt.ArrayLike,
    down_lps: npt.ArrayLike,
    shape: tuple[int, int],
    spacing_mm: tuple[float, float],
    like: Geometry,
) -> Geometry:
    """The grid of one free slice: (rows, columns) with (row, column) spacing around a centre.

    `right_lps` and `down_lps` are the directions of growing columns and rows, of any length,
    at right angles; GeometryError if they are not.
    """
    right, down = (np.asarray(v, dtype=np.float64) for v in (right_lps, down_lps))
    right, down = right / np.linalg.norm(right), down / np.linalg.norm(down)
    if not abs(float(right @ down)) < 1e-3:
        raise GeometryError("The two directions of an oblique slice must be at right angles")
    affine = np.eye(4)
    affine[:3, 0] = np.cross(right, down)
    affine[:3, 1] = down * spacing_mm[0]
    affine[:3, 2] = right * spacing_mm[1]
    middle = affine[:3, 1] * (shape[0] - 1) / 2 + affine[:3, 2] * (shape[1] - 1) / 2
    affine[:3, 3] = np.asarray(center_lps_mm, dtype=np.float64) - middle
    return Geometry((1, *shape), affine, like.frame_of_reference_uid, like.calibration)


def oblique_slice(
    volume: Volume, grid: Geometry, *, outside: float = float("nan")
) -> npt.NDArray[np.float32]:
    """Real-world values (rows, columns) on the grid of `oblique_geometry`, trilinear.

    `outside` stands more than half a voxel beyond the volume.
    """
    picture: npt.NDArray[np.float32] = resample_values(volume, grid, outside=outside)[0]
    return picture


def oblique_slab(
    volume: Volume,
    grid: Geometry,
    thickness_mm: float,
    mode: Projection,
    *,
    step_mm: float = 0.5,
    outside: float = float("nan"),
) -> npt.NDArray[np.float32]:
    """Real-world values (rows, columns) of a slab around a free slice, as one picture.

    Layers `step_mm` apart, trilinear, at right angles to the slice; those beyond the volume
    are left out, `outside` stands where there is none.
    """
    _grey_only(volume)
    layers = 2 * int(thickness_mm / 2 / step_mm + 1e-6) + 1
    affine = grid.affine.copy()
    normal = affine[:3, 0] / np.linalg.norm(affine[:3, 0])
    affine[:3, 0] = normal * step_mm
    affine[:3, 3] -= normal * step_mm * (layers // 2)
    out = np.empty(grid.shape[1:], dtype=np.float32)
    matrix = _to_index(volume.geometry, affine)
    kernels.project_linear(volume.voxels, matrix, layers, _MODES[mode], out)
    return _real_world(volume, out, outside)


def resample_values(
    volume: Volume, grid: Geometry, *, outside: float = float("nan")
) -> npt.NDArray[np.float32]:
    """Real-world values of a grey volume on another grid, float32, trilinear.

    Edge voxels reach half a voxel outwards; beyond them stands `outside`.
    """
    _grey_only(volume)
    out = np.empty(grid.shape, dtype=np.float32)
    matrix = _to_index(volume.geometry, grid.affine)
    kernels.sample_linear(volume.voxels, matrix, float("nan"), out)
    return _real_world(volume, out, outside)


def resample_labels(labels: LabelArray, source: Geometry, grid: Geometry) -> LabelArray:
    """Labels on another grid, each place taking the nearest voxel; 0 beyond the source."""
    if labels.shape != source.shape:
        raise GeometryError(f"Labels {labels.shape} do not fit the grid {source.shape}")
    out = np.empty(grid.shape, dtype=labels.dtype)
    kernels.sample_nearest(labels, _to_index(source, grid.affine), out)
    return out


def _grey_only(volume: Volume) -> None:
    if volume.channels != 1:
        raise GeometryError("Colour images cannot be resampled as values")


def _to_index(source: Geometry, affine: FloatArray) -> npt.NDArray[np.float64]:
    """3x4 matrix from the index of one grid to that of another."""
    return np.ascontiguousarray((source.inverse @ affine)[:3])


def _real_world(
    volume: Volume, stored: npt.NDArray[Any], outside: float
) -> npt.NDArray[np.float32]:
    is_real = volume.slope == 1 and volume.intercept == 0
    values = stored if is_real else volume.value_of(stored)
    if not np.isnan(outside):
        # A voxel that is itself not a number cannot be told from the outside, and need not be.
        values[np.isnan(values)] = outside
    return values
