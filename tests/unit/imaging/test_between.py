"""Filling between slices: cylinders, cones and leaning shapes whose slices are known by formula."""

from __future__ import annotations

import numpy as np
import pytest

from medview.imaging.between import filled_between


def disc(shape: tuple[int, int], center: tuple[float, float], radius_mm: float,
         pixel_mm: tuple[float, float]) -> np.ndarray:  # fmt: skip
    down, across = np.indices(shape, dtype=float)
    squared = ((down - center[0]) * pixel_mm[0]) ** 2 + ((across - center[1]) * pixel_mm[1]) ** 2
    return squared <= radius_mm**2


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("lean", [0.0, 2.0])
def test_a_cone_is_filled_as_its_formula_says(axis: int, lean: float) -> None:
    pixel = (0.9, 0.6)
    truth = np.stack(
        [disc((80, 120), (30 + lean * n, 40 + lean * n), 8 + 0.5 * n, pixel) for n in range(13)]
    )
    drawn = truth.copy()
    drawn[1:6] = drawn[7:12] = False
    filled = filled_between(np.moveaxis(drawn, 0, axis), axis, pixel)
    found = np.moveaxis(filled, axis, 0)
    for n in (0, 6, 12):
        np.testing.assert_array_equal(found[n], drawn[n])
    for n in range(13):
        assert dice(found[n], truth[n]) > 0.97


def test_a_leaning_cylinder_that_never_overlaps_itself_is_bridged() -> None:
    truth = np.stack([disc((60, 90), (30, 12 + 7 * n), 6, (1, 1)) for n in range(9)])
    drawn = truth.copy()
    drawn[1:8] = False
    assert not (drawn[0] & drawn[8]).any()
    found = filled_between(drawn, 0, (1, 1))
    for n in range(9):
        assert dice(found[n], truth[n]) > 0.95


def test_what_is_drawn_stays_and_nothing_grows_beyond_the_ends() -> None:
    mask = np.zeros((9, 20, 20), dtype=bool)
    mask[2] = mask[3] = disc((20, 20), (9, 9), 5, (1, 1))
    np.testing.assert_array_equal(filled_between(mask, 0, (1, 1)), mask)
    mask[7, 4:9, 4:9] = True
    found = filled_between(mask, 0, (1, 1))
    np.testing.assert_array_equal(found[[0, 1, 2, 3, 7, 8]], mask[[0, 1, 2, 3, 7, 8]])
    assert found[4:7].any(axis=(1, 2)).all()


@pytest.mark.parametrize("lean", [(0, 0), (3, -5), (9, 14)])
def test_how_much_of_the_picture_lies_around_a_drawing_does_not_matter(
    lean: tuple[int, int],
) -> None:
    wide = np.zeros((8, 140, 160), dtype=bool)
    wide[0] = disc((140, 160), (60, 80), 7, (1, 1))
    wide[5] = disc((140, 160), (60 + lean[0], 80 + lean[1]), 19, (1, 1))
    wide[7, 55:70, 60:100] = True
    hit = np.argwhere(wide)
    tight = tuple(slice(a, b + 1) for a, b in zip(hit.min(axis=0), hit.max(axis=0), strict=True))
    found = filled_between(wide, 0, (0.8, 1.1))
    assert found[:, tight[1], tight[2]].sum() == found.sum()
    np.testing.assert_array_equal(filled_between(wide[tight], 0, (0.8, 1.1)), found[tight])
