"""The gate before writing: its tables against the standard's, and objects that lack something."""

from __future__ import annotations

from pathlib import Path

import pytest
from highdicom import _standard_utils as standard
from pydicom import Dataset, dcmread

from medview.core.errors import ExportError
from medview.core.report import Report
from medview.io.conformance import MODULES, OBJECTS, faults, require_conformance
from medview.io.dicom_write import write_dataset
from medview.io.sources import read_sources
from medview.io.sr_content import SrOptions
from medview.io.sr_write import build_report, write_report
from tests.helpers.dicom_phantoms import write_ct
from tests.helpers.exports import AT, finding, study_of
from tests.helpers.phantoms import Phantom


def test_every_row_stands_in_the_standard_with_its_type() -> None:
    table = standard.get_module_attribute_map()
    for module, rows in MODULES.items():
        known = {".".join([*row["path"], row["keyword"]]): row["type"] for row in table[module]}
        for row in rows.split():
            path, kind = row.split("=")
            assert known[path] == kind, f"{module}: {path}"


def test_no_attribute_that_a_module_must_have_is_forgotten() -> None:
    table = standard.get_module_attribute_map()
    for module, rows in MODULES.items():
        needed = {r["keyword"] for r in table[module] if r["type"] in ("1", "2") and not r["path"]}
        assert needed <= {row.split("=")[0] for row in rows.split()}, module


#: What its own rules look at (content trees, frames), and what always may be empty.
ELSEWHERE = {
    "sr-document-content", "segmentation-multi-frame-functional-groups", "acquisition-context",
    "parametric-map-multi-frame-functional-groups", "general-acquisition",
    "presentation-state-shutter", "presentation-state-mask", "softcopy-presentation-lut",
    "sc-image",
}  # fmt: skip


def test_no_module_that_an_object_must_have_is_forgotten() -> None:
    classes, modules = standard.get_sop_class_iod_map(), standard.get_iod_module_map()
    for sop_class, named in OBJECTS.items():
        needed = {m["key"] for m in modules[classes[sop_class]] if m["usage"] == "M"}
        assert needed - ELSEWHERE <= set(named.split()), sop_class


@pytest.fixture
def report(tmp_path: Path) -> Dataset:
    sources = read_sources(study_of(write_ct(tmp_path / "ct", Phantom(shape=(2, 4, 4)))).series[0])
    one = finding("Left x", volume_ml=1.0)
    return build_report(Report("1.2", findings=(one,)), sources, SrOptions(AT))


def test_an_object_with_all_it_needs_has_no_fault(report: Dataset) -> None:
    assert list(faults(report)) == []


def test_what_is_missing_is_named_and_nothing_is_written(report: Dataset, tmp_path: Path) -> None:
    del report.PatientID
    report.CompletionFlag = ""
    with pytest.raises(ExportError) as told:
        write_dataset(report, tmp_path / "report.dcm")
    assert "report.dcm was not written" in told.value.user_text
    assert "Patient ID (0010,0020) is missing" in told.value.user_text
    assert "Completion Flag (0040,A491) is empty" in told.value.user_text
    assert not (tmp_path / "report.dcm").exists()


def group_of(report: Dataset) -> Dataset:
    (container,) = (i for i in report.ContentSequence if i.ValueType == "CONTAINER")
    return container.ContentSequence[0]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda r: setattr(r, "StudyDate", "1st of May"), "breaks its format"),
        (lambda r: setattr(r, "SOPClassUID", "1.2.3"), "none that is written here"),
        (lambda r: group_of(r).ContentSequence[0].pop("TextValue"), "has no value"),
        (lambda r: group_of(r).pop("RelationshipType"), "how it relates"),
        (lambda r: group_of(r).ConceptNameCodeSequence[0].pop("CodeMeaning"), "lacks its value"),
        (
            lambda r: setattr(
                group_of(r).ConceptNameCodeSequence[0], "CodingSchemeDesignator", "SRT"
            ),
            "retired",
        ),
        (
            lambda r: setattr(
                group_of(r).ConceptNameCodeSequence[0], "CodingSchemeDesignator", "99OTHER"
            ),
            "99OTHER is not declared",
        ),
    ],
)
def test_each_kind_of_fault_is_found(report: Dataset, spoil: object, words: str) -> None:
    spoil(report)  # type: ignore[operator]
    with pytest.raises(ExportError, match=words):
        require_conformance(report, "report.dcm")


def test_a_reference_without_evidence_is_found(tmp_path: Path) -> None:
    sources = read_sources(study_of(write_ct(tmp_path / "ct", Phantom(shape=(2, 4, 4)))).series[0])
    path = tmp_path / "report.dcm"
    write_report(Report("1.2", findings=(finding("x"),)), sources, path, SrOptions(AT))
    report = dcmread(path)
    image = Dataset()
    image.ReferencedSOPInstanceUID, image.ReferencedSOPClassUID = "1.2.3.4", "1.2.3"
    item = Dataset()
    item.ValueType, item.RelationshipType = "IMAGE", "CONTAINS"
    item.ReferencedSOPSequence = [image]
    report.ContentSequence.append(item)
    with pytest.raises(ExportError, match="evidence does not list"):
        require_conformance(report, "report.dcm")
