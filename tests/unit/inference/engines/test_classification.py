"""The classification engine, with networks whose answer is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medview.core.errors import ModelError
from medview.core.geometry import Calibration, Geometry
from medview.core.jobs import InferenceResult
from medview.core.maps import MapKind
from medview.core.volume import Volume
from medview.inference.engines.classification import Engine
from tests.helpers.known_networks import bright_share, write_known_model
from tests.helpers.run_context import RunContext

#: The logit of the second class over the first: 20 (mean above 0) - 6.
HALF = 20 * 0.5 - 6
SPOT = 20 * np.sqrt(0.02 * 0.98) - 6
WIDE = {"widths": [1], "dropout": 0.0, "halve": False}


def sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))


def half(size: int = 20) -> np.ndarray:
    picture = np.zeros((size, size), np.uint8)
    picture[:, size // 2 :] = 200
    return picture


def spot(size: int = 20) -> np.ndarray:
    picture = np.full((size, size), 40, np.uint8)
    picture.ravel()[: size * size // 50] = 250
    return picture


def flat(*pictures: np.ndarray, **fields: Any) -> Volume:
    voxels = np.stack(pictures)
    shape = (int(voxels.shape[0]), int(voxels.shape[1]), int(voxels.shape[2]))
    geometry = Geometry(shape, np.eye(4), calibration=Calibration.NONE)
    return Volume("v", "s", geometry, voxels, **fields)


def engine(folder: Path, classes: tuple[str, ...] = ("dull", "striking"), **more: Any) -> Engine:
    arguments = WIDE | {"classes": len(classes)} | more.pop("arguments", {})
    card, model = write_known_model(
        folder,
        "classification",
        more.pop("network", "classifiers.ResidualClassifier"),
        more.pop("network_arguments", arguments),
        bright_share,
        classes,
        **more,
    )
    made = Engine(card, model)
    made.load("cpu")
    return made


def run(made: Engine, volume: Volume, **fields: Any) -> InferenceResult:
    return made.run(volume, None, None, RunContext(**fields))


def test_the_probability_is_that_of_the_network_at_its_temperature(tmp_path: Path) -> None:
    made = engine(tmp_path, temperature=2.0)
    result = run(made, flat(half()))
    (finding,) = result.findings
    assert finding.label == "striking"
    assert finding.probability == pytest.approx(sigmoid(HALF / 2), abs=1e-4)
    assert finding.calibrated
    assert [one.label for one in finding.classes] == ["dull", "striking"]
    assert sum(one.probability for one in finding.classes) == pytest.approx(1)
    assert [one.label for one in result.candidates] == ["dull"]
    assert not finding.measurements


def test_of_two_classes_the_second_is_looked_for_from_the_threshold_on(tmp_path: Path) -> None:
    made = engine(tmp_path, threshold=0.3)
    doubtful = sigmoid(SPOT)
    assert 0.03 < doubtful < 0.3
    assert [one.label for one in run(made, flat(spot())).findings] == ["dull"]
    wished = run(made, flat(spot()), parameters={"threshold": doubtful / 2})
    assert [one.label for one in wished.findings] == ["striking"]
    assert wished.findings[0].probability == pytest.approx(doubtful, abs=1e-4)
    assert wished.threshold == doubtful / 2
    assert not wished.findings[0].calibrated


@pytest.mark.parametrize("threshold", [2, -0.1, "high", True])
def test_a_threshold_that_is_none_is_refused(tmp_path: Path, threshold: object) -> None:
    with pytest.raises(ModelError, match="from 0 to 1"):
        run(engine(tmp_path), flat(half()), parameters={"threshold": threshold})


def test_many_labels_stand_each_for_itself(tmp_path: Path) -> None:
    made = engine(tmp_path, ("never", "some", "more"), multi_label=True)
    result = run(made, flat(half()))
    found = {one.label: one.probability for one in result.findings}
    assert found == {
        "more": pytest.approx(sigmoid(2 * HALF), abs=1e-4),
        "some": pytest.approx(sigmoid(HALF), abs=1e-4),
        "never": pytest.approx(0.5),
    }
    none = run(made, flat(spot()), parameters={"threshold": 0.6})
    assert not none.findings
    assert "Nothing is as probable as 0.6" in none.notes[0]
    assert [one.label for one in none.candidates] == ["never", "some", "more"]


def test_of_several_classes_the_most_probable_is_found(tmp_path: Path) -> None:
    made = engine(tmp_path, ("a", "b", "c"))
    (finding,) = run(made, flat(half())).findings
    odds = np.exp(np.array([0, HALF, 2 * HALF]))
    assert finding.label == "c"
    assert finding.probability == pytest.approx(odds[2] / odds.sum(), abs=1e-4)


def test_a_stack_is_as_striking_as_its_most_striking_slice(tmp_path: Path) -> None:
    made = engine(tmp_path, temperature=1.0)
    empty = np.zeros((20, 20), np.uint8)
    (finding,) = run(made, flat(spot(), empty, half(), spot(), half())).findings
    assert finding.probability == pytest.approx(sigmoid(HALF), abs=1e-4)
    assert not finding.calibrated
    assert finding.text == "Most probable on slice 3."
    (count,) = finding.measurements
    assert (count.name, count.value) == ("Slices", 2.0)


@pytest.mark.parametrize("inverted", [False, True])
def test_pictures_are_seen_as_a_reader_sees_them(tmp_path: Path, inverted: bool) -> None:
    """MONOCHROME1 is turned round, padding is dark, whatever the scale of the numbers."""
    made = engine(tmp_path)
    picture = spot().astype(np.int16) * 7 - 900
    expected = run(made, flat(spot())).candidates[0].probability
    stored = -picture if inverted else picture
    padded = np.pad(stored, ((0, 0), (0, 0)))
    volume = flat(padded, inverted=inverted, slope=0.5, intercept=-3.0)
    assert run(made, volume).candidates[0].probability == pytest.approx(expected, abs=1e-4)
    dark = int(stored[-1, -1])
    holed = stored.copy()
    holed[-1] = 30_000  # what the file calls padding stands where the picture is dark
    masked = flat(holed, inverted=inverted, padding=(30_000.0, 30_000.0))
    assert dark != 30_000
    assert run(made, masked).candidates[0].probability == pytest.approx(expected, abs=1e-4)


def test_colour_is_read_grey_by_a_network_of_greys(tmp_path: Path) -> None:
    made = engine(tmp_path)
    colour = flat(np.repeat(spot()[:, :, None], 3, axis=2))
    grey = run(made, flat(spot()))
    assert run(made, colour).findings[0].probability == pytest.approx(
        grey.findings[0].probability, abs=1e-4
    )


def test_members_of_an_ensemble_say_how_far_they_lie_apart(tmp_path: Path) -> None:
    made = engine(
        tmp_path,
        network="ensemble.Ensemble",
        network_arguments={
            "network": "medview.inference.networks.classifiers.ResidualClassifier",
            "arguments": WIDE,
            "count": 2,
        },
    )
    assert made._classifier is not None
    network = made._classifier._model.network  # type: ignore[attr-defined]
    network.members[1].output.bias.data[1] = -10.0
    (finding,) = run(made, flat(half())).findings
    single = [sigmoid(HALF), sigmoid(HALF - 4)]
    assert finding.classes[1].spread == pytest.approx(np.std(single), abs=1e-4)
    assert finding.probability == pytest.approx(sigmoid(HALF - 2), abs=1e-4)


def test_dropout_gives_opinions_that_a_seed_repeats(tmp_path: Path) -> None:
    made = engine(tmp_path, arguments={"dropout": 0.1})
    spreads = [run(made, flat(half()), seed=n).findings[0].classes[1].spread for n in (1, 1, 2)]
    assert spreads[0] == spreads[1] != spreads[2]
    assert spreads[0] is not None
    assert spreads[0] > 0
    # The answer itself is that of the whole network.
    assert run(made, flat(half())).findings[0].probability == pytest.approx(sigmoid(HALF), abs=1e-4)


def test_one_opinion_has_no_spread(tmp_path: Path) -> None:
    assert run(engine(tmp_path), flat(half())).findings[0].classes[1].spread is None


@pytest.mark.parametrize("method", ["grad_cam", "integrated_gradients"])
def test_saliency_lies_where_the_brightness_is(tmp_path: Path, method: str) -> None:
    made = engine(tmp_path)
    wishes = {"maps": ["saliency"], "saliency": method}
    result = run(made, flat(spot(), half()), parameters=wishes)
    assert len(result.maps) == 2
    salient = result.maps[0]
    assert (salient.kind, salient.finding_uid) == (MapKind.SALIENCY, result.findings[0].uid)
    assert salient.geometry.shape == (1, 20, 20)
    np.testing.assert_allclose(salient.geometry.to_lps_mm((0, 0, 0)), (1, 0, 0))
    # Half of the picture speaks for the class that likes brightness, the other half not.
    assert salient.values[0, :, 11:].mean() > 10 * abs(salient.values[0, :, :9].mean())
    assert abs(salient.values).max() <= 1.01
    against = result.maps[1]
    assert against.finding_uid == result.candidates[0].uid
    np.testing.assert_allclose(against.values, -salient.values, atol=1e-4)


def test_an_unknown_way_to_explain_is_refused(tmp_path: Path) -> None:
    wishes = {"maps": ["saliency"], "saliency": "tea_leaves"}
    with pytest.raises(ModelError, match="tea_leaves"):
        run(engine(tmp_path), flat(half()), parameters=wishes)


def test_an_image_without_content_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nothing that could be looked at"):
        run(engine(tmp_path), flat(np.full((20, 20), 7, np.uint8)))


def test_a_card_that_names_other_classes_than_the_network_has_is_refused(tmp_path: Path) -> None:
    made = engine(tmp_path)
    fewer = replace(made.card.outputs, channels=made.card.outputs.channels[:1])
    with pytest.raises(ModelError, match="names 1 outputs"):
        Engine(replace(made.card, outputs=fewer), made._folder).load("cpu")


# Volumes


def turned(size: int = 24) -> Geometry:
    """Sagittal slices of 1 mm: k to the left, rows to the feet, columns to the back."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])
    affine[:3, 3] = (-size / 2, 40, 60)
    return Geometry((size, size, size), affine)


