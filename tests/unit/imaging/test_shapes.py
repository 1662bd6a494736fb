"""Shapes of segments against ITK's filters, formulas of balls, and what must always hold."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial import KDTree

from medview.core.geometry import Box, Geometry
from medview.imaging import shapes
from medview.imaging.distances import squared_mm
from tests.helpers.phantoms import Phantom, oblique

TURNED = oblique(25, 40)
STRAIGHT = Phantom((14, 26, 28))
GRIDS = [
    STRAIGHT.geometry,
    Phantom((14, 26, 28), row=TURNED[0], column=TURNED[1]).geometry,
    Phantom((14, 26, 28), tilt_deg=25).geometry,
]


def blobs(seed: int, shape: tuple[int, int, int] = (14, 26, 28), share: float = 0.3) -> np.ndarray:
    """Lumps of noise, none near the rim."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.random(shape), (0.8, 1.6, 1.6))
    mask = noise > np.quantile(noise, 1 - share)
    mask[[0, -1]] = mask[:, [0, -1]] = mask[:, :, [0, -1]] = False
    return mask


def points(grid: Geometry) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    return grid.to_lps_mm(index)


def nearest_mm(grid: Geometry, mask: np.ndarray) -> np.ndarray:
    """Distance of every voxel to the nearest of a mask, point by point in the patient."""
    every = points(grid)
    apart, _ = KDTree(every[mask]).query(every.reshape(-1, 3))
    return apart.reshape(grid.shape)


