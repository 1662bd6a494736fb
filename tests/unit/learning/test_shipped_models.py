"""The trained models that come with the program: whole, as good as promised, as their cards say."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from medview.learning.layouts import open_dataset
from medview.learning.measuring import evaluate

MODELS = Path(__file__).resolve().parents[3] / "resources" / "models"


@dataclass(frozen=True)
class Promise:
    """What a model was to reach, where its data lie, and how near its cases come out again."""

    data: str
    split: str
    floors: dict[str, float]
    near: dict[str, float]


PROMISES = {
    "pneumonia_mnist": Promise("pneumoniamnist_28", "val", {"auroc": 0.99}, {"probability": 0.01}),
    "blood_cells": Promise(
        "bccd_blood_cells", "val", {"map50": 0.87}, {"found_RBC": 1, "matched_WBC": 0}
    ),
    "cxr_pneumonia": Promise("cxr_nih_pneumonia", "all", {"auroc": 0.76}, {"probability": 0.01}),
    "nuclei": Promise("nuclei_dsb2018", "val", {"f1_iou50": 0.82}, {"found_objects": 1}),
    "cxr_lungs": Promise(
        "cxr_lungseg_covid_v7",
        "all",
        {"dice_lungs": 0.94, "dice_lungs_open": 0.94},
        {"dice_lungs": 0.002},
    ),
}


def told(name: str) -> dict[str, Any]:
    text = (MODELS / name / "docs" / "metrics.json").read_text(encoding="utf-8")
    figures: dict[str, Any] = json.loads(text)
    return figures


@pytest.mark.parametrize("name", PROMISES)
def test_it_is_small_and_its_figures_keep_the_promise(name: str, resources: Path) -> None:
    promise, figures = PROMISES[name], told(name)
    assert (MODELS / name / "models" / "model.safetensors").stat().st_size <= 10_000_000
    schema = json.loads((resources / "schemas" / "evaluate.schema.json").read_text())
    jsonschema.validate(figures, schema)
    assert figures["split"] == promise.split
    assert len(figures["cases"]) == figures["count"]
    for figure, least in promise.floors.items():
        assert figures["metrics"][figure]["value"] >= least


@pytest.mark.parametrize("name", PROMISES)
def test_a_few_cases_measured_again_come_out_as_the_card_says(name: str, shared: Path) -> None:
    """Cases it was not learned from, each against the number of the card."""
    promise, figures = PROMISES[name], told(name)
    dataset = open_dataset(shared / "train" / promise.data)
    by_id = {case["id"]: case for case in figures["cases"]}
    stated = [case for case in dataset.of("all") if case.id in by_id]
    few = dataclasses.replace(dataset, cases=tuple(stated[:: -(-len(stated) // 4)]))
    found = evaluate(MODELS / name, few, split="all", device="cpu")
    assert len(found["cases"]) in {3, 4}
    for case in found["cases"]:
        for number, apart in promise.near.items():
            assert case[number] == pytest.approx(by_id[case["id"]][number], abs=apart), case["id"]
