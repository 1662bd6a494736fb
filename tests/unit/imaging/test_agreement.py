"""Agreement of two readings, against counts made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medview.core.errors import GeometryError
from medview.imaging.agreement import (
    BOTH,
    DIFFERENT,
    ONLY_FIRST,
    ONLY_SECOND,
    difference,
    intersection_over_union,
    joint_counts,
    match_boxes,
    overlap,
)
from medview.imaging.measure import dice

FIRST = np.array([[[1, 1, 2, 0], [0, 3, 0, 0]]], np.uint8)
SECOND = np.array([[[7, 0, 9, 7], [0, 9, 0, 0]]], np.uint16)


def test_pairs_of_labels_are_counted_over_all_voxels() -> None:
    counts = joint_counts(FIRST, SECOND)
    assert counts == {(1, 7): 1, (1, 0): 1, (2, 9): 1, (0, 7): 1, (3, 9): 1, (0, 0): 3}
    one = overlap(counts, 1, 7)
    assert (one.first, one.second, one.both, one.dice) == (2, 2, 1, 0.5)
    assert overlap(counts, 5, 6).dice == 1.0


def test_dice_is_that_of_whole_arrays() -> None:
    rng = np.random.default_rng(5)
    a, b = (rng.integers(0, 4, (5, 9, 8)).astype(np.uint8) for _ in range(2))
    counts = joint_counts(a, b)
    for number, expected in dice(a, b, [1, 2, 3]).items():
        assert overlap(counts, number, number).dice == pytest.approx(expected)


def test_labels_of_two_grids_are_not_compared() -> None:
    with pytest.raises(GeometryError):
        joint_counts(FIRST, SECOND[:, :1])


def test_the_difference_tells_four_ways_to_agree_or_not() -> None:
    found = difference(FIRST, SECOND, [(1, 7), (2, 9)])
    # 3 means nothing to the second reading, which calls the place 9.
    assert found.tolist() == [
        [[BOTH, ONLY_FIRST, BOTH, ONLY_SECOND], [0, DIFFERENT, 0, 0]],
    ]


def _box(*low_high: float) -> np.ndarray:
    half = len(low_high) // 2
    return np.array([low_high[:half], low_high[half:]], np.float64)


def test_overlap_of_boxes_is_shared_over_joint_area() -> None:
    assert intersection_over_union(_box(0, 0, 2, 2), _box(1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert intersection_over_union(_box(0, 0, 2, 2), _box(2, 0, 3, 2)) == 0.0
    assert intersection_over_union(_box(0, 0, 2, 2), _box(0, 0, 2, 2)) == 1.0


def test_each_box_is_matched_once_and_the_best_pair_first() -> None:
    first = [_box(0, 0, 4, 4), _box(0, 0, 4, 3)]
    second = [_box(0, 0, 4, 3), _box(20, 20, 21, 21)]
    assert match_boxes(first, second, 0.1) == ((1, 0, 1.0),)
    assert match_boxes([], second, 0.1) == ()
