"""Where voxels are: a grid in patient space, and the way between index and millimetre."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
import numpy.typing as npt

from medview.core.errors import GeometryError

FloatArray = npt.NDArray[np.float64]

#: Letters of the positive and negative end of each patient axis (PS3.3 C.7.6.1.1.1).
_AXIS_LETTERS = (("L", "R"), ("P", "A"), ("H", "F"))


class Calibration(StrEnum):
    """What a millimetre on this grid rests on (PS3.3 10.7.1.3)."""

    PATIENT = "patient"
    DETECTOR = "detector"
    MAGNIFIED = "magnified"
    FIDUCIAL = "fiducial"
    NONE = "none"


@dataclass(frozen=True, eq=False)
class Geometry:
    """A regular grid of voxels in the patient.

    `shape` counts (slices, rows, columns). `affine` is 4x4 and takes an index
    (k, j, i, 1) to LPS millimetres (x to the patient's left, y to posterior, z to head).
    With that order the affine of an ordinary axial series is left-handed: a negative
    determinant does not mean a mirrored image. Shear (gantry tilt) is allowed.
    Raises GeometryError for shapes below 1 and affines that are not invertible.
    """

    shape: tuple[int, int, int]
    affine: FloatArray
    frame_of_reference_uid: str = ""
    calibration: Calibration = Calibration.PATIENT

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise GeometryError("The image geometry is not a finite 4x4 matrix")
        if min(self.shape) < 1:
            raise GeometryError(f"An image needs slices, rows and columns, not {self.shape}")
        if not np.array_equal(affine[3], (0, 0, 0, 1)) or abs(np.linalg.det(affine)) < 1e-12:
            raise GeometryError("The image geometry cannot be inverted")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        slices, rows, columns = self.shape
        object.__setattr__(self, "shape", (int(slices), int(rows), int(columns)))

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between planes across them, between rows and between columns.

        In a stack that leans (gantry tilt) the step from plane to plane is longer than that.
        """
        step, down, across = self.affine[:3, :3].T
        normal = np.cross(down, across)
        between = abs(float(step @ normal)) / float(np.linalg.norm(normal))
        return between, float(np.linalg.norm(down)), float(np.linalg.norm(across))

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in millilitres, true for sheared grids too."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def in_patient_space(self) -> bool:
        """True where millimetres and directions in the patient are known."""
        return self.calibration is Calibration.PATIENT

    @cached_property
    def inverse(self) -> FloatArray:
        """4x4 matrix from LPS millimetres to index (k, j, i)."""
        inverse = np.asarray(np.linalg.inv(self.affine), dtype=np.float64)
        inverse.setflags(write=False)
        return inverse

    @property
    def center_lps_mm(self) -> FloatArray:
        """Centre of the grid, shape (3,)."""
        return self.to_lps_mm((np.array(self.shape, dtype=np.float64) - 1) / 2)

    @property
    def orientation(self) -> str:
        """Nearest patient direction of growing k, j, i, as three letters such as `HPL`."""
        return "".join(direction_letters(self.affine[:3, axis])[:1] for axis in range(3))

    def to_lps_mm(self, index: npt.ArrayLike) -> FloatArray:
        """Points (..., 3) given as (k, j, i), fractions allowed, in LPS millimetres."""
        points = np.asarray(index, dtype=np.float64)
        result: FloatArray = points @ self.affine[:3, :3].T + self.affine[:3, 3]
        return result

    def to_index(self, point_lps_mm: npt.ArrayLike) -> FloatArray:
        """Points (..., 3) in LPS millimetres as fractional (k, j, i)."""
        points = np.asarray(point_lps_mm, dtype=np.float64)
        result: FloatArray = points @ self.inverse[:3, :3].T + self.inverse[:3, 3]
        return result

    def contains(self, point_lps_mm: npt.ArrayLike) -> bool:
        """Whether one point lies within half a voxel of the grid."""
        index = self.to_index(point_lps_mm)
        return bool(np.all(index >= -0.5) and np.all(index <= np.array(self.shape) - 0.5))

    def agrees_with(self, other: Geometry, tolerance_mm: float = 1e-3) -> bool:
        """Whether the two grids are the same, to `tolerance_mm` at the far corner."""
        if self.shape != other.shape:
            return False
        corners = np.array([(0, 0, 0), self.shape, (self.shape[0], 0, 0), (0, self.shape[1], 0)])
        apart = np.linalg.norm(self.to_lps_mm(corners) - other.to_lps_mm(corners), axis=1)
        return bool(apart.max() <= tolerance_mm)

    def cropped(self, box: Box) -> Geometry:
        """The grid of the sub-array `voxels[box.slices]`."""
        affine = self.affine.copy()
        affine[:3, 3] = self.to_lps_mm(box.start)
        return Geometry(box.shape, affine, self.frame_of_reference_uid, self.calibration)


@dataclass(frozen=True)
class Box:
    """A half-open block of indices: `start` <= (k, j, i) < `stop`."""

    start: tuple[int, int, int]
    stop: tuple[int, int, int]

    def __post_init__(self) -> None:
        start = (int(self.start[0]), int(self.start[1]), int(self.start[2]))
        stop = (int(self.stop[0]), int(self.stop[1]), int(self.stop[2]))
        if any(a < 0 or b <= a for a, b in zip(start, stop, strict=True)):
            raise GeometryError(f"An index box from {start} to {stop} holds nothing")
        object.__setattr__(self, "start", start)
        object.__setattr__(self, "stop", stop)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Counts along (k, j, i)."""
        a, b = self.start, self.stop
        return b[0] - a[0], b[1] - a[1], b[2] - a[2]

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """For indexing an array of the whole grid."""
        a, b = self.start, self.stop
        return slice(a[0], b[0]), slice(a[1], b[1]), slice(a[2], b[2])

    def union(self, other: Box) -> Box:
        """The smallest box holding both."""
        a, b = np.minimum(self.start, other.start), np.maximum(self.stop, other.stop)
        return Box((a[0], a[1], a[2]), (b[0], b[1], b[2]))

    @staticmethod
    def whole(shape: tuple[int, int, int]) -> Box:
        """The box of a whole grid."""
        return Box((0, 0, 0), shape)

    @staticmethod
    def of(mask: npt.NDArray[np.bool_]) -> Box | None:
        """The box around the True voxels of a 3D mask; None for an empty one."""
        if not mask.size:
            return None
        # Reductions over whole slices: those along the last axis alone take ten times as long.
        slices = mask.reshape(len(mask), -1).any(axis=1)
        flat = np.bitwise_or.reduce(mask, axis=0)
        bounds = []
        for line in map(np.asarray, (slices, flat.any(axis=1), flat.any(axis=0))):
            first = int(line.argmax())
            if not line[first]:
                return None
            bounds.append((first, line.size - int(line[::-1].argmax())))
        (k0, k1), (j0, j1), (i0, i1) = bounds
        return Box((k0, j0, i0), (k1, j1, i1))


def direction_letters(direction_lps: npt.ArrayLike, threshold: float = 1e-4) -> str:
    """Patient directions along a vector, the dominant first: up to three of R L A P H F.

    PS3.3 C.7.6.1.1.1: letters of lesser components follow in falling order. Components
    below `threshold` of the length are left out. An all-zero vector gives "".
    """
    vector = np.asarray(direction_lps, dtype=np.float64)
    length = float(np.linalg.norm(vector))
    if length == 0:
        return ""
    parts = [
        (abs(value), letters[0] if value > 0 else letters[1])
        for value, letters in zip(vector / length, _AXIS_LETTERS, strict=True)
        if abs(value) > threshold
    ]
    return "".join(letter for _, letter in sorted(parts, key=lambda part: -part[0]))


def lps_from_ras(affine_ras: npt.ArrayLike) -> FloatArray:
    """Turn a 4x4 matrix with RAS output (NIfTI) into one with LPS output, or back."""
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    result: FloatArray = flip @ np.asarray(affine_ras, dtype=np.float64)
    return result


def reorder_kji(affine_ijk: npt.ArrayLike) -> FloatArray:
    """Turn a 4x4 matrix taking (i, j, k) into one taking (k, j, i), or back."""
    result: FloatArray = np.asarray(affine_ijk, dtype=np.float64)[:, [2, 1, 0, 3]]
    return result
