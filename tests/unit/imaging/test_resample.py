"""Values off the grid against scipy.ndimage.map_coordinates."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from medview.core.errors import GeometryError
from medview.core.geometry import Geometry
from medview.core.volume import Volume
from medview.imaging.resample import (
    oblique_geometry,
    oblique_slab,
    oblique_slice,
    resample_labels,
    resample_values,
)
from medview.imaging.reslice import Projection
from tests.helpers.phantoms import Phantom, oblique


def random_volume(**fields: object) -> Volume:
    phantom = Phantom(*[(9, 20, 24)], row=oblique(15, 20)[0], column=oblique(15, 20)[1])
    rng = np.random.default_rng(2)
    values = rng.integers(-1000, 1000, phantom.shape).astype(np.int16)
    return Volume("v", "s", phantom.geometry, values, **fields)  # type: ignore[arg-type]


def by_scipy(volume: Volume, grid: Geometry) -> tuple[np.ndarray, np.ndarray]:
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    at = volume.geometry.to_index(grid.to_lps_mm(index))
    inside = ((at >= -0.5) & (at <= np.array(volume.geometry.shape) - 0.5)).all(axis=-1)
    values = map_coordinates(
        volume.values().astype(float), np.moveaxis(at, -1, 0), order=1, mode="nearest"
    )
    return values, inside


def grid_through(volume: Volume) -> Geometry:
    center = volume.geometry.center_lps_mm
    return oblique_geometry(
        center, (1, 0.3, 0.1), (-0.3, 1, 0), (30, 26), (0.9, 0.8), volume.geometry
    )


def test_an_oblique_slice_is_trilinear() -> None:
    volume = random_volume(slope=2.0, intercept=-7)
    grid = grid_through(volume)
    wanted, inside = by_scipy(volume, grid)
    found = oblique_slice(volume, grid)
    assert inside.any()
    assert not inside.all()
    np.testing.assert_allclose(found[inside[0]], wanted[inside], rtol=1e-5, atol=1e-2)
    assert np.isnan(found[~inside[0]]).all()
    filled = oblique_slice(volume, grid, outside=-1024)
    assert (filled[~inside[0]] == -1024).all()


def test_the_middle_of_an_oblique_slice_is_its_centre() -> None:
    volume = random_volume()
    grid = oblique_geometry((1, 2, 3), (2, 0, 0), (0, 0, -5), (3, 5), (0.5, 0.25), volume.geometry)
    np.testing.assert_allclose(grid.to_lps_mm((0, 1, 2)), (1, 2, 3))
    np.testing.assert_allclose(grid.to_lps_mm((0, 1, 4)), (1.5, 2, 3))
    np.testing.assert_allclose(grid.to_lps_mm((0, 2, 2)), (1, 2, 2.5))


def test_slanted_directions_are_refused() -> None:
    volume = random_volume()
    with pytest.raises(GeometryError, match="right angles"):
        oblique_geometry((0, 0, 0), (1, 0, 0), (1, 1, 0), (3, 3), (1, 1), volume.geometry)


@pytest.mark.parametrize(
    ("mode", "reduce"),
    [
        (Projection.MAXIMUM, np.nanmax),
        (Projection.MEAN, np.nanmean),
        (Projection.MINIMUM, np.nanmin),
    ],
)
def test_a_slab_reduces_its_layers(mode: Projection, reduce) -> None:  # type: ignore[no-untyped-def]
    volume = random_volume(slope=0.5, intercept=3)
    grid = grid_through(volume)
    normal = grid.affine[:3, 0] / np.linalg.norm(grid.affine[:3, 0])
    layers = []
    for offset in (-2.0, -1.0, 0.0, 1.0, 2.0):
        affine = grid.affine.copy()
        affine[:3, 3] += offset * normal
        wanted, inside = by_scipy(volume, Geometry(grid.shape, affine))
        layers.append(np.where(inside, wanted, np.nan)[0])
    stack = np.array(layers)
    some = ~np.isnan(stack).all(axis=0)
    found = oblique_slab(volume, grid, 4.0, mode, step_mm=1.0, outside=-99)
    np.testing.assert_allclose(found[some], reduce(stack[:, some], axis=0), rtol=1e-5, atol=1e-2)
    assert (found[~some] == -99).all()
    assert not some.all()


def test_values_on_another_grid_are_trilinear() -> None:
    volume = random_volume()
    affine = np.diag([1.5, 1.1, 0.9, 1.0])
    affine[:3, :3] = affine[:3, :3][:, [2, 1, 0]]
    affine[:3, 3] = volume.geometry.center_lps_mm - affine[:3, :3] @ (5, 6, 7)
    grid = Geometry((11, 13, 15), affine)
    wanted, inside = by_scipy(volume, grid)
    found = resample_values(volume, grid, outside=0)
    np.testing.assert_allclose(found[inside], wanted[inside], rtol=1e-5, atol=1e-2)
    assert (found[~inside] == 0).all()


def test_the_own_grid_gives_the_own_values() -> None:
    volume = random_volume()
    np.testing.assert_allclose(
        resample_values(volume, volume.geometry), volume.values(), rtol=1e-6, atol=1e-3
    )


def test_labels_take_the_nearest_voxel() -> None:
    phantom = Phantom()
    labels = (phantom.sphere() * 3).astype(np.uint8)
    np.testing.assert_array_equal(
        resample_labels(labels, phantom.geometry, phantom.geometry), labels
    )
    fine = Geometry((32, 80, 96), phantom.affine @ np.diag([0.5, 0.5, 0.5, 1]))
    found = resample_labels(labels, phantom.geometry, fine)
    index = np.stack(np.meshgrid(*map(np.arange, fine.shape), indexing="ij"), axis=-1)
    nearest = np.floor(phantom.geometry.to_index(fine.to_lps_mm(index)) + 0.5 + 1e-9).astype(int)
    inside = (nearest < np.array(labels.shape)).all(axis=-1)
    k, j, i = np.where(inside[..., None], nearest, 0).transpose(3, 0, 1, 2)
    wanted = np.where(inside, labels[k, j, i], 0)
    assert (found == wanted).mean() > 0.999  # halves lie exactly between two voxels
    volume_ml = np.count_nonzero(found) * fine.voxel_volume_ml
    assert volume_ml == pytest.approx(phantom.volume_ml, rel=0.02)


def test_what_does_not_fit_is_refused() -> None:
    phantom = Phantom()
    with pytest.raises(GeometryError, match="do not fit"):
        resample_labels(np.zeros((2, 2, 2), np.uint8), phantom.geometry, phantom.geometry)
    colour = Volume("v", "s", Geometry((1, 2, 2), np.eye(4)), np.zeros((1, 2, 2, 3), np.uint8))
    with pytest.raises(GeometryError, match="Colour"):
        resample_values(colour, phantom.geometry)
