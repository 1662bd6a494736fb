"""Scores against formulas and an independent computation by scipy."""

import math

import numpy as np
import pytest
from scipy import ndimage

from medview.learning.metrics import (
    bootstrap_interval,
    dice_score,
    hausdorff95_mm,
    relative_volume_error,
)


def ball(centre: tuple[float, float, float], radius: float) -> np.ndarray:
    place = np.stack(np.meshgrid(*[np.arange(24.0)] * 3, indexing="ij"), axis=-1)
    return np.linalg.norm(place - np.asarray(centre), axis=-1) <= radius


def test_dice_is_twice_the_overlap_over_the_sum():
    answer, truth = ball((10, 12, 12), 5), ball((12, 12, 12), 6)
    expected = 2 * (answer & truth).sum() / (answer.sum() + truth.sum())
    assert dice_score(answer, truth) == pytest.approx(expected, abs=1e-6)


def test_dice_of_strangers_is_zero_and_of_two_empty_masks_one():
    empty = np.zeros((24, 24, 24), bool)
    assert dice_score(ball((4, 4, 4), 2), ball((18, 18, 18), 2)) == 0.0
    assert dice_score(empty, empty) == 1.0


def surface(mask: np.ndarray) -> np.ndarray:
    return mask & ~ndimage.binary_erosion(mask)


def test_hausdorff_distance_agrees_with_distances_between_surfaces_by_scipy():
    spacing = (1.0, 0.5, 2.0)
    answer, truth = ball((10, 12, 12), 5), ball((13, 11, 12), 6)
    ways = []
    for one, other in ((answer, truth), (truth, answer)):
        distance = ndimage.distance_transform_edt(~surface(other), sampling=spacing)
        ways.append(np.percentile(distance[surface(one)], 95))
    assert hausdorff95_mm(answer, truth, spacing) == pytest.approx(max(ways), abs=1e-4)


def test_hausdorff_distance_to_nothing_is_infinite():
    empty = np.zeros((24, 24, 24), bool)
    assert math.isinf(hausdorff95_mm(empty, ball((10, 10, 10), 4), (1, 1, 1)))
    assert hausdorff95_mm(empty, empty, (1, 1, 1)) == 0.0


def test_volume_error_is_a_share_of_the_truth():
    truth = np.zeros((10, 10, 10), bool)
    truth[:5, :4, :1] = True
    answer = truth.copy()
    answer[0, 0, 0] = False
    assert relative_volume_error(answer, truth) == pytest.approx(1 / 20)


def test_interval_of_a_mean_is_that_of_the_normal_law_for_many_patients():
    values = np.random.default_rng(3).normal(0.9, 0.05, 400)
    low, high = bootstrap_interval(values, [str(i) for i in range(400)], np.mean)
    half = 1.96 * values.std() / math.sqrt(400)
    assert low == pytest.approx(values.mean() - half, abs=0.001)
    assert high == pytest.approx(values.mean() + half, abs=0.001)


def test_two_sides_of_one_person_are_not_two_observations():
    values = np.random.default_rng(3).normal(0.9, 0.05, 100)
    doubled = np.repeat(values, 2)
    people = [str(i // 2) for i in range(200)]
    low, high = bootstrap_interval(doubled, people, np.mean)
    half = 1.96 * values.std() / math.sqrt(100)  # not sqrt(200)
    assert (high - low) / 2 == pytest.approx(half, rel=0.08)
