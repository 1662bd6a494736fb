"""Scores against formulas and an independent computation by scipy."""

import math

import numpy as np
import pytest
from scipy import ndimage

from medview.learning.metrics import (
    best_temperature,
    bootstrap_intervals,
    calibration_error,
    class_figures,
    dice_score,
    hausdorff95_mm,
    relative_volume_error,
)


def interval_of_mean(values: np.ndarray, patients: list[str]) -> tuple[float, float]:
    figures = bootstrap_intervals(patients, lambda chosen: {"mean": float(values[chosen].mean())})
    return figures["mean"]


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
    low, high = interval_of_mean(values, [str(i) for i in range(400)])
    half = 1.96 * values.std() / math.sqrt(400)
    assert low == pytest.approx(values.mean() - half, abs=0.001)
    assert high == pytest.approx(values.mean() + half, abs=0.001)


def test_two_sides_of_one_person_are_not_two_observations():
    values = np.random.default_rng(3).normal(0.9, 0.05, 100)
    doubled = np.repeat(values, 2)
    people = [str(i // 2) for i in range(200)]
    low, high = interval_of_mean(doubled, people)
    half = 1.96 * values.std() / math.sqrt(100)  # not sqrt(200)
    assert (high - low) / 2 == pytest.approx(half, rel=0.08)


def test_draws_in_which_a_figure_cannot_be_told_do_not_count():
    def figures(chosen: np.ndarray) -> dict[str, float]:
        return {"x": math.nan if 0 in chosen else 1.0}

    assert bootstrap_intervals(["a", "b"], figures)["x"] == (1.0, 1.0)


def two_columns(probability: np.ndarray) -> np.ndarray:
    return np.stack([1 - probability, probability], axis=1)


def test_auroc_is_the_share_of_pairs_in_the_right_order():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 60)
    probability = np.round(np.clip(0.3 * truth + 0.7 * rng.random(60), 0, 1), 2)
    sick, well = probability[truth == 1], probability[truth == 0]
    right = (sick[:, None] > well).mean() + 0.5 * (sick[:, None] == well).mean()
    figures = class_figures(truth, two_columns(probability))
    assert figures["auroc"] == pytest.approx(right)
    assert figures["accuracy"] == np.mean((probability > 0.5) == truth)


def test_sensitivity_is_read_where_one_in_ten_healthy_is_called_sick():
    well, sick = np.linspace(0.0, 0.5, 10), np.array([0.1, 0.44, 0.46, 0.9])
    truth = np.array([0] * 10 + [1] * 4)
    figures = class_figures(truth, two_columns(np.concatenate([well, sick])))
    assert figures["sensitivity_at_spec90"] == 0.5  # above the second highest of the healthy


def test_one_class_alone_has_no_auroc():
    figures = class_figures(np.ones(5, int), two_columns(np.full(5, 0.8)))
    assert math.isnan(figures["auroc"])
    assert figures["ece"] == pytest.approx(0.2)


def test_more_than_two_classes_are_each_held_against_the_rest():
    truth = np.array([0, 0, 1, 1, 2, 2])
    figures = class_figures(truth, np.eye(3)[[0, 0, 1, 2, 2, 2]])
    assert figures["accuracy"] == pytest.approx(5 / 6)
    assert figures["auroc"] == pytest.approx((1 + 0.75 + 0.875) / 3)


def test_calibration_error_of_words_that_keep_and_of_words_that_do_not():
    stated = np.array([0.25] * 8 + [0.75] * 8)
    kept = np.array([1, 1, 0, 0, 0, 0, 0, 0] + [1] * 6 + [0] * 2)
    assert calibration_error(kept == 1, stated) == pytest.approx(0.0)
    # In the lower half 4 of 8 came true instead of 2: off by a quarter in half of the cases.
    broken = np.array([1, 1, 1, 1, 0, 0, 0, 0] + [1] * 6 + [0] * 2)
    assert calibration_error(broken == 1, stated) == pytest.approx(0.125)


def test_temperature_undoes_a_known_exaggeration():
    rng = np.random.default_rng(1)
    honest = rng.normal(0, 1.5, 20_000)
    truth = (rng.random(20_000) < 1 / (1 + np.exp(-honest))).astype(int)
    logits = np.stack([np.zeros(20_000), 3.0 * honest], axis=1)
    assert best_temperature(truth, logits) == pytest.approx(3.0, rel=0.05)
