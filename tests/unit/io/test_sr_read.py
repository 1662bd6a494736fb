"""Structured reports read back: our own without loss, those of others as far as they go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from medview.core.codes import LENGTH, Code
from medview.core.errors import ReadError
from medview.core.findings import (
    ClassProbability,
    Finding,
    Laterality,
    Measurement,
    ModelAuthor,
    Person,
    PictureBox,
    Provenance,
    Review,
    ReviewState,
    SegmentRef,
)
from medview.core.report import Answer, CriticalResult, Report, ReportStatus, Section, Signature
from medview.io.brought import Brought
from medview.io.dicom_write import identifier_of, tracking_uid
from medview.io.request import Predecessor
from medview.io.sources import Sources, read_sources
from medview.io.sr_content import ImagePlace, SegmentPlace, SrOptions
from medview.io.sr_read import brought_by
from medview.io.sr_write import build_report, write_report
from tests.helpers.dicom_phantoms import write_ct
from tests.helpers.exports import ACCEPTED, AT, BY_MODEL, HIPPOCAMPUS, finding, study_of
from tests.helpers.phantoms import Phantom
from tests.helpers.validators import dciodvfy, dicom_sr_validator, dsrdump

CYST = Code("33595009", "SCT", "Cyst")
SITE = Code("39607008", "SCT", "Lung")
FRAME = "2.25.77"


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    study = study_of(write_ct(tmp_path / "ct", Phantom(shape=(3, 8, 8))))
    return read_sources(study.series[0])


def everything(sources: Sources) -> Report:
    """A report that uses every field that a finding and a report have for other people."""
    image = sources.instances[1].sop_instance_uid
    by_reader = Provenance(Person("Dr Anna Müller"), AT)
    cautious = replace(BY_MODEL, cautions=("Made for slices of 1 mm; these are 5 mm",))
    flat = Measurement(LENGTH, 4.123456789012345, "mm", "line", by_reader, "Diameter",
                       ((0.0, 1.0, 2.0), (0.0, 1.0, 6.0)), image)  # fmt: skip
    deep = Measurement(LENGTH, 5.5, "mm", "", by_reader, "", ((1.0, 2.0, 3.0), (1.0, 6.0, 6.0)))
    edited = Review(ReviewState.EDITED, "Dr Anna Müller", AT, "the tip was missing")
    segmented = finding("Left hippocampus", Laterality.LEFT, 3.4256789012345, probability=0.875,
                        calibrated=True, provenance=cautious,
                        location_lps_mm=(1.5, 2.5, 3.5))  # fmt: skip
    on_picture = Finding(
        "Nodule", CYST, by_reader, site=SITE, laterality=Laterality.RIGHT, text="≤ 8 mm\nround",
        measurements=(flat, deep), picture_box=PictureBox((1.0, 2.0, 5.0, 7.0), 0, image),
        review=edited,
    )  # fmt: skip
    classes = (ClassProbability("Cyst", CYST, 0.75, 0.0625),
               ClassProbability("something else", HIPPOCAMPUS, 0.25))  # fmt: skip
    in_space = finding("Mass", box_lps_mm=((1.0, 2.0, 3.0), (11.0, 22.0, 33.0)), classes=classes,
                       probability=0.75)  # fmt: skip
    aided = replace(by_reader, aids=(ModelAuthor("clicks", "1.0.0", "ab" * 32),))
    drawn = finding("Cyst", box_lps_mm=((1.0, 2.0, 3.0), (4.0, 6.0, 8.0)), provenance=aided)
    return Report(
        "1.2.3",
        sections=(
            Section("Findings", "Left: 3.4 mL.\nRight: normal.", edited=True),
            Section("Volumetry of the lobe", "See table.", edited=True),
            Section("Impression", "Probably benign – Kontrolle in 6 Monaten.", edited=True),
        ),
        findings=(segmented, on_picture, in_space, drawn),
        ai_statement="hippocampus_mr 1.2.0 proposed the outline.",
        template="brain_mr_hippocampus",
        answers=(
            Answer("mta", "Medial temporal atrophy (Scheltens)", "2", "moderate"),
            Answer("icd10", "Diagnosis", "G30.9", "Alzheimer disease",
                   Code("G30.9", "I10", "Alzheimer disease, unspecified")),
        ),
        critical=CriticalResult("Haemorrhage", "Dr Otto Weiß", AT, "Dr Anna Müller", "by phone"),
        prior_uid="5f3a8c1e-0000-4000-8000-000000000001",
    )  # fmt: skip


def options_for(report: Report, sources: Sources) -> SrOptions:
    series = str(sources.first.SeriesInstanceUID)
    return SrOptions(
        AT,
        {report.findings[0].uid: SegmentPlace("2.25.11", "2.25.12", 4, series)},
        reader="Dr Anna Müller",
        frames={one.uid: FRAME for one in report.findings},
        images={one.sop_instance_uid: ImagePlace(series, one.sop_class_uid)
                for one in sources.instances},
    )  # fmt: skip


def test_a_report_of_ours_comes_back_whole(sources: Sources, tmp_path: Path) -> None:
    report = everything(sources)
    path = tmp_path / "sr.dcm"
    write_report(report, sources, path, options_for(report, sources))
    back = brought_by(dcmread(path))
    document = back.document
    assert document is not None
    for wanted, seen in zip(report.findings, back.findings, strict=True):
        assert seen.provenance.derived_from == (document.sop_instance_uid,)
        assert _bare(seen) == _bare(wanted)
    assert back.segments == {report.findings[0].uid: SegmentRef("2.25.11", 4)}
    assert back.words.sections == report.sections
    assert back.words.answers == report.answers
    assert back.words.critical == report.critical
    assert back.words.template == report.template
    assert back.frames == {FRAME}
    assert sources.instances[1].sop_instance_uid in back.images
    assert not back.notes


def _bare(one: Finding) -> Finding:
    """Without what is not the document's to say: what things came from, and meanings of codes."""
    provenance = replace(one.provenance, derived_from=(), job_uid="")
    measured = tuple(
        replace(m, provenance=replace(one.provenance, derived_from=(), cautions=()))
        for m in sorted(one.measurements, key=lambda m: m.uid)
    )
    return replace(one, provenance=provenance, measurements=measured)


