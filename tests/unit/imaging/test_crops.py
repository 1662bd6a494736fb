"""Crops turned and mirrored at will, and the way back, against formulas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medview.core.geometry import Geometry
from medview.imaging.crops import (
    axes_of,
    crop_grid,
    largest_piece,
    sample_cubic,
    share_covered,
    spread_back,
)
from tests.helpers.phantoms import Phantom

angles = st.tuples(*(st.floats(-40, 40),) * 3)


def image_grid(spacing: float = 1.0, *, tilt_deg: float = 0.0) -> Geometry:
    return Phantom(
        (60, 64, 70), (spacing,) * 3, origin_lps_mm=(-30, -28, 12), tilt_deg=tilt_deg
    ).geometry


def places(geometry: Geometry) -> np.ndarray:
    return geometry.to_lps_mm(np.moveaxis(np.indices(geometry.shape, dtype=float), 0, -1))


def wave(points: np.ndarray) -> np.ndarray:
    """Smooth, and different everywhere and in every direction."""
    x, y, z = np.moveaxis(points, -1, 0)
    return np.asarray(np.sin(x / 7) + np.cos(y / 9) * z / 20 + x * 0.03)


@given(angles)
@settings(max_examples=20, deadline=None)
def test_axes_and_middle_are_as_asked(turned: tuple[float, float, float]) -> None:
    turn = Rotation.from_euler("xyz", turned, degrees=True).as_matrix()
    grid = crop_grid((3, 4, 5), turn @ axes_of("RAS"), (40, 56.5, 44), (1, 1, 1), image_grid())
    assert grid.shape == (40, 57, 44)
    np.testing.assert_allclose(grid.center_lps_mm, (3, 4, 5), atol=1e-9)
    step = grid.to_lps_mm((1, 0, 0)) - grid.to_lps_mm((0, 0, 0))
    np.testing.assert_allclose(step, turn @ (-1, 0, 0), atol=1e-9)


def test_letters_are_directions() -> None:
    np.testing.assert_array_equal(axes_of("RAS"), np.diag([-1.0, -1.0, 1.0]))
    np.testing.assert_array_equal(axes_of("SPL")[:, 0], (0, 0, 1))
    np.testing.assert_array_equal(axes_of("ILP")[:, 1], (1, 0, 0))


@given(angles, st.sampled_from([0.0, 15.0]), st.sampled_from(["RAS", "LAS"]))
@settings(max_examples=12, deadline=None)
def test_a_crop_holds_what_lies_there(
    turned: tuple[float, float, float], tilt_deg: float, orientation: str
) -> None:
    image = image_grid(tilt_deg=tilt_deg)
    turn = Rotation.from_euler("xyz", turned, degrees=True).as_matrix()
    axes = turn @ axes_of(orientation)
    grid = crop_grid(image.center_lps_mm, axes, (20, 24, 18), (1, 1, 1), image)
    values = wave(places(image)).astype(np.float32)
    np.testing.assert_allclose(sample_cubic(values, image, grid), wave(places(grid)), atol=2e-3)


def test_a_finer_image_is_smoothed_before_it_is_thinned() -> None:
    image = image_grid(0.4)
    noise = np.random.default_rng(1).normal(0, 1, image.shape).astype(np.float32)
    grid = crop_grid(image.center_lps_mm, axes_of("RAS"), (12, 12, 12), (1, 1, 1), image)
    assert sample_cubic(noise, image, grid).std() < 0.35


@pytest.mark.parametrize(("spacing", "tolerance"), [(0.8, 0.02), (1.0, 0.02), (1.5, 0.03)])
@pytest.mark.parametrize("tilt_deg", [0.0, 20.0])
def test_a_ball_keeps_its_volume_on_the_way_back(
    spacing: float, tolerance: float, tilt_deg: float
) -> None:
    image = image_grid(spacing, tilt_deg=tilt_deg)
    turn = Rotation.from_euler("xyz", (20, -15, 10), degrees=True).as_matrix()
    middle = image.center_lps_mm + np.array([1.3, -0.7, 0.4])
    grid = crop_grid(middle, turn @ axes_of("RAS"), (34, 34, 34), (1, 1, 1), image)
    distance = np.linalg.norm(places(grid) - middle, axis=-1)
    inside = np.clip((10 - distance) / 3 + 0.5, 0, 1).astype(np.float32)
    spread = spread_back(np.stack([1 - inside, inside]), grid, image)
    assert spread is not None
    box, probabilities = spread
    found = probabilities.argmax(axis=0) == 1
    volume_ml = found.sum() * image.voxel_volume_ml
    assert volume_ml == pytest.approx(4 / 3 * np.pi * 10**3 / 1000, rel=tolerance)
    points = image.to_lps_mm(np.argwhere(found) + box.start)
    np.testing.assert_allclose(points.mean(axis=0), middle, atol=0.2)
    np.testing.assert_allclose(probabilities.sum(axis=0), 1.0, atol=1e-5)


def test_beyond_a_crop_all_is_background() -> None:
    image = image_grid()
    grid = crop_grid(image.center_lps_mm, axes_of("RAS"), (9, 9, 9), (1, 1, 1), image)
    turned = Geometry(grid.shape, grid.affine @ _about_middle(grid, 45))
    spread = spread_back(np.stack([np.zeros((9, 9, 9)), np.ones((9, 9, 9))]), turned, image)
    assert spread is not None
    assert spread[1][0, 0, 0, 0] == 1.0
    assert spread[1][1].max() == pytest.approx(1.0)


def _about_middle(grid: Geometry, degrees: float) -> np.ndarray:
    turn, middle = np.eye(4), (np.array(grid.shape) - 1) / 2
    turn[:3, :3] = Rotation.from_euler("xy", (degrees, degrees), degrees=True).as_matrix()
    turn[:3, 3] = middle - turn[:3, :3] @ middle
    return turn


def test_a_crop_off_the_image_meets_nothing() -> None:
    image = image_grid()
    grid = crop_grid((500, 500, 500), axes_of("RAS"), (9, 9, 9), (1, 1, 1), image)
    assert spread_back(np.ones((2, 9, 9, 9), np.float32), grid, image) is None
    assert not sample_cubic(np.ones(image.shape, np.float32), image, grid).any()
    assert share_covered(grid, image) == 0.0


def test_the_share_of_a_crop_inside_the_image() -> None:
    image = image_grid()
    inside = crop_grid(image.center_lps_mm, axes_of("RAS"), (10, 10, 10), (1, 1, 1), image)
    assert share_covered(inside, image) == 1.0
    edge = image.to_lps_mm((29.5, 31.5, -0.5))
    half = crop_grid(edge, axes_of("RAS"), (10, 10, 10), (1, 1, 1), image)
    assert share_covered(half, image) == 0.5


def test_only_the_largest_piece_is_kept() -> None:
    mask = np.zeros((10, 10, 10), bool)
    mask[1:4, 1:4, 1:4] = mask[6, 6, 6:9] = True
    mask[4, 4, 4] = True  # touches the large one at a corner only
    kept = largest_piece(mask)
    assert kept.sum() == 27
    assert kept[2, 2, 2]
    assert not largest_piece(np.zeros((3, 3, 3), bool)).any()
