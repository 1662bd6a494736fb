"""Crops for networks: a small turned grid in the patient, sampled from an image, and the way back.

A crop is an array (x, y, z) whose axes run as a model asks, `RAS` say, and whose `Geometry` says
where each of its voxels lies, so that crops may be turned and mirrored at will: the sides follow
from the geometry.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medview.core.geometry import Box, FloatArray, Geometry

FloatImage = npt.NDArray[np.float32]

_DIRECTIONS = {
    "L": (1.0, 0.0, 0.0),
    "R": (-1.0, 0.0, 0.0),
    "P": (0.0, 1.0, 0.0),
    "A": (0.0, -1.0, 0.0),
    "S": (0.0, 0.0, 1.0),
    "I": (0.0, 0.0, -1.0),
}
#: What crops to learn from leave around a structure; networks are asked about the same.
MARGIN_MM = 6.0
#: Source voxels that a cubic spline looks at beyond the crop.
_MARGIN = 6


def axes_of(orientation: str) -> FloatArray:
    """LPS directions of growing x, y, z as columns (3x3), for letters such as `RAS`."""
    return np.array([_DIRECTIONS[letter] for letter in orientation]).T


def crop_grid(
    center_lps_mm: npt.ArrayLike,
    axes_lps: FloatArray,
    size_mm: npt.ArrayLike,
    spacing_mm: npt.ArrayLike,
    like: Geometry,
) -> Geometry:
    """The grid of a crop of at least `size_mm` about a centre, its axes the columns of a 3x3."""
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    count = np.maximum(1, np.ceil(np.asarray(size_mm, dtype=np.float64) / spacing - 1e-6))
    affine = np.eye(4)
    affine[:3, :3] = axes_lps * spacing
    affine[:3, 3] = np.asarray(center_lps_mm) - affine[:3, :3] @ ((count - 1) / 2)
    x, y, z = (int(n) for n in count)
    return Geometry((x, y, z), affine, like.frame_of_reference_uid, like.calibration)


def crop_around(
    mask: npt.NDArray[np.bool_],
    geometry: Geometry,
    spacing_mm: npt.ArrayLike,
    axes_lps: FloatArray,
) -> Geometry | None:
    """The grid of a crop along the columns of a 3x3, with MARGIN_MM around the middles of a mask.

    None for a mask that is empty.
    """
    voxels = np.argwhere(mask)
    if not len(voxels):
        return None
    along = geometry.to_lps_mm(voxels) @ axes_lps
    low, high = along.min(axis=0), along.max(axis=0)
    center = axes_lps @ ((low + high) / 2)
    return crop_grid(center, axes_lps, high - low + 2 * MARGIN_MM, spacing_mm, geometry)


def upright(grid: Geometry) -> Geometry:
    """The grid of a crop, transposed to (z, y, x), put at the origin: right, anterior, superior.

    A file with this grid shows the crop as networks see it, and nothing of where it was.
    """
    x_mm, y_mm, z_mm = grid.spacing_mm
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = z_mm, -y_mm, -x_mm, 1.0
    x, y, z = grid.shape
    return Geometry((z, y, x), affine)


def sample_cubic(values: FloatImage, geometry: Geometry, grid: Geometry) -> FloatImage:
    """Values of an image at the voxels of a crop, by cubic splines; the edge reaches outwards.

    Axes along which the image is much finer than the crop are smoothed first.
    """
    box = _box_around(grid, geometry, _MARGIN)
    if box is None:
        return np.zeros(grid.shape, dtype=np.float32)
    part = values[box.slices].astype(np.float32)
    ratio = min(grid.spacing_mm) / np.array(geometry.spacing_mm)
    part = ndimage.gaussian_filter(part, np.where(ratio > 1.3, 0.42 * ratio, 0.0))
    index = _index_in(grid, geometry, Box.whole(grid.shape)) - np.reshape(box.start, (3, 1))
    sampled: FloatImage = ndimage.map_coordinates(part, index, order=3, mode="nearest")
    return sampled.reshape(grid.shape)


def share_covered(grid: Geometry, geometry: Geometry) -> float:
    """The share of a crop's voxels that lie inside the image."""
    index = _index_in(grid, geometry, Box.whole(grid.shape))
    last = np.array(geometry.shape)[:, None] - 0.5
    return float(np.all((index >= -0.5) & (index <= last), axis=0).mean())


def spread_back(
    probabilities: FloatImage, grid: Geometry, geometry: Geometry
) -> tuple[Box, FloatImage] | None:
    """Class probabilities (C, x, y, z) of a crop at the voxels of an image, linear between.

    The box of image voxels that the crop touches, and probabilities (C, k, j, i) there; beyond
    the crop all is background, the first class. None where the crop misses the image.
    """
    box = _box_around(grid, geometry, 0)
    if box is None:
        return None
    index = _index_in(geometry, grid, box)
    spread = np.empty((len(probabilities), *box.shape), dtype=np.float32)
    for number, one in enumerate(probabilities):
        outside = 1.0 if number == 0 else 0.0
        values = ndimage.map_coordinates(one, index, order=1, mode="constant", cval=outside)
        spread[number] = values.reshape(box.shape)
    return box, spread


def largest_piece(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The largest piece of a mask, voxels connected by faces; empty if the mask is."""
    pieces, count = ndimage.label(mask)
    if count == 0:
        return np.zeros(mask.shape, dtype=np.bool_)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.asarray(pieces == int(np.argmax(sizes)), dtype=np.bool_)


def _index_in(points_of: Geometry, geometry: Geometry, box: Box) -> FloatArray:
    """Indexes (3, n) in `geometry` of the voxels of one grid that lie in `box`, in C order."""
    matrix = geometry.inverse @ points_of.affine
    axes = [np.arange(a, b) for a, b in zip(box.start, box.stop, strict=True)]
    voxels = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1)
    index: FloatArray = matrix[:3, :3] @ voxels + matrix[:3, 3:]
    return index


def _box_around(grid: Geometry, geometry: Geometry, margin: int) -> Box | None:
    """The voxels of an image that a crop touches, and some more; None if there are none."""
    corners = np.array(list(product(*((-0.5, size - 0.5) for size in grid.shape))))
    index = geometry.to_index(grid.to_lps_mm(corners))
    start = np.maximum(np.floor(index.min(axis=0)).astype(int) - margin, 0)
    stop = np.minimum(np.ceil(index.max(axis=0)).astype(int) + 1 + margin, geometry.shape)
    if np.any(stop <= start):
        return None
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
