"""Numbers from images and labels: lengths, volumes, intensity statistics, overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medview.core import codes
from medview.core.errors import GeometryError
from medview.core.findings import Measurement
from medview.core.segmentation import LabelEdit, Segmentation
from medview.core.volume import Volume


def count_voxels(labels: npt.NDArray[Any]) -> dict[int, int]:
    """Voxels of each label above 0 that occurs."""
    totals = np.zeros(int(np.iinfo(labels.dtype).max) + 1, dtype=np.int64)
    for layer in labels:
        counts = np.bincount(layer.reshape(-1))
        totals[: counts.size] += counts
    return {int(n): int(totals[n]) for n in np.flatnonzero(totals) if n > 0}


def count_change(edit: LabelEdit) -> dict[int, int]:
    """How an edit changes the voxel count of each label: new minus old, zeros left out."""
    before, after = count_voxels(edit.labels_before()), count_voxels(edit.labels_after())
    changes = {n: after.get(n, 0) - before.get(n, 0) for n in before.keys() | after.keys()}
    return {n: change for n, change in changes.items() if change}


#: How the area of a segment is taken, and its share of a picture: by these they are known again.
PIXELS_OF_SEGMENT = "Pixels of the segment"
SHARE_OF_PICTURE = "Pixels of the segment by those of the picture"


def size_again(measurement: Measurement, voxels: int, segmentation: Segmentation) -> float | None:
    """What a measurement is now that its segment has so many voxels; None if it is no size."""
    geometry = segmentation.geometry
    if measurement.kind == codes.VOLUME and measurement.unit == codes.MILLILITRE.value:
        return voxels * geometry.voxel_volume_ml
    if measurement.method == SHARE_OF_PICTURE:
        return 100 * voxels / segmentation.labels.size
    if measurement.method != PIXELS_OF_SEGMENT:
        return None
    _, down, across = geometry.spacing_mm
    return voxels * down * across if geometry.in_patient_space else float(voxels)


def segment_volume_ml(segmentation: Segmentation, number: int) -> float:
    """Volume of a segment in millilitres: voxels times voxel volume; 0 if it has none."""
    voxels = sum(int(np.count_nonzero(layer == number)) for layer in segmentation.labels)
    return voxels * segmentation.geometry.voxel_volume_ml


def length_mm(points_lps_mm: npt.ArrayLike) -> float:
    """Length of a path through points (n, 3) in millimetres."""
    points = np.asarray(points_lps_mm, dtype=np.float64).reshape(-1, 3)
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


@dataclass(frozen=True)
class Statistics:
    """Real-world values of some voxels: how many, mean, standard deviation (n - 1), range."""

    count: int
    mean: float
    standard_deviation: float
    minimum: float
    maximum: float


def segment_statistics(volume: Volume, segmentation: Segmentation) -> Mapping[int, Statistics]:
    """Statistics of the values in each segment that has voxels, padding and no-numbers left out.

    Sums run slice by slice around the mean of what came before (Chan, Golub and LeVeque 1983),
    so that large offsets do not cost digits. GeometryError if the grids differ.
    """
    if not volume.geometry.agrees_with(segmentation.geometry):
        raise GeometryError("The segmentation lies on another grid than the image")
    found: dict[int, Statistics] = {}
    for k in range(len(volume.voxels)):
        merge_into(found, slice_statistics(volume, segmentation.labels, k))
    return {s.number: found[s.number] for s in segmentation.segments if s.number in found}


def slice_statistics(volume: Volume, labels: npt.NDArray[Any], k: int) -> dict[int, Statistics]:
    """Statistics of each label above 0 in one slice, padding and no-numbers left out."""
    layer, stored = labels[k], volume.voxels[k]
    if not layer.any():
        return {}
    # Labels fill a part of a slice: the rest is not converted.
    rows, columns = (np.flatnonzero(layer.any(axis=axis)) for axis in (1, 0))
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    layer, stored = layer[part], stored[part]
    inside = (layer > 0) & ~volume.is_padding(stored)
    values = stored[inside].astype(np.float64) * volume.slope + volume.intercept
    numbers = layer[inside]
    kept = np.isfinite(values)
    values, numbers = values[kept], numbers[kept]
    return {int(n): _statistics(values[numbers == n]) for n in np.unique(numbers)}


def merge_into(whole: dict[int, Statistics], part: Mapping[int, Statistics]) -> None:
    """Add statistics of further voxels, label by label."""
    for number, here in part.items():
        old = whole.get(number)
        whole[number] = here if old is None else _merged(old, here)


def _statistics(values: npt.NDArray[np.float64]) -> Statistics:
    spread = float(values.std(ddof=1)) if values.size > 1 else 0.0
    low, high = float(values.min()), float(values.max())
    return Statistics(values.size, float(values.mean()), spread, low, high)


def _merged(a: Statistics, b: Statistics) -> Statistics:
    count = a.count + b.count
    apart = b.mean - a.mean
    squares = (
        a.standard_deviation**2 * (a.count - 1)
        + b.standard_deviation**2 * (b.count - 1)
        + apart**2 * a.count * b.count / count
    )
    return Statistics(
        count,
        a.mean + apart * b.count / count,
        float(np.sqrt(squares / (count - 1))),
        min(a.minimum, b.minimum),
        max(a.maximum, b.maximum),
    )


def expected_dice(mask: npt.NDArray[np.bool_], chances: npt.NDArray[np.floating[Any]]) -> float:
    """Dice overlap of a mask with the truth, as far as probabilities of belonging to it tell.

    2 sum(m p) / (sum(m) + sum(p)): Dice's formula with the expectation of the truth in its place.
    """
    inside = float(chances[mask].sum(dtype=np.float64))
    total = np.count_nonzero(mask) + float(chances.sum(dtype=np.float64))
    return 2 * inside / total if total else 1.0


def dice(
    first: npt.NDArray[Any], second: npt.NDArray[Any], numbers: Sequence[int]
) -> dict[int, float]:
    """Dice overlap of each label in two label arrays of one grid: 2 |A and B| / (|A| + |B|).

    1 where neither array has the label. GeometryError if the shapes differ.
    """
    if first.shape != second.shape:
        raise GeometryError(f"Labels {first.shape} and {second.shape} are not on one grid")
    result = {}
    for number in numbers:
        a, b = first == number, second == number
        total = int(a.sum()) + int(b.sum())
        result[number] = 2 * int((a & b).sum()) / total if total else 1.0
    return result
