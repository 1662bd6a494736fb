"""Brush strokes against distances computed voxel by voxel, and edits taken back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medview.core.codes import TISSUE
from medview.core.findings import Person, Provenance, utc_now
from medview.core.geometry import Box, Geometry
from medview.core.segmentation import LabelEdit, Segment, Segmentation
from medview.imaging.edit import (
    Brush,
    Patch,
    delete_segment,
    has_values,
    segment_box,
    stroke,
)
from tests.helpers.phantoms import Phantom, oblique

GRIDS = [
    Phantom((12, 30, 32)).geometry,
    Phantom((12, 30, 32), row=oblique(25, 40)[0], column=oblique(25, 40)[1]).geometry,
    Phantom((12, 30, 32), tilt_deg=25).geometry,
]


def segment(number: int) -> Segment:
    return Segment(
        number, f"S{number}", TISSUE, TISSUE, (9, 9, 9), Provenance(Person("A"), utc_now())
    )


def segmentation(labels: np.ndarray, geometry: Geometry | None = None) -> Segmentation:
    grid = geometry or Geometry(labels.shape, np.eye(4))
    return Segmentation("v", grid, labels, (segment(1), segment(2), segment(7)))


def whole(patch: Patch | None, shape: tuple[int, int, int]) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    if patch is not None:
        mask[patch.box.slices] = patch.mask
    return mask


def after(source: Segmentation, edit: LabelEdit | None) -> np.ndarray:
    labels = source.labels.copy()
    if edit is not None:
        labels[edit.box.slices] = edit.labels_after()
    return labels


def distance_mm(grid: Geometry, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Distance of every voxel to the line between two points."""
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    points = grid.to_lps_mm(index)
    line = stop - start
    length = line @ line
    along = np.clip(((points - start) @ line) / length, 0, 1) if length > 0 else 0.0
    return np.linalg.norm(points - start - np.multiply.outer(along, line), axis=-1)


@given(
    which=st.integers(0, 2),
    start=st.tuples(st.floats(-2, 14), st.floats(-4, 34), st.floats(-4, 36)),
    stop=st.tuples(st.floats(-2, 14), st.floats(-4, 34), st.floats(-4, 36)),
    radius=st.floats(0.3, 9),
)
@settings(deadline=None, max_examples=80)
def test_a_ball_paints_true_millimetres_on_any_grid(which, start, stop, radius) -> None:  # type: ignore[no-untyped-def]
    grid = GRIDS[which]
    points = grid.to_lps_mm([start, stop])
    mask = whole(stroke(grid, points, Brush(radius)), grid.shape)
    apart = distance_mm(grid, points[0], points[1])
    sure = np.abs(apart - radius) > 1e-3
    nearest = np.zeros(grid.shape, dtype=bool)
    for index in (start, stop):
        voxel = np.floor(np.array(index) + 0.5).astype(int)
        if ((voxel >= 0) & (voxel < grid.shape)).all():
            nearest[tuple(voxel)] = True
    np.testing.assert_array_equal(mask[sure], ((apart <= radius) | nearest)[sure])


@pytest.mark.parametrize("normal", [0, 1, 2])
@pytest.mark.parametrize("grid", GRIDS)
def test_a_disc_stays_in_its_slice(grid: Geometry, normal: int) -> None:
    start, stop = np.array([5.2, 14, 15]), np.array([5.4, 18, 20])
    points = grid.to_lps_mm([start, stop])
    mask = whole(stroke(grid, points, Brush(4.0, normal)), grid.shape)
    number = int(np.floor(start[normal] + 0.5))
    assert set(np.nonzero(mask)[normal]) == {number}
    start[normal] = stop[normal] = number
    ends = grid.to_lps_mm([start, stop])
    apart = distance_mm(grid, ends[0], ends[1])
    sure = (np.abs(apart - 4) > 1e-3).take(number, axis=normal)
    wanted = (apart <= 4).take(number, axis=normal)
    np.testing.assert_array_equal(mask.take(number, axis=normal)[sure], wanted[sure])


def test_the_thinnest_brush_paints_the_voxel_it_points_at() -> None:
    grid = GRIDS[0]
    patch = stroke(grid, grid.to_lps_mm((4.4, 7.4, 9.6)), Brush(0.1, 0))
    assert np.argwhere(whole(patch, grid.shape)).tolist() == [[4, 7, 10]]