def test_what_was_read_can_be_written_again_unchanged(sources: Sources, tmp_path: Path) -> None:
    """Export, import, export: what is told stays, tracking stays, the object is a new one."""
    report = everything(sources)
    options = options_for(report, sources)
    first = build_report(report, sources, options)
    back = brought_by(first)
    again = replace(report, findings=back.findings, sections=back.words.sections)
    document = back.document
    assert document is not None
    places = {uid: options.places[uid] for uid in back.segments}
    following = replace(options, places=places, predecessors=(document,))
    second = build_report(again, sources, following)
    assert second.SOPInstanceUID != first.SOPInstanceUID
    assert _content(second) == _content(first)
    (named,) = second.PredecessorDocumentsSequence
    referenced = named.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert referenced.ReferencedSOPInstanceUID == first.SOPInstanceUID


def _content(dataset: Dataset) -> str:
    return str(dataset["ContentSequence"])


def test_validators_accept_everything_a_report_can_say(sources: Sources, tmp_path: Path) -> None:
    report = everything(sources)
    signed = replace(report, status=ReportStatus.FINAL,
                     signatures=(Signature("Dr Anna Müller", AT, "0" * 64),))  # fmt: skip
    path = tmp_path / "sr.dcm"
    write_report(signed, sources, path, options_for(signed, sources))
    assert dciodvfy(path) == []
    assert "Critical result" in dsrdump(path)
    assert "Person who drew it with the algorithm" in dsrdump(path)
    assert brought_by(dcmread(path)).words.signed == "Dr Anna Müller"
    # PixelMed's validator tries TID 1410 on every group as soon as one is of it (and TID 1411
    # likewise), so it can judge only documents whose groups are all of one template.
    in_space = replace(signed, findings=signed.findings[2:])
    write_report(in_space, sources, path, options_for(report, sources))
    assert dicom_sr_validator(path) == []


def test_a_rejected_finding_would_keep_its_decision(sources: Sources) -> None:
    """Documents of others may carry what is not in ours: nobody's decision stays nobody's."""
    back = brought_by(build_report(everything(sources), sources, SrOptions(AT)))
    assert {one.review.state for one in back.findings} == {
        ReviewState.ACCEPTED, ReviewState.EDITED}  # fmt: skip
    assert back.findings[0].review == ACCEPTED


def foreign(shared: Path, *names: str) -> Brought:
    return brought_by(dcmread(shared.joinpath("data", "seg_sr", *names)))


