"""Bringing the numbers of a scan into the range that a network was trained on."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt


def percentile_zscore(
    voxels: npt.ArrayLike, low_percent: float = 0.5, high_percent: float = 99.5
) -> npt.NDArray[np.float32]:
    """Clip to two percentiles of the array itself, then subtract the mean and divide by the SD.

    For scans without a scale of their own, such as MR: the result does not change when the scan
    is multiplied by a positive number or shifted. An array of one value gives zeros; values that
    are not finite are refused with ValueError.
    """
    values = np.asarray(voxels, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("the voxels hold values that are not finite")
    low, high = np.percentile(values, [low_percent, high_percent])
    clipped = np.clip(values, low, high)
    clipped -= clipped.mean()
    spread = clipped.std()
    if spread <= 1e-9 * max(abs(low), abs(high)):
        return np.zeros(values.shape, dtype=np.float32)
    result: npt.NDArray[np.float32] = (clipped / spread).astype(np.float32)
    return result


def value_range(voxels: npt.ArrayLike, low: float, high: float) -> npt.NDArray[np.float32]:
    """Scale so that `low` becomes 0 and `high` 1, and cut off there.

    For values with a scale of their own: Hounsfield units, or the 0 to 255 of a picture.
    """
    if not high > low:
        raise ValueError(f"a range from {low:g} to {high:g} holds nothing")
    values = (np.asarray(voxels, dtype=np.float64) - low) / (high - low)
    result: npt.NDArray[np.float32] = np.clip(values, 0.0, 1.0).astype(np.float32)
    return result


_METHODS: Mapping[str, Callable[..., npt.NDArray[np.float32]]] = MappingProxyType(
    {"percentile_zscore": percentile_zscore, "range": value_range}
)


def normalise(voxels: npt.ArrayLike, intensity: Mapping[str, object]) -> npt.NDArray[np.float32]:
    """Apply the `preprocess.intensity` block of a model folder; unknown methods raise ValueError.

    `{"method": "percentile_zscore", "low_percent", "high_percent"}` or
    `{"method": "range", "low", "high"}`.
    """
    settings = dict(intensity)
    method = settings.pop("method", None)
    if method not in _METHODS:
        raise ValueError(f"unknown intensity method {method!r}")
    numbers = {name: float(str(value)) for name, value in settings.items()}
    return _METHODS[str(method)](voxels, **numbers)


def otsu_threshold(values: npt.ArrayLike, bins: int = 256) -> float:
    """The value that splits numbers into two classes farthest apart (Otsu 1979).

    It maximises the variance between the classes. Where a whole gap of thresholds splits the
    numbers alike, the middle of the gap is taken. Empty and non-finite input raises ValueError.
    """
    counts, edges = np.histogram(np.asarray(values), bins=bins)
    middles = (edges[1:] + edges[:-1]) / 2
    below, mass = np.cumsum(counts), np.cumsum(counts * middles)
    above = below[-1] - below
    if below[-1] == 0:
        raise ValueError("there are no numbers to split")
    between = (mass[-1] * below - mass * below[-1]) ** 2 / np.maximum(below * above, 1)
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))
    return float(edges[1:][best].mean())