@given(seed=st.integers(0, 10_000), share=st.floats(0.001, 0.6))
@settings(deadline=None, max_examples=25)
def test_distances_are_those_of_scipy(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 18, 3))
    spacing = tuple(float(s) for s in rng.uniform(0.3, 4, 3))
    mask = rng.random(shape) < share
    if not mask.any():
        assert (squared_mm(mask, spacing) > 1e17).all()
        return
    truth = ndimage.distance_transform_edt(~mask, sampling=spacing)
    np.testing.assert_allclose(np.sqrt(squared_mm(mask, spacing)), truth, rtol=1e-5, atol=1e-5)
    flat = squared_mm(mask, spacing, in_plane=True)
    for layer, one in zip(flat, mask, strict=True):
        if one.any():
            edt = ndimage.distance_transform_edt(~one, sampling=spacing[1:])
            np.testing.assert_allclose(np.sqrt(layer), edt, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("distance_mm", [1.1, 3.3])
def test_a_margin_is_true_millimetres_on_any_grid(grid: Geometry, distance_mm: float) -> None:
    mask = np.zeros(grid.shape, dtype=bool)
    mask[6:8, 11:14, 12:14] = True
    apart = nearest_mm(grid, mask)
    sure = np.abs(apart - distance_mm) > 1e-3
    np.testing.assert_array_equal(
        shapes.margin(mask, grid, distance_mm)[sure], (apart <= distance_mm)[sure]
    )
    inner = nearest_mm(grid, ~mask)
    sure = np.abs(inner - distance_mm) > 1e-3
    np.testing.assert_array_equal(
        shapes.margin(mask, grid, -distance_mm)[sure], (inner > distance_mm)[sure]
    )


def test_a_grown_ball_has_the_volume_of_its_formula() -> None:
    grid = Geometry((64, 70, 70), np.diag([0.7, 0.6, 0.6, 1]))
    apart = np.linalg.norm(points(grid) - grid.center_lps_mm, axis=-1)
    ball = apart <= 12
    for by_mm in (4.0, -4.0):
        grown = np.count_nonzero(shapes.margin(ball, grid, by_mm)) * grid.voxel_volume_ml
        assert grown == pytest.approx(4 / 3 * np.pi * (12 + by_mm) ** 3 / 1000, rel=0.04)
    shell = shapes.hollowed(ball, grid, 3.0, shapes.Side.INSIDE)
    wanted = 4 / 3 * np.pi * (12**3 - 9**3) / 1000
    assert np.count_nonzero(shell) * grid.voxel_volume_ml == pytest.approx(wanted, rel=0.04)


def itk(mask: np.ndarray) -> SimpleITK.Image:
    return SimpleITK.GetImageFromArray(mask.astype(np.uint8))


def test_closing_and_opening_are_those_of_itk() -> None:
    grid = Geometry((20, 30, 32), np.eye(4))
    mask = np.zeros(grid.shape, dtype=bool)
    mask[5:-5, 5:-5, 5:-5] = blobs(3, (10, 20, 22))
    offsets = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"))
    ball = (offsets**2).sum(axis=0) <= 4
    grown = ndimage.binary_dilation(mask, ball)
    np.testing.assert_array_equal(shapes.grown(mask, grid, 2.0), grown)
    closed = ndimage.binary_erosion(grown, ball, border_value=1)
    np.testing.assert_array_equal(shapes.closed(mask, grid, 2.0), closed)
    # ITK's box of radius 1 is the ball of a radius between the root of 3 and 2.
    np.testing.assert_array_equal(
        shapes.closed(mask, grid, 1.8),
        SimpleITK.GetArrayFromImage(
            SimpleITK.BinaryMorphologicalClosing(itk(mask), [1] * 3, SimpleITK.sitkBox)
        ).astype(bool),
    )
    opened = ndimage.binary_dilation(ndimage.binary_erosion(mask, ball), ball)
    np.testing.assert_array_equal(shapes.opened(mask, grid, 2.0), opened)


@given(seed=st.integers(0, 1000), radius_mm=st.floats(0.5, 4), which=st.integers(0, 2))
@settings(deadline=None, max_examples=20)
def test_closing_and_opening_twice_is_once(seed: int, radius_mm: float, which: int) -> None:
    grid, mask = GRIDS[which], blobs(seed)
    closed, opened = (f(mask, grid, radius_mm) for f in (shapes.closed, shapes.opened))
    assert (closed | mask == closed).all()
    assert (opened & mask == opened).all()
    np.testing.assert_array_equal(shapes.closed(closed, grid, radius_mm), closed)
    np.testing.assert_array_equal(shapes.opened(opened, grid, radius_mm), opened)


@pytest.mark.parametrize("radius", [1, 2])
def test_the_median_is_that_of_itk(radius: int) -> None:
    grid, mask = Geometry((14, 26, 28), np.eye(4)), blobs(5, share=0.5)
    truth = SimpleITK.GetArrayFromImage(SimpleITK.Median(itk(mask), [radius] * 3)).astype(bool)
    np.testing.assert_array_equal(shapes.median(mask, grid, float(radius)), truth)


def test_smoothing_together_leaves_no_gap_between_neighbours() -> None:
    grid = STRAIGHT.geometry
    rng = np.random.default_rng(2)
    labels = np.full(grid.shape, 1, dtype=np.uint8)
    labels[:, :, 14:] = 2
    rough = labels.copy()
    noisy = rng.random(grid.shape) < 0.2
    rough[noisy] = 3 - rough[noisy]
    rough[0, :3] = 9
    smooth = shapes.smoothed_together(rough, grid, 2.5, [1, 2])
    assert (smooth != 0).all()
    np.testing.assert_array_equal(smooth == 9, rough == 9)
    inner = smooth[1:]
    assert (inner != labels[1:]).mean() < 0.02


def test_islands_are_those_of_itk_by_size() -> None:
    mask = blobs(11, share=0.25)
    parts = SimpleITK.RelabelComponent(SimpleITK.ConnectedComponent(itk(mask)))
    numbers = SimpleITK.GetArrayFromImage(parts)
    sizes = np.bincount(numbers.reshape(-1))[1:]
    assert sizes.size > 3
    found = shapes.islands(mask)
    assert [np.count_nonzero(one) for one in found] == sizes.tolist()
    np.testing.assert_array_equal(shapes.largest_island(mask), found[0])
    least = int(sizes[2])
    kept = shapes.without_small_islands(mask, least)
    np.testing.assert_array_equal(kept, np.isin(numbers, np.flatnonzero(sizes >= least) + 1))
    place = tuple(int(n) for n in np.argwhere(numbers == 2)[0])
    np.testing.assert_array_equal(shapes.island_at(mask, place), numbers == 2)
    empty = tuple(int(n) for n in np.argwhere(~mask)[0])
    assert not shapes.island_at(mask, empty).any()


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_holes_are_those_that_scipy_finds(axis: int | None) -> None:
    rng = np.random.default_rng(8)
    mask = rng.random((14, 15, 16)) > 0.42
    if axis is None:
        truth = ndimage.binary_fill_holes(mask)
    else:
        slices = [ndimage.binary_fill_holes(mask.take(n, axis)) for n in range(mask.shape[axis])]
        truth = np.stack(slices, axis)
    assert (truth != mask).any()
    np.testing.assert_array_equal(shapes.filled(mask, axis), truth)


def test_a_mirror_goes_back_by_itself_and_is_cut_at_the_rim() -> None:
    mask = blobs(4)[2:9, 3:20, 5:18]
    box = Box((2, 3, 5), (9, 20, 18))
    for axis, twice in ((0, 11), (1, 24), (2, 25)):
        turned = shapes.mirrored(mask, box, axis, twice, 40)
        assert turned is not None
        back = shapes.mirrored(turned[1], turned[0], axis, twice, 40)
        assert back is not None
        assert back[0] == box
        np.testing.assert_array_equal(back[1], mask)
        whole, other = np.zeros((2, 40, 40, 40), dtype=bool)
        whole[box.slices], other[turned[0].slices] = mask, turned[1]
        for place in np.argwhere(whole)[::17]:
            place[axis] = twice - place[axis]
            assert other[tuple(place)]
    cut = shapes.mirrored(mask, box, 0, 6, 40)
    assert cut is not None
    assert cut[0].start[0] == 0
    assert shapes.mirrored(mask, box, 0, -20, 40) is None
