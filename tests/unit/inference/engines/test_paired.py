"""From a whole head to named segments on its own grid, with a stand-in for the network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from medview.core.codes import VOLUME
from medview.core.errors import Cancelled, ModelError
from medview.core.findings import Laterality
from medview.core.geometry import Calibration, Geometry
from medview.core.models import ModelCard
from medview.core.volume import Volume
from medview.imaging.localise import HeadPlacement, TissueLevels
from medview.inference.catalog import load_card
from medview.inference.engines import paired
from medview.inference.engines.paired import Engine
from medview.inference.head_template import load_region, load_template
from tests.helpers.heads import PosedHead, stored
from tests.helpers.run_context import RunContext

NAMES = [
    "Left anterior hippocampus",
    "Left posterior hippocampus",
    "Right anterior hippocampus",
    "Right posterior hippocampus",
]
#: Bright ellipsoids in place of the hippocampi: middle (LPS, of the left one) and half axes, mm.
MIDDLE, HALF_AXES = np.array([26.0, 21.0, -15.0]), np.array([7.0, 16.0, 9.0])


def bright_things(split_axis: int):  # type: ignore[no-untyped-def]
    """A stand-in for the network: what is bright, cut in two across an axis of the crop."""

    def predict(_network: nn.Module, crop: np.ndarray, _flips: object) -> np.ndarray:
        level = (crop - crop.min()) / max(float(crop.max() - crop.min()), 1e-6)
        inside = np.clip((level - 0.58) * 4 + 0.5, 0, 1).astype(np.float32)
        place = np.indices(crop.shape)[split_axis]
        front = place > place[inside > 0.5].mean() if (inside > 0.5).any() else place < 0
        return np.stack([1 - inside, inside * front, inside * ~front])

    return predict


@pytest.fixture
def card(resources: Path) -> ModelCard:
    return load_card(resources / "models" / "hippocampus_mr")


@pytest.fixture
def placed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The head is found at once where it is: what is tested comes after."""
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = HEAD.matrix, HEAD.shift_mm
    found = HeadPlacement(affine, 0.8, 1.0, (0.9, 0.9, 0.9), TissueLevels(0.5, 0.8, 1.0))
    monkeypatch.setattr(paired, "place_head", lambda *_: found)


