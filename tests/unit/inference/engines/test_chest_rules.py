"""The rules for chest CT, against phantoms of known volume and another program's label map."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import pytest

from medview.core.errors import Cancelled, ModelError
from medview.core.findings import Laterality
from medview.core.geometry import Geometry
from medview.core.jobs import InferenceResult
from medview.core.models import ModelCard
from medview.core.volume import Volume
from medview.inference.catalog import load_card
from medview.inference.engines.rules import engine
from medview.io.reading import load
from medview.io.scan import scan
from tests.helpers.run_context import RunContext

Array = npt.NDArray[np.int16]

#: The phantom, in mm from feet to head, front to back, right to left: centres and half axes.
SPACING = (2.5, 1.5, 1.5)
SHAPE = (120, 180, 240)
LUNG = (95.0, 60.0, 45.0)
RIGHT, LEFT = (150.0, 135.0, 115.0), (150.0, 135.0, 245.0)


@pytest.fixture(scope="module")
def card() -> ModelCard:
    return load_card(_folder())


def _folder() -> Path:
    return Path(__file__).parents[4] / "resources" / "models" / "ct_chest_rules"


def run(image: Volume) -> InferenceResult:
    made = engine(load_card(_folder()), _folder())
    made.load("cpu")
    return made.run(image, None, None, RunContext())


def ellipsoid(center: tuple[float, ...], half: tuple[float, ...]) -> npt.NDArray[np.bool_]:
    grids = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    return np.asarray(
        sum(
            ((grid * size - middle) / radius) ** 2
            for grid, size, middle, radius in zip(grids, SPACING, center, half, strict=True)
        )
        <= 1
    )


def chest(*, lungs: bool = True, stomach: bool = True) -> Array:
    """HU from feet to head: a trunk with lungs, vessels, trachea, spine, gas and a table."""
    k, j, i = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    z, y, x = k * SPACING[0], j * SPACING[1], i * SPACING[2]
    trunk = ((y - 135) / 105) ** 2 + ((x - 180) / 165) ** 2 <= 1
    hu = np.where(np.broadcast_to(trunk, SHAPE), 40, -1000).astype(np.int16)
    spine = (np.hypot(y - 205, x - 180) <= 16) & (z >= 0)
    hu[np.broadcast_to(spine, SHAPE)] = 400
    if lungs:
        for center in (RIGHT, LEFT):
            lung = ellipsoid(center, LUNG)
            hu[lung] = -850
            hu[lung & (np.hypot(z - center[0], y - center[1]) < 3)] = 40
        tube = np.broadcast_to((np.hypot(y - 130, x - 180) <= 9) & (z > 160), SHAPE)
        hu[tube] = -995
    if stomach:
        hu[ellipsoid((30.0, 90.0, 230.0), (22.0, 30.0, 35.0))] = -990
        hu[ellipsoid((25.0, 100.0, 110.0), (15.0, 25.0, 40.0))] = -985
    table = np.broadcast_to((y >= 243) & (y <= 249), SHAPE)
    hu[table] = -100
    hu[np.broadcast_to((y > 249), SHAPE)] = -920
    return hu


def volume(hu: Array, affine: npt.NDArray[np.float64] | None = None, **fields: object) -> Volume:
    """The phantom in the patient: feet to head is z, front to back y, right to left x."""
    if affine is None:
        affine = np.zeros((4, 4))
        affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = *SPACING, 1.0
    geometry = Geometry(hu.shape, affine)  # type: ignore[arg-type]
    made = Volume("v", "s", geometry, np.ascontiguousarray(hu), unit="[hnsf'U]")
    return replace(made, **fields)  # type: ignore[arg-type]


def lung_ml() -> float:
    vessel = math.pi * 3**2 * 2 * LUNG[2] / 1000
    return 4 / 3 * math.pi * math.prod(LUNG) / 1000 - vessel


def numbers(result: InferenceResult) -> dict[str, dict[str, float]]:
    return {
        finding.label: {one.name.split(" (")[0]: one.value for one in finding.measurements}
        for finding in result.findings
    }


def test_lungs_have_the_volume_of_the_formula_and_the_tube_is_the_airway() -> None:
    found = numbers(run(volume(chest())))
    assert found["Right lung"]["Volume"] == pytest.approx(lung_ml(), rel=0.03)
    assert found["Left lung"]["Volume"] == pytest.approx(lung_ml(), rel=0.03)
    assert found["Lungs"]["Volume"] == pytest.approx(2 * lung_ml(), rel=0.03)
    assert found["Airways"]["Volume"] == pytest.approx(math.pi * 81 * 140 / 1000, rel=0.15)
    assert found["Lungs"]["Mean density"] == pytest.approx(-850, abs=12)
    assert found["Lungs"]["Emphysema index"] < 0.1


def test_the_emphysema_index_is_the_share_that_was_put_there() -> None:
    hu = chest()
    k = np.arange(SHAPE[0])[:, None, None]
    hollow = (hu == -850) & (k % 4 == 0)
    expected = 100 * hollow.sum() / ((hu == -850).sum())
    hu[hollow] = -965
    result = numbers(run(volume(hu)))
    assert result["Lungs"]["Emphysema index"] == pytest.approx(expected, abs=1.0)


@pytest.mark.parametrize("kind", ["padding", "no number"])
def test_what_was_not_measured_is_neither_lung_nor_emphysema(kind: str) -> None:
    hu = chest().astype(np.float32)
    gone = ellipsoid((RIGHT[0] + 10, RIGHT[1] + 20, RIGHT[2]), (8.0, 8.0, 8.0))
    assert (hu[gone] < -800).mean() > 0.9
    hu[gone] = -2048 if kind == "padding" else np.nan
    result = run(volume(hu, padding=(-2048.0, -2048.0) if kind == "padding" else None))
    (segmentation,) = result.segmentations
    assert not segmentation.labels[gone].any()
    assert numbers(result)["Right lung"]["Emphysema index"] < 0.1


@pytest.mark.parametrize(
    ("flips", "order"),
    [
        ((-1, 1, 1), (0, 1, 2)),
        ((1, -1, -1), (0, 1, 2)),
        ((1, 1, -1), (1, 0, 2)),
        ((-1, -1, 1), (2, 1, 0)),
    ],
)
def test_the_order_of_the_file_changes_nothing(
    flips: tuple[int, int, int], order: tuple[int, int, int]
) -> None:
    hu, affine = chest()[::2, ::2, ::2], np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = (*(2 * s for s in SPACING), 1.0)
    for axis, flip in enumerate(flips):
        if flip < 0:
            hu = np.flip(hu, axis)
            affine[:3, 3] += affine[:3, axis] * (hu.shape[axis] - 1)
            affine[:3, axis] *= -1
    hu = hu.transpose(order)
    affine[:3, :3] = affine[:3, list(order)]
    result = run(volume(hu, affine))
    (segmentation,) = result.segmentations
    for number, center in ((1, RIGHT), (2, LEFT)):
        places = segmentation.geometry.to_lps_mm(np.argwhere(segmentation.labels == number))
        assert places.mean(axis=0) == pytest.approx((center[2], center[1], center[0]), abs=4)
        assert len(places) * segmentation.geometry.voxel_volume_ml == pytest.approx(
            lung_ml(), rel=0.06
        )


def test_thick_slices_give_the_same_volume_and_say_what_they_hide() -> None:
    hu = chest().reshape(SHAPE[0] // 4, 4, *SHAPE[1:]).mean(axis=1).round().astype(np.int16)
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = 10.0, 1.5, 1.5, 1.0
    result = run(volume(hu, affine))
    assert numbers(result)["Lungs"]["Volume"] == pytest.approx(2 * lung_ml(), rel=0.04)
    assert any("10.0 mm apart" in note for note in result.notes)


def test_gas_in_stomach_and_bowel_is_no_lung() -> None:
    with pytest.raises(ModelError, match="No lung was found"):
        run(volume(chest(lungs=False)))
    (segmentation,) = run(volume(chest())).segmentations
    gas = ellipsoid((30.0, 90.0, 230.0), (22.0, 30.0, 35.0))
    assert not np.isin(segmentation.labels[gas], (1, 2, 3)).any()


def test_lungs_that_the_image_cuts_are_measured_as_far_as_they_are_seen_and_said_to_be() -> None:
    result = run(volume(chest()[60:]))
    assert numbers(result)["Lungs"]["Volume"] == pytest.approx(lung_ml(), rel=0.05)
    assert any("edge of the image" in note for note in result.notes)


def test_one_lung_is_named_by_the_side_it_lies_on() -> None:
    hu = chest()
    hu[ellipsoid(LEFT, LUNG)] = 30
    result = run(volume(hu))
    lungs = [finding for finding in result.findings if "lung" in finding.label.lower()]
    assert [finding.laterality for finding in lungs] == [Laterality.RIGHT]
    assert "No left lung was found." in result.notes


def test_lungs_that_touch_are_cut_apart() -> None:
    hu = chest()
    bridge = ellipsoid((150.0, 100.0, 180.0), (20.0, 6.0, 40.0))
    hu[bridge & (hu == 40)] = -850
    found = numbers(run(volume(hu)))
    assert found["Right lung"]["Volume"] == pytest.approx(lung_ml(), rel=0.05)
    assert found["Left lung"]["Volume"] == pytest.approx(lung_ml(), rel=0.05)


def test_what_is_no_ct_is_refused_and_unstated_units_are_marked() -> None:
    with pytest.raises(ModelError, match="Hounsfield"):
        run(volume(chest(), unit="g/ml{SUVbw}"))
    with pytest.raises(ModelError, match="at least 10 mm"):
        run(volume(chest()[:2]))
    assert "does not state" in run(volume(chest(), unit="1")).out_of_scope[0]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"find": "chest_ct"}', '{"find": ["chest_ct"]}', "[" * 100_000, None]
)
def test_rules_that_cannot_be_read_or_are_not_known_are_refused(
    card: ModelCard, tmp_path: Path, text: str | None
) -> None:
    if text is not None:
        (tmp_path / card.weights).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / card.weights).write_text(text)
    with pytest.raises(ModelError):
        engine(card, tmp_path)


def test_it_stops_when_asked(card: ModelCard) -> None:
    made = engine(card, _folder())
    made.load("cpu")
    with pytest.raises(Cancelled):
        made.run(volume(chest()), None, None, RunContext(20))


def test_lungs_agree_with_the_published_label_map(card: ModelCard, shared: Path) -> None:
    folder = shared / "data" / "ct_seg" / "totalsegmentator"
    (study,) = scan([folder / "example_ct_sm.nii.gz"]).studies
    result = run(load(study.series[0]).volumes[0])
    (segmentation,) = result.segmentations
    reference = np.asarray(nibabel.load(folder / "example_seg.nii.gz").dataobj).T
    names = {"dice_left_lung": ((2,), (10, 11)), "dice_right_lung": ((1,), (12, 13, 14))}
    names["dice_lungs"] = ((1, 2), (10, 11, 12, 13, 14))
    assert card.metrics is not None
    for metric in card.metrics.values:
        ours, theirs = (
            np.isin(labels, numbers)
            for labels, numbers in zip(
                (segmentation.labels, reference), names[metric.name], strict=True
            )
        )
        dice = 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum())
        assert dice == pytest.approx(metric.value, abs=0.001), metric.name
