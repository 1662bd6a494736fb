"""Shapes of segments: margins in millimetres, smoothing, islands, holes, hollows, mirrors.

Every function takes a mask over a box of a grid, and gives another of the same shape. What lies
beyond the box counts as more of the same: a structure cut off by the image does not shrink there.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import cc3d
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medview.core.geometry import Box, Geometry
from medview.imaging.distances import squared_mm

Mask = npt.NDArray[np.bool_]

#: Rounding of float32 distances.
_HAIR = 1 + 1e-5
#: Neighbours across faces only: voxels that touch at an edge or corner are apart.
_BY_FACES = 6


class Side(StrEnum):
    """Which side of a surface a shell lies on."""

    INSIDE = "inside"
    OUTSIDE = "outside"
    BOTH = "both"


def reach_voxels(geometry: Geometry, distance_mm: float) -> tuple[int, int, int]:
    """How many voxels along each axis a distance spans at most, rounded up."""
    steps = np.linalg.norm(geometry.inverse[:3, :3], axis=1) * distance_mm
    k, j, i = (int(np.ceil(step - 1e-9)) for step in steps)
    return k, j, i


def is_square(geometry: Geometry) -> bool:
    """Whether the axes of a grid stand at right angles (no gantry tilt)."""
    steps = geometry.affine[:3, :3]
    metric = steps.T @ steps
    return bool(np.abs(metric - np.diag(np.diag(metric))).max() <= 1e-6 * metric.trace())


def grown(mask: Mask, geometry: Geometry, distance_mm: float) -> Mask:
    """All voxels whose centre is within a distance of the centre of one in the mask."""
    if distance_mm <= 0 or not mask.any():
        return mask.copy()
    if is_square(geometry):
        near: Mask = squared_mm(mask, geometry.spacing_mm) <= distance_mm**2 * _HAIR
        return near
    # On a sheared grid distances do not come axis by axis: the ball itself is moved about.
    return np.asarray(ndimage.binary_dilation(mask, _ball(geometry, distance_mm)), dtype=np.bool_)


def shrunk(mask: Mask, geometry: Geometry, distance_mm: float) -> Mask:
    """The voxels farther than a distance from everything outside the mask."""
    return ~grown(~mask, geometry, distance_mm)


def margin(mask: Mask, geometry: Geometry, distance_mm: float) -> Mask:
    """Grown by a positive, shrunk by a negative distance in mm."""
    if distance_mm >= 0:
        return grown(mask, geometry, distance_mm)
    return shrunk(mask, geometry, -distance_mm)


def closed(mask: Mask, geometry: Geometry, radius_mm: float) -> Mask:
    """Closing by a ball: gaps and dents narrower than it are filled (Serra 1982)."""
    return shrunk(grown(mask, geometry, radius_mm), geometry, radius_mm)


def opened(mask: Mask, geometry: Geometry, radius_mm: float) -> Mask:
    """Opening by a ball: bridges and spurs narrower than it go."""
    return grown(shrunk(mask, geometry, radius_mm), geometry, radius_mm)


def hollowed(mask: Mask, geometry: Geometry, thickness_mm: float, side: Side) -> Mask:
    """A shell of a thickness: inside the surface, outside it, or half on each side of it."""
    if side is Side.INSIDE:
        return mask & ~shrunk(mask, geometry, thickness_mm)
    if side is Side.OUTSIDE:
        return grown(mask, geometry, thickness_mm) & ~mask
    half = thickness_mm / 2
    return grown(mask, geometry, half) & ~shrunk(mask, geometry, half)


def median(mask: Mask, geometry: Geometry, radius_mm: float) -> Mask:
    """The majority in a block of at least a voxel to each side, `radius_mm` as far as it goes.

    Equal to the median filter of a mask; the edge of the array is repeated beyond it.
    """
    steps = np.linalg.norm(geometry.affine[:3, :3], axis=0)
    radii = [max(1, round(radius_mm / step)) if n > 1 else 0
             for step, n in zip(steps, mask.shape, strict=True)]  # fmt: skip
    sums = mask.astype(np.int32)
    for axis, radius in enumerate(radii):
        sums = _summed(sums, axis, radius)
    majority: Mask = 2 * sums > int(np.prod([2 * radius + 1 for radius in radii]))
    return majority


def _summed(values: npt.NDArray[np.int32], axis: int, radius: int) -> npt.NDArray[np.int32]:
    """Sums over 2 radius + 1 neighbours along an axis."""
    if radius == 0:
        return values
    pads = [(0, 0)] * 3
    pads[axis] = (radius + 1, radius)
    total = np.cumsum(np.pad(values, pads, mode="edge"), axis=axis, dtype=np.int32)
    count = values.shape[axis]
    ahead = (slice(None),) * axis + (slice(2 * radius + 1, 2 * radius + 1 + count),)
    behind = (slice(None),) * axis + (slice(0, count),)
    result: npt.NDArray[np.int32] = total[ahead] - total[behind]
    return result


def smoothed_together(
    labels: npt.NDArray[Any], geometry: Geometry, sigma_mm: float, numbers: Sequence[int]
) -> npt.NDArray[Any]:
    """Labels smoothed side by side, so that neighbours neither part nor overlap.

    Each place goes to the label, background included, whose mask blurred by a Gaussian is the
    strongest there. Labels that are not among `numbers` stay as they are.
    """
    sigmas = sigma_mm / np.linalg.norm(geometry.affine[:3, :3], axis=0)
    taken = np.isin(labels, [0, *numbers])
    best = ndimage.gaussian_filter((labels == 0).astype(np.float32), sigmas, mode="nearest")
    result = np.where(taken, labels.dtype.type(0), labels)
    for number in numbers:
        mask = labels == number
        if mask.any():
            strength = ndimage.gaussian_filter(mask.astype(np.float32), sigmas, mode="nearest")
            wins = taken & (strength > best)
            result[wins] = number
            np.maximum(best, strength, out=best)
    return result


def islands(mask: Mask, least_voxels: int = 1) -> list[Mask]:
    """The parts of a mask that hang together by faces, the largest first."""
    parts, sizes = _parts(mask)
    order = np.argsort(-sizes[1:], kind="stable") + 1
    return [parts == number for number in order if sizes[number] >= least_voxels]


def without_small_islands(mask: Mask, least_voxels: int) -> Mask:
    """The mask without parts of fewer voxels."""
    parts, sizes = _parts(mask)
    keeps = sizes >= least_voxels
    keeps[0] = False
    kept: Mask = keeps[parts]
    return kept


def largest_island(mask: Mask) -> Mask:
    """The part with the most voxels alone."""
    parts, sizes = _parts(mask)
    if sizes.size <= 2:
        return mask.copy()
    largest: Mask = parts == int(np.argmax(sizes[1:])) + 1
    return largest


def _parts(mask: Mask) -> tuple[npt.NDArray[Any], npt.NDArray[np.intp]]:
    """The parts that hang together by faces, numbered from 1, and the voxels of each number.

    Counted by runs along the last axis, which takes a quarter of the time of voxel by voxel.
    """
    parts, count = cc3d.connected_components(mask, connectivity=_BY_FACES, return_N=True)
    flat = parts.reshape(-1)
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]), flat.size - 1)
    lengths = np.diff(ends, prepend=-1)
    return parts, np.bincount(flat[ends], weights=lengths, minlength=count + 1).astype(np.intp)


def island_at(mask: Mask, place: tuple[int, int, int]) -> Mask:
    """The part that holds a voxel; nothing where the voxel is outside."""
    parts = cc3d.connected_components(mask, connectivity=_BY_FACES)
    number = int(parts[place])
    found: Mask = parts == number if number else np.zeros_like(mask)
    return found


def filled(mask: Mask, axis: int | None = None) -> Mask:
    """The mask with its holes: background that reaches the rim by no steps across faces.

    With `axis` each slice across it is on its own, else holes are closed in all three directions.
    """
    shape = ndimage.generate_binary_structure(3, 1)
    rim = [(1, 1)] * 3
    if axis is not None:
        shape = shape.copy()
        shape[(slice(None),) * axis + ([0, 2],)] = False
        rim[axis] = (0, 0)
    free = ~np.pad(mask, rim)
    parts, _ = ndimage.label(free, shape)
    outer = np.zeros(int(parts.max()) + 1, dtype=np.bool_)
    for across in range(3):
        if across != axis:
            faces = parts[(slice(None),) * across + ([0, -1],)]
            outer[np.unique(faces)] = True
    outer[0] = False
    inner = tuple(slice(a, n - b) for (a, b), n in zip(rim, free.shape, strict=True))
    whole: Mask = ~outer[parts][inner]
    return whole


def mirrored(
    mask: Mask, box: Box, axis: int, twice_center: int, count: int
) -> tuple[Box, Mask] | None:
    """A mask over a box mirrored across a plane of the grid, with its new box.

    The plane lies at index `twice_center` / 2 along the axis, so a mirror between two voxels is
    possible; what would lie outside the `count` slices is cut off. None if nothing is left.
    """
    start, stop = twice_center - (box.stop[axis] - 1), twice_center - box.start[axis] + 1
    low, high = max(start, 0), min(stop, count)
    if high <= low:
        return None
    turned = np.flip(mask, axis)
    kept = turned[(slice(None),) * axis + (slice(low - start, high - start),)]
    starts, stops = list(box.start), list(box.stop)
    starts[axis], stops[axis] = low, high
    return Box((starts[0], starts[1], starts[2]), (stops[0], stops[1], stops[2])), kept


def _ball(geometry: Geometry, radius_mm: float) -> Mask:
    """The offsets within a radius, on any grid."""
    reach = reach_voxels(geometry, radius_mm)
    offsets = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1)
    apart = np.linalg.norm(offsets @ geometry.affine[:3, :3].T, axis=-1)
    ball: Mask = apart <= radius_mm * np.sqrt(_HAIR)
    return ball
