"""Index to millimetre and back, orientation and boxes, against plain formulas."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medview.core.errors import GeometryError
from medview.core.geometry import (
    Box,
    Calibration,
    Geometry,
    direction_letters,
    lps_from_ras,
    reorder_kji,
)


def axial(
    shape: tuple[int, int, int] = (4, 5, 6), spacing: tuple[float, float, float] = (3, 2, 1)
) -> Geometry:
    """An ordinary axial series: i to the left, j to posterior, k to the head."""
    affine = np.eye(4)
    affine[:3, 0] = (0, 0, spacing[0])
    affine[:3, 1] = (0, spacing[1], 0)
    affine[:3, 2] = (spacing[2], 0, 0)
    affine[:3, 3] = (-10, -20, 30)
    return Geometry(shape, affine)


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    """Any rotation, spacing, shear and origin that a scanner could give."""
    number = st.floats(-1, 1, allow_nan=False)
    matrix = np.array(draw(st.lists(number, min_size=9, max_size=9))).reshape(3, 3)
    rotation, _ = np.linalg.qr(matrix + 3 * np.eye(3))
    spacing = draw(st.tuples(*[st.floats(0.1, 10)] * 3))
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing
    affine[:3, 0] += draw(st.floats(-0.3, 0.3)) * affine[:3, 1]
    affine[:3, 3] = draw(st.tuples(*[st.floats(-500, 500)] * 3))
    shape = draw(st.tuples(*[st.integers(1, 600)] * 3))
    return Geometry(shape, affine)


@given(geometries(), st.tuples(*[st.floats(-50, 700)] * 3))
def test_index_to_millimetre_and_back(geometry: Geometry, index: tuple[float, ...]) -> None:
    back = geometry.to_index(geometry.to_lps_mm(index))
    assert np.allclose(back, index, atol=1e-6)


@given(geometries())
def test_voxel_volume_is_the_triple_product(geometry: Geometry) -> None:
    a, b, c = geometry.affine[:3, :3].T
    assert geometry.voxel_volume_ml == pytest.approx(abs(np.dot(a, np.cross(b, c))) / 1000)


def test_an_ordinary_axial_series_is_left_handed_and_not_mirrored() -> None:
    geometry = axial()
    assert np.linalg.det(geometry.affine) < 0
    assert geometry.orientation == "HPL"
    assert geometry.spacing_mm == (3, 2, 1)
    assert geometry.to_lps_mm((1, 2, 3)).tolist() == [-7, -16, 33]
    assert geometry.center_lps_mm.tolist() == [-7.5, -16, 34.5]
    assert geometry.in_patient_space


def test_planes_that_lean_are_as_far_apart_as_they_are_across() -> None:
    upright = axial()
    for degrees in (0, 5, 18.5, 30):
        leaning = upright.affine.copy()
        leaning[:3, 0] += 3 * np.tan(np.radians(degrees)) * np.array([0, 1, 0])
        geometry = Geometry(upright.shape, leaning)
        assert geometry.spacing_mm == pytest.approx((3, 2, 1))
        assert geometry.voxel_volume_ml == pytest.approx(0.006)


def test_far_corner_decides_agreement() -> None:
    one = axial((100, 100, 100))
    tilted = one.affine.copy()
    tilted[0, 0] += 1e-4
    assert one.agrees_with(axial((100, 100, 100)))
    assert not one.agrees_with(Geometry(one.shape, tilted))
    assert one.agrees_with(Geometry(one.shape, tilted), tolerance_mm=0.1)
    assert not one.agrees_with(axial((99, 100, 100)))


def test_contains_reaches_half_a_voxel() -> None:
    geometry = axial()
    assert geometry.contains(geometry.to_lps_mm((-0.49, 0, 0)))
    assert not geometry.contains(geometry.to_lps_mm((-0.51, 0, 0)))
    assert not geometry.contains(geometry.to_lps_mm((3.51, 0, 0)))


def test_a_crop_keeps_its_place() -> None:
    geometry = axial()
    box = Box((1, 2, 3), (3, 5, 6))
    crop = geometry.cropped(box)
    assert crop.shape == (2, 3, 3)
    assert np.allclose(crop.to_lps_mm((0, 0, 0)), geometry.to_lps_mm((1, 2, 3)))
    assert np.allclose(crop.to_lps_mm((1, 1, 1)), geometry.to_lps_mm((2, 3, 4)))


@pytest.mark.parametrize(
    ("shape", "affine"),
    [
        ((0, 1, 1), np.eye(4)),
        ((1, 1, 1), np.eye(3)),
        ((1, 1, 1), np.diag([1, 1, np.nan, 1])),
        ((1, 1, 1), np.diag([1, 1, 0, 1])),
        ((1, 1, 1), np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]])),
    ],
)
def test_what_is_no_grid_is_refused(shape: tuple[int, int, int], affine: np.ndarray) -> None:
    with pytest.raises(GeometryError):
        Geometry(shape, affine)


def test_geometry_cannot_be_changed_behind_its_back() -> None:
    geometry = axial()
    with pytest.raises(ValueError, match="read-only"):
        geometry.affine[0, 0] = 5


def test_detector_geometry_is_not_patient_space() -> None:
    assert not Geometry((1, 2, 2), np.eye(4), "", Calibration.DETECTOR).in_patient_space


@pytest.mark.parametrize(
    ("direction", "letters"),
    [
        ((1, 0, 0), "L"),
        ((-1, 0, 0), "R"),
        ((0, 1, 0), "P"),
        ((0, -1, 0), "A"),
        ((0, 0, 1), "H"),
        ((0, 0, -1), "F"),
        ((0.9, -0.4, 0.1), "LAH"),
        ((0.1, 0, -0.99), "FL"),
        ((0, 0, 0), ""),
    ],
)
def test_direction_letters(direction: tuple[float, float, float], letters: str) -> None:
    assert direction_letters(direction) == letters


def test_letters_follow_all_axis_aligned_orientations() -> None:
    axes = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0)}
    axes |= {"A": (0, -1, 0), "H": (0, 0, 1), "F": (0, 0, -1)}
    count = 0
    for names in itertools.permutations(axes, 3):
        matrix = np.array([axes[name] for name in names], dtype=float).T
        if abs(np.linalg.det(matrix)) < 0.5:
            continue
        affine = np.eye(4)
        affine[:3, :3] = matrix
        assert Geometry((2, 2, 2), affine).orientation == "".join(names)
        count += 1
    assert count == 48


def test_ras_and_lps_are_each_others_mirror_twice() -> None:
    affine = np.array([[1.0, 2, 3, 4], [5, 6, 7, 8], [9, 10, 12, 12], [0, 0, 0, 1]])
    assert lps_from_ras(affine)[:3, 3].tolist() == [-4, -8, 12]
    assert np.array_equal(lps_from_ras(lps_from_ras(affine)), affine)
    assert np.array_equal(reorder_kji(reorder_kji(affine)), affine)
    assert reorder_kji(affine)[0].tolist() == [3, 2, 1, 4]


def test_boxes() -> None:
    mask = np.zeros((5, 6, 7), dtype=bool)
    assert Box.of(mask) is None
    mask[1, 2, 3] = mask[3, 2, 5] = True
    box = Box.of(mask)
    assert box == Box((1, 2, 3), (4, 3, 6))
    assert box is not None
    assert box.shape == (3, 1, 3)
    assert mask[box.slices].sum() == 2
    assert box.union(Box((0, 5, 0), (1, 6, 1))) == Box((0, 2, 0), (4, 6, 6))
    assert Box.whole((5, 6, 7)).shape == (5, 6, 7)
    with pytest.raises(GeometryError):
        Box((0, 0, 0), (0, 1, 1))
    with pytest.raises(GeometryError):
        Box((-1, 0, 0), (1, 1, 1))
