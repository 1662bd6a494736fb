"""Results that are no DICOM, read back: what was told in JSON, in a table, and in FHIR."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medview.core.codes import LENGTH, Code
from medview.core.errors import ReadError
from medview.core.findings import (
    ClassProbability,
    Finding,
    Laterality,
    Measurement,
    Person,
    PictureBox,
    Provenance,
    Review,
    ReviewState,
    SegmentRef,
)
from medview.core.report import Answer, CriticalResult, Report, Section
from medview.core.study import Instance, Patient, Series, SeriesKind, Study
from medview.io.brought import Brought
from medview.io.results_format import format_of, study_named
from medview.io.results_read import read_results
from medview.io.scan import scan
from medview.reporting.fhir import bundle_of
from medview.reporting.tables import findings_csv, result_json
from tests.helpers.exports import AT, BY_MODEL, MODEL, finding

CYST = Code("33595009", "SCT", "Cyst")
SERIES = Series("1.2.3", "1.2", "MR", "T1", (Instance("1.2.3.4", "1.2.840", "/x"),))
STUDY = Study("1.2", Patient("P", "Doe", "19500101"), series=(SERIES,))
BY_READER = Provenance(Person("Dr Ada"), AT)
POINTS = ((0.0, 1.0, 2.0), (0.0, 1.0, 6.0))
EDITED = Review(ReviewState.EDITED, "Dr Ada", AT, "too small")
FINDINGS = (
    replace(finding("Left hippocampus", Laterality.LEFT, 3.4256789012345, probability=0.875,
            calibrated=True, location_lps_mm=(1.5, 2.5, 3.5),
            provenance=replace(BY_MODEL, cautions=("slices of 5 mm",), aids=(MODEL,))),
            segment_ref=SegmentRef("s", 3)),
    Finding("=Nodule", CYST, BY_READER, site=Code("39607008", "SCT", "Lung"),
            text="≤ 8 mm, \"round\"", review=EDITED,
            measurements=(Measurement(LENGTH, 4.25, "mm", "line", BY_READER, "Diameter", POINTS,
                                      "1.2.3.4"),),
            picture_box=PictureBox((1.0, 2.0, 5.0, 7.0), 1, "1.2.3.4"),
            classes=(ClassProbability("Cyst", CYST, 0.75, 0.0625),)),
    finding("Mass", review=Review(), box_lps_mm=((1.0, 2.0, 3.0), (11.0, 22.0, 33.0))),
)  # fmt: skip
REPORT = Report(
    "1.2",
    sections=(Section("Findings", "A.\nB.", edited=True), Section("Impression", "C.", edited=True)),
    findings=FINDINGS[:2],
    answers=(Answer("icd10", "Diagnosis", "G30.9", "Alzheimer", Code("G30.9", "I10", "AD")),),
    critical=CriticalResult("Bleeding", "Dr Otto", AT, "Dr Ada", "by phone"),
    template="general",
    prior_uid="p",
)


def read(folder: Path, name: str, text: str) -> Brought:
    """A file as the scan finds it, read."""
    path = folder / name
    path.write_bytes(text.encode("utf-8"))
    (study,) = scan([path]).studies
    (series,) = study.series
    assert study.uid == STUDY.uid
    assert series.kind is SeriesKind.REPORT
    (brought,) = read_results(series)
    return brought


def told() -> dict[str, Any]:
    result = result_json(STUDY, SERIES, [], FINDINGS, places={SegmentRef("s", 3): ("a.dcm", 1)},
                         report=REPORT)  # fmt: skip
    return result | {"files": [{"name": "a.dcm", "sha256": "0" * 64, "sop_instance_uid": "1.9"}]}


def test_json_brings_everything_back(tmp_path: Path) -> None:
    back = read(tmp_path, "result.json", json.dumps(told()))
    wanted = [replace(one, segment_ref=None) for one in FINDINGS]
    assert list(back.findings) == [
        replace(one, measurements=tuple(replace(m, provenance=one.provenance)
                                        for m in one.measurements))
        for one in wanted
    ]  # fmt: skip
    assert back.segments == {FINDINGS[0].uid: SegmentRef("1.9", 1)}
    assert back.words.sections == REPORT.sections
    assert back.words.answers == REPORT.answers
    assert back.words.critical == REPORT.critical
    assert back.words.template == "general"


def test_a_table_brings_what_a_table_can_say(tmp_path: Path) -> None:
    back = read(tmp_path, "findings.csv", findings_csv(STUDY, FINDINGS))
    first, second, third = back.findings
    assert [one.uid for one in back.findings] == [one.uid for one in FINDINGS]
    assert first.code == FINDINGS[0].code  # by its name
    assert (first.laterality, first.probability) == (Laterality.LEFT, 0.875)
    assert first.measurements[0].value == 3.4256789012345
    assert (second.label, second.text) == ("=Nodule", FINDINGS[1].text)
    assert (second.review.state, second.review.by, second.review.at) == (
        ReviewState.EDITED, "Dr Ada", AT)  # fmt: skip
    assert third.review == Review()
    assert back.notes


def test_a_bundle_of_ours_comes_back(tmp_path: Path) -> None:
    bundle = bundle_of(REPORT, STUDY)
    back = read(tmp_path, "report.fhir.json", json.dumps(bundle, indent=2))
    first, second = back.findings
    assert (first.uid, first.code, first.laterality) == (
        FINDINGS[0].uid, FINDINGS[0].code, Laterality.LEFT)  # fmt: skip
    assert (first.probability, first.calibrated) == (0.875, True)
    assert first.measurements[0].value == pytest.approx(3.4256789012345, rel=1e-9)
    assert second.site == FINDINGS[1].site
    assert second.review.by == "Dr Ada"
    assert back.patient.id == "P"
    assert back.images == {"1.2.3.4"}
    assert "C." in back.words.sections[0].text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("result.json", '{"study_uid": "1.2"'),
        ("result.json", '{"study_uid": "1.2", "findings": 3}'),
        ("deep.json", '{"study_uid": "1.2", "findings": ' + "[" * 100_000),
        ("x.csv", "study_uid,finding_uid,label,\r\n1.2,a,b\r\n"),
        ("b.json", '{"resourceType": "Bundle", "entry": [{"resource": 7}]}'),
    ],
)
def test_what_only_begins_like_results_is_refused_by_name(
    tmp_path: Path, name: str, text: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    (study,) = scan([path]).studies
    with pytest.raises(ReadError, match=name):
        read_results(study.series[0])


def test_other_json_and_tables_are_no_results() -> None:
    assert format_of("a.json", b'{"labels": {"1": "aorta"}}') == ""
    assert format_of("a.csv", b"name,age\r\n") == ""
    assert format_of("a.txt", b'{"study_uid": "1"}') == ""
    assert study_named(b'{"study_uid": "1.2.3"', "results-json") == "1.2.3"


def test_several_files_of_one_study_stay_several_series(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps(told()))
    (tmp_path / "findings.csv").write_text(findings_csv(STUDY, FINDINGS))
    studies = scan([tmp_path]).studies
    assert {study.uid for study in studies} == {"1.2"}
    assert len({one.uid for study in studies for one in study.series}) == 2
