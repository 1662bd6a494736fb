"""Heads with a known pose: the template's brain in a scalp, turned and moved as asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medview.core.geometry import Geometry
from medview.imaging.localise import HeadTemplate


@dataclass(frozen=True)
class PosedHead:
    """`matrix` @ template point + `shift_mm` = patient point, all LPS; see `voxels`.

    Around the brain lie a dark skull and a bright scalp; a coil brightens the front; noise
    comes from a fixed seed.
    """

    angles_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 0.92
    scalp: bool = True

    @property
    def matrix(self) -> npt.NDArray[np.float64]:
        """Rotation times scale, with a little shear that no rotation explains."""
        turn = Rotation.from_euler("xyz", self.angles_deg, degrees=True).as_matrix()
        return np.asarray(turn @ np.array([[1, 0.03, 0], [0, 1.04, 0], [0, 0, 0.97]]) * self.scale)

    def place(self, points_mm: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Template points in the patient."""
        return np.asarray(points_mm) @ self.matrix.T + np.array(self.shift_mm)

    def to_template(self, points_lps_mm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Patient points in the template."""
        return (points_lps_mm - self.shift_mm) @ np.linalg.inv(self.matrix).T

    def voxels(self, template: HeadTemplate, geometry: Geometry) -> npt.NDArray[np.float32]:
        """The head on a grid."""
        index = np.moveaxis(np.indices(geometry.shape, dtype=np.float64), 0, -1)
        lps = geometry.to_lps_mm(index)
        flat = self.to_template(lps).reshape(-1, 3)
        values = template.t1.sample(flat)
        edge = template.t1.index_of(flat)
        outside = np.any(
            (edge < 0) | (edge > np.array(template.tissues.shape)[:, None] - 1), axis=0
        )
        values[outside] = 0.0
        if self.scalp:
            away = ndimage.distance_transform_edt(template.tissues == 0) * template.t1.spacing_mm
            distance = ndimage.map_coordinates(away, edge, order=1, mode="nearest")
            values[~outside & (distance > 8) & (distance < 13)] = 400.0
        values = values.reshape(geometry.shape) * np.exp(-lps[..., 1] / 200.0)
        noise = np.random.default_rng(0).normal(0.0, 4.0, geometry.shape)
        return np.abs(values + noise).astype(np.float32)


def stored(order: str, spacing_mm: float, size_mm: float, center: tuple[float, ...]) -> Geometry:
    """A cube about a centre, k, j and i growing towards the letters given, such as `HPL`."""
    axis_of = {"L": 0, "R": 0, "P": 1, "A": 1, "H": 2, "F": 2}
    count = int(size_mm / spacing_mm)
    affine = np.diag([0.0, 0.0, 0.0, 1.0])
    for axis, letter in enumerate(order):
        affine[axis_of[letter], axis] = spacing_mm if letter in "LPH" else -spacing_mm
    affine[:3, 3] = np.array(center) - affine[:3, :3] @ np.full(3, (count - 1) / 2)
    return Geometry((count, count, count), affine)
