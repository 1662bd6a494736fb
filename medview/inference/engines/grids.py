"""The grid a network works on within a volume: the volume's axes in another order, other steps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from medview.core.codes import HOUNSFIELD
from medview.core.errors import ModelError
from medview.core.geometry import Box, Geometry
from medview.core.volume import Volume
from medview.imaging.arg_max import Line, line
from medview.imaging.crops import axes_of
from medview.imaging.resample import resample_values
from medview.inference.adapter import refuse_placeless

FloatMap = npt.NDArray[np.float32]

#: Side of the blocks that are looked at for whether anything is in them, in voxels.
BLOCK = 4
#: Below this a block of a CT is air; other images: this share of the way from dark to bright.
_AIR_HU, _DARK = -900.0, 0.05
#: Voxels that are sampled at a time.
_AT_ONCE = 1 << 23


@dataclass(frozen=True, eq=False)
class ModelGrid:
    """The network's grid in a volume: its axes are the volume's, in another order or turned.

    `axes` gives the volume's axis for each of the network's, `turned` whether it runs against it;
    `shape` counts voxels along the network's axes and `lines` place the volume's among them.
    """

    volume: Geometry
    axes: tuple[int, int, int]
    turned: tuple[bool, bool, bool]
    shape: tuple[int, int, int]

    @classmethod
    def of(
        cls, geometry: Geometry, orientation: str, spacing_mm: Sequence[float] | None
    ) -> ModelGrid:
        """The grid along some patient directions, to the nearest whole number of voxels.

        `spacing_mm` follows `orientation`, letters such as `RAS`; empty for the volume's own axes.
        ModelError for an orientation where the volume does not say how it lies in the patient.
        """
        axes, turned = _aligned(geometry, orientation)
        steps = np.linalg.norm(geometry.affine[:3, :3], axis=0)[list(axes)]
        counts = np.array(geometry.shape)[list(axes)]
        wanted = np.array(steps if spacing_mm is None else spacing_mm)
        a, b, c = (max(1, round(float(n))) for n in counts * steps / wanted)
        return cls(geometry, axes, turned, (a, b, c))

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """Voxels along the volume's axes."""
        k, j, i = (self.shape[self.axes.index(axis)] for axis in range(3))
        return k, j, i

    @property
    def geometry(self) -> Geometry:
        """Where the voxels lie, in the volume's order of axes: the same field of view."""
        factor = np.array(self.volume.shape) / np.array(self.stored_shape)
        affine = self.volume.affine.copy()
        affine[:3, :3] *= factor
        affine[:3, 3] = self.volume.to_lps_mm((factor - 1) / 2)
        return replace(self.volume, shape=self.stored_shape, affine=affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Steps along the network's axes in millimetres."""
        steps = np.linalg.norm(self.geometry.affine[:3, :3], axis=0)
        a, b, c = (float(steps[axis]) for axis in self.axes)
        return a, b, c

    @property
    def lines(self) -> list[Line]:
        """The volume's voxels among those of the grid, axis by axis of the network."""
        counts = [self.volume.shape[axis] for axis in self.axes]
        return [line(size, count) for size, count in zip(self.shape, counts, strict=True)]

    def to_network(self, stored: npt.NDArray[np.float32]) -> FloatMap:
        """An array in the volume's order as the network sees it."""
        turned = tuple(slice(None, None, -1 if turn else 1) for turn in self.turned)
        return np.ascontiguousarray(stored.transpose(self.axes)[turned])

    def to_volume(self, values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """An array as the network sees it in the volume's order."""
        turned = tuple(slice(None, None, -1 if turn else 1) for turn in self.turned)
        back = [self.axes.index(axis) for axis in range(3)]
        return np.ascontiguousarray(values[turned].transpose(back))


def _aligned(
    geometry: Geometry, orientation: str
) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """For each of the network's axes the nearest of the volume's, and whether it is turned."""
    if not orientation:
        return (0, 1, 2), (False, False, False)
    refuse_placeless(geometry)
    steps = geometry.affine[:3, :3]
    cosines = axes_of(orientation).T @ (steps / np.linalg.norm(steps, axis=0))
    a, b, c = max(
        itertools.permutations(range(3)),
        key=lambda axes: sum(abs(cosines[n, axis]) for n, axis in enumerate(axes)),
    )
    x, y, z = (bool(cosines[n, axis] < 0) for n, axis in enumerate((a, b, c)))
    return (a, b, c), (x, y, z)


def resampled(volume: Volume, grid: ModelGrid, progress: Callable[[float], None]) -> FloatMap:
    """Real-world values on the network's grid, as the network sees them, linear between voxels.

    What is not a number becomes the least that is one; ModelError where there is none. `progress`
    hears the share that is done, 0-1, often enough to stop there.
    """
    if grid.shape == tuple(volume.geometry.shape[axis] for axis in grid.axes):
        stored = volume.values()
    else:
        geometry = grid.geometry
        stored = np.empty(grid.stored_shape, np.float32)
        rows = max(1, _AT_ONCE // math.prod(grid.stored_shape[1:]))
        for first in range(0, len(stored), rows):
            progress(first / len(stored))
            stop = min(first + rows, len(stored))
            box = Box((first, 0, 0), (stop, *grid.stored_shape[1:]))
            stored[first:stop] = resample_values(volume, geometry.cropped(box))
    values = grid.to_network(stored)
    wrong = ~np.isfinite(values)
    if wrong.any():
        if wrong.all():
            raise ModelError("The image holds no numbers that a model could look at.")
        values = np.where(wrong, values[~wrong].min(), values)
    return values


def occupied(values: FloatMap, unit: str) -> npt.NDArray[np.bool_]:
    """Blocks of `BLOCK` voxels along each axis in which there is something, by their mean.

    Air in a CT is nothing, and in other images what is nearly as dark as the darkest block.
    """
    blocks = values
    for axis, size in enumerate(values.shape):
        starts = np.arange(0, size, BLOCK)
        counts = np.diff(np.append(starts, size)).astype(np.float32)
        shape = [-1 if other == axis else 1 for other in range(3)]
        blocks = np.add.reduceat(blocks, starts, axis=axis)
        blocks /= counts.reshape(shape)
    if unit == HOUNSFIELD.value:
        return np.asarray(blocks > _AIR_HU)
    dark, bright = float(blocks.min()), float(np.percentile(blocks, 99))
    return np.asarray(blocks >= dark + _DARK * (bright - dark))
