"""Lungs in frontal chest pictures: drawn ones told apart and measured, all else refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medview.core.codes import AREA, RATIO
from medview.core.errors import ModelError
from medview.core.findings import Laterality
from medview.core.geometry import Calibration, Geometry
from medview.core.study import Series
from medview.core.volume import Volume
from medview.imaging.lung_sides import split_lungs, why_not_frontal
from medview.inference.engines.segmentation import Engine
from tests.helpers.known_networks import passing, quiet, write_known_model
from tests.helpers.run_context import RunContext

SHAPE = (96, 112)


def bright_lungs(network: Any) -> None:
    """A UNet2d of two outputs: lung is what is brighter than 0.2."""
    quiet(network)
    passing(network.stem[0])
    passing(network.merge[0][0])
    network.head.weight.data[1, 0] = 20.0
    network.head.bias.data[1] = -4.0


def ellipse(row: float, column: float, height: float, width: float) -> np.ndarray:
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 <= 1


#: The lung at the first columns is the larger one.
FIRST, SECOND = ellipse(48, 32, 36, 18), ellipse(52, 82, 32, 14)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    code = {"scheme": "99TEST", "meaning": "Lung"}
    outputs = [
        {"index": n, "label": f"{side} lung", "code": {"value": str(n), **code},
         "color_rgb": [9, 9, 9]}
        for n, side in ((1, "Right"), (2, "Left"))
    ]  # fmt: skip
    card, folder = write_known_model(
        tmp_path_factory.mktemp("lungs"),
        "segmentation",
        "unet.UNet2d",
        {"in_channels": 1, "out_channels": 2, "widths": [4, 8], "norm": "batch"},
        bright_lungs,
        ["lungs"],
        outputs=outputs,
        sides=True,
    )
    made = Engine(card, folder)
    made.load("cpu")
    return made


def pictures(*masks: np.ndarray) -> Volume:
    grid = Geometry((len(masks), *SHAPE), np.eye(4), "", Calibration.NONE)
    return Volume("v", "s", grid, np.stack(masks).astype(np.float32))


def facing(orientation: str) -> Series:
    return Series(
        "s",
        "study",
        modality="CR",
        description="",
        instances=(),
        headers={"PatientOrientation": orientation},
    )


@pytest.mark.parametrize(("orientation", "right_is_first"), [("L\\F", True), ("R\\F", False)])
def test_lungs_are_told_apart_and_measured(
    engine: Engine, orientation: str, right_is_first: bool
) -> None:
    result = engine.run(pictures(FIRST | SECOND), facing(orientation), None, RunContext())
    (proposal,) = result.segmentations
    right, left = (FIRST, SECOND) if right_is_first else (SECOND, FIRST)
    assert np.array_equal(proposal.labels[0] == 1, right)
    assert np.array_equal(proposal.labels[0] == 2, left)
    one, other, both = result.findings
    assert (one.laterality, other.laterality) == (Laterality.RIGHT, Laterality.LEFT)
    for finding, mask in ((one, right), (other, left)):
        area, share = finding.measurements
        assert (share.name, share.unit) == ("Share of the picture", "%")
        assert share.value == pytest.approx(100 * mask.mean())
        assert (area.kind, area.value, area.unit) == (AREA, mask.sum(), "{pixels}")
    (ratio,) = both.measurements
    assert ratio.kind == RATIO
    assert ratio.value == pytest.approx(left.sum() / right.sum())
    assert not result.notes


def test_a_side_that_no_header_states_is_told(engine: Engine) -> None:
    told = engine.run(pictures(FIRST | SECOND), None, None, RunContext())
    (caution,) = told.out_of_scope
    assert "right is taken to be first" in caution
    assert (
        engine.run(pictures(FIRST | SECOND), facing("L\\F"), None, RunContext()).out_of_scope == ()
    )


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (FIRST, "one lung"),
        (ellipse(48, 56, 30, 30), "one lung"),  # as a lateral view shows both upon each other
        (FIRST | ellipse(80, 90, 10, 8), "right lung of"),
        (ellipse(20, 30, 14, 14) | ellipse(74, 84, 14, 14), "side by side"),
        (ellipse(48, 20, 2, 18) | ellipse(48, 92, 2, 18), "of the picture"),
    ],
)
def test_what_is_no_frontal_chest_is_refused(engine: Engine, mask: np.ndarray, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        engine.run(pictures(mask), None, None, RunContext())


def test_of_several_pictures_those_that_fit_are_read(engine: Engine) -> None:
    result = engine.run(pictures(FIRST, FIRST | SECOND), facing("L\\F"), None, RunContext())
    assert not result.segmentations[0].labels[0].any()
    assert result.segmentations[0].labels[1].any()
    assert result.notes == ("1 pictures show no frontal chest.",)


def test_true_masks_of_frontal_pictures_all_pass(shared: Path) -> None:
    paths = sorted((shared / "train" / "cxr_lungseg_covid_v7" / "masks").glob("*.png"))
    if not paths:
        pytest.skip("needs the lung masks")
    for path in paths:
        mask = np.asarray(Image.open(path).resize((128, 128))) > 127
        assert why_not_frontal(*split_lungs(mask)) == "", path.name
