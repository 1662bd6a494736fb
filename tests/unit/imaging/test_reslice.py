"""Planes of the body: letters, sides and millimetres against a phantom whose places are known."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medview.core.geometry import Box, Calibration, Geometry
from medview.core.views import Plane
from medview.imaging.reslice import (
    EdgeLetters,
    Projection,
    acquired_plane,
    letters_from_patient_orientation,
    plane_frame,
    slab,
)
from tests.helpers.phantoms import Phantom, oblique

BODY = (Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL)
EXPECTED = {
    Plane.AXIAL: EdgeLetters("R", "L", "A", "P"),
    Plane.CORONAL: EdgeLetters("R", "L", "H", "F"),
    Plane.SAGITTAL: EdgeLetters("A", "P", "H", "F"),
}
#: Edges where the marked corner (left, anterior, head end of the body) must appear, and the
#: LPS sense that makes it so.
MARKED = np.array([1.0, -1.0, 1.0])


def axis_grids() -> list[Geometry]:
    """All 48 ways to lay a grid along the patient's axes: 24 of each handedness."""
    grids = []
    for axes, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        affine = np.eye(4)
        affine[:3, :3] = 0
        for column, (axis, sign, step) in enumerate(zip(axes, signs, (2.5, 0.8, 0.6), strict=True)):
            affine[axis, column] = sign * step
        affine[:3, 3] = (12, -7, 40)
        grids.append(Geometry((5, 7, 9), affine))
    return grids


