"""Motion in clips: places carried along by motion fields, and changes of scene.

Places are (n, 2) rows and columns in pixels, the middle of the first pixel at (0, 0). A motion
field is (2, rows, columns): the displacement of each pixel to the next picture, to the right
first, then down, in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medview.imaging.rendering import shrink

Places = npt.NDArray[np.float64]
Picture = npt.NDArray[np.float32]

#: ITU-R BT.601: the brightness of red, green and blue.
_BRIGHTNESS = np.array((0.299, 0.587, 0.114), dtype=np.float32)


def grey(pictures: npt.NDArray[Any]) -> Picture:
    """The brightness of pictures (..., rows, columns) or (..., rows, columns, 3) of colour.

    An axis of 3 at the end is taken for colour where the others are two or more beside it.
    """
    if pictures.ndim >= 3 and pictures.shape[-1] == 3:
        return pictures.astype(np.float32) @ _BRIGHTNESS
    return pictures.astype(np.float32)


def displaced(places: Places, motion: npt.NDArray[np.float32]) -> Places:
    """Where places come to lie: each plus the motion there, linear between pixels.

    Beside the field the motion of its edge is taken.
    """
    right, down = (
        ndimage.map_coordinates(part, places.T, order=1, mode="nearest") for part in motion
    )
    moved: Places = places + np.stack([down, right], axis=1)
    return moved


def blended(forth: Sequence[Places], back: Sequence[Places]) -> list[Places]:
    """Places on frames between two key frames, from tracking forth and tracking back.

    Both have a place for every frame from one key frame to the next. The nearer key frame counts
    more, so that both are met exactly.
    """
    steps = max(1, len(forth) - 1)
    return [
        one * (1 - number / steps) + other * (number / steps)
        for number, (one, other) in enumerate(zip(forth, back, strict=True))
    ]


def scene_changes(pictures: Sequence[Picture], most: float = 0.5) -> list[int]:
    """Frames that have next to nothing in common with the one before them.

    Judged on small copies (see `small`): their correlation falls below `most`, and clearly below
    what neighbours nearby have, so that a clip of mere noise has no scenes.
    """
    if len(pictures) < 2:
        return []
    alike = np.array([
        _alike(one, other) for one, other in pairwise(pictures)
    ])  # fmt: skip
    usual = ndimage.median_filter(alike, size=9, mode="nearest")
    return [int(n) + 1 for n in np.flatnonzero((alike < most) & (alike < usual - 0.3))]


def small(picture: Picture, side_px: int = 64) -> Picture:
    """A copy of about `side_px` along its longer side, each pixel the mean of those it covers."""
    reduced: Picture = shrink(picture, round(max(picture.shape) / side_px))
    return reduced


def _alike(one: Picture, other: Picture) -> float:
    """Correlation of two pictures of one size; 1 for two that are of one value each."""
    first, second = one - one.mean(), other - other.mean()
    spread = float(np.sqrt((first**2).sum() * (second**2).sum()))
    if spread <= 1e-6:
        return 1.0 if np.ptp(one) == np.ptp(other) else 0.0
    return float((first * second).sum()) / spread
