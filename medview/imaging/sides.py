"""Left and right of a label map against the patient's axes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from medview.core.segmentation import Segment, Segmentation

#: Codes of structures whose name holds the side (SNOMED CT).
_SIDED: Mapping[str, str] = MappingProxyType({"44029006": "left", "3341006": "right"})
#: A structure alone counts as on the wrong side this far over the middle of the image.
_CLEAR_MM = 10.0
#: Voxels per axis that are looked at, at most: places are wanted, not borders.
_SAMPLES = 160


def side_of(segment: Segment) -> str:
    """`left` or `right` as a segment's name or code says, else nothing."""
    words = set(re.findall(r"[a-z]+", segment.label.lower()))
    if ("left" in words) != ("right" in words):
        return "left" if "left" in words else "right"
    return _SIDED.get(segment.type.value, "")


def wrong_sides(segmentation: Segmentation) -> tuple[str, ...]:
    """The labels of segments that lie on the other side of the patient than their name says.

    Of a pair the left one must lie further to the patient's left (DICOM PS3.3 C.7.6.2.1.1: x grows
    to the left). One without its pair is compared with the middle of the image and counts only if
    it is clearly beyond. Nothing without patient space.
    """
    if not segmentation.geometry.in_patient_space:
        return ()
    sides = {one.number: side_of(one) for one in segmentation.segments}
    places = _places(segmentation, [number for number, side in sides.items() if side])
    groups: dict[str, dict[str, int]] = {}
    for one in segmentation.segments:
        if one.number in places:
            name = re.sub(r"left|right", "", one.label.lower()).strip()
            groups.setdefault(name, {})[sides[one.number]] = one.number
    middle = float(segmentation.geometry.center_lps_mm[0])
    wrong: set[int] = set()
    for pair in groups.values():
        if len(pair) == 2:
            if places[pair["left"]] < places[pair["right"]]:
                wrong |= set(pair.values())
        else:
            ((side, number),) = pair.items()
            beyond = (middle - places[number]) * (1 if side == "left" else -1)
            wrong |= {number} if beyond > _CLEAR_MM else set()
    return tuple(one.label for one in segmentation.segments if one.number in wrong)


def _places(segmentation: Segmentation, numbers: list[int]) -> dict[int, float]:
    """Where segments lie from right to left, in mm; those without a voxel are left out."""
    if not numbers:
        return {}
    steps = [-(-size // _SAMPLES) for size in segmentation.labels.shape]
    sampled = segmentation.labels[tuple(slice(None, None, step) for step in steps)]
    places = {}
    for number in numbers:
        index = np.argwhere(sampled == number)
        if len(index):
            center = index.mean(axis=0) * steps
            places[number] = float(segmentation.geometry.to_lps_mm(center)[0])
    return places
