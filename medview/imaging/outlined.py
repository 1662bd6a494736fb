"""Areas within drawn outlines: contours in a slice, scissors through a volume."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medview.core.geometry import Box, Geometry
from medview.imaging.edit import Mask, Patch
from medview.imaging.outlines import filled

Points = npt.NDArray[np.float64]


def contour(
    geometry: Geometry, points_lps_mm: npt.ArrayLike, normal: int, through: tuple[int, int] | None
) -> Patch | None:
    """The voxels within an outline drawn in a slice across grid axis `normal`.

    `through` names the first slice and the one after the last that it is cut through; None means
    the slice nearest to the first point. None if the outline holds no voxel.
    """
    index = geometry.to_index(np.asarray(points_lps_mm, dtype=np.float64).reshape(-1, 3))
    rows, columns = (axis for axis in range(3) if axis != normal)
    low = np.floor(index.min(axis=0)).astype(int)
    high = np.ceil(index.max(axis=0)).astype(int) + 1
    number = int(np.floor(index[0, normal] + 0.5))
    low[normal], high[normal] = (number, number + 1) if through is None else through
    low, high = np.maximum(low, 0), np.minimum(high, geometry.shape)
    if (high <= low).any():
        return None
    flat = filled(
        index[:, (rows, columns)] - low[[rows, columns]],
        (int(high[rows] - low[rows]), int(high[columns] - low[columns])),
    )
    if not flat.any():
        return None
    box = Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))
    mask = np.broadcast_to(np.expand_dims(flat, normal), box.shape)
    return Patch(box, np.ascontiguousarray(mask))


def seen_within(
    geometry: Geometry, box: Box, to_view: npt.NDArray[np.float64], outline: npt.ArrayLike
) -> Mask:
    """The voxels of a box that are seen within an outline drawn on a 3D view.

    `to_view` (4x4) takes LPS millimetres to the view (x, y, depth, w); `outline` is (n, 2) of
    x / w, y / w. What lies behind the eye (w <= 0) is not seen.
    """
    corners: Points = np.asarray(outline, dtype=np.float64).reshape(-1, 2)
    low, high = corners.min(axis=0), corners.max(axis=0)
    fine = 512
    scale = (fine - 1) / np.maximum(high - low, 1e-12)
    table = filled((corners - low) * scale, (fine, fine))
    whole = to_view @ geometry.affine
    mask = np.zeros(box.shape, dtype=np.bool_)
    _, rows, columns = (np.arange(a, b) for a, b in zip(box.start, box.stop, strict=True))
    for n, k in enumerate(range(box.start[0], box.stop[0])):
        x, y, w = (
            whole[line, 0] * k + whole[line, 3]
            + whole[line, 1] * rows[:, None] + whole[line, 2] * columns
            for line in (0, 1, 3)
        )  # fmt: skip
        seen = w > 0
        w = np.where(seen, w, 1.0)
        first = np.floor((x / w - low[0]) * scale[0] + 0.5)
        second = np.floor((y / w - low[1]) * scale[1] + 0.5)
        seen &= (first >= 0) & (first < fine) & (second >= 0) & (second < fine)
        here = np.where(seen, first, 0).astype(np.intp), np.where(seen, second, 0).astype(np.intp)
        mask[n] = seen & table[here]
    return mask
