"""Fitting an affine transform: points of a template onto an image, by their intensities.

Gauss-Newton on the correlation between what the template holds at its points and what the image
holds where they land (Lucas and Kanade 1981; Baker and Matthews, IJCV 56, 2004). A smooth gain
across the head, as receive coils leave it, is fitted along, and points that disagree count less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import linalg, ndimage

from medview.core.geometry import FloatArray

FloatImage = npt.NDArray[np.float32]

#: Millimetres that one unit of rotation, scale or shear moves a point of a head.
_REACH_MM = 80.0
_LONGEST_STEP = 6.0
_SMALLEST_STEP = 0.02
_LEAST_INSIDE = 0.4


def turn_about_axes(angles_deg: Sequence[float]) -> FloatArray:
    """The 3x3 rotation about x, then y, then z, axes that stay where they are; in degrees."""
    matrix: FloatArray = np.eye(3)
    for axis, angle in enumerate(np.radians(angles_deg)):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def _generators() -> FloatArray:
    """Nine 3x3 matrices: three rotations, scale, five stretches and shears."""
    matrices = np.zeros((9, 3, 3))
    for number, (a, b) in enumerate(((1, 2), (2, 0), (0, 1))):
        matrices[number, a, b], matrices[number, b, a] = -1, 1
        matrices[6 + number, a, b] = matrices[6 + number, b, a] = 1
    matrices[3] = np.eye(3)
    matrices[4] = np.diag((1, -1, 0))
    matrices[5] = np.diag((1, 1, -2))
    return matrices


_GENERATORS = _generators()


@dataclass(frozen=True, eq=False)
class Picture:
    """Values (k, j, i) on a grid along the patient axes: cubes of `spacing_mm` from `origin_mm`.

    `origin_mm` is the LPS position of the first voxel; `covered` is False where the image that
    this was sampled from has nothing.
    """

    values: FloatImage
    covered: npt.NDArray[np.bool_]
    origin_mm: FloatArray
    spacing_mm: float

    @cached_property
    def slopes(self) -> list[FloatImage]:
        """Change of value per millimetre along k, j, i."""
        return [
            np.asarray(slope, dtype=np.float32)
            for slope in np.gradient(self.values, self.spacing_mm)
        ]

    def index_of(self, points_lps_mm: FloatArray) -> FloatArray:
        """Fractional (k, j, i) of points (n, 3), as an array (3, n)."""
        return ((points_lps_mm - self.origin_mm) / self.spacing_mm)[:, ::-1].T

    def smoothed(self, sigma_mm: float) -> Picture:
        """The same grid after a Gaussian."""
        values = ndimage.gaussian_filter(
            self.values, sigma_mm / self.spacing_mm, mode="nearest", truncate=3.0
        )
        return replace(self, values=values)

    def thinned(self, factor: int) -> Picture:
        """Every `factor`-th voxel; smooth first."""
        few = np.s_[::factor, ::factor, ::factor]
        spacing_mm = self.spacing_mm * factor
        return Picture(
            np.ascontiguousarray(self.values[few]), self.covered[few], self.origin_mm, spacing_mm
        )

    def covers(self, points_lps_mm: FloatArray) -> npt.NDArray[np.bool_]:
        """Which of the points (n, 3) the image has something at."""
        index = np.rint(self.index_of(points_lps_mm)).astype(np.intp)
        last = np.array(self.values.shape)[:, None] - 1
        inside = np.all((index >= 0) & (index <= last), axis=0)
        inside[inside] = self.covered[tuple(index[:, inside])]
        return np.asarray(inside, dtype=np.bool_)

    def sample(self, points_lps_mm: FloatArray) -> FloatArray:
        """Values at points (n, 3), trilinear."""
        index = self.index_of(points_lps_mm)
        values: FloatArray = ndimage.map_coordinates(self.values, index, order=1, mode="nearest")
        return values


@dataclass(frozen=True, eq=False)
class Target:
    """Points (n, 3) of a template in LPS millimetres, and the intensity at each."""

    points_mm: FloatArray
    intensities: FloatArray


@dataclass(frozen=True, eq=False)
class Pose:
    """Where template points lie in the patient: `matrix` @ (point - center) + `position_mm`.

    `similarity` is the correlation of intensities, gain allowed for; `inside` is the share of
    points that the image covers.
    """

    matrix: FloatArray
    position_mm: FloatArray
    center_mm: FloatArray
    similarity: float = 0.0
    inside: float = 0.0

    def place(self, points_mm: FloatArray) -> FloatArray:
        """Template points (n, 3) in patient millimetres."""
        placed: FloatArray = (points_mm - self.center_mm) @ self.matrix.T + self.position_mm
        return placed

    @property
    def affine(self) -> FloatArray:
        """The same as a 4x4 matrix."""
        affine = np.eye(4)
        affine[:3, :3] = self.matrix
        affine[:3, 3] = self.position_mm - self.matrix @ self.center_mm
        return affine

    def moved(self, step: FloatArray) -> Pose:
        """After up to 12 parameters: shift in mm, then multiples of the generators."""
        change = np.tensordot(step[3:] / _REACH_MM, _GENERATORS[: len(step) - 3], axes=1)
        matrix = linalg.expm(change) @ self.matrix if len(step) > 3 else self.matrix
        return replace(self, matrix=matrix, position_mm=self.position_mm + step[:3])


def fit_affine(
    picture: Picture, target: Target, start: Pose, freedom: int, iterations: int = 20
) -> Pose:
    """Improve a pose. `freedom`: 6 rigid, 7 with scale, 12 affine.

    The similarity of the pose returned is measured there; a pose with less than 40 % of its
    points inside the image has similarity -1 and is not improved.
    """
    pose = start
    for _ in range(iterations):
        step = _gauss_newton_step(picture, target, pose, freedom)
        if step is None:
            break
        pose = pose.moved(step)
        if np.abs(step).max() < _SMALLEST_STEP:
            break
    return measured(picture, target, pose)


def measured(picture: Picture, target: Target, pose: Pose) -> Pose:
    """The pose with its similarity and share of points inside."""
    inside = picture.covers(pose.place(target.points_mm))
    share = float(inside.mean())
    if share < _LEAST_INSIDE:
        return replace(pose, similarity=-1.0, inside=share)
    points, wanted = target.points_mm[inside], target.intensities[inside]
    values = picture.sample(pose.place(points))
    if np.std(values) < 1e-6:
        return replace(pose, similarity=-1.0, inside=share)
    basis = _gain_basis(values, points - pose.center_mm)
    gain = _least_squares(basis, wanted)
    similarity = float(np.corrcoef(wanted, basis @ gain)[0, 1]) * float(np.sign(gain[0]))
    return replace(pose, similarity=similarity, inside=share)


def _gain_basis(values: FloatArray, offsets_mm: FloatArray) -> FloatArray:
    """Columns that turn image into template: value, value times place (three), constant."""
    return np.column_stack(
        [values, values[:, None] * (offsets_mm / _REACH_MM), np.ones_like(values)]
    )


def _least_squares(
    columns: FloatArray, wanted: FloatArray, weights: FloatArray | None = None
) -> FloatArray:
    """Coefficients of columns, by the normal equations: many rows, few columns of like size."""
    weighted = columns if weights is None else columns * weights[:, None]
    solution = np.linalg.lstsq(weighted.T @ columns, weighted.T @ wanted, rcond=None)[0]
    return np.asarray(solution, dtype=np.float64)


def _gauss_newton_step(
    picture: Picture, target: Target, pose: Pose, freedom: int
) -> FloatArray | None:
    """The parameters of one step, or None where too little of the template is in the image."""
    inside = picture.covers(pose.place(target.points_mm))
    if inside.mean() < _LEAST_INSIDE:
        return None
    points, wanted = target.points_mm[inside], target.intensities[inside]
    offsets = points - pose.center_mm
    index = picture.index_of(pose.place(points))
    values, *slope_kji = (
        ndimage.map_coordinates(image, index, order=1, mode="nearest")
        for image in (picture.values, *picture.slopes)
    )
    basis = _gain_basis(values, offsets)
    gain = _least_squares(basis, wanted)
    rest = wanted - basis @ gain
    slope = np.column_stack(slope_kji[::-1])
    slope *= (gain[0] + offsets @ gain[1:4] / _REACH_MM)[:, None]
    turned = offsets @ pose.matrix.T
    moves = [
        np.einsum("ij,ij->i", slope, turned @ generator.T) / _REACH_MM
        for generator in _GENERATORS[: freedom - 3]
    ]
    jacobian = np.column_stack([slope, *moves, basis])
    # Cauchy weights: a lesion, a vessel or fat pulls less than tissue that agrees.
    width = 2.0 * 1.4826 * float(np.median(np.abs(rest))) + 1e-9
    weights = 1.0 / (1.0 + (rest / width) ** 2)
    step = _least_squares(jacobian, rest, weights)[:freedom]
    longest = float(np.abs(step).max())
    return step * (_LONGEST_STEP / longest) if longest > _LONGEST_STEP else step
