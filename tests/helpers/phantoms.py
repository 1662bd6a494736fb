"""Computed images with known truth: where every voxel is and what it is worth."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from medview.core.geometry import Geometry
from medview.core.volume import Volume

Vector = tuple[float, float, float]

AXIAL: tuple[Vector, Vector] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
SAGITTAL: tuple[Vector, Vector] = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0))
CORONAL: tuple[Vector, Vector] = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
PLANES = {"axial": AXIAL, "sagittal": SAGITTAL, "coronal": CORONAL}


def oblique(degrees_x: float, degrees_z: float) -> tuple[Vector, Vector]:
    """Row and column directions of an axial plane turned about x, then about z."""
    a, b = math.radians(degrees_x), math.radians(degrees_z)
    about_x = np.array([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
    about_z = np.array([[math.cos(b), -math.sin(b), 0], [math.sin(b), math.cos(b), 0], [0, 0, 1]])
    turned = about_z @ about_x
    row, column = turned[:, 0], turned[:, 1]
    return (
        (float(row[0]), float(row[1]), float(row[2])),
        (float(column[0]), float(column[1]), float(column[2])),
    )


@dataclass(frozen=True)
class Phantom:
    """A sphere in air, with an L-shaped mark that no mirroring leaves as it was.

    The grid counts (slices, rows, columns). `row` and `column` are the directions of growing
    column and row number, as in Image Orientation (Patient). `tilt_deg` leans the stack of
    slices as a gantry does: slices stay as they are, each is shifted along its columns.
    Values are in HU: air -1000, sphere `inside`, mark 700.
    """

    shape: tuple[int, int, int] = (16, 40, 48)
    spacing_mm: Vector = (2.5, 0.8, 0.7)
    row: Vector = AXIAL[0]
    column: Vector = AXIAL[1]
    origin_lps_mm: Vector = (-20.0, -15.0, 30.0)
    tilt_deg: float = 0.0
    radius_mm: float = 11.0
    inside: float = 60.0

    @property
    def normal(self) -> npt.NDArray[np.float64]:
        """Direction across the slices: row x column."""
        return np.cross(np.array(self.row), np.array(self.column))

    @property
    def step(self) -> npt.NDArray[np.float64]:
        """From one slice to the next, mm: spacing along the normal, plus the lean of a tilt."""
        lean = math.tan(math.radians(self.tilt_deg))
        return self.spacing_mm[0] * (self.normal + lean * np.array(self.column))

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """(k, j, i, 1) to LPS mm, straight from the definition in PS3.3 C.7.6.2.1.1."""
        affine = np.eye(4)
        affine[:3, 0] = self.step
        affine[:3, 1] = np.array(self.column) * self.spacing_mm[1]
        affine[:3, 2] = np.array(self.row) * self.spacing_mm[2]
        affine[:3, 3] = self.origin_lps_mm
        return affine

    @property
    def geometry(self) -> Geometry:
        """The grid as a core type."""
        return Geometry(self.shape, self.affine)

    @property
    def center_lps_mm(self) -> npt.NDArray[np.float64]:
        """Centre of the sphere: the middle of the grid."""
        middle = (np.array(self.shape, dtype=np.float64) - 1) / 2
        return self.affine[:3, :3] @ middle + self.affine[:3, 3]

    @property
    def volume_ml(self) -> float:
        """What the sphere holds, by formula."""
        return 4 / 3 * math.pi * self.radius_mm**3 / 1000

    def position(self, k: int) -> npt.NDArray[np.float64]:
        """Image Position (Patient) of slice k."""
        return np.array(self.origin_lps_mm) + k * self.step

    def points_lps_mm(self) -> npt.NDArray[np.float64]:
        """Where each voxel is: (slices, rows, columns, 3)."""
        index = np.stack(np.meshgrid(*map(np.arange, self.shape), indexing="ij"), axis=-1)
        return index @ self.affine[:3, :3].T + self.affine[:3, 3]

    def sphere(self) -> npt.NDArray[np.bool_]:
        """Voxels whose centre lies in the sphere."""
        apart = self.points_lps_mm() - self.center_lps_mm
        return np.asarray((apart**2).sum(axis=-1) <= self.radius_mm**2)

    def values(self) -> npt.NDArray[np.int16]:
        """HU of every voxel; each slice differs from every other by its bar."""
        image = np.full(self.shape, -1000, dtype=np.int16)
        image[self.sphere()] = self.inside
        image[0, 1:8, 1:3] = 700
        image[0, 6:8, 1:6] = 700
        for k in range(self.shape[0]):
            image[k, -2, : 1 + k % self.shape[2]] = 300 + k
        return image

    def volume(self) -> Volume:
        """The phantom as a loaded volume."""
        return Volume("phantom", "1.2.3", self.geometry, self.values(), unit="[hnsf'U]")

    def turned(self, plane: tuple[Vector, Vector]) -> Phantom:
        """The same grid lying another way in the patient."""
        return replace(self, row=plane[0], column=plane[1])