@pytest.fixture
def engine(card: ModelCard, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setattr(paired, "load_network", lambda *_: nn.Identity())
    monkeypatch.setattr(paired, "predict", bright_things(split_axis=1))
    made = Engine(card, Path("hippocampus_mr"))
    monkeypatch.setattr(paired, "read_metadata", lambda _: {"medview": {"flips": [0]}})
    made.load("cpu")
    return made


HEAD = PosedHead((18, -10, 9), (30, -25, 12), scalp=False)


@pytest.fixture(scope="module")
def volume(resources: Path) -> Volume:
    """A turned head, stored in an odd order, with bright ellipsoids for hippocampi."""
    template = load_template(resources, "mni152")
    geometry = stored("RAH", 1.9, 200.0, tuple(HEAD.place([0.0, 20.0, 0.0])))
    voxels = HEAD.voxels(template, geometry)
    index = np.moveaxis(np.indices(geometry.shape, dtype=float), 0, -1)
    here = HEAD.to_template(geometry.to_lps_mm(index))
    for side in (1.0, -1.0):
        away = np.linalg.norm((here - MIDDLE * (side, 1, 1)) / HALF_AXES, axis=-1)
        voxels = voxels + 500 * np.clip((1 - away) * 5 + 0.5, 0, 1).astype(np.float32)
    return Volume("volume", "series", geometry, voxels)


def truth_ml() -> float:
    """Volume of one ellipsoid after the head's affine."""
    return float(4 / 3 * np.pi * np.prod(HALF_AXES) * np.linalg.det(HEAD.matrix)) / 1000


def test_both_sides_are_found_named_and_measured(
    engine: Engine, volume: Volume, resources: Path
) -> None:
    context = RunContext()
    result = engine.run(volume, None, None, context)
    (proposal,) = result.segmentations
    assert proposal.volume_uid == volume.uid
    assert proposal.geometry.agrees_with(volume.geometry)
    assert [segment.label for segment in proposal.segments] == NAMES
    assert [segment.number for segment in proposal.segments] == [1, 2, 3, 4]
    assert {segment.type.value for segment in proposal.segments} == {"5366008"}
    assert result.job_uid == "job"
    assert [finding.label for finding in result.findings] == NAMES
    for side, first in ((Laterality.LEFT, 0), (Laterality.RIGHT, 2)):
        findings = result.findings[first : first + 2]
        measured = [finding.measurements[0] for finding in findings]
        assert {(one.kind, one.unit) for one in measured} == {(VOLUME, "mL")}
        assert sum(one.value for one in measured) == pytest.approx(truth_ml(), rel=0.08)
        assert all(finding.laterality is side for finding in findings)
        middle = HEAD.place(MIDDLE if side is Laterality.LEFT else MIDDLE * (-1, 1, 1))
        both = np.isin(proposal.labels, (first + 1, first + 2))
        found = volume.geometry.to_lps_mm(np.argwhere(both))
        np.testing.assert_allclose(found.mean(axis=0), middle, atol=0.7)
        anterior, posterior = (
            HEAD.to_template(np.array([finding.location_lps_mm]))[0] for finding in findings
        )
        assert posterior[1] - anterior[1] > 8  # y grows to the back
    stages = [stage for stage, _ in context.said]
    assert stages[0] == "Placing the head"
    assert {"Segmenting the left side", "Segmenting the right side"} < set(stages)
    fractions = [fraction for _, fraction in context.said if fraction is not None]
    assert fractions == sorted(fractions)
    assert not [note for note in result.notes if "Check" in note]


@pytest.mark.usefixtures("placed")
def test_findings_say_where_and_how_sure(engine: Engine, volume: Volume, resources: Path) -> None:
    result = engine.run(volume, None, None, RunContext())
    labels = result.segmentations[0].labels
    for finding in result.findings:
        assert finding.segment_ref is not None
        number = finding.segment_ref.number
        assert finding.segment_ref.segmentation_uid == result.segmentations[0].uid
        points = volume.geometry.to_lps_mm(np.argwhere(labels == number))
        assert finding.location_lps_mm == pytest.approx(points.mean(axis=0))
        assert finding.box_lps_mm is not None
        low, high = finding.box_lps_mm
        half = volume.geometry.spacing_mm[0] / 2
        np.testing.assert_allclose(low, points.min(axis=0) - half, atol=1e-6)
        np.testing.assert_allclose(high, points.max(axis=0) + half, atol=1e-6)
        assert finding.probability is not None
        assert 0.6 < finding.probability <= 1
        assert not finding.calibrated
        volume_ml = (labels == number).sum() * volume.geometry.voxel_volume_ml
        assert finding.measurements[0].value == pytest.approx(volume_ml)


@pytest.mark.usefixtures("placed")
def test_right_crops_are_mirror_images_of_left_ones(
    engine: Engine, volume: Volume, resources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training crops are all left, so the network must see right sides mirrored."""
    monkeypatch.setattr(paired, "predict", bright_things(split_axis=0))
    result = engine.run(volume, None, None, RunContext())
    medial_left, lateral_left, medial_right, lateral_right = (
        HEAD.to_template(np.array([finding.location_lps_mm]))[0, 0] for finding in result.findings
    )
    assert lateral_left > medial_left > 10
    assert lateral_right < medial_right < -10


@pytest.mark.usefixtures("placed")
def test_a_side_with_nothing_is_said(
    engine: Engine, volume: Volume, resources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(_network: nn.Module, crop: np.ndarray, _flips: object) -> np.ndarray:
        return np.stack([np.ones(crop.shape), np.zeros(crop.shape), np.zeros(crop.shape)])

    monkeypatch.setattr(paired, "predict", nothing)
    result = engine.run(volume, None, None, RunContext())
    assert result.findings == ()
    assert not result.segmentations[0].labels.any()
    assert any("left side: 0.0 mL" in note for note in result.notes)


@pytest.mark.usefixtures("placed")
def test_numbers_that_are_not_finite_are_refused(
    engine: Engine, volume: Volume, resources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_network: nn.Module, crop: np.ndarray, _flips: object) -> np.ndarray:
        return np.full((3, *crop.shape), np.nan, np.float32)

    monkeypatch.setattr(paired, "predict", broken)
    with pytest.raises(ModelError, match="not finite"):
        engine.run(volume, None, None, RunContext())


def test_it_stops_when_the_reader_does(engine: Engine, volume: Volume, resources: Path) -> None:
    with pytest.raises(Cancelled):
        engine.run(volume, None, None, RunContext(4))


def small(shape: tuple[int, ...], spacing: float = 1.0, **fields: object) -> Volume:
    affine = np.diag([spacing, spacing, spacing, 1.0])
    geometry = Geometry(shape[:3], affine, **fields)  # type: ignore[arg-type]
    return Volume("v", "s", geometry, np.ones(shape, np.float32))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (small((1, 300, 300)), "not at single pictures"),
        (small((30, 30, 30, 3)), "not at coloured ones"),
        (small((30, 30, 30), calibration=Calibration.DETECTOR), "where in the patient"),
        (small((35, 50, 36)), "too little to hold a head"),
        (small((35, 50, 50), 6.5), "6.5 mm long, too coarse"),
    ],
)
def test_what_is_no_head_volume_is_refused_at_once(
    engine: Engine, resources: Path, image: Volume, words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        engine.run(image, None, None, RunContext())


def test_what_is_no_t1_head_is_refused_with_the_reason(
    engine: Engine, volume: Volume, resources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flair = HeadPlacement(np.eye(4), 0.7, 1.0, (0.9, 0.9, 0.9), TissueLevels(0.4, 1.2, 1.0))
    monkeypatch.setattr(paired, "place_head", lambda *_: flair)
    with pytest.raises(ModelError, match="It is not T1-weighted: white matter"):
        engine.run(volume, None, None, RunContext())


@pytest.mark.usefixtures("placed")
def test_a_region_outside_the_image_is_refused(
    engine: Engine, volume: Volume, resources: Path
) -> None:
    moved = volume.geometry.affine.copy()
    moved[0, 3] -= 70.0  # the left hippocampus now lies where the image has ended
    far = Geometry(volume.geometry.shape, moved)
    with pytest.raises(ModelError, match="left side lies partly outside"):
        engine.run(replace(volume, geometry=far), None, None, RunContext())


def test_a_card_without_a_place_is_refused(card: ModelCard, resources: Path) -> None:
    lost = Engine(replace(card, inputs=replace(card.inputs, localise=None)), Path())
    with pytest.raises(ModelError, match="where in the head"):
        lost.run(small((40, 40, 40), 3.0), None, None, RunContext())


def test_the_template_and_its_regions_are_checked(
    card: ModelCard, resources: Path, tmp_path: Path
) -> None:
    hippocampus = card.outputs.channels[0].code
    region = load_region(resources, "mni152", hippocampus)
    assert region.left_center_mm[0] > 0 > region.right_center_mm[0]
    with pytest.raises(ModelError, match="does not say where to find: Liver"):
        load_region(resources, "mni152", replace(hippocampus, value="10200004", meaning="Liver"))
    for load in (
        lambda: load_template(tmp_path, "mni152"),
        lambda: load_region(tmp_path, "mni152", hippocampus),
    ):
        with pytest.raises(ModelError, match="missing or damaged"):
            load()


@pytest.mark.slow
def test_the_shipped_model_measures_the_template(card: ModelCard, resources: Path) -> None:
    """The average brain has larger hippocampi than most people, alike on both sides."""
    folder = resources / "models" / "hippocampus_mr"
    shipped = Engine(card, folder)
    shipped.load("cpu")
    t1 = load_template(resources, "mni152").t1
    affine = np.eye(4)
    affine[:3, :3] = np.fliplr(np.eye(3)) * t1.spacing_mm
    affine[:3, 3] = t1.origin_mm
    geometry = Geometry(t1.values.shape, affine)
    result = shipped.run(Volume("v", "s", geometry, t1.values), None, None, RunContext())
    shipped.unload()
    volumes = [finding.measurements[0].value for finding in result.findings]
    left, right = sum(volumes[:2]), sum(volumes[2:])
    assert 3.5 < left < 6.0
    assert right == pytest.approx(left, rel=0.1)


@pytest.mark.parametrize("content", [None, b"no archive", b"PK\x03\x04"])
def test_a_template_that_is_missing_or_damaged_is_said(
    tmp_path: Path, content: bytes | None
) -> None:
    folder = tmp_path / "templates" / "head"
    folder.mkdir(parents=True)
    if content is not None:
        (folder / "head.npz").write_bytes(content)
    with pytest.raises(ModelError, match="missing or damaged"):
        load_template(tmp_path, "head")


def test_the_images_of_a_template_lie_on_one_grid(tmp_path: Path) -> None:
    folder = tmp_path / "templates" / "head"
    folder.mkdir(parents=True)
    arrays = {"t1": np.zeros((3, 4, 5)), "tissues": np.zeros((3, 4, 6))}
    place = {"first_lps_mm": np.zeros(3), "spacing_mm": np.ones(3)}
    np.savez_compressed(folder / "head.npz", **arrays, **place)
    with pytest.raises(ModelError, match="missing or damaged"):
        load_template(tmp_path, "head")
