"""Maps over slices: values where they belong in the patient, colours that say what they mean."""

from __future__ import annotations

import numpy as np
import pytest

from medview.core.geometry import Geometry
from medview.core.maps import MapKind, ScalarMap
from medview.core.views import Plane
from medview.imaging.heat import colors, slice_values
from medview.imaging.reslice import plane_frame

#: Slices run along the body, rows from front to back, columns from right to left.
VOLUME = Geometry(
    (6, 8, 10), np.array([[0, 0, 1.0, 3], [0, 1.5, 0, 4], [2.0, 0, 0, 5], [0, 0, 0, 1]])
)


def _map(geometry: Geometry, values: np.ndarray, kind: MapKind = MapKind.UNCERTAINTY) -> ScalarMap:
    return ScalarMap("v", kind, geometry, values.astype(np.float32), (0.0, 1.0))


def _linear(geometry: Geometry) -> np.ndarray:
    """A value that is linear in the patient, which linear interpolation must not change."""
    k, j, i = np.indices(geometry.shape)
    points = np.stack([k, j, i, np.ones_like(k)], axis=-1) @ geometry.affine.T
    return points[..., :3] @ np.array([0.02, 0.03, 0.05])


@pytest.mark.parametrize("plane", [Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL])
def test_a_coarser_map_lies_where_the_patient_says(plane: Plane) -> None:
    affine = VOLUME.affine.copy()
    affine[:3, :3] *= 2
    affine[:3, 3] += VOLUME.affine[:3, :3] @ (0.5, 0.5, 0.5)
    coarse = Geometry((3, 4, 5), affine)
    frame = plane_frame(VOLUME, plane)
    values, step = slice_values(_map(coarse, _linear(coarse)), frame, 2)
    expected = frame.pixels(_linear(VOLUME), 2)
    assert step == 1
    # At the very rim the map holds its last value; inside it is linear.
    assert np.allclose(values[1:-1, 1:-1], expected[1:-1, 1:-1], atol=1e-6)


def test_beside_its_grid_a_map_says_nothing() -> None:
    affine = VOLUME.affine.copy()
    affine[:3, 3] += VOLUME.affine[:3, :3] @ (0, 0, 5)
    half = Geometry((6, 8, 5), affine)
    frame = plane_frame(VOLUME, Plane.AXIAL)
    values, _ = slice_values(_map(half, np.ones(half.shape)), frame, 0)
    columns = np.isnan(values).all(axis=0)
    assert sorted(columns.tolist()) == [False] * 5 + [True] * 5


def test_large_slices_are_sampled_thinly() -> None:
    frame = plane_frame(VOLUME, Plane.AXIAL)
    values, step = slice_values(_map(VOLUME, _linear(VOLUME)), frame, 1, most=4)
    assert step == 3
    assert np.allclose(values, frame.pixels(_linear(VOLUME), 1)[::3, ::3], atol=1e-6)


def test_what_says_nothing_is_clear_and_what_says_much_is_not() -> None:
    values = np.array([[0.0, 0.5, 1.0, 7.0, np.nan]], np.float32)
    alpha = colors(values, MapKind.UNCERTAINTY, (0.0, 1.0))[0, :, 3].tolist()
    assert alpha[0] == alpha[4] == 0
    assert 0 < alpha[1] < alpha[2] == alpha[3] == 255


def test_saliency_against_is_blue_and_for_is_warm_whatever_its_range() -> None:
    values = np.array([[-1.0, 0.0, 4.0]], np.float32)
    blue, green, red, alpha = (colors(values, MapKind.SALIENCY, (-1.0, 4.0))[0, :, n].astype(int)
                               for n in range(4))  # fmt: skip
    assert blue[0] > red[0]
    assert alpha[1] == green[1] == 0
    assert red[2] > blue[2]
    only_for = colors(values, MapKind.SALIENCY, (0.0, 4.0))[0, :, 3].tolist()
    assert only_for == [0, 0, 255]
