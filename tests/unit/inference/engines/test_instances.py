"""The engine for single objects, with a network that takes what is bright for one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medview.core.geometry import Calibration, Geometry
from medview.core.jobs import InferenceResult
from medview.core.maps import MapKind
from medview.core.volume import Volume
from medview.inference.engines.instances import Engine
from tests.helpers.known_networks import bright_objects, write_known_model
from tests.helpers.run_context import RunContext


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    card, model = write_known_model(
        tmp_path,
        "instances",
        "unet.UNet2d",
        {"in_channels": 1, "out_channels": 2, "widths": [2, 2], "norm": "batch"},
        bright_objects,
        ("bud",),
        decoding={"least_px": 12},
    )
    made = Engine(card, model)
    made.load("cpu")
    return made


def hills(*middles: tuple[int, int], shape: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Cones of radius 8, brightest in the middle."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    height = np.zeros(shape)
    for row, column in middles:
        cone = np.maximum(0, 8 - np.hypot(rows - row, columns - column))
        height = np.maximum(height, cone)
    return (height * 30).astype(np.uint8)


def flat(*pictures: np.ndarray, geometry: Geometry | None = None) -> Volume:
    voxels = np.stack(pictures)
    shape = (int(voxels.shape[0]), int(voxels.shape[1]), int(voxels.shape[2]))
    grid = geometry or Geometry(shape, np.eye(4), calibration=Calibration.NONE)
    return Volume("v", "s", grid, voxels)


def run(engine: Engine, volume: Volume, **fields: Any) -> InferenceResult:
    return engine.run(volume, None, None, RunContext(**fields))


def test_objects_that_touch_are_told_apart_and_counted(engine: Engine) -> None:
    middles = [(12, 12), (12, 24), (34, 46)]
    result = run(engine, flat(hills(*middles)))
    (segmentation,) = result.segmentations
    labels = segmentation.labels[0]
    assert labels.dtype == np.uint16
    at = {int(labels[row, column]) for row, column in middles}
    assert at == {1, 2, 3} == {segment.number for segment in segmentation.segments}
    assert labels[12, 18] > 0, "the first two touch"
    count, *objects = result.findings
    assert {m.name: m.value for m in count.measurements}["Count"] == 3
    for one in objects:
        assert one.segment_ref is not None
        own = labels == one.segment_ref.number
        rows, columns = np.nonzero(own)
        assert one.picture_box is not None
        assert one.picture_box.box_px == (
            rows.min(),
            columns.min(),
            rows.max() + 1,
            columns.max() + 1,
        )
        (area,) = one.measurements
        assert (area.value, area.unit) == (own.sum(), "{pixels}")
        assert 0.5 < (one.probability or 0) <= 1
    colours = {segment.color_rgb for segment in segmentation.segments}
    assert len(colours) == 3


def test_areas_are_in_millimetres_where_the_image_is_in_the_patient(engine: Engine) -> None:
    affine = np.diag([3.0, 0.5, 0.25, 1.0])[[2, 1, 0, 3]]
    geometry = Geometry((1, 48, 64), affine)
    result = run(engine, flat(hills((20, 30)), geometry=geometry))
    count, one = result.findings
    pixels = int((result.segmentations[0].labels == 1).sum())
    assert one.measurements[0].unit == "mm2"
    assert one.measurements[0].value == pytest.approx(pixels * 0.125)
    assert count.measurements[1].value == pytest.approx(pixels * 0.125)
    assert one.box_lps_mm is not None
    np.testing.assert_allclose(np.subtract(*one.box_lps_mm[::-1])[2], 3.0)


def test_numbers_go_on_from_slice_to_slice(engine: Engine) -> None:
    pictures = (hills((12, 12), (34, 46)), np.zeros((48, 64), np.uint8), hills((20, 20)))
    result = run(engine, flat(*pictures))
    labels = result.segmentations[0].labels
    assert [sorted(np.unique(plane)) for plane in labels] == [[0, 1, 2], [0], [0, 3]]
    assert [one.picture_box.slice_index for one in result.findings[1:] if one.picture_box] == [
        0,
        0,
        2,
    ]


def test_nothing_found_is_said(engine: Engine) -> None:
    specks = np.zeros((48, 64), np.uint8)
    specks[5::10, 5::10] = 200
    result = run(engine, flat(specks))
    assert result.notes == ("Nothing was found.",)
    assert not result.segmentations
    (count,) = result.findings
    assert count.measurements[0].value == 0


def test_maps_are_sure_in_the_middle_and_unsure_at_the_border(engine: Engine) -> None:
    wishes = {"maps": ["probability", "uncertainty"]}
    result = run(engine, flat(hills((20, 30))), parameters=wishes)
    maps = {one.kind: one.values[0].astype(np.float64) for one in result.maps}
    assert maps[MapKind.PROBABILITY][20, 30] > 0.99
    assert maps[MapKind.PROBABILITY][0, 0] < 0.1
    inside = maps[MapKind.PROBABILITY]
    doubt = maps[MapKind.UNCERTAINTY]
    expected = -(inside * np.log2(inside + 1e-12) + (1 - inside) * np.log2(1 - inside + 1e-12))
    np.testing.assert_allclose(doubt, expected, atol=2e-3)
    assert doubt[20, 30] < 0.1 < doubt.max()
