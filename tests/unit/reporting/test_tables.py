"""Findings for other programs: result.json by its schema, CSV that a spreadsheet cannot run."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from medview.core.codes import Code
from medview.core.findings import (
    Laterality,
    Person,
    PictureBox,
    Provenance,
    Review,
    SegmentRef,
    utc_now,
)
from medview.core.jobs import InferenceResult
from medview.core.models import InputSpec, ModelCard, OutputSpec, Scope, Task
from medview.core.study import Patient, Series, Study
from medview.core.timeline import (
    FrameClass,
    FrameCurve,
    FrameEvent,
    Timeline,
    Track,
    TrackShape,
)
from medview.reporting.tables import ModelRun, findings_csv, result_json, timeline_csv
from tests.helpers.exports import finding

SERIES = Series("1.2.3", "1.2", "MR", "T1", ())
STUDY = Study("1.2", Patient("P", "Doe"), series=(SERIES,))
RUN = ModelRun("m", "1", "ab12" * 16, "cpu", 2.5, ("on the processor",), ("too young",))


@pytest.fixture
def validate(resources: Path) -> Any:
    schema = json.loads((resources / "schemas" / "result.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema).validate


def test_result_follows_its_schema_to_the_key(validate: Any) -> None:
    box = ((0.0, 0.0, 0.0), (1.0, 2.0, 3.0))
    one = finding("Left lobe", Laterality.LEFT, 1.5, probability=0.5, box_lps_mm=box)
    result = result_json(STUDY, SERIES, [RUN], [one], places={}, notes=["n"])
    validate(result)
    assert result["models"] == [
        {
            "id": "m", "version": "1", "weights_sha256": "ab12" * 16, "device": "cpu",
            "seconds": 2.5, "fallbacks": ["on the processor"], "out_of_scope": ["too young"],
            "parameters": {}, "threshold": None, "voxels_sha256": [],
        }
    ]  # fmt: skip
    (told,) = result["findings"]
    assert told["uid"] == one.uid
    assert (told["state"], told["by"]) == ("accepted", "Dr Reader")
    assert told["at"] == "2026-03-04T05:06:07+00:00"
    assert told["code"] == {"value": "5366008", "scheme": "SCT", "meaning": "Hippocampus"}
    assert told["box_lps_mm"] == [[0, 0, 0], [1, 2, 3]]
    assert told["segment"] is None
    measured = {k: told["measurements"][0][k] for k in ("name", "value", "unit", "method")}
    assert measured == {"name": "volume", "value": 1.5, "unit": "mL", "method": "voxel count"}
    assert json.loads(json.dumps(result)) == result


def test_a_proposal_names_nobody_and_a_segment_names_its_file(validate: Any) -> None:
    ref = SegmentRef("s", 3)
    values = {"segment_ref": ref}
    one = finding("Left lobe", review=Review())
    placed = result_json(
        STUDY, SERIES, [], [type(one)(**{**vars(one), **values})], places={ref: ("a.dcm", 1)}
    )
    validate(placed)
    (told,) = placed["findings"]
    assert (told["state"], told["by"], told["at"]) == ("proposed", None, None)
    assert told["segment"] == {"file": "a.dcm", "number": 1}


@pytest.mark.parametrize("missing", ["study_uid", "models", "findings", "inputs", "notes"])
def test_the_schema_misses_what_is_missing(validate: Any, missing: str) -> None:
    result = result_json(STUDY, SERIES, [RUN], [finding("x")], places={})
    del result[missing]
    with pytest.raises(jsonschema.ValidationError):
        validate(result)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("state", "maybe"), ("laterality", "up"), ("probability", 1.5), ("by", None),
        ("segment", {"file": "a.dcm"}), ("code", {"value": "1"}),
    ],
)  # fmt: skip
def test_the_schema_refuses_wrong_values(validate: Any, key: str, value: Any) -> None:
    result = result_json(STUDY, SERIES, [], [finding("x")], places={})
    result["findings"][0][key] = value
    with pytest.raises(jsonschema.ValidationError):
        validate(result)


def test_a_run_is_made_of_card_and_result() -> None:
    card = ModelCard(
        "m", "1", "M", Task.RULES, "a:B", "", (), Scope(), InputSpec(),
        OutputSpec("labels", ()), sha256="ab12" * 16,
    )  # fmt: skip
    result = InferenceResult(
        "job", device="cpu", seconds=2.50004, fallbacks=("on the processor",),
        out_of_scope=("too young",),
    )  # fmt: skip
    assert ModelRun.of(card, result) == RUN


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_a_row_for_each_measurement() -> None:
    one, bare = finding("Left lobe", Laterality.LEFT, 1.25), finding("Cyst", text='a "b", c')
    rows = rows_of(findings_csv(STUDY, [one, bare]))
    assert [row["label"] for row in rows] == ["Left lobe", "Cyst"]
    assert (rows[0]["value"], rows[0]["unit"], rows[0]["measurement"]) == ("1.25", "mL", "volume")
    assert rows[0]["laterality"] == "left"
    assert rows[1]["text"] == 'a "b", c'
    assert rows[1]["value"] == ""


def test_key_frames_stand_in_the_table_and_in_the_result(validate: Any) -> None:
    first = PictureBox((1.0, 2.0, 5.0, 7.0), 4, "1.2.3", 5)
    later = (replace(first, slice_index=9, frame_number=10),)
    one = replace(finding("Valve"), picture_box=first, key_boxes=later)
    (row,) = rows_of(findings_csv(STUDY, [one]))
    assert row["key_frames"] == "5 10"
    told = result_json(STUDY, SERIES, [], [one], places={})
    validate(told)
    assert [box["frame_number"] for box in told["findings"][0]["key_boxes"]] == [10]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_csv_cells_are_no_formulas_and_numbers_stay_numbers(start: str) -> None:
    evil = f"{start}cmd|' /C calc'!A0"
    one = finding("x", volume_ml=-1.5, text=evil)
    (row,) = rows_of(findings_csv(STUDY, [one]))
    assert row["text"].startswith("'")
    assert row["value"] == "-1.5"


def test_a_timeline_is_a_row_for_each_frame_with_units_and_events() -> None:
    track = Track("=Wall", TrackShape.POINT, (((1.0, 2.0),), ((1.0, 3.0),), ()), (0,))
    line = Timeline(
        "c",
        (0.0, 0.04, 0.1),
        Provenance(Person("Dr A"), utc_now()),
        curves=(
            FrameCurve("Motion", "mm/s", (1.5, 2.25, None)),
            FrameCurve("Displacement", "mm", (0.0, 1.0, None), track_uid=track.uid),
        ),
        classes=(FrameClass("Valve open", Code("1", "99T", "open"), (0.1, 0.9, 0.5)),),
        tracks=(track,),
        events=(FrameEvent(1, "Scene change"), FrameEvent(1, "=Wall: largest area")),
    )
    rows = list(csv.reader(io.StringIO(timeline_csv(line))))
    assert rows[0] == [
        "frame", "time_s", "Motion [mm/s]", "'=Wall: Displacement [mm]",
        "Valve open [probability]", "events",
    ]  # fmt: skip
    assert rows[1] == ["1", "0", "1.5", "0", "0.1", ""]
    assert rows[2] == ["2", "0.04", "2.25", "1", "0.9", "Scene change; =Wall: largest area"]
    assert rows[3] == ["3", "0.1", "", "", "0.5", ""]
