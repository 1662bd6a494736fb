"""Changing labels by hand: sets of voxels, brush strokes, taking a segment away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from medview.core.errors import GeometryError
from medview.core.geometry import Box, FloatArray, Geometry
from medview.core.segmentation import LabelEdit, Segmentation
from medview.core.volume import Volume

Mask = npt.NDArray[np.bool_]

#: Voxels on the radius are in a ball on all sides alike, however their squares are rounded.
_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class Patch:
    """A set of voxels: a mask over an index box. The mask has the shape of the box."""

    box: Box
    mask: Mask

    def __post_init__(self) -> None:
        if self.mask.shape != self.box.shape:
            raise ValueError(f"A mask {self.mask.shape} does not fit the box {self.box.shape}")

    def union(self, other: Patch) -> Patch:
        """The voxels of either."""
        box = self.box.union(other.box)
        if box == self.box:
            mask = self.mask.copy()
        else:
            mask = np.zeros(box.shape, dtype=np.bool_)
            mask[_within(self.box, box)] = self.mask
        mask[_within(other.box, box)] |= other.mask
        return Patch(box, mask)


def _within(inner: Box, outer: Box) -> tuple[slice, slice, slice]:
    """Where one box lies in the array of another."""
    offsets = tuple(
        slice(a - o, b - o) for a, b, o in zip(inner.start, inner.stop, outer.start, strict=True)
    )
    return offsets[0], offsets[1], offsets[2]


@dataclass(frozen=True)
class Brush:
    """A round brush: a ball of `radius_mm`, or a disc in the slices across grid axis `normal`.

    With `normal` None it is a ball. The radius is true millimetres on every grid.
    """

    radius_mm: float
    normal: int | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.radius_mm) and self.radius_mm > 0):
            raise ValueError(f"A brush needs a radius, not {self.radius_mm}")


def stroke(geometry: Geometry, points_lps_mm: npt.ArrayLike, brush: Brush) -> Patch | None:
    """The voxels whose centre is within the brush along a path; None beside the grid.

    `points_lps_mm` is (n, 3) or one point. A disc paints only the slice nearest to the first
    point. The voxel nearest to each point is always painted, however thin the brush.
    """
    points = geometry.to_index(np.atleast_2d(np.asarray(points_lps_mm, dtype=np.float64)))
    if brush.normal is not None:
        points[:, brush.normal] = np.floor(points[0, brush.normal] + 0.5)
    pairs = [(points[0], points[0])] if len(points) == 1 else list(pairwise(points))
    patch: Patch | None = None
    for start, stop in pairs:
        piece = _capsule(geometry, start, stop, brush)
        if piece is not None:
            patch = piece if patch is None else patch.union(piece)
    return patch


def _capsule(geometry: Geometry, start: FloatArray, stop: FloatArray, brush: Brush) -> Patch | None:
    """Voxels within the radius of the line between two indices."""
    reach = _reach(geometry, brush) + 1e-6
    nearest = np.floor(np.array([start, stop]) + 0.5)
    low = np.minimum(np.ceil(np.minimum(start, stop) - reach), nearest.min(axis=0))
    high = np.maximum(np.floor(np.maximum(start, stop) + reach), nearest.max(axis=0)) + 1
    low = np.maximum(low, 0).astype(int)
    high = np.minimum(high, geometry.shape).astype(int)
    if (high <= low).any():
        return None
    box = Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))
    mask = _near_line(geometry.affine[:3, :3], box, start, stop, brush.radius_mm)
    for voxel in nearest.astype(int):
        if (voxel >= low).all() and (voxel < high).all():
            mask[tuple(voxel - low)] = True
    return Patch(box, mask) if mask.any() else None


def _reach(geometry: Geometry, brush: Brush) -> FloatArray:
    """How far the brush extends along each grid axis, in steps of the index.

    The rows of the inverse affine are the gradients of the index: their length times the
    radius is the largest index change inside a ball, on sheared grids too. A disc stays in its
    slice, where the gradients are those of the two remaining axes alone.
    """
    if brush.normal is None:
        return np.asarray(np.linalg.norm(geometry.inverse[:3, :3], axis=1) * brush.radius_mm)
    axes = [axis for axis in range(3) if axis != brush.normal]
    gradients = np.linalg.pinv(geometry.affine[:3, axes])
    reach = np.zeros(3)
    reach[axes] = np.linalg.norm(gradients, axis=1) * brush.radius_mm
    return reach


def _near_line(
    steps: FloatArray, box: Box, start: FloatArray, stop: FloatArray, radius_mm: float
) -> Mask:
    """Voxels of a box whose distance in mm to the line from `start` to `stop` is at most that.

    With u the index offset from `start`, |A u|^2 is a quadratic form, added up axis by axis.
    """
    metric = (steps.T @ steps).astype(np.float32)
    offsets = [
        np.arange(a, b, dtype=np.float32) - np.float32(s)
        for a, b, s in zip(box.start, box.stop, start, strict=True)
    ]
    k, j, i = offsets[0][:, None, None], offsets[1][:, None], offsets[2]
    along_k = metric[0, 0] * k * k
    in_slice = metric[1, 1] * j * j + metric[2, 2] * i * i
    line = (stop - start).astype(np.float32)
    length = float(line @ metric @ line)
    least = 1e-7 * metric.trace()
    crossed = [
        (metric[a, b], first, second)
        for a, b, first, second in ((0, 1, k, j), (0, 2, k, i), (1, 2, j, i))
        if abs(metric[a, b]) > least
    ]
    most = np.float32(radius_mm * radius_mm * (1 + _ROUNDING))
    if not crossed and length == 0:  # a ball on an upright grid, as nearly all: a disc per slice
        discs: Mask = in_slice <= most - along_k
        return discs
    squared = along_k + in_slice
    for factor, first, second in crossed:
        squared = squared + 2 * factor * first * second
    if length > 0:
        pull = metric @ line
        along = pull[0] * k + (pull[1] * j + pull[2] * i)
        part = np.clip(along / np.float32(length), 0, 1)
        squared = squared - part * (2 * along - part * np.float32(length))
    mask: Mask = squared <= most
    return mask


def has_values(volume: Volume, box: Box, low: float, high: float) -> Mask:
    """Where in a box the grey values lie from `low` to `high`, both included."""
    values = grey_values(volume, box)
    mask: Mask = (values >= low) & (values <= high)
    return mask


def grey_values(volume: Volume, box: Box) -> npt.NDArray[np.floating]:
    """Real-world values of a box; of colour images their mean over the channels."""
    values: npt.NDArray[np.floating] = volume.value_of(volume.voxels[box.slices])
    return values.mean(axis=-1) if values.ndim == 4 else values


def delete_segment(segmentation: Segmentation, number: int) -> LabelEdit | None:
    """The edit that clears every voxel of a segment; None if it has none."""
    label = segmentation.find_segment(number).label
    box = segment_box(segmentation, number)
    if box is None:
        return None
    old = segmentation.labels[box.slices]
    after = np.where(old == number, segmentation.labels.dtype.type(0), old)
    return LabelEdit.between(segmentation, box, after, f"Delete: {label}")


def segment_box(segmentation: Segmentation, number: int, within: Box | None = None) -> Box | None:
    """The box around a segment; None if it has no voxel. Looks slice by slice.

    With `within` there alone, where it is known to lie in no other place.
    """
    bounds: Box | None = None
    labels: npt.NDArray[Any] = segmentation.labels
    slices, rows, columns = (within or Box.whole(segmentation.geometry.shape)).slices
    for k in range(slices.start, slices.stop):
        hit = labels[k, rows, columns] == number
        if not hit.any():
            continue
        flat = Box.of(hit[None])
        assert flat is not None  # noqa: S101  (something was hit)
        (_, top, left), (_, bottom, right) = flat.start, flat.stop
        here = Box(
            (k, rows.start + top, columns.start + left),
            (k + 1, rows.start + bottom, columns.start + right),
        )
        bounds = here if bounds is None else bounds.union(here)
    return bounds


def sliced(box: Box, axis: int, number: int) -> Box:
    """The part of a box in one slice across an axis; GeometryError if it is not in there."""
    starts, stops = list(box.start), list(box.stop)
    starts[axis], stops[axis] = number, number + 1
    if not box.start[axis] <= number < box.stop[axis]:
        raise GeometryError(f"Slice {number} does not run through the box")
    return Box((starts[0], starts[1], starts[2]), (stops[0], stops[1], stops[2]))


def union_of(boxes: Sequence[Box]) -> Box:
    """The smallest box that holds all of them; there is at least one."""
    whole = boxes[0]
    for box in boxes[1:]:
        whole = whole.union(box)
    return whole
