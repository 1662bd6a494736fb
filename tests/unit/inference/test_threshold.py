"""The rule that finds the body, against phantoms of known volume."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from medview.core.errors import Cancelled, ModelError
from medview.core.geometry import Geometry
from medview.core.jobs import InferenceResult
from medview.core.volume import Volume
from medview.inference.catalog import load_card
from medview.inference.engines import rules
from medview.inference.engines.threshold import Engine, _enclosed
from tests.helpers.run_context import RunContext


@pytest.fixture
def engine(resources: Path) -> Engine:
    folder = resources / "models" / "threshold_body"
    made = rules.engine(load_card(folder), folder)
    assert isinstance(made, Engine)
    return made


SHAPE, SPACING = (24, 80, 90), (3.0, 1.5, 1.25)


def body(*, hole: bool = True, speck: bool = True) -> tuple[np.ndarray, float]:
    """HU of a water ellipsoid with a bubble inside and a speck outside; its volume in mL."""
    k, j, i = np.indices(SHAPE, dtype=float)
    center = (np.array(SHAPE) - 1) / 2
    x, y, z = ((a - c) * s for a, c, s in zip((k, j, i), center, SPACING, strict=True))
    inside = (x / 30) ** 2 + (y / 50) ** 2 + (z / 45) ** 2 <= 1
    hu = np.where(inside, 20, -1000).astype(np.int16)
    if hole:
        hu[(x**2 + y**2 + z**2) <= 15**2] = -900
    if speck:
        hu[0, 0:2, 0:2] = 500
    return hu, 4 / 3 * math.pi * 30 * 50 * 45 / 1000


def volume(stored: np.ndarray, **fields: object) -> Volume:
    geometry = Geometry(stored.shape, np.diag([*SPACING, 1.0]))  # type: ignore[arg-type]
    return replace(Volume("v", "s", geometry, stored, unit="[hnsf'U]"), **fields)  # type: ignore[arg-type]


def run(engine: Engine, image: Volume, context: RunContext | None = None) -> InferenceResult:
    return engine.run(image, None, None, context or RunContext())


def test_the_volume_of_an_ellipsoid_is_that_of_the_formula(engine: Engine) -> None:
    hu, expected_ml = body()
    result = run(engine, volume(hu))
    (finding,), (segmentation,) = result.findings, result.segmentations
    (measurement,) = finding.measurements
    assert measurement.unit == "mL"
    assert measurement.value == pytest.approx(expected_ml, rel=0.02)
    assert finding.segment_ref is not None
    assert finding.segment_ref.segmentation_uid == segmentation.uid
    assert segmentation.labels[12, 40, 45] == 1  # the bubble belongs to the body
    assert segmentation.labels[0, 0, 0] == 0  # the speck does not
    assert "above -500 HU" in result.notes[0]


def test_stored_values_are_brought_to_hounsfield_units(engine: Engine) -> None:
    hu, _ = body()
    plain = run(engine, volume(hu)).segmentations[0].labels
    packed = volume(((hu + 1024) // 2).astype(np.uint16), slope=2.0, intercept=-1024.0)
    np.testing.assert_array_equal(run(engine, packed).segmentations[0].labels, plain)


def test_padding_is_no_body(engine: Engine) -> None:
    hu, expected_ml = body(speck=False)
    hu[:, :, :4] = 3000
    with_padding = run(engine, volume(hu, padding=(3000.0, 3000.0)))
    assert with_padding.findings[0].measurements[0].value == pytest.approx(expected_ml, rel=0.02)


def test_other_images_choose_their_threshold_themselves(engine: Engine) -> None:
    hu, expected_ml = body()
    noise = np.random.default_rng(0).normal(0, 15, SHAPE)
    signal = ((hu + 1000) * 0.5 + 100 + noise).clip(0).astype(np.uint16)
    result = run(engine, volume(signal, unit="1"))
    assert result.findings[0].measurements[0].value == pytest.approx(expected_ml, rel=0.05)
    assert "Otsu" in result.notes[0]


def test_air_alone_gives_a_note_and_no_finding(engine: Engine) -> None:
    result = run(engine, volume(np.full(SHAPE, -1000, np.int16)))
    assert not result.findings
    assert not result.segmentations
    assert "Nothing lies above" in result.notes[0]


def test_an_image_of_padding_alone_is_refused(engine: Engine) -> None:
    empty = volume(np.zeros(SHAPE, np.int16), unit="1", padding=(0.0, 0.0))
    with pytest.raises(ModelError, match="holds nothing"):
        run(engine, empty)


def test_progress_is_told_and_cancel_heard(engine: Engine) -> None:
    hu, _ = body()
    context = RunContext()
    run(engine, volume(hu), context)
    fractions = [fraction for stage, fraction in context.said if stage == "Comparing"]
    assert fractions == sorted(f for f in fractions if f is not None)
    assert len(fractions) == SHAPE[0]
    with pytest.raises(Cancelled):
        run(engine, volume(hu), RunContext(4))


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        json.dumps({"ct_above_hu": -500}),
        json.dumps({"ct_above_hu": "x", "otherwise": "otsu", "keep": "largest", "fill": "slices"}),
        json.dumps({"ct_above_hu": 1, "otherwise": "eval", "keep": "largest", "fill": "slices"}),
        json.dumps(
            {"ct_above_hu": 1, "otherwise": "otsu", "keep": "largest", "fill": "slices", "x": 1}
        ),
    ],
)
def test_rules_that_are_not_known_are_refused(resources: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "rules.json").write_text(text)
    with pytest.raises(ModelError):
        rules.engine(load_card(resources / "models" / "threshold_body"), tmp_path)


def test_holes_are_those_that_another_program_finds() -> None:
    """Against scipy's morphological filling, on noise with many holes and at every edge."""
    generator = np.random.default_rng(3)
    for share in (0.3, 0.5, 0.6, 0.8):
        plane = generator.random((60, 70)) < share
        np.testing.assert_array_equal(plane | _enclosed(plane), ndimage.binary_fill_holes(plane))
    full = np.ones((5, 6), np.bool_)
    assert not _enclosed(full).any()