def turned(degrees: tuple[float, float, float], grid: Geometry) -> Geometry:
    a, b, c = np.radians(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    affine = grid.affine.copy()
    affine[:3] = (about_z @ about_y @ about_x) @ affine[:3]
    return Geometry(grid.shape, affine)


def marked_volume(grid: Geometry) -> np.ndarray:
    """Ones in the eighth of the grid that is leftmost, foremost and nearest to the head."""
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    apart = grid.to_lps_mm(index) - grid.center_lps_mm
    return np.asarray((apart * MARKED > 0.1).all(axis=-1), dtype=np.uint8)


@pytest.mark.parametrize("plane", BODY)
def test_letters_are_true_for_every_way_to_store_a_body(plane: Plane) -> None:
    for grid in axis_grids():
        frame = plane_frame(grid, plane)
        assert frame.letters == EXPECTED[plane], grid.orientation
        pixels = marked_volume(grid)
        number = {Plane.AXIAL: 2, Plane.CORONAL: 1, Plane.SAGITTAL: 0}[plane]
        patient_axis = number
        place = grid.center_lps_mm.copy()
        place[patient_axis] += MARKED[patient_axis] * 1.6
        shown = frame.pixels(pixels, frame.slice_number(place))
        rows, columns = np.nonzero(shown)
        assert rows.size
        points = np.stack((rows, columns), axis=1) @ frame.index_to_mm.T
        left, top, right, bottom = frame.extent_mm
        across, down = points[:, 0] - (left + right) / 2, points[:, 1] - (top + bottom) / 2
        # The marked corner is left, anterior, head: to the right in axial and coronal planes,
        # to the left (anterior) in sagittal ones; above except where the foot end would be.
        assert (across < 0).all() if plane is Plane.SAGITTAL else (across > 0).all()
        assert (down < 0).all()


@given(
    degrees=st.tuples(*[st.floats(-30, 30)] * 3),
    which=st.integers(0, 47),
)
@settings(deadline=None, max_examples=60)
def test_letters_of_oblique_grids_name_the_true_directions(
    degrees: tuple[float, float, float], which: int
) -> None:
    grid = turned(degrees, axis_grids()[which])
    for plane in BODY:
        frame = plane_frame(grid, plane)
        letters = frame.letters
        start = np.array(frame.to_lps_mm(0, 0, 0))
        for word, (x, y) in (
            (letters.right, (1, 0)), (letters.left, (-1, 0)),
            (letters.bottom, (0, 1)), (letters.top, (0, -1)),
        ):  # fmt: skip
            moved = np.array(frame.to_lps_mm(x, y, 0)) - start
            named = dict(zip("LPHRAF", (*moved, *-moved), strict=True))
            sizes = [named[letter] for letter in word]
            assert all(size > 0 for size in sizes)
            assert sizes == sorted(sizes, reverse=True)
            assert sum(size**2 for size in sizes) == pytest.approx(1, abs=1e-6)


def test_each_plane_takes_another_grid_axis() -> None:
    for grid in [turned((40, -35, 44), grid) for grid in axis_grids()]:
        assert {plane_frame(grid, plane).normal for plane in BODY} == {0, 1, 2}


@given(
    degrees=st.tuples(*[st.floats(-40, 40)] * 3),
    which=st.integers(0, 47),
    shear=st.floats(-0.6, 0.6),
    index=st.tuples(st.floats(0, 4), st.floats(0, 6), st.floats(0, 8)),
)
@settings(deadline=None, max_examples=100)
def test_plane_millimetres_are_true_on_sheared_grids(
    degrees: tuple[float, float, float],
    which: int,
    shear: float,
    index: tuple[float, float, float],
) -> None:
    grid = turned(degrees, axis_grids()[which])
    affine = grid.affine.copy()
    affine[:3, 0] += shear * affine[:3, 1]
    grid = Geometry(grid.shape, affine)
    point = grid.to_lps_mm(index)
    for plane in BODY:
        frame = plane_frame(grid, plane)
        x, y = frame.to_plane_mm(point)
        back = frame.to_lps_mm(x, y, index[frame.normal])
        np.testing.assert_allclose(back, point, atol=1e-9)
        # Distances on the screen are distances in the patient.
        other = np.array(index)
        other[frame.down_axis] += 2
        other[frame.right_axis] -= 1
        apart = np.subtract(frame.to_plane_mm(grid.to_lps_mm(other)), (x, y))
        real = np.linalg.norm(grid.to_lps_mm(other) - point)
        assert np.linalg.norm(apart) == pytest.approx(real)
        assert frame.right_lps @ frame.down_lps == pytest.approx(0, abs=1e-12)


def test_scrolling_goes_to_the_feet_to_the_back_and_to_the_left() -> None:
    toward = {Plane.AXIAL: (0, 0, -1), Plane.CORONAL: (0, 1, 0), Plane.SAGITTAL: (1, 0, 0)}
    for grid in axis_grids():
        for plane, direction in toward.items():
            frame = plane_frame(grid, plane)
            step = np.array(frame.to_lps_mm(0, 0, 1)) - frame.to_lps_mm(0, 0, 0)
            assert step @ np.array(direction) * frame.next_sign > 0


def test_flips_mirror_the_picture_and_its_letters() -> None:
    grid = axis_grids()[0]
    for plane in BODY:
        plain = plane_frame(grid, plane)
        mirrored = plane_frame(grid, plane, flip_horizontal=True, flip_vertical=True)
        assert mirrored.letters == plain.letters.flipped(horizontal=True, vertical=True)
        np.testing.assert_allclose(mirrored.index_to_mm, -plain.index_to_mm)


def test_pixels_are_a_view_of_the_volume() -> None:
    phantom = Phantom()
    values = phantom.values()
    for plane in BODY:
        frame = plane_frame(phantom.geometry, plane)
        shown = frame.pixels(values, 3)
        assert shown.shape == frame.pixel_shape
        assert np.shares_memory(shown, values)
        for down, right in ((0, 0), (2, 5), (frame.pixel_shape[0] - 1, 1)):
            index = [0, 0, 0]
            index[frame.normal], index[frame.down_axis], index[frame.right_axis] = 3, down, right
            assert shown[down, right] == values[tuple(index)]


def test_images_without_patient_space_are_shown_as_stored_without_letters() -> None:
    grid = Geometry((1, 20, 30), np.diag([1, 0.2, 0.1, 1]), calibration=Calibration.DETECTOR)
    frame = plane_frame(grid, Plane.ACQUIRED)
    assert frame.letters == EdgeLetters()
    assert (frame.normal, frame.pixel_shape) == (0, (20, 30))
    np.testing.assert_allclose(frame.index_to_mm, [[0, 0.1], [0.2, 0]])
    assert frame.extent_mm == pytest.approx((-0.05, -0.1, 2.95, 3.9))
    assert acquired_plane(grid) is Plane.ACQUIRED


@pytest.mark.parametrize(
    ("row", "column", "plane"),
    [
        ((1, 0, 0), (0, 1, 0), Plane.AXIAL),
        ((1, 0, 0), (0, 0, -1), Plane.CORONAL),
        ((0, 1, 0), (0, 0, -1), Plane.SAGITTAL),
        (*oblique(20, 10), Plane.AXIAL),
    ],
)
def test_the_acquired_plane_is_named_after_the_body(row, column, plane) -> None:  # type: ignore[no-untyped-def]
    assert acquired_plane(Phantom(row=row, column=column).geometry) is plane


def test_a_tilted_stack_keeps_slices_and_stands_at_its_true_angle() -> None:
    phantom = Phantom(tilt_deg=20)
    sagittal = plane_frame(phantom.geometry, Plane.SAGITTAL)
    down, right = sagittal.index_to_mm[:, 0], sagittal.index_to_mm[:, 1]
    angle = np.degrees(np.arccos(abs(down @ right) / np.linalg.norm(down) / np.linalg.norm(right)))
    assert angle == pytest.approx(70, abs=1e-6)
    axial = plane_frame(phantom.geometry, Plane.AXIAL)
    assert axial.step_mm == pytest.approx(2.5)
    assert abs(axial.index_to_mm[0, 0]) < 1e-12


def test_patient_orientation_gives_letters_of_projections() -> None:
    assert letters_from_patient_orientation("L\\F") == EdgeLetters("R", "L", "H", "F")
    assert letters_from_patient_orientation("P\\FL") == EdgeLetters("A", "P", "HR", "FL")
    for nothing in ("", "L", "L\\", "LE\\F", "L\\F\\A", "Q\\F"):
        assert letters_from_patient_orientation(nothing) == EdgeLetters()


def test_slice_numbers_are_held_to_the_volume() -> None:
    frame = plane_frame(Phantom().geometry, Plane.AXIAL)
    assert frame.slice_number(frame.to_lps_mm(0, 0, 4.4)) == 4
    assert frame.slice_number(frame.to_lps_mm(0, 0, -30)) == 0
    assert frame.slice_number(frame.to_lps_mm(0, 0, 99)) == frame.count - 1


def test_boxes_meet_the_slices_they_hold() -> None:
    frame = plane_frame(Phantom().geometry, Plane.AXIAL)
    box = Box((3, 0, 0), (5, 1, 1))
    assert [frame.meets(box, n) for n in (2, 3, 4, 5)] == [False, True, True, False]


@pytest.mark.parametrize("plane", BODY)
def test_slabs_are_what_numpy_says(plane: Plane) -> None:
    phantom = Phantom()
    values = phantom.values()
    frame = plane_frame(phantom.geometry, plane)
    thickness = 4.2 * frame.step_mm
    block = np.take(values, [4, 5, 6, 7, 8], axis=frame.normal)
    for mode, reduce in (
        (Projection.MAXIMUM, np.max), (Projection.MEAN, np.mean), (Projection.MINIMUM, np.min),
    ):  # fmt: skip
        expected = reduce(block, axis=frame.normal)
        if frame.down_axis > frame.right_axis:
            expected = expected.T
        found = slab(values, frame, 6, thickness, mode)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    edge = slab(values, frame, 0, thickness, Projection.MAXIMUM)
    inside = np.take(values, [0, 1, 2], axis=frame.normal).max(axis=frame.normal)
    np.testing.assert_array_equal(edge, inside.T if frame.down_axis > frame.right_axis else inside)
    single = slab(values, frame, 2, 0.0, Projection.MAXIMUM)
    np.testing.assert_array_equal(single, frame.pixels(values, 2))


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 4, 7])
@pytest.mark.parametrize("plane", list(Plane))
def test_turning_carries_every_pixel_and_every_letter_round(plane: Plane, turns: int) -> None:
    """Clockwise on a screen whose y runs down: right becomes below, below becomes left."""
    affine = np.eye(4)
    affine[:3, :3] = [[0.1, 0.2, 1.1], [0.3, 1.7, -0.1], [2.5, -0.2, 0.1]]
    geometry = Geometry((4, 5, 6), affine)
    straight = plane_frame(geometry, plane)
    turned = plane_frame(geometry, plane, quarter_turns=turns)
    voxels = np.arange(120).reshape(geometry.shape)
    shown = straight.pixels(voxels, 1)
    np.testing.assert_array_equal(turned.pixels(voxels, 1), shown if turns % 2 == 0 else shown.T)
    for point in ((3.0, -2.0, 7.0), (0.0, 0.0, 0.0)):
        x, y = straight.to_plane_mm(point)
        for _ in range(turns):
            x, y = -y, x
        assert turned.to_plane_mm(point) == pytest.approx((x, y))
    assert turned.letters == straight.letters.turned(turns)
    assert straight.letters.turned(1).bottom == straight.letters.right


def test_a_turned_and_flipped_plane_is_flipped_as_it_is_seen() -> None:
    geometry = Geometry((1, 5, 6), np.eye(4)[[2, 1, 0, 3]])
    turned = plane_frame(geometry, Plane.ACQUIRED, quarter_turns=1)
    both = plane_frame(geometry, Plane.ACQUIRED, quarter_turns=1, flip_horizontal=True)
    x, y = turned.to_plane_mm((2.0, 3.0, 0.0))
    assert both.to_plane_mm((2.0, 3.0, 0.0)) == pytest.approx((-x, y))
