"""Brush, wire and trace that follow borders, on pictures whose borders are known by formula."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medview.imaging.edges import LiveWire, edge_stroke, traced
from medview.imaging.edit import Brush, stroke
from medview.imaging.seeds import grown_from_seeds, otsu
from tests.helpers.phantoms import Phantom, oblique

TURNED = oblique(25, 40)


def picture(noise: float = 8.0) -> tuple[np.ndarray, np.ndarray]:
    """A bright disc of radius 22 on dark ground, with noise."""
    down, across = np.indices((96, 100), dtype=float)
    apart = np.hypot(down - 48, across - 50)
    rng = np.random.default_rng(0)
    return np.where(apart < 22, 160.0, 40.0) + rng.normal(0, noise, apart.shape), apart


@pytest.mark.parametrize("phantom", [Phantom(), Phantom(row=TURNED[0], column=TURNED[1])])
@pytest.mark.parametrize("normal", [None, 0])
def test_a_brush_that_keeps_to_edges_stays_in_what_it_began_in(
    phantom: Phantom, normal: int | None
) -> None:
    rng = np.random.default_rng(3)
    volume = phantom.volume()
    noisy = (volume.voxels + rng.normal(0, 20, volume.voxels.shape)).astype(volume.voxels.dtype)
    volume = replace(volume, voxels=noisy)
    middle = np.array(phantom.center_lps_mm)
    edge = middle + np.array(phantom.row) * 7.0
    points = [tuple(middle), tuple(edge)]
    brush = Brush(7.0, normal)
    plain, kept = stroke(volume.geometry, points, brush), edge_stroke(volume, points, brush)
    assert plain is not None
    assert kept is not None
    ball = phantom.sphere()
    beyond = ~ball[plain.box.slices] & plain.mask
    assert beyond.sum() > 20
    spilled = np.zeros(ball.shape, dtype=bool)
    spilled[kept.box.slices] = kept.mask
    assert (spilled & ~ball).sum() <= 0.02 * spilled.sum()
    covered = np.zeros(ball.shape, dtype=bool)
    covered[plain.box.slices] = plain.mask
    assert (spilled & ball).sum() > 0.95 * (covered & ball).sum()
    assert edge_stroke(volume, [(1e4, 0.0, 0.0)], brush) is None


def test_the_wire_runs_along_the_border() -> None:
    values, apart = picture()
    wire = LiveWire(values, (1.0, 1.0))
    start, stop = (48, 50 + 22), (48 - 22, 50)
    wire.anchor(start)
    path = wire.path(stop)
    assert path[0] == start
    assert path[-1] == stop
    assert max(np.abs(np.diff(path, axis=0)).max(axis=1)) == 1
    off = np.abs([apart[place] - 22 for place in path])
    assert np.mean(off) < 1.5
    assert off.max() < 4
    straight = np.abs(np.hypot(48 - 11 - 48, 50 + 11 - 50) - 22)
    assert straight > off.max()


def test_the_wire_never_leaves_what_it_looked_at() -> None:
    values, _ = picture()
    wire = LiveWire(values, (0.5, 2.0), reach=10)
    wire.anchor((40, 40))
    for place in ((0, 0), (95, 99), (-5, 300)):
        path = np.array(wire.path(place))
        assert np.abs(path - (40, 40)).max() <= 10
    flat = LiveWire(np.zeros((1, 30)), (1.0, 1.0))
    flat.anchor((0, 3))
    assert flat.path((0, 9)) == [(0, n) for n in range(3, 10)]


def test_a_trace_encloses_what_its_level_does() -> None:
    values, apart = picture(noise=0.0)
    values = 200 - 3 * apart
    area = traced(values, (48, 50 + 15))
    assert area is not None
    np.testing.assert_array_equal(area, values >= values[48, 65])
    dark = traced(-values, (48, 50 + 15))
    assert dark is not None
    np.testing.assert_array_equal(dark, area)
    assert traced(values, (0, 0)) is None


def test_seeds_grow_to_the_border_between_them() -> None:
    phantom = Phantom()
    rng = np.random.default_rng(5)
    values = phantom.volume().voxels + rng.normal(0, 25, phantom.shape)
    ball = phantom.sphere()
    seeds = np.zeros(phantom.shape, dtype=np.uint8)
    seeds[7:9, 19:21, 22:26] = 1
    seeds[1, 3:36, 3:6] = seeds[14, 3:36, 40:44] = 2
    grown = grown_from_seeds(values, seeds, phantom.spacing_mm)
    assert set(np.unique(grown)) == {1, 2}
    assert (grown[seeds > 0] == seeds[seeds > 0]).all()
    overlap = 2 * (ball & (grown == 1)).sum() / (ball.sum() + (grown == 1).sum())
    assert overlap > 0.9


def test_otsu_parts_two_heaps_where_they_are_apart() -> None:
    rng = np.random.default_rng(6)
    values = np.concatenate([rng.normal(0, 10, 4000), rng.normal(200, 10, 1500), [np.nan]])
    assert 40 < otsu(values) < 160
