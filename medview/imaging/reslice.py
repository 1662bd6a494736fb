"""Slices of a volume as planes of the body, and where their pixels are in the patient."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt

from medview.core.geometry import Box, FloatArray, Geometry, direction_letters
from medview.core.views import Plane

_X, _Y, _Z = 0, 1, 2
#: For each plane of the body the patient axis and sense that points right on the screen, down on
#: the screen, and to the next image. Radiological display: the patient's right is on the left,
#: axial planes are seen from the feet, sagittal ones face left; images run from head to feet,
#: from front to back and from right to left.
_DISPLAY = {
    Plane.AXIAL: ((_X, 1), (_Y, 1), (_Z, -1)),
    Plane.CORONAL: ((_X, 1), (_Z, -1), (_Y, 1)),
    Plane.SAGITTAL: ((_Y, 1), (_Z, -1), (_X, 1)),
}


@dataclass(frozen=True)
class EdgeLetters:
    """Patient directions at the four edges of a picture, "" where unknown."""

    left: str = ""
    right: str = ""
    top: str = ""
    bottom: str = ""

    def turned(self, quarter_turns: int) -> EdgeLetters:
        """The letters of the picture turned clockwise."""
        letters = self
        for _ in range(quarter_turns % 4):
            letters = EdgeLetters(letters.bottom, letters.top, letters.left, letters.right)
        return letters

    def flipped(self, *, horizontal: bool, vertical: bool) -> EdgeLetters:
        """The letters of the mirrored picture."""
        left, right = (self.right, self.left) if horizontal else (self.left, self.right)
        top, bottom = (self.bottom, self.top) if vertical else (self.top, self.bottom)
        return EdgeLetters(left, right, top, bottom)


_OPPOSITE = str.maketrans("RLAPHF", "LRPAFH")


def letters_from_patient_orientation(text: str) -> EdgeLetters:
    r"""Edge letters of a projection image from (0020,0020) Patient Orientation, e.g. `L\F`.

    The first value is the direction of the rows (towards the right edge), the second that of
    the columns (towards the bottom). Anything but R L A P H F gives no letters.
    """
    parts = text.strip().upper().replace("/", "\\").split("\\")
    if len(parts) != 2 or any(not part or set(part) - set("RLAPHF") for part in parts):
        return EdgeLetters()
    right, bottom = parts
    return EdgeLetters(right.translate(_OPPOSITE), right, bottom.translate(_OPPOSITE), bottom)


def grid_axes(geometry: Geometry) -> tuple[int, int, int]:
    """The grid axis nearest to patient x, y and z: the one-to-one choice that fits best."""
    steps = geometry.affine[:3, :3]
    cosines = np.abs(steps / np.linalg.norm(steps, axis=0))
    best = max(permutations(range(3)), key=lambda axes: sum(cosines[p, axes[p]] for p in range(3)))
    return best[0], best[1], best[2]


@dataclass(frozen=True, eq=False)
class PlaneFrame:
    """A family of parallel grid slices, and how each is laid on the screen.

    A slice is the set of voxels with one index along the grid axis `normal`. Its pixels are
    the acquired ones: nothing is resampled. On the screen lie plane millimetres (x to the
    right, y down), measured from the voxel with in-plane index (0, 0) along the orthonormal
    directions `right_lps` and `down_lps`; `index_to_mm` (2x2) takes (index along `down_axis`,
    index along `right_axis`) there, so that anisotropic pixels and sheared grids (gantry tilt)
    stand undistorted. `next_sign` is the change of index that leads to the next image.
    """

    plane: Plane
    geometry: Geometry
    normal: int
    down_axis: int
    right_axis: int
    next_sign: int
    right_lps: FloatArray
    down_lps: FloatArray
    index_to_mm: FloatArray

    @property
    def count(self) -> int:
        """How many slices there are."""
        return self.geometry.shape[self.normal]

    @property
    def pixel_shape(self) -> tuple[int, int]:
        """Pixels of a slice: along `down_axis`, along `right_axis`."""
        return self.geometry.shape[self.down_axis], self.geometry.shape[self.right_axis]

    @cached_property
    def mm_to_index(self) -> FloatArray:
        """The inverse of `index_to_mm`."""
        return np.asarray(np.linalg.inv(self.index_to_mm), dtype=np.float64)

    @cached_property
    def step_mm(self) -> float:
        """Distance between neighbouring slices, at right angles to them."""
        normal = np.cross(self.right_lps, self.down_lps)
        return float(abs(normal @ self.geometry.affine[:3, self.normal]))

    @cached_property
    def patient_axis(self) -> int:
        """The patient axis (x, y, z) nearest to the line of sight."""
        return int(np.argmax(np.abs(np.cross(self.right_lps, self.down_lps))))

    @cached_property
    def extent_mm(self) -> tuple[float, float, float, float]:
        """Smallest and largest x and y of the outer voxel edges: (left, top, right, bottom)."""
        rows, columns = self.pixel_shape
        corners = np.array([(r, c) for r in (-0.5, rows - 0.5) for c in (-0.5, columns - 0.5)])
        points = corners @ self.index_to_mm.T
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        return float(left), float(top), float(right), float(bottom)

    def pixels(self, array: npt.NDArray[Any], number: int) -> npt.NDArray[Any]:
        """Slice `number` of an array of the whole grid, (down, right[, channels]): a view."""
        picked = array[(slice(None),) * self.normal + (number,)]
        return picked.swapaxes(0, 1) if self.down_axis > self.right_axis else picked

    def slice_number(self, point_lps_mm: npt.ArrayLike) -> int:
        """The slice nearest to a point, the first or last one for points outside."""
        index = float(self.geometry.to_index(point_lps_mm)[self.normal])
        return int(np.clip(np.floor(index + 0.5), 0, self.count - 1))

    def to_plane_mm(self, point_lps_mm: npt.ArrayLike) -> tuple[float, float]:
        """Where a point, moved along the grid into the slice, lies on the plane: (x, y) in mm."""
        index = self.geometry.to_index(point_lps_mm)
        x, y = self.index_to_mm @ (index[self.down_axis], index[self.right_axis])
        return float(x), float(y)

    def to_lps_mm(self, x_mm: float, y_mm: float, number: float) -> tuple[float, float, float]:
        """The point of slice `number` at (x, y) of the plane."""
        down, right = self.mm_to_index @ (x_mm, y_mm)
        index = np.empty(3)
        index[[self.normal, self.down_axis, self.right_axis]] = number, down, right
        x, y, z = self.geometry.to_lps_mm(index)
        return float(x), float(y), float(z)

    @cached_property
    def letters(self) -> EdgeLetters:
        """True patient directions at the edges, up to three letters each; none without space."""
        if not self.geometry.in_patient_space:
            return EdgeLetters()
        return EdgeLetters(
            left=direction_letters(-self.right_lps),
            right=direction_letters(self.right_lps),
            top=direction_letters(-self.down_lps),
            bottom=direction_letters(self.down_lps),
        )

    def meets(self, box: Box, number: int) -> bool:
        """Whether slice `number` runs through an index box."""
        return box.start[self.normal] <= number < box.stop[self.normal]


def plane_frame(
    geometry: Geometry,
    plane: Plane,
    *,
    quarter_turns: int = 0,
    flip_horizontal: bool = False,
    flip_vertical: bool = False,
) -> PlaneFrame:
    """How a plane of the body is shown from this grid.

    The acquired planes nearest to the patient's are taken, each grid axis once, and named by
    their true directions, so that every pixel is a measured one. On sheared grids the edge
    nearer to its patient axis stays along the screen and the other is set at its true angle.
    `ACQUIRED` shows rows and columns as stored. `quarter_turns` go clockwise and come before flips.
    """
    steps = geometry.affine[:3, :3]
    axes: tuple[int, ...] = (2, 1, 0)
    signs: tuple[int, ...] = (1, 1, 1)
    if plane is not Plane.ACQUIRED:
        nearest = grid_axes(geometry)
        wanted = _DISPLAY[plane]
        axes = tuple(nearest[patient] for patient, _ in wanted)
        signs = tuple(
            1 if steps[patient, axis] * sense >= 0 else -1
            for (patient, sense), axis in zip(wanted, axes, strict=True)
        )
    right_axis, down_axis, normal = axes
    right = steps[:, right_axis] * signs[0]
    down = steps[:, down_axis] * signs[1]
    right_lps, down_lps = _square(right, down, plane)
    for _ in range(quarter_turns % 4):
        right_lps, down_lps = -down_lps, right_lps
        right_axis, down_axis = down_axis, right_axis
    right_lps = -right_lps if flip_horizontal else right_lps
    down_lps = -down_lps if flip_vertical else down_lps
    in_plane = steps[:, [down_axis, right_axis]]
    return PlaneFrame(
        plane=plane,
        geometry=geometry,
        normal=normal,
        down_axis=down_axis,
        right_axis=right_axis,
        next_sign=signs[2],
        right_lps=right_lps,
        down_lps=down_lps,
        index_to_mm=np.vstack((right_lps @ in_plane, down_lps @ in_plane)),
    )


def _square(right: FloatArray, down: FloatArray, plane: Plane) -> tuple[FloatArray, FloatArray]:
    """Two unit vectors at right angles in the plane of the two: the better placed one is kept."""
    right, down = right / np.linalg.norm(right), down / np.linalg.norm(down)
    if plane is Plane.ACQUIRED:
        keep_right = True
    else:
        (right_patient, _), (down_patient, _), _ = _DISPLAY[plane]
        keep_right = bool(abs(right[right_patient]) >= abs(down[down_patient]))
    if keep_right:
        down = down - (down @ right) * right
        down /= np.linalg.norm(down)
    else:
        right = right - (right @ down) * down
        right /= np.linalg.norm(right)
    return right, down


def acquired_plane(geometry: Geometry) -> Plane:
    """The plane of the body in which the images were taken; ACQUIRED without patient space."""
    if not geometry.in_patient_space:
        return Plane.ACQUIRED
    planes = (Plane.SAGITTAL, Plane.CORONAL, Plane.AXIAL)
    return planes[grid_axes(geometry).index(0)]


class Projection(StrEnum):
    """How the slices of a slab become one."""

    MAXIMUM = "maximum"
    MEAN = "mean"
    MINIMUM = "minimum"


def slab(
    array: npt.NDArray[Any], frame: PlaneFrame, number: int, thickness_mm: float, mode: Projection
) -> npt.NDArray[Any]:
    """Slices within half of `thickness_mm` of slice `number` as one, oriented as `pixels` gives.

    Slices beyond the volume are left out. The mean is float32, the others keep the type.
    """
    reach = int(thickness_mm / 2 / frame.step_mm + 1e-6)
    first, last = max(0, number - reach), min(frame.count, number + reach + 1)
    block = array[(slice(None),) * frame.normal + (slice(first, last),)]
    if mode is Projection.MAXIMUM:
        flat = block.max(axis=frame.normal)
    elif mode is Projection.MINIMUM:
        flat = block.min(axis=frame.normal)
    else:
        flat = block.mean(axis=frame.normal, dtype=np.float64).astype(np.float32)
    return np.asarray(flat.swapaxes(0, 1) if frame.down_axis > frame.right_axis else flat)
