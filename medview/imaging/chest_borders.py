"""The borders of a chest's parts on the voxels of the image, and the values of its lungs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medview.core.volume import Volume
from medview.imaging.chest_ct import BONE_ABOVE_HU, LUNG_BELOW_HU, Chest, Part
from medview.imaging.coarse import Coarse, Float, grown, not_measured, shrunk

Labels = npt.NDArray[np.uint8]

#: Values of lungs are counted in bins of 1 HU from here on.
_LOWEST_HU = -1100.0
_BINS = 1500
#: Added to a part's number where its border runs.
_BORDER = 16


@dataclass(frozen=True)
class Painted:
    """Labels (numbers of `Part`) on a volume's grid; `counts` of each lung's voxels per HU."""

    labels: Labels
    counts: Mapping[Part, npt.NDArray[np.int64]]

    def share_below(self, lungs: Sequence[Part], hu: float) -> float:
        """The share of lungs' voxels below a value in HU."""
        counts = self._sum(lungs)
        return float(counts[: int(hu - _LOWEST_HU)].sum()) / max(1, int(counts.sum()))

    def mean_hu(self, lungs: Sequence[Part]) -> float:
        """The mean value of lungs, in HU, to half a unit."""
        counts = self._sum(lungs)
        middles = np.arange(_BINS) + _LOWEST_HU + 0.5
        return float((counts * middles).sum()) / max(1, int(counts.sum()))

    def _sum(self, lungs: Sequence[Part]) -> npt.NDArray[np.int64]:
        total: npt.NDArray[np.int64] = sum(
            (self.counts[part] for part in lungs), np.zeros(_BINS, np.int64)
        )
        return total


def paint(chest: Chest, grid: Coarse, volume: Volume, step: Callable[[float], None]) -> Painted:
    """The parts on the volume's own voxels, and how lung values are distributed.

    Within a coarse voxel of a border each voxel decides by its own value; beyond, the coarse
    voxel does. What was not measured is no part, and counts for no lung.
    """
    zones = _zones(chest, grid)
    labels = np.zeros(volume.geometry.shape, np.uint8)
    target, source = grid.turn.turned(labels), grid.turn.turned(volume.voxels)
    counts = np.zeros((len(Part) + 1, _BINS), np.int64)
    for k, plane in enumerate(target):
        step(k / len(target))
        zone = zones[k // grid.factors[0]]
        if not zone.any():
            continue
        rows, columns = _extent(zone, grid, plane.shape)
        stored = source[k, rows, columns]
        values = volume.value_of(stored)
        codes = grid.fine(zone, plane.shape)[rows, columns]
        codes[not_measured(volume, stored)] = 0
        plane[rows, columns] = painted = _decided(codes, values)
        for part in (Part.RIGHT_LUNG, Part.LEFT_LUNG):
            bins = np.clip(values[painted == part] - _LOWEST_HU, 0, _BINS - 1).astype(np.int64)
            counts[part] += np.bincount(bins, minlength=_BINS)
    return Painted(labels, {part: counts[part] for part in (Part.RIGHT_LUNG, Part.LEFT_LUNG)})


def _zones(chest: Chest, grid: Coarse) -> Labels:
    """Per coarse voxel a part's number, plus _BORDER where each voxel has to look for itself."""
    zones = np.zeros(chest.body.shape, np.uint8)
    one = max(grid.spacing_mm[1:]) * 1.01
    masks = {
        Part.BONE: chest.bone,
        Part.RIGHT_LUNG: chest.lungs[0],
        Part.LEFT_LUNG: chest.lungs[1],
        Part.AIRWAYS: chest.airways,
    }
    for part, mask in masks.items():
        wide = grown(mask, grid.spacing_mm, one) & (zones == 0)
        zones[wide] = part + _BORDER
    for part, mask in masks.items():
        zones[mask] = part + _BORDER
        zones[shrunk(mask, grid.spacing_mm, one)] = part
    return zones


def _decided(codes: Labels, values: Float) -> Labels:
    """Parts of voxels: those of their zone, in border zones only where the value fits."""
    border = codes > _BORDER
    parts = np.where(border, codes - _BORDER, codes)
    fits = np.where(parts == Part.BONE, values > BONE_ABOVE_HU, values < LUNG_BELOW_HU)
    return np.where(border & ~fits, 0, parts).astype(np.uint8)


def _extent(zone: Labels, grid: Coarse, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The voxels of a plane that a coarse plane with something in it covers."""
    rows, columns = ndimage.find_objects((zone > 0).astype(np.uint8))[0]
    return (
        slice(rows.start * grid.factors[1], min(shape[0], rows.stop * grid.factors[1])),
        slice(columns.start * grid.factors[2], min(shape[1], columns.stop * grid.factors[2])),
    )