def test_a_report_of_highdicom(tmp_path: Path, shared: Path) -> None:
    (one,) = foreign(shared, "highdicom", "sr_document.dcm").findings
    assert one.code == Code("2748008", "SCT", "Spinal cord")  # T-A7010 of retired SNOMED RT
    assert one.label == "Planar ROI Measurements"
    assert one.uid == "1.2.826.0.1.3680043.8.498.95005499519195632686309166061552196996"
    (area,) = one.measurements
    assert (area.value, area.unit) == (1.7, "cm2")
    assert one.provenance.author == Person("Foo")
    assert one.review == Review()
    # A circle at (58, 52): the box around it.
    assert one.picture_box is not None
    top, left, bottom, right = one.picture_box.box_px
    assert ((left + right) / 2, (top + bottom) / 2) == (58, 52)


def test_a_report_of_highdicom_with_several_groups(shared: Path) -> None:
    back = foreign(shared, "highdicom", "sr_document_with_multiple_groups.dcm")
    by_label = {one.label: one for one in back.findings}
    assert set(by_label) >= {"Image0001", "LungNodule0001", "Aorta0001", "Vertebra0001"}
    nodule = by_label["LungNodule0001"]
    assert nodule.site == SITE
    assert [(m.value, m.unit) for m in nodule.measurements] == [(10.0, "mm")]
    assert "Level of Significance: Not significant" in nodule.text
    assert nodule.picture_box is not None
    assert nodule.provenance.author == Person("John Doe")
    vertebra = by_label["Vertebra0001"]
    assert vertebra.location_lps_mm == pytest.approx((123.5, 234.1, -23.7), abs=1e-4)


def test_a_report_of_dcmqi_names_its_segment_and_its_numbers(shared: Path) -> None:
    back = foreign(shared, "dcmqi", "sr-example", "sr.dcm")
    segmentation = dcmread(
        shared / "data" / "seg_sr" / "dcmqi" / "sr-example" / "seg.dcm", stop_before_pixels=True
    )
    assert {ref.segmentation_uid for ref in back.segments.values()} == {
        segmentation.SOPInstanceUID}  # fmt: skip
    numbers = [m for one in back.findings for m in one.measurements]
    assert len(numbers) > 5
    assert all(m.unit and m.kind.value for m in numbers)
    assert len(back.images) > 20


def test_tracking_identifiers_go_there_and_back() -> None:
    ours = "5f3a8c1e-0000-4000-8000-000000000001"
    assert identifier_of(tracking_uid(ours)) == ours
    assert tracking_uid("1.2.826.0.1") == identifier_of("1.2.826.0.1") == "1.2.826.0.1"
    assert tracking_uid("2.25.123") == "2.25.123" == tracking_uid(identifier_of("2.25.123"))


def _nested(depth: int) -> Dataset:
    root = item = Dataset()
    for _ in range(depth):
        below = Dataset()
        below.ValueType = "CONTAINER"
        item.ContentSequence = [below]
        item = below
    return root


def test_a_report_that_is_too_deep_is_refused() -> None:
    with pytest.raises(ReadError, match="deeper"):
        brought_by(_nested(1000))


def test_a_circle_of_references_is_not_followed(sources: Sources) -> None:
    dataset = build_report(everything(sources), sources, SrOptions(AT))
    loop = Dataset()
    loop.RelationshipType, loop.ReferencedContentItemIdentifier = "INFERRED FROM", [1, 1]
    root = Dataset()
    root.ContentSequence = [*dataset.ContentSequence, loop]
    assert len(brought_by(root).findings) == 4


def test_what_has_no_value_is_left_out_and_said(sources: Sources) -> None:
    dataset = build_report(everything(sources), sources, SrOptions(AT))
    for item in dataset.ContentSequence[-2].ContentSequence[0].ContentSequence:
        if item.ValueType == "NUM":
            item.MeasuredValueSequence = []
    back = brought_by(dataset)
    assert not back.findings[0].measurements
    assert any("no value" in note for note in back.notes)


def test_the_document_names_itself_as_a_predecessor(sources: Sources) -> None:
    dataset = build_report(everything(sources), sources, SrOptions(AT))
    assert brought_by(dataset).document == Predecessor(
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
    )


def test_an_algorithm_that_worked_alone_is_the_author() -> None:
    ds = Dataset()
    ds.SOPInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.2"
    device = Dataset()
    device.ValueType, device.TextValue = "TEXT", "finder"
    name = Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = "121013", "DCM", "Device"
    device.ConceptNameCodeSequence = [name]
    group = Dataset()
    group.ValueType = "CONTAINER"
    kind = Dataset()
    kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning = "125007", "DCM", "Group"
    group.ConceptNameCodeSequence = [kind]
    ds.ContentSequence = [device, group]
    (one,) = brought_by(ds).findings
    assert one.provenance.author == ModelAuthor("finder", "", "")
    assert one.label == "Clinical finding"
