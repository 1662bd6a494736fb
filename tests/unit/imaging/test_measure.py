"""Measurements against formulas and plain numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medview.core.codes import AREA, RATIO, TISSUE, VOLUME, Code
from medview.core.errors import GeometryError
from medview.core.findings import Measurement, Person, Provenance, utc_now
from medview.core.geometry import Box, Calibration, Geometry
from medview.core.segmentation import LabelEdit, Segment, Segmentation
from medview.core.volume import Volume
from medview.imaging.measure import (
    PIXELS_OF_SEGMENT,
    SHARE_OF_PICTURE,
    count_change,
    count_voxels,
    dice,
    expected_dice,
    length_mm,
    segment_statistics,
    segment_volume_ml,
    size_again,
)
from tests.helpers.phantoms import Phantom, oblique


def segments(*numbers: int) -> tuple[Segment, ...]:
    made = Provenance(Person("A"), utc_now())
    return tuple(Segment(n, f"S{n}", TISSUE, TISSUE, (1, 2, 3), made) for n in numbers)


@pytest.mark.parametrize("tilt_deg", [0, 20])
def test_a_sphere_has_the_volume_of_its_formula(tilt_deg: float) -> None:
    phantom = Phantom(
        (40, 80, 80), (1.2, 0.7, 0.6), *oblique(30, 10), tilt_deg=tilt_deg, radius_mm=18
    )
    labels = phantom.sphere().astype(np.uint16) * 300
    source = Segmentation("v", phantom.geometry, labels, segments(300, 5))
    assert segment_volume_ml(source, 300) == pytest.approx(phantom.volume_ml, rel=0.005)
    assert segment_volume_ml(source, 5) == 0


@pytest.mark.parametrize(
    ("calibration", "kind", "unit", "method", "expected"),
    [
        (Calibration.PATIENT, VOLUME, "mL", "By rules", 50 * 0.006),
        (Calibration.PATIENT, AREA, "mm2", PIXELS_OF_SEGMENT, 50 * 6.0),
        (Calibration.NONE, AREA, "{pixels}", PIXELS_OF_SEGMENT, 50.0),
        (Calibration.NONE, RATIO, "%", SHARE_OF_PICTURE, 25.0),
        (Calibration.NONE, AREA, "{pixels}", "Median of the cells", None),
        (Calibration.PATIENT, VOLUME, "L", "By rules", None),
    ],
)
def test_sizes_are_told_again_from_voxels(
    calibration: Calibration, kind: Code, unit: str, method: str, expected: float | None
) -> None:
    geometry = Geometry((1, 10, 20), np.diag([1.0, 2.0, 3.0, 1.0]), calibration=calibration)
    labels = np.zeros(geometry.shape, np.uint8)
    segmentation = Segmentation("v", geometry, labels, ())
    made = Provenance(Person("A"), utc_now())
    now = size_again(Measurement(kind, 1.0, unit, method, made), 50, segmentation)
    assert now == (None if expected is None else pytest.approx(expected))


def test_counts_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 1, 2, 255], (6, 7, 8)).astype(np.uint8)
    numbers, counts = np.unique(labels[labels > 0], return_counts=True)
    assert count_voxels(labels) == dict(zip(numbers.tolist(), counts.tolist(), strict=True))


def test_the_change_of_counts_comes_from_the_edit_alone() -> None:
    rng = np.random.default_rng(3)
    labels = rng.choice([0, 1, 2], (6, 7, 8)).astype(np.uint8)
    source = Segmentation("v", Geometry(labels.shape, np.eye(4)), labels, segments(1, 2))
    box = Box((1, 1, 1), (4, 5, 6))
    painted = np.full(box.shape, 2, dtype=np.uint8)
    edit = LabelEdit.between(source, box, painted, "Paint")
    assert edit is not None
    changed = labels.copy()
    changed[box.slices] = painted
    old, new = count_voxels(labels), count_voxels(changed)
    assert count_change(edit) == {n: new[n] - old[n] for n in (1, 2)}


def test_lengths_follow_the_path() -> None:
    assert length_mm([(0, 0, 0), (3, 4, 0), (3, 4, 12)]) == 17
    assert length_mm([(1, 2, 3)]) == 0
    assert length_mm(np.zeros((0, 3))) == 0


def test_statistics_are_those_of_numpy_without_padding() -> None:
    rng = np.random.default_rng(9)
    stored = rng.integers(-1000, 1500, (8, 20, 21)).astype(np.int16)
    stored[rng.random(stored.shape) < 0.1] = -2000
    labels = rng.choice([0, 1, 2], stored.shape).astype(np.uint8)
    labels[3] = 0
    grid = Geometry(stored.shape, np.eye(4))
    volume = Volume("v", "s", grid, stored, slope=0.25, intercept=1e6, padding=(-2000, -2000))
    found = segment_statistics(volume, Segmentation("v", grid, labels, segments(1, 2, 4)))
    assert set(found) == {1, 2}
    for number, statistics in found.items():
        values = stored[(labels == number) & (stored != -2000)] * 0.25 + 1e6
        assert statistics.count == values.size
        assert statistics.mean == pytest.approx(values.mean(), rel=1e-12)
        assert statistics.standard_deviation == pytest.approx(values.std(ddof=1), rel=1e-9)
        assert (statistics.minimum, statistics.maximum) == (values.min(), values.max())


def test_one_voxel_has_no_spread_and_no_number_is_left_out() -> None:
    values = np.array([[[1.5, np.nan, 7]]], dtype=np.float32)
    labels = np.array([[[1, 1, 0]]], dtype=np.uint8)
    grid = Geometry((1, 1, 3), np.eye(4))
    found = segment_statistics(
        Volume("v", "s", grid, values), Segmentation("v", grid, labels, segments(1))
    )
    assert (found[1].count, found[1].mean, found[1].standard_deviation) == (1, 1.5, 0)


def test_statistics_across_grids_are_refused() -> None:
    phantom = Phantom()
    other = Phantom(spacing_mm=(2.5, 0.8, 0.71))
    labels = np.zeros(phantom.shape, dtype=np.uint8)
    with pytest.raises(GeometryError, match="another grid"):
        segment_statistics(phantom.volume(), Segmentation("v", other.geometry, labels, segments(1)))


def test_dice_of_overlapping_spheres_is_that_of_the_formula() -> None:
    grid = np.stack(np.meshgrid(*[np.arange(-40, 60)] * 3, indexing="ij"), axis=-1) * 0.5
    radius, apart = 15.0, 10.0
    first = (np.linalg.norm(grid, axis=-1) <= radius) * 1
    second = (np.linalg.norm(grid - (apart, 0, 0), axis=-1) <= radius) * 1
    lens = math.pi * (4 * radius + apart) * (2 * radius - apart) ** 2 / 12
    wanted = lens / (4 / 3 * math.pi * radius**3)
    assert dice(first, second, [1])[1] == pytest.approx(wanted, rel=0.005)
    assert dice(first, first, [1, 2]) == {1: 1.0, 2: 1.0}
    assert dice(first, np.zeros_like(first), [1]) == {1: 0.0}
    with pytest.raises(GeometryError, match="not on one grid"):
        dice(first, first[:3], [1])


def test_the_overlap_to_be_expected_is_the_mean_over_drawn_truths() -> None:
    """Of many voxels the ratio of expectations is what Dice is on average over drawn truths."""
    rng = np.random.default_rng(0)
    chances = rng.random((20, 30, 40)).astype(np.float32)
    mask = chances > 0.5
    drawn = [dice(mask, rng.random(mask.shape) < chances, [1])[1] for _ in range(20)]
    assert expected_dice(mask, chances) == pytest.approx(np.mean(drawn), abs=2e-3)
    assert expected_dice(mask, mask.astype(np.float32)) == 1
    assert expected_dice(mask, 1 - mask.astype(np.float32)) == 0
