"""One measurement on the screen, in report, table and objects: the same number everywhere."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pypdf
import pytest

from medview.core.findings import Laterality
from medview.core.report import Report, Section
from medview.io.export import export
from medview.io.request import ExportFormat, ExportRequest, gather, places
from medview.reporting.fields import measurement_text
from medview.reporting.render import documents
from medview.reporting.tables import findings_csv, result_json
from medview.ui.text import measurement
from tests.helpers.dicom_phantoms import write_ct
from tests.helpers.exports import finding, segment, segmentation_of, study_of, volume_of
from tests.helpers.phantoms import Phantom

PHANTOM = Phantom(shape=(12, 20, 20), spacing_mm=(2.3, 0.77, 0.77))
DCMQI = Path(sys.prefix) / "bin" / "tid1500reader"


def number_in(text: str) -> tuple[float, int]:
    """A number as it is shown, and its decimals."""
    found = re.search(r"\d+(?:\.(\d+))?", text)
    assert found is not None, text
    return float(found[0]), len(found[1] or "")


@pytest.mark.parametrize("seed", range(5))
def test_numbers_agree(tmp_path: Path, resources: Path, seed: int) -> None:
    study = study_of(write_ct(tmp_path / "ct", PHANTOM))
    series = study.series[0]
    volume = volume_of(series, PHANTOM.geometry)
    chance = np.random.default_rng(seed)
    labels = np.zeros(PHANTOM.shape, dtype=np.uint8)
    labels[chance.random(PHANTOM.shape) < chance.uniform(0.002, 0.9)] = 1
    ml = float((labels == 1).sum()) * PHANTOM.geometry.voxel_volume_ml
    segmentation = segmentation_of(volume, labels, (segment(1, "Left lobe"),))
    one = finding("Left lobe", Laterality.LEFT, ml, segmentation=segmentation, number=1)
    (measured,) = one.measurements
    words = f"Left lobe: {measurement_text(measured)}."
    report = Report(study.uid, findings=(one,), sections=(Section("Findings", words),))
    made = documents(report, study, resources=resources, series=series)
    exports = gather([segmentation], {volume.uid: volume}, study)
    request = ExportRequest(
        folder=tmp_path / "out",
        study=study,
        series=series,
        report=report,
        result=result_json(study, series, [], [one], places=places(exports), notes=()),
        segmentations=exports,
        pdf=made.pdf,
        html=made.html,
        csv=findings_csv(study, [one]),
        reader="Dr Ada",
        formats=tuple(ExportFormat(name) for name in ("segmentation", "sr", "csv", "json", "pdf")),
    )
    export(replace(request))
    out = tmp_path / "out"

    on_screen = measurement(measured)
    shown, decimals = number_in(on_screen)
    pages = pypdf.PdfReader(io.BytesIO((out / "report.pdf").read_bytes())).pages
    in_pdf = " ".join(word for page in pages for word in page.extract_text().split())
    assert on_screen in in_pdf
    assert on_screen in made.html
    assert on_screen in made.text
    rows = list(csv.DictReader(io.StringIO((out / "findings.csv").read_text("utf-8-sig"))))
    (value,) = [float(row["value"]) for row in rows]
    (told,) = json.loads((out / "result.json").read_text("utf-8"))["findings"][0]["measurements"]
    assert round(value, decimals) == pytest.approx(shown)
    assert round(told["value"], decimals) == pytest.approx(shown)
    if DCMQI.exists():
        read = tmp_path / "read.json"
        command = [DCMQI, "--inputDICOM", out / "report.dcm", "--outputMetadata", read]
        subprocess.run(command, check=True, capture_output=True)
        (group,) = json.loads(read.read_text())["Measurements"]
        (item,) = group["measurementItems"]
        assert round(float(item["value"]), decimals) == pytest.approx(shown)
        assert item["units"]["CodeValue"] == measured.unit
