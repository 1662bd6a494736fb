"""Twenty studies that the shipped models are not made for: none runs unmarked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medview.core.geometry import Calibration, Geometry
from medview.core.models import ModelCard
from medview.core.study import Instance, Patient, Series, SeriesKind, Study
from medview.core.volume import Volume
from medview.inference.catalog import load_card
from medview.inference.scope import fit_image, refusals, room

#: What differs from a T1 image of an adult's head with voxels of 1 mm.
STUDIES: dict[str, dict[str, Any]] = {
    "CT of the head": {"modality": "CT", "description": "head"},
    "CT of the chest": {"modality": "CT", "body_part": "CHEST", "description": ""},
    "PET": {"modality": "PT", "description": "FDG"},
    "chest X-ray": {"modality": "DX", "body_part": "CHEST", "images": 1, "shape": (1, 200, 200)},
    "ultrasound": {"modality": "US", "description": ""},
    "knee": {"body_part": "KNEE"},
    "abdomen": {"body_part": "ABDOMEN"},
    "prostate": {"body_part": "PROSTATE"},
    "T2 by its times": {"headers": {"EchoTime": "95", "RepetitionTime": "4500"}},
    "FLAIR": {"description": "t2 dark fluid"},
    "diffusion": {"description": "ep2d DWI b1000"},
    "susceptibility": {"description": "SWI"},
    "localizer": {"headers": {"ImageType": "ORIGINAL\\PRIMARY\\LOCALIZER"}},
    "one image": {"images": 1, "shape": (1, 200, 200)},
    "two images": {"images": 2, "shape": (2, 200, 200)},
    "a child": {"headers": {"PatientAge": "009Y"}},
    "a baby": {"headers": {"PatientAge": "005M"}},
    "thick slices": {"spacing": (6.0, 1.0, 1.0), "shape": (24, 200, 200)},
    "no place in the patient": {"calibration": Calibration.NONE},
    "colour": {"channels": 3},
    "a modality that is not stated": {"modality": "OT", "description": ""},
    "a small part of the head": {"shape": (12, 20, 20), "images": 12},
}


def study(differs: dict[str, Any]) -> tuple[Study, Series, Volume]:
    told = {
        "modality": "MR",
        "description": "t1 mprage",
        "body_part": "BRAIN",
        "headers": {},
        "images": 160,
        "shape": (160, 200, 200),
        "spacing": (1.0, 1.0, 1.0),
        "calibration": Calibration.PATIENT,
        "channels": 1,
        **differs,
    }
    one = Instance("1.2", "1.2.840.10008.5.1.4.1.1.4", "a")
    series = Series(
        "series",
        "study",
        told["modality"],
        told["description"],
        (one,) * told["images"],
        body_part=told["body_part"],
        headers={"PatientAge": "045Y", **told["headers"]},
        kind=SeriesKind.VOLUME,
    )
    affine = np.diag([*told["spacing"], 1.0])
    geometry = Geometry(told["shape"], affine, calibration=told["calibration"])
    shape = told["shape"] if told["channels"] == 1 else (*told["shape"], told["channels"])
    volume = Volume("volume", "series", geometry, np.zeros(shape, np.uint8))
    return Study("study", Patient("1", "A"), series=(series,)), series, volume


@pytest.fixture(scope="module")
def head_model() -> ModelCard:
    return load_card(Path(__file__).parents[3] / "resources" / "models" / "hippocampus_mr")


def test_what_it_is_made_for_raises_nothing(head_model: ModelCard) -> None:
    assert fit_image(head_model, *study({})) == ()


@pytest.mark.parametrize("name", STUDIES)
def test_none_runs_unmarked(head_model: ModelCard, name: str) -> None:
    reasons = fit_image(head_model, *study(STUDIES[name]))
    assert reasons, f"{name} would run without a word"
    assert all(reason.text.endswith(".") for reason in reasons)


def test_memory_that_is_not_there_is_said_before_the_run(head_model: ModelCard) -> None:
    hungry = replace(head_model, memory_mb=6000)
    assert "6,000 MB" in refusals(room(hungry, 2048.0))[0]
    assert room(hungry, 8192.0) == ()
