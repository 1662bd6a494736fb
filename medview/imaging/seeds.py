"""Growing from seeds: what was marked roughly spreads until it meets borders or each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK
from scipy import ndimage

#: Borders are felt at this scale, in voxels.
_SCALE_VOXELS = 0.7
_LEVELS = 4095


def grown_from_seeds(
    values: npt.NDArray[np.floating], seeds: npt.NDArray[Any], spacing_mm: Sequence[float]
) -> npt.NDArray[Any]:
    """Every voxel given to one of the seeds' labels: a watershed of the steepness.

    Floods from all seeds at once (Beucher and Meyer 1993; ITK's MorphologicalWatershedFromMarkers)
    over the gradient's magnitude; where two floods meet the border lies. `seeds` has 0 where
    nothing was marked; arrays are (slices, rows, columns), `spacing_mm` in that order.
    """
    sigma = _SCALE_VOXELS * min(spacing_mm) / np.asarray(spacing_mm)
    smooth = ndimage.gaussian_filter(np.asarray(values, dtype=np.float32), sigma)
    steep = np.zeros(smooth.shape, dtype=np.float32)
    for axis, step in enumerate(spacing_mm):
        if smooth.shape[axis] > 1:
            steep += np.gradient(smooth, step, axis=axis) ** 2
    np.sqrt(steep, out=steep)
    levels = np.minimum(steep / (float(np.percentile(steep, 99.5)) or 1.0), 1) * _LEVELS
    relief = SimpleITK.GetImageFromArray(levels.astype(np.uint16))
    markers = SimpleITK.GetImageFromArray(np.ascontiguousarray(seeds))
    flooded = SimpleITK.MorphologicalWatershedFromMarkers(
        relief, markers, markWatershedLine=False, fullyConnected=False
    )
    return np.asarray(SimpleITK.GetArrayFromImage(flooded), dtype=seeds.dtype)


def otsu(values: npt.NDArray[Any]) -> float:
    """The value that parts a histogram into its two most distinct classes (Otsu 1979)."""
    flat = values[np.isfinite(values)].astype(np.float64)
    counts, edges = np.histogram(flat, bins=256)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * middles)
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = sums / below - (sums[-1] - sums) / above
    between = np.nan_to_num(below * above * apart**2)
    # Between two heaps all values part them alike: the middle is the safest.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))
    return float(edges[best + 1].mean())