def test_a_brush_beside_the_image_paints_nothing() -> None:
    grid = GRIDS[0]
    assert stroke(grid, grid.to_lps_mm((-50, 7, 9)), Brush(3)) is None
    with pytest.raises(ValueError, match="radius"):
        Brush(0)
    with pytest.raises(ValueError, match="mask"):
        Patch(Box((0, 0, 0), (2, 2, 2)), np.ones((1, 2, 2), dtype=bool))


def test_a_path_is_all_of_its_pieces() -> None:
    grid = GRIDS[0]
    points = grid.to_lps_mm([(3, 5, 5), (5, 15, 10), (8, 20, 28), (2, 4, 30)])
    mask = whole(stroke(grid, points, Brush(2.5)), grid.shape)
    parts = [whole(stroke(grid, points[n : n + 2], Brush(2.5)), grid.shape) for n in range(3)]
    np.testing.assert_array_equal(mask, np.logical_or.reduce(parts))


def test_a_ball_has_the_volume_of_its_formula() -> None:
    grid = Geometry((80, 80, 80), np.diag([0.6, 0.5, 0.55, 1]))
    patch = stroke(grid, grid.center_lps_mm, Brush(15.0))
    assert patch is not None
    wanted = 4 / 3 * np.pi * 15.0**3 / 1000
    assert np.count_nonzero(patch.mask) * grid.voxel_volume_ml == pytest.approx(wanted, rel=0.005)


def test_a_range_of_values_limits_the_brush() -> None:
    phantom = Phantom((4, 10, 10))
    volume = phantom.volume()
    box = Box((1, 2, 3), (3, 9, 10))
    part = volume.voxels[box.slices]
    np.testing.assert_array_equal(has_values(volume, box, 0, 100), (part >= 0) & (part <= 100))


def test_a_range_of_colours_is_one_of_their_mean_values() -> None:
    phantom = Phantom((1, 12, 16))
    colours = np.random.default_rng(6).integers(0, 256, (1, 12, 16, 3)).astype(np.uint8)
    volume = replace(phantom.volume(), voxels=colours, slope=1.0, intercept=0.0)
    box = Box((0, 2, 3), (1, 9, 10))
    patch = Patch(box, has_values(volume, box, 100, 150))
    for index in np.ndindex(box.shape):
        red, green, blue = colours[tuple(np.add(index, box.start))].tolist()
        assert patch.mask[index] == (300 <= red + green + blue <= 450)


def test_deleting_clears_every_voxel_of_a_segment_only() -> None:
    rng = np.random.default_rng(4)
    labels = rng.choice([0, 1, 2], (5, 6, 7)).astype(np.uint8)
    source = segmentation(labels)
    edit = delete_segment(source, 2)
    np.testing.assert_array_equal(after(source, edit), np.where(labels == 2, 0, labels))
    assert delete_segment(source, 7) is None


def test_the_box_of_a_segment_is_tight() -> None:
    labels = np.zeros((9, 9, 9), dtype=np.uint8)
    labels[2, 3, 4] = labels[5, 1, 7] = 2
    source = segmentation(labels)
    assert segment_box(source, 2) == Box((2, 1, 4), (6, 4, 8))
    assert segment_box(source, 1) is None


@given(
    start=st.tuples(st.floats(0, 11), st.floats(0, 29), st.floats(0, 31)),
    radius=st.floats(0.5, 6),
    number=st.sampled_from([1, 2, 7]),
)
@settings(deadline=None, max_examples=40)
def test_taking_an_edit_back_restores_every_voxel(start, radius, number) -> None:  # type: ignore[no-untyped-def]
    grid = GRIDS[1]
    rng = np.random.default_rng(1)
    labels = rng.choice([0, 1, 2, 7], grid.shape).astype(np.uint8)
    source = segmentation(labels, grid)
    patch = stroke(grid, grid.to_lps_mm(start), Brush(radius))
    assert patch is not None
    wanted = np.where(patch.mask, number, labels[patch.box.slices])
    edit = LabelEdit.between(source, patch.box, wanted, "Paint")
    changed = after(source, edit)
    assert (changed[whole(patch, grid.shape)] == number).all()
    np.testing.assert_array_equal(
        changed[~whole(patch, grid.shape)], labels[~whole(patch, grid.shape)]
    )
    if edit is not None:
        changed[edit.box.slices] = edit.labels_before()
    np.testing.assert_array_equal(changed, labels)