SOLID = {
    "patch": [16, 16, 16],
    "preprocess": {"orientation": "RAS", "spacing_mm": [1.0, 1.0, 1.0]},
    "arguments": {"dimensions": 3},
}


def test_a_volume_is_looked_at_as_a_whole_on_the_networks_grid(tmp_path: Path) -> None:
    made = engine(tmp_path, **SOLID)
    voxels = np.zeros((24, 24, 24), np.int16)
    voxels[12:] = 100  # the patient's left half
    volume = Volume("v", "s", turned(), voxels)
    result = run(made, volume, parameters={"maps": ["saliency"]})
    (finding,) = result.findings
    assert finding.label == "striking"
    # Half bright but for the smoothed edge between the halves.
    assert finding.probability == pytest.approx(sigmoid(HALF), abs=0.01)
    salient = result.maps[0]
    assert salient.geometry.shape == (16, 16, 16)
    np.testing.assert_allclose(
        salient.geometry.center_lps_mm, volume.geometry.center_lps_mm, atol=1e-6
    )
    left = salient.geometry.to_lps_mm((0, 8, 8))[0] > volume.geometry.center_lps_mm[0]
    bright = salient.values[:7] if left else salient.values[9:]
    dark = salient.values[9:] if left else salient.values[:7]
    assert bright.mean() > 10 * abs(dark.mean())


def test_a_single_picture_is_no_volume(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="looks at volumes"):
        run(engine(tmp_path, **SOLID), flat(half()))
