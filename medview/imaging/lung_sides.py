"""The mask of both lungs in a frontal chest picture: right and left, or why it is none."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Mask = npt.NDArray[np.bool_]

#: A second piece at least this large, as a share of the first, is the other lung.
_OTHER_LUNG = 0.1
#: One piece is two lungs that touch if its valley is at most this share of the lower summit.
_VALLEY = 0.6

#: What lungs in frontal pictures are like, about twice as wide as in the 140 of a public data set:
#: each lung's share of the picture, the right one's share of both, their common height as a share
#: of the whole, and how often a lung is as high as wide.
_PICTURE_SHARE = (0.02, 0.45)
_RIGHT_SHARE = (0.28, 0.68)
_COMMON_HEIGHT = 0.5
_SLENDER = (0.7, 4.5)


def split_lungs(mask: Mask, *, right_is_first: bool = True) -> tuple[Mask, Mask]:
    """Give (right, left) of the patient from a mask (rows, columns) of both lungs.

    The two largest pieces are the lungs; smaller pieces go to the nearer one. Where the lungs are
    one piece they are cut at the valley between them: the column between two summits with the
    least lung in it. One lung alone lies on the side of the picture's middle that it is on, and
    the other is empty. `right_is_first`: the patient's right is towards the first column, as
    frontal pictures are shown (DICOM PS3.3 C.7.6.1.1.1, Patient Orientation starting with L).
    """
    pieces, count = ndimage.label(mask, structure=np.ones((3, 3)))
    first = _two_pieces(pieces, count) if count > 1 else None
    if first is None:
        first = _cut(mask)
    second = mask & ~first
    return (first, second) if right_is_first else (second, first)


def _two_pieces(pieces: npt.NDArray[np.int32], count: int) -> Mask | None:
    """Give all that belongs to the large piece nearer to the first column; None if one is large."""
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    large, other = (int(number) + 1 for number in np.argsort(sizes)[::-1][:2])
    if sizes[other - 1] < _OTHER_LUNG * sizes[large - 1]:
        return None
    columns = [np.nonzero(pieces == number)[1].mean() for number in (large, other)]
    one, two = (large, other) if columns[0] < columns[1] else (other, large)
    away = [ndimage.distance_transform_edt(pieces != number) for number in (one, two)]
    nearer: Mask = (pieces > 0) & (away[0] <= away[1])
    return nearer


def _cut(mask: Mask) -> Mask:
    """Give the part of one piece before its valley, or all or nothing of a single lung."""
    heights = ndimage.uniform_filter1d(mask.sum(axis=0).astype(float), max(1, mask.shape[1] // 32))
    result = np.zeros_like(mask)
    filled = np.flatnonzero(heights > 0)
    if not len(filled):
        return result
    valley = _valley(heights, int(filled[0]), int(filled[-1]))
    if valley is None:
        single_is_first = np.nonzero(mask)[1].mean() < (mask.shape[1] - 1) / 2
        return mask.copy() if single_is_first else result
    result[:, :valley] = mask[:, :valley]
    return result


def _valley(heights: npt.NDArray[np.float64], start: int, end: int) -> int | None:
    """Give the lowest column between the summits of both halves; None where there is no valley."""
    middle = (start + end + 1) // 2
    left = start + int(heights[start:middle].argmax()) if middle > start else start
    right = middle + int(heights[middle : end + 1].argmax())
    if right - left < 2:
        return None
    lowest = left + int(heights[left : right + 1].argmin())
    deep = heights[lowest] <= _VALLEY * min(heights[left], heights[right])
    return lowest if deep else None


def why_not_frontal(right: Mask, left: Mask) -> str:
    """Say why two lungs cannot be those of a frontal chest picture; empty if they can.

    A lateral view shows one lung upon the other; what is no chest gives scraps. Lungs that differ
    as much as after a lung was removed are refused as well.
    """
    smaller, larger = sorted((right.mean(), left.mean()))
    if smaller == 0:
        return "one lung" if larger else "no lung"
    if smaller < _PICTURE_SHARE[0] or larger > _PICTURE_SHARE[1]:
        return f"lungs of {100 * smaller:.1f} % and {100 * larger:.1f} % of the picture"
    share = right.sum() / (right.sum() + left.sum())
    if not _RIGHT_SHARE[0] <= share <= _RIGHT_SHARE[1]:
        return f"a right lung of {100 * share:.0f} % of both"
    boxes = [ndimage.find_objects(lung.astype(np.uint8))[0] for lung in (right, left)]
    (top, bottom), (first, last) = ((box[0].start, box[0].stop) for box in boxes)
    common = min(bottom, last) - max(top, first)
    if common < _COMMON_HEIGHT * (max(bottom, last) - min(top, first)):
        return "lungs that do not lie side by side"
    for rows, columns in boxes:
        slender = (rows.stop - rows.start) / (columns.stop - columns.start)
        if not _SLENDER[0] <= slender <= _SLENDER[1]:
            return f"a lung {slender:.1f} times as high as wide"
    return ""
