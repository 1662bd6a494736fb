"""Sides of label maps: ten that are right, the same ten mirrored."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from medview.core.codes import ANATOMICAL_STRUCTURE, Code
from medview.core.findings import ModelAuthor, Provenance, utc_now
from medview.core.geometry import Geometry
from medview.core.segmentation import Segment, Segmentation
from medview.imaging.sides import wrong_sides

MADE_BY = Provenance(ModelAuthor("model", "1", "f"), utc_now(), "job")
SHAPE = (20, 30, 40)
NAMES = ("Left hippocampus", "Right hippocampus"), ("Kidney, left", "Kidney, right")
#: Index axes along (right to left, front to back, feet to head), and the direction of each.
TURNS = [((2, 1, 0), (1, 1, 1)), ((2, 1, 0), (-1, 1, 1)), ((0, 1, 2), (1, -1, 1))]
TURNS += [((1, 2, 0), (-1, -1, -1)), ((2, 0, 1), (1, 1, -1))]
CASES = list(product(NAMES, TURNS))


def segmentation(
    names: tuple[str, str], turn: tuple[tuple[int, ...], tuple[int, ...]], *, mirrored: bool
) -> Segmentation:
    """Two blobs, the first named on the patient's left unless mirrored."""
    axes, signs = turn
    affine = np.zeros((4, 4))
    affine[3, 3] = 1.0
    for lps, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[lps, axis] = sign * (0.9, 1.1, 2.5)[lps]
    affine[:3, 3] = (31.0, -12.0, 250.0)
    geometry = Geometry(SHAPE, affine)
    labels = np.zeros(SHAPE, np.uint8)
    across = axes[0]
    for number, at_left in ((1, not mirrored), (2, mirrored)):
        far = at_left == (signs[0] > 0)
        size = SHAPE[across]
        place = slice(size - 6, size - 3) if far else slice(3, 6)
        where = [slice(8, 12)] * 3
        where[across] = place
        labels[tuple(where)] = number
    code = Code("123", "SCT", "Structure")
    segments = tuple(
        Segment(number, name, ANATOMICAL_STRUCTURE, code, (200, 80, 60), MADE_BY)
        for number, name in enumerate(names, start=1)
    )
    return Segmentation("volume", geometry, labels, segments)


@pytest.mark.parametrize(("names", "turn"), CASES)
def test_right_ones_raise_no_alarm(
    names: tuple[str, str], turn: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    assert wrong_sides(segmentation(names, turn, mirrored=False)) == ()


@pytest.mark.parametrize(("names", "turn"), CASES)
def test_mirrored_ones_are_named(
    names: tuple[str, str], turn: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    assert wrong_sides(segmentation(names, turn, mirrored=True)) == names


def test_one_alone_counts_only_clearly_beyond_the_middle() -> None:
    mirrored = segmentation(NAMES[0], TURNS[0], mirrored=True)
    mirrored.labels[mirrored.labels == 2] = 0
    assert wrong_sides(mirrored) == ("Left hippocampus",)
    right = segmentation(NAMES[0], TURNS[0], mirrored=False)
    right.labels[right.labels == 2] = 0
    assert wrong_sides(right) == ()
    right.labels[...] = 0
    right.labels[:, :, 17:20] = 1
    assert wrong_sides(right) == ()
