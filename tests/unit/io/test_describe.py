"""What `info` says: its schema, its numbers by formula, nothing in millimetres that is none."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image

from medview.io.describe import info
from tests.helpers.dicom_phantoms import CtOptions, Who, write_ct, write_enhanced, write_projection
from tests.helpers.phantoms import Phantom

SMALL = Phantom(shape=(5, 20, 16), radius_mm=4, tilt_deg=20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_ct(tmp_path / "ct", SMALL, CtOptions(slope=0.5))
    write_enhanced(tmp_path / "mf", SMALL, times=2)
    write_projection(tmp_path / "dx")
    write_projection(tmp_path / "dx2", attributes={"ImagerPixelSpacing": [0.2, 0.1]})
    write_ct(tmp_path / "other", SMALL, CtOptions(who=Who("P2", "Other^Person")))
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / "picture.png")
    (tmp_path / "broken.dcm").write_bytes(b"x" * 300)
    return tmp_path


def test_the_schema_holds(folder: Path, resources: Path) -> None:
    described = info([folder])
    schema = json.loads((resources / "schemas" / "info.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(described, schema)
    json.dumps(described, allow_nan=False)
    assert {patient["id"] for patient in described["patients"]} == {
        "PHANTOM-1",
        "P2",
        "picture.png",
    }
    assert [problem["severity"] for problem in described["problems"]] == ["refused"]


def test_numbers_by_formula(tmp_path: Path) -> None:
    write_ct(tmp_path, SMALL, CtOptions(slope=0.5))
    (patient,) = info([tmp_path])["patients"]
    (series,) = patient["studies"][0]["series"]
    (volume,) = series["volumes"]
    truth = SMALL.values().astype("<f4")
    assert volume["shape"] == [5, 20, 16]
    assert (volume["min"], volume["max"]) == (truth.min(), truth.max())
    assert volume["mean"] == pytest.approx(truth.mean(dtype=np.float64))
    assert volume["sha256"] == hashlib.sha256(truth.tobytes()).hexdigest()
    assert np.allclose(volume["affine_lps"], SMALL.affine, atol=1e-6)
    assert volume["spacing_mm"] == pytest.approx(SMALL.spacing_mm)
    assert (volume["unit"], volume["dtype"]) == ("[hnsf'U]", "uint16")
    assert series["instances"] == 5
    assert series["transfer_syntaxes"] == ["1.2.840.10008.1.2.1"]


def test_no_millimetre_where_there_is_none(folder: Path) -> None:
    by_kind = {}
    for patient in info([folder])["patients"]:
        for series in patient["studies"][0]["series"]:
            for volume in series["volumes"]:
                by_kind[volume["calibration"]] = (volume["affine_lps"], volume["spacing_mm"])
    assert by_kind["none"] == (None, None)
    assert by_kind["detector"] == (None, [None, 0.2, 0.1])
    assert by_kind["patient"][0] is not None
