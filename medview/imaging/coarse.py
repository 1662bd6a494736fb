"""A volume on a coarse grid along the patient's axes, and shapes of masks there in millimetres.

Rules that look for whole organs need neither every voxel nor the file's order of slices. Axes of
a coarse grid are (feet to head, front to back, right to left) whatever way the patient lay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medview.core.geometry import Geometry
from medview.core.volume import Volume
from medview.imaging.turned import Turn

Mask = npt.NDArray[np.bool_]
Float = npt.NDArray[np.float32]
T = TypeVar("T")

#: Where the axes of a coarse grid grow to.
_HEAD_BACK_LEFT = "SPL"
#: Value of what was not measured (padding): air.
_AIR_HU = -1000.0


@dataclass(frozen=True)
class Coarse:
    """Mean values of blocks of voxels, along the patient's axes; the last blocks may be cut off.

    `values` in the volume's unit, padding as air; `factors` voxels make one block. `turn` brings
    the volume's axes to those of the grid; GeometryError for a volume without a place in the
    patient, who then has no sides.
    """

    values: Float
    spacing_mm: tuple[float, float, float]
    factors: tuple[int, int, int]
    turn: Turn

    @staticmethod
    def of(volume: Volume, spacing_mm: float, step: Callable[[float], None]) -> Coarse:
        """A volume on blocks of at most about `spacing_mm`; `step` hears how far it is (0-1)."""
        turn = Turn.to(volume.geometry, _HEAD_BACK_LEFT)
        fine = turn.spacing_of(volume.geometry)
        factors = [max(1, int(spacing_mm / size + 0.25)) for size in fine]
        stored = turn.turned(volume.voxels)
        planes = -(-stored.shape[0] // factors[0])
        slabs = (stored[row * factors[0] : (row + 1) * factors[0]] for row in range(planes))
        means = []
        for row, slab in enumerate(slabs):
            step(row / planes)
            means.append(_block_means(_without_padding(volume, slab), factors[1], factors[2]))
        # The scale is linear: of a mean it is the mean of the values.
        values = np.stack(means) * np.float32(volume.slope) + np.float32(volume.intercept)
        spacing = (size * factor for size, factor in zip(fine, factors, strict=True))
        return Coarse(values, _triple(spacing), _triple(factors), turn)

    @staticmethod
    def extent_mm(geometry: Geometry) -> float:
        """How much of the patient a grid covers from feet to head."""
        turn = Turn.to(geometry, _HEAD_BACK_LEFT)
        return geometry.shape[turn.order[0]] * turn.spacing_of(geometry)[0]

    @property
    def voxel_ml(self) -> float:
        """The volume of one block in millilitres."""
        return float(np.prod(self.spacing_mm)) / 1000

    def fine(self, plane: npt.NDArray[Any], shape: tuple[int, int]) -> npt.NDArray[Any]:
        """A coarse plane (front to back, right to left) on the pixels of the volume."""
        rows = np.arange(shape[0]) // self.factors[1]
        columns = np.arange(shape[1]) // self.factors[2]
        return plane[rows[:, None], columns]


def _triple(items: Iterable[T]) -> tuple[T, T, T]:
    first, second, third = items
    return first, second, third


def not_measured(volume: Volume, stored: npt.NDArray[Any]) -> Mask:
    """Where stored values say nothing: padding, and what is no number."""
    missing = volume.is_padding(stored)
    if stored.dtype.kind == "f":
        missing |= ~np.isfinite(stored)
    return missing


def _without_padding(volume: Volume, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Stored values with air where nothing was measured."""
    missing = not_measured(volume, stored)
    if not missing.any():
        return stored
    return np.where(missing, np.float32((_AIR_HU - volume.intercept) / volume.slope), stored)


def _block_means(slab: npt.NDArray[Any], rows: int, columns: int) -> Float:
    """Means over (all planes, rows, columns) of a slab, the last blocks filled up at the edge."""
    exact = np.float32 if slab.dtype.kind == "f" else np.int32
    plane = slab.sum(axis=0, dtype=exact)
    plane = np.pad(
        plane, [(0, -plane.shape[0] % rows), (0, -plane.shape[1] % columns)], mode="edge"
    )
    blocks = plane.reshape(plane.shape[0] // rows, rows, plane.shape[1] // columns, columns)
    means: Float = blocks.sum(axis=(1, 3), dtype=exact) / np.float32(len(slab) * rows * columns)
    return means.astype(np.float32)


# Shapes of masks, lengths in millimetres. What lies outside the image counts as neither. The
# element is a box along the patient's axes: three passes along lines, whatever its size.


def grown(mask: Mask, spacing_mm: Sequence[float], by_mm: float) -> Mask:
    """The mask and everything within a distance of it along each axis."""
    return _along_lines(mask, spacing_mm, by_mm, ndimage.maximum_filter1d)


def shrunk(mask: Mask, spacing_mm: Sequence[float], by_mm: float) -> Mask:
    """What of the mask lies further than a distance from everything else in the image."""
    return _along_lines(mask, spacing_mm, by_mm, ndimage.minimum_filter1d)


def _along_lines(
    mask: Mask, spacing_mm: Sequence[float], by_mm: float, filter1d: Callable[..., Any]
) -> Mask:
    result = mask.view(np.uint8)
    for axis, size_mm in enumerate(spacing_mm):
        reach = int(by_mm / size_mm + 1e-6)
        if reach and mask.shape[axis] > 1:
            result = filter1d(result, 2 * reach + 1, axis=axis, mode="nearest")
    return result.view(np.bool_)


def opened(mask: Mask, spacing_mm: Sequence[float], radius_mm: float) -> Mask:
    """What of the mask a box of that half width reaches from inside."""
    return grown(shrunk(mask, spacing_mm, radius_mm), spacing_mm, radius_mm) & mask


def closed(mask: Mask, spacing_mm: Sequence[float], radius_mm: float) -> Mask:
    """The mask and what no box of that half width reaches from outside."""
    return shrunk(grown(mask, spacing_mm, radius_mm), spacing_mm, radius_mm) | mask


def filled(mask: Mask) -> Mask:
    """The mask with the holes of each slice filled."""
    result = np.empty_like(mask)
    for k, plane in enumerate(mask):
        result[k] = ndimage.binary_fill_holes(plane) if plane.any() else plane
    return result
