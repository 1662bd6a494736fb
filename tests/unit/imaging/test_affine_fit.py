"""Fitting an affine transform to pictures whose transform is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medview.imaging.affine_fit import (
    Picture,
    Pose,
    Target,
    fit_affine,
    measured,
    turn_about_axes,
)

RNG = np.random.default_rng(7)
CENTERS = RNG.uniform(-45, 45, (40, 3))
HEIGHTS = RNG.uniform(0.4, 1.0, 40)


def blobs(points: np.ndarray) -> np.ndarray:
    """A smooth scene without symmetry: forty Gaussian hills, 9 mm wide."""
    squared = ((points[:, None, :] - CENTERS) ** 2).sum(axis=2)
    return np.asarray((HEIGHTS * np.exp(-squared / (2 * 9.0**2))).sum(axis=1))


def cube_points(half_mm: float, step_mm: float) -> np.ndarray:
    line = np.arange(-half_mm, half_mm + step_mm / 2, step_mm)
    z, y, x = np.meshgrid(line, line, line, indexing="ij")
    return np.stack([x, y, z], axis=-1).reshape(-1, 3)


def picture(matrix: np.ndarray, shift: np.ndarray, *, gain: float = 0.0) -> Picture:
    """The scene moved: what lies at p lies at matrix @ p + shift in the picture."""
    points = cube_points(75, 3.0)
    count = round(len(points) ** (1 / 3))
    values = blobs((points - shift) @ np.linalg.inv(matrix).T)
    values *= 300 * np.exp(gain * points[:, 1] / 75)
    grid = values.reshape(count, count, count).astype(np.float32)
    return Picture(grid, np.ones(grid.shape, bool), np.full(3, -75.0), 3.0)


def target() -> Target:
    points = cube_points(45, 6.0)
    values = blobs(points)
    return Target(points, (values - values.mean()) / values.std())


STRETCHED = Rotation.from_euler("xyz", (6, -5, 7), degrees=True).as_matrix() @ np.array(
    [[1.05, 0.04, 0], [0, 0.93, 0.02], [0, 0, 1.1]]
)


@pytest.mark.parametrize("gain", [0.0, 0.4])
def test_an_affine_transform_is_found_to_a_fraction_of_a_millimetre(gain: float) -> None:
    shift = np.array([6.0, -5.0, 4.0])
    scene = picture(STRETCHED, shift, gain=gain)
    start = Pose(np.eye(3), np.zeros(3), np.zeros(3))
    found = fit_affine(scene, target(), start, 12, iterations=40)
    truth = target().points_mm @ STRETCHED.T + shift
    assert np.linalg.norm(found.place(target().points_mm) - truth, axis=1).max() < 0.6
    assert found.similarity > 0.98
    affine = np.c_[target().points_mm, np.ones(len(truth))] @ found.affine.T
    np.testing.assert_allclose(affine[:, :3], found.place(target().points_mm))


@pytest.mark.parametrize(("freedom", "scale"), [(6, 1.0), (7, 0.94)])
def test_fewer_freedoms_keep_their_shape(freedom: int, scale: float) -> None:
    turn = Rotation.from_euler("xyz", (8, -6, 5), degrees=True).as_matrix() * scale
    scene = picture(turn, np.array([4.0, 4.0, -3.0]))
    start = Pose(np.eye(3), np.zeros(3), np.zeros(3))
    found = fit_affine(scene, target(), start, freedom, iterations=40)
    np.testing.assert_allclose(np.linalg.svd(found.matrix)[1], scale, atol=2e-3)
    np.testing.assert_allclose(found.matrix, turn, atol=6e-3)


def test_what_covers_too_little_is_left_alone() -> None:
    scene = picture(np.eye(3), np.zeros(3))
    far = Pose(np.eye(3), np.array([110.0, 0, 0]), np.zeros(3))
    found = fit_affine(scene, target(), far, 12)
    assert found.similarity == -1.0
    assert found.inside < 0.4
    np.testing.assert_array_equal(found.position_mm, far.position_mm)


def test_an_even_picture_resembles_nothing() -> None:
    even = Picture(
        np.ones((20, 20, 20), np.float32), np.ones((20,) * 3, bool), np.full(3, -60.0), 6
    )
    assert measured(even, target(), Pose(np.eye(3), np.zeros(3), np.zeros(3))).similarity == -1.0


def test_a_negative_is_told_from_a_positive() -> None:
    scene = picture(np.eye(3), np.zeros(3))
    negative = Picture(-scene.values, scene.covered, scene.origin_mm, scene.spacing_mm)
    here = Pose(np.eye(3), np.zeros(3), np.zeros(3))
    assert measured(scene, target(), here).similarity > 0.99
    assert measured(negative, target(), here).similarity < -0.99


def test_places_beyond_or_masked_are_not_covered() -> None:
    covered = np.ones((4, 5, 6), bool)
    covered[0] = False
    small = Picture(np.zeros((4, 5, 6), np.float32), covered, np.array([10.0, 20.0, 30.0]), 2.0)
    points = np.array([[10, 20, 32], [20, 28, 36], [10, 20, 30], [8.5, 20, 32], [22, 20, 32]])
    assert small.covers(points.astype(float)).tolist() == [True, True, False, False, False]


def test_thinning_keeps_places() -> None:
    scene = picture(np.eye(3), np.zeros(3))
    few = scene.thinned(2)
    point = few.origin_mm + np.array([3, 4, 5]) * few.spacing_mm
    assert few.sample(point[None])[0] == pytest.approx(scene.sample(point[None])[0])
    assert few.covers(point[None]).all()


@given(st.lists(st.floats(-360, 360), min_size=3, max_size=3))
def test_turns_about_the_axes_are_those_of_scipy(angles: list[float]) -> None:
    truth = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    np.testing.assert_allclose(turn_about_axes(angles), truth, atol=1e-12)
