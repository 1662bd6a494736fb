"""Labels between coarse scores, against interpolating every class with torch and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage, special

from medview.imaging.arg_max import best_class, certainty, label_between, line
from tests.helpers.between import labels_on


def smooth_scores(classes: int, shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(classes, *shape))
    return np.stack([ndimage.gaussian_filter(one, 2) for one in noise]).astype(np.float32)


def best_of(scores: np.ndarray) -> np.ndarray:
    best = np.empty(scores.shape[1:], np.uint16)
    best_class(scores, best)
    return best


def by_torch(scores: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    between = torch.nn.functional.interpolate(
        torch.from_numpy(scores)[None], size=shape, mode="trilinear", align_corners=False
    )
    return between[0].argmax(dim=0).numpy()


@pytest.mark.parametrize(
    ("classes", "shape"),
    [
        (2, (40, 33, 50)),
        (7, (40, 66, 31)),
        (3, (20, 22, 25)),
        (4, (9, 11, 60)),
        (300, (24, 20, 22)),
    ],
)
def test_labels_are_those_of_interpolating_every_class(classes, shape):
    scores = smooth_scores(classes, (20, 22, 25))
    found = labels_on(scores, shape)
    assert (found == by_torch(scores, shape)).mean() >= 0.9999
    assert len(np.unique(found)) > 1


def test_noise_without_any_structure_is_interpolated_everywhere():
    scores = np.random.default_rng(0).normal(size=(5, 8, 9, 10)).astype(np.float32)
    wanted = by_torch(scores, (24, 20, 37))
    assert (labels_on(scores, (24, 20, 37)) == wanted).mean() >= 0.9999


def test_a_class_that_is_second_everywhere_wins_between():
    scores = np.zeros((3, 1, 1, 2), np.float32)
    scores[:, 0, 0, 0], scores[:, 0, 0, 1] = (10, 9, 0), (0, 9, 10)
    assert labels_on(scores, (1, 1, 6))[0, 0].tolist() == [0, 0, 1, 1, 2, 2]


def test_on_the_same_grid_labels_are_the_best_class_and_the_first_of_equals():
    scores = np.array([1, 1, 0, 2, 2, 2], np.float32).reshape(3, 1, 1, 2)
    assert best_of(scores)[0, 0].tolist() == [2, 1]
    assert labels_on(scores, (1, 1, 2))[0, 0].tolist() == [2, 1]
    equal = np.ones((4, 2, 3, 5), np.float32)
    assert not labels_on(equal, (4, 3, 9)).any()


def test_sums_count_by_what_they_are_divided_by_and_a_region_by_its_lines():
    scores = smooth_scores(4, (16, 18, 20))
    weights = np.random.default_rng(1).uniform(0.5, 3, (16, 18, 20)).astype(np.float32)
    sums, shape = scores * weights, (30, 40, 33)
    lines = [line(size, count) for size, count in zip((16, 18, 20), shape, strict=True)]
    wanted = by_torch(scores, shape)
    lines[0] = lines[0].seen_from(4)
    inner = np.ascontiguousarray(sums[:, 4:13])
    first, stop = lines[0].between(0, 9)
    assert lines[0].lower[first - 1] < 0
    assert lines[0].upper[stop] > 8
    out = np.zeros(shape, np.uint8)
    span = ((first, stop), (0, 40), (3, 33))
    label_between(inner, 1 / weights[4:13], best_of(inner), lines, out, span)
    here = (slice(first, stop), slice(None), slice(3, None))
    assert (out[here] == wanted[here]).mean() >= 0.999
    out[here] = 0
    assert not out.any()


def test_the_best_class_of_a_box_leaves_the_rest_alone():
    scores = smooth_scores(4, (6, 7, 8))
    best = np.full((6, 7, 8), 99, np.uint16)
    best_class(scores, best, ((1, 3), (2, 7), (0, 5)))
    here = (slice(1, 3), slice(2, 7), slice(0, 5))
    np.testing.assert_array_equal(best[here], scores.argmax(axis=0)[here])
    best[here] = 99
    assert (best == 99).all()


def test_certainty_is_softmax_and_entropy():
    scores = 3 * smooth_scores(5, (6, 7, 8))
    scale = np.full((6, 7, 8), 0.5, np.float32)
    surest, entropy, _ = certainty(scores, scale, best_of(scores))
    chances = special.softmax(0.5 * scores.astype(float), axis=0)
    np.testing.assert_allclose(surest, chances.max(axis=0), rtol=1e-5)
    np.testing.assert_allclose(entropy, special.entr(chances).sum(axis=0) / np.log(5), rtol=1e-4)
    found, *_ = certainty(scores, scale, best_of(scores), span=((1, 6), (0, 7), (2, 8)), step=2)
    np.testing.assert_array_equal(found[1:6:2, 0:7:2, 2:8:2], surest[1:6:2, 0:7:2, 2:8:2])
    assert np.count_nonzero(found) == 3 * 4 * 3


@pytest.mark.parametrize(("classes", "channels"), [(12, 3), (40, 6), (2, 1)])
def test_classes_that_are_made_of_fewer_channels_are_like_those_that_were_made_before(
    classes, channels
):
    rng = np.random.default_rng(3)
    few = smooth_scores(channels, (12, 14, 16))
    few[-1] = 1.0
    mix = rng.normal(size=(classes, channels)).astype(np.float32)
    many = np.einsum("kc,c...->k...", mix, few)
    best = np.empty(few.shape[1:], np.uint16)
    best_class(few, best, mix=mix)
    assert (best == many.argmax(axis=0)).mean() >= 0.9999
    shape = (20, 30, 25)
    lines = [line(size, count) for size, count in zip(best.shape, shape, strict=True)]
    out, scale = np.empty(shape, np.uint16), np.full(best.shape, 0.7, np.float32)
    label_between(few, scale, best, lines, out, mix=mix)
    assert (out == by_torch(many, shape)).mean() >= 0.9999
    surest, _, chances = certainty(few, scale, best, mix=mix, wished=(1, 0))
    wanted = special.softmax(0.7 * many.astype(float), axis=0)
    np.testing.assert_allclose(surest, wanted.max(axis=0), rtol=1e-4)
    np.testing.assert_allclose(chances, wanted[[1, 0]], rtol=1e-3, atol=1e-6)
