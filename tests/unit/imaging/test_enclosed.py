"""What closed surfaces enclose: against formulas, and against the voxels they were made of."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from medview.imaging.enclosed import enclosed
from medview.imaging.surface import surface_of

CUBE = ConvexHull(np.array([(k, j, i) for k in (0, 1) for j in (0, 1) for i in (0, 1)], float))


def cube(low: tuple[float, ...], high: tuple[float, ...]) -> np.ndarray:
    corners = CUBE.points[CUBE.simplices]
    return np.array(low) + corners * (np.array(high) - low)


def test_a_cuboid_holds_the_voxels_between_its_faces() -> None:
    found = enclosed(cube((1.5, 2.2, 3.1), (6.5, 30.4, 5.9)), (9, 40, 8))
    wanted = np.zeros((9, 40, 8), bool)
    wanted[2:7, 3:31, 4:6] = True
    assert np.array_equal(found, wanted)


def test_faces_through_the_middles_of_voxels_do_not_leak() -> None:
    found = enclosed(cube((1, 1, 1), (4, 5, 6)), (7, 7, 9))
    assert found[2:4, 2:5, 2:6].all()
    found[1:5, 1:6, 1:7] = False
    assert not found.any()


def test_what_lies_beyond_the_grid_is_cut_off() -> None:
    found = enclosed(cube((-5, -5, -5), (2.5, 3.5, 20)), (6, 6, 7))
    wanted = np.zeros((6, 6, 7), bool)
    wanted[:3, :4] = True
    assert np.array_equal(found, wanted)
    assert not enclosed(cube((10, 10, 10), (20, 20, 20)), (6, 6, 7)).any()


def test_a_ball_of_facets_holds_what_is_within_its_facets() -> None:
    chance = np.random.default_rng(2)
    places = chance.normal(size=(400, 3))
    hull = ConvexHull(12 + 9.3 * places / np.linalg.norm(places, axis=1, keepdims=True))
    found = enclosed(hull.points[hull.simplices], (25, 25, 25))
    centres = np.argwhere(np.ones((25, 25, 25), bool))
    inside = (hull.equations[:, :3] @ centres.T + hull.equations[:, 3:] < 0).all(axis=0)
    assert np.array_equal(found.ravel(), inside)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7])
def test_a_surface_made_of_voxels_encloses_these(share: float) -> None:
    mask = np.random.default_rng(4).random((11, 13, 9)) < share
    mask[0] = mask[-1] = mask[:, 0] = mask[:, -1] = mask[:, :, 0] = mask[:, :, -1] = False
    made = surface_of(mask)
    assert np.array_equal(enclosed(made.points[made.faces], mask.shape), mask)


def test_a_shell_with_a_hole_in_it_is_refused() -> None:
    with pytest.raises(ValueError, match="not closed"):
        enclosed(cube((1.2, 1.2, 1.2), (4.1, 5.2, 6.3))[:-1], (7, 7, 9))


def test_a_hollow_thing_stays_hollow() -> None:
    both = np.concatenate([cube((0.5, 0.5, 0.5), (8.5, 8.5, 8.5)), cube((2.5,) * 3, (5.5,) * 3)])
    found = enclosed(both, (10, 10, 10))
    assert found.sum() == 8**3 - 3**3
    assert not found[3:6, 3:6, 3:6].any()
