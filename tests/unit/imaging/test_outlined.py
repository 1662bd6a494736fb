"""Areas within outlines against formulas and against every voxel asked by itself."""

from __future__ import annotations

import numpy as np
import pytest

from medview.core.geometry import Box, Geometry
from medview.imaging.outlined import contour, seen_within
from medview.imaging.outlines import filled
from tests.helpers.phantoms import Phantom, oblique

TURNED = oblique(25, 40)
GRIDS = [
    Phantom((12, 30, 32)).geometry,
    Phantom((12, 30, 32), row=TURNED[0], column=TURNED[1]).geometry,
    Phantom((12, 30, 32), tilt_deg=25).geometry,
]


def crossings(corners: np.ndarray, place: np.ndarray) -> bool:
    """Even-odd rule by the angle that the outline turns around the place (an odd winding)."""
    to = corners - place
    angles = np.arctan2(to[:, 0], to[:, 1])
    turns = np.diff(np.append(angles, angles[0]))
    turns = (turns + np.pi) % (2 * np.pi) - np.pi
    return round(turns.sum() / (2 * np.pi)) % 2 == 1


def test_inside_is_what_the_winding_says() -> None:
    rng = np.random.default_rng(7)
    for _ in range(20):
        corners = rng.uniform(-3, 23, (7, 2))
        mask = filled(corners, (20, 21))
        for place in rng.integers(0, 20, (60, 2)):
            assert mask[tuple(place)] == crossings(corners, place.astype(float))


def test_a_circle_has_its_area() -> None:
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    circle = np.stack([100.37 + 70 * np.sin(angle), 120.21 + 70 * np.cos(angle)], axis=1)
    assert filled(circle, (220, 240)).sum() == pytest.approx(np.pi * 70**2, rel=0.002)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("normal", [0, 1, 2])
def test_a_contour_fills_its_slice_and_scissors_go_through(grid: Geometry, normal: int) -> None:
    index = np.full((4, 3), 7.3)
    rows, columns = (axis for axis in range(3) if axis != normal)
    index[:, rows], index[:, columns] = (2.6, 2.6, 8.4, 8.4), (3.5, 12.2, 12.2, 3.5)
    drawn = grid.to_lps_mm(index)
    patch = contour(grid, drawn, normal, None)
    assert patch is not None
    whole = np.zeros(grid.shape, dtype=bool)
    whole[patch.box.slices] = patch.mask
    wanted = np.zeros(grid.shape, dtype=bool)
    place: list[slice | int] = [0, 0, 0]
    place[normal], place[rows], place[columns] = 7, slice(3, 9), slice(4, 13)
    wanted[tuple(place)] = True
    np.testing.assert_array_equal(whole, wanted)
    through = contour(grid, drawn, normal, (0, grid.shape[normal]))
    assert through is not None
    assert through.box.shape[normal] == grid.shape[normal]
    assert np.count_nonzero(through.mask) == wanted.sum() * grid.shape[normal]
    assert contour(grid, drawn + 1e4, normal, None) is None
    assert contour(grid, grid.to_lps_mm([[5, 5, 5]] * 3), normal, None) is None


def test_scissors_in_3d_cut_what_is_seen_within() -> None:
    grid = GRIDS[1]
    rng = np.random.default_rng(1)
    # A camera before the patient, with perspective: w grows with depth.
    view = np.eye(4)
    view[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    view[:3, 3] = -view[:3, :3] @ grid.center_lps_mm
    lens = np.eye(4)
    lens[3] = (0, 0, 0.01, 1.0)
    to_view = lens @ view
    outline = np.array([(-8, -6), (9, -4), (7, 8), (-2, 3)], dtype=float)
    box = Box((1, 2, 3), (11, 29, 30))
    mask = seen_within(grid, box, to_view, outline)
    assert 0 < mask.sum() < mask.size
    wrong = 0
    for place in np.argwhere(np.ones(box.shape, dtype=bool))[::37]:
        point = grid.to_lps_mm(place + box.start)
        x, y, _, w = to_view @ (*point, 1)
        wrong += mask[tuple(place)] != (w > 0 and crossings(outline, np.array([x / w, y / w])))
    assert wrong <= 3  # of 200: the outline is kept on a grid of 512
    behind = seen_within(grid, box, np.diag([1.0, 1, 1, -1]) @ to_view, outline)
    assert not behind.any()
