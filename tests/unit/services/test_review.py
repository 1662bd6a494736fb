"""Review: nothing a model says counts until a person accepts it, and everything is on record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medview.core.codes import AREA, LENGTH, RATIO, VOLUME
from medview.core.errors import ModelError, ReportError
from medview.core.findings import (
    Finding,
    Laterality,
    Measurement,
    Person,
    Review,
    ReviewState,
    SegmentRef,
    utc_now,
)
from medview.core.geometry import Box, Calibration, Geometry
from medview.core.jobs import InferenceResult
from medview.core.report import KeyImage, ReportStatus
from medview.core.segmentation import LabelEdit
from medview.imaging.measure import PIXELS_OF_SEGMENT, SHARE_OF_PICTURE
from medview.reporting.canonical import digest
from medview.services.audit import Audit
from medview.services.edits import ChangeFindings, FindingStep, PaintEdit
from medview.services.report_desk import UNNAMED
from medview.services.review import ReviewDesk
from medview.services.workspace import Workspace
from tests.helpers import desk
from tests.helpers.desk import STUDY

#: One slice of 10 x 12 voxels of 2 mm³.
SLICE_ML = 0.24


@pytest.fixture
def work() -> Workspace:
    return desk.workspace()


@pytest.fixture
def bench(work: Workspace) -> tuple[ReviewDesk, Audit, tuple[str, ...]]:
    review, audit = desk.desk(work)
    return review, audit, desk.propose(work, review)


Bench = tuple[ReviewDesk, Audit, tuple[str, ...]]


def paint(work: Workspace, box: Box, number: int, stroke: str = "") -> None:
    edit = desk.dab(work, box, number, stroke=stroke)
    assert edit is not None
    work.apply(edit)


def volume_ml(finding: Finding) -> float:
    return next(m.value for m in finding.measurements if m.kind == VOLUME)


def actions(audit: Audit) -> list[tuple[str, str]]:
    return [(row.actor, row.action) for row in audit.rows()]


# Proposals


def test_a_proposal_counts_for_nothing(work: Workspace, bench: Bench) -> None:
    _, audit, uids = bench
    assert [work.findings[uid].review.state for uid in uids] == [ReviewState.PROPOSED] * 2
    assert work.report_of(STUDY) is None
    assert work.history.undo_title == "AI proposal: finder"
    assert actions(audit) == [("finder", "finding.propose")] * 2
    assert audit.rows()[0].model == "finder 1.0"
    work.history.undo()
    assert not work.findings
    assert not work.segmentations


def test_a_second_proposal_leaves_the_first_and_the_readers_voxels_alone(
    work: Workspace, bench: Bench
) -> None:
    paint(work, Box((1, 0, 0), (2, 4, 4)), 2)
    (first,) = work.segmentations.values()
    labels = first.labels.copy()
    desk.propose(work, bench[0])
    assert len(work.segmentations) == 2
    assert np.array_equal(work.segmentations[first.uid].labels, labels)


def test_a_model_cannot_decide_for_the_reader(work: Workspace) -> None:
    review, _ = desk.desk(work)
    result = desk.result(work)
    decided = Review(ReviewState.ACCEPTED, "finder", utc_now())
    findings = (result.findings[0].reviewed(decided),)
    with pytest.raises(ModelError, match="decision"):
        review.propose(replace(result, findings=findings), desk.job(work))
    (labels,) = result.segmentations
    segments = (replace(labels.segments[0], review=decided),)
    with pytest.raises(ModelError, match="decision"):
        review.propose(
            InferenceResult("job", (replace(labels, segments=segments),)), desk.job(work)
        )
    assert not work.findings


def test_a_result_on_another_grid_is_refused(work: Workspace) -> None:
    review, _ = desk.desk(work)
    (labels,) = desk.result(work).segmentations
    moved = Geometry((6, 10, 12), np.diag([2.0, 1.0, 1.1, 1.0]))
    for wrong in (replace(labels, geometry=moved), replace(labels, volume_uid="gone")):
        with pytest.raises(ModelError, match="does not lie on"):
            review.propose(InferenceResult("job", (wrong,)), desk.job(work))
    assert not work.segmentations


def test_an_empty_result_is_on_record_too(work: Workspace) -> None:
    review, audit = desk.desk(work)
    assert review.propose(InferenceResult("job"), desk.job(work)) == ()
    assert [(row.action, row.note) for row in audit.rows()] == [("ai.result", "empty")]
    assert not work.history.can_undo


# Decisions


def test_accepting_names_the_person_and_begins_the_report(work: Workspace, bench: Bench) -> None:
    review, audit, uids = bench
    review.accept(uids[0])
    finding = work.findings[uids[0]]
    assert (finding.review.state, finding.review.by) == (ReviewState.ACCEPTED, "Dr Ada")
    (labels,) = work.segmentations.values()
    assert labels.find_segment(1).review == finding.review
    assert labels.find_segment(2).review.state is ReviewState.PROPOSED
    report = work.report_of(STUDY)
    assert report is not None
    assert [f.uid for f in report.findings] == [uids[0]]
    assert "Left structure 1" in report.sections[0].text
    assert "finder" in report.ai_statement
    row = audit.rows()[-1]
    assert (row.actor, row.action, row.object_uid) == ("Dr Ada", "finding.accept", uids[0])
    assert row.before != row.after


@pytest.mark.parametrize(
    "decide",
    [
        lambda review, uid: review.accept(uid),
        lambda review, uid: review.reject(uid),
        lambda review, uid: review.edit(uid, text="x"),
        lambda review, _uid: review.accept_all(STUDY),
        lambda review, _uid: review.sign(STUDY),
    ],
)
def test_nobody_decides_nothing(decide: Callable[[ReviewDesk, str], object]) -> None:
    work = desk.workspace(reader="")
    review, audit = desk.desk(work)
    uids = desk.propose(work, review)
    before, rows = desk.fingerprint(work), audit.rows()
    with pytest.raises(ReportError, match="name"):
        decide(review, uids[0])
    assert desk.fingerprint(work) == before
    assert audit.rows() == rows


def test_rejected_findings_leave_the_report_and_stay_in_the_record(
    work: Workspace, bench: Bench
) -> None:
    review, _, uids = bench
    review.accept_all(STUDY)
    review.reject(uids[1], "vessel")
    report = work.report_of(STUDY)
    assert report is not None
    assert [f.uid for f in report.findings] == [uids[0]]
    assert work.findings[uids[1]].review.reason == "vessel"
    assert [f.uid for f in work.findings_of(STUDY)] == list(uids)
    review.reject(uids[1], "again")
    assert work.findings[uids[1]].review.reason == "vessel"


def test_accepting_all_is_one_step_and_says_so(work: Workspace, bench: Bench) -> None:
    review, audit, uids = bench
    review.reject(uids[1])
    assert review.accept_all(STUDY, "Dr Bea", by_command=True) == 1
    assert work.history.undo_title == "Accept 1 findings"
    assert work.findings[uids[0]].review.by == "Dr Bea"
    assert work.findings[uids[1]].review.state is ReviewState.REJECTED
    assert "by a command" in audit.rows()[-1].note
    assert review.accept_all(STUDY) == 0


def test_editing_accepts_with_other_words(work: Workspace, bench: Bench) -> None:
    review, _, uids = bench
    review.edit(uids[0], label="Right structure 1", text="small", laterality="right")
    finding = work.findings[uids[0]]
    assert finding.review.state is ReviewState.EDITED
    assert (finding.label, finding.text) == ("Right structure 1", "small")
    assert finding.laterality is Laterality.RIGHT
    (labels,) = work.segmentations.values()
    assert labels.find_segment(1).label == "Right structure 1"
    review.edit(uids[0], laterality="")
    assert work.findings[uids[0]].laterality is None
    entries = len(work.history.entries(STUDY))
    review.edit(uids[0])
    assert len(work.history.entries(STUDY)) == entries
    with pytest.raises(ReportError):
        review.edit(uids[0], laterality="upwards")
    with pytest.raises(ReportError):
        review.edit(uids[0], label=" ")


def test_undo_takes_a_decision_back_with_all_that_followed(work: Workspace, bench: Bench) -> None:
    review, _, uids = bench
    before = desk.fingerprint(work)
    review.accept(uids[0])
    after = desk.fingerprint(work)
    work.history.undo()
    assert desk.fingerprint(work) == before
    assert work.report_of(STUDY) is None
    work.history.redo()
    assert desk.fingerprint(work) == after


# Corrections


def test_what_is_accepted_stays_accepted_by_whom_it_was(work: Workspace, bench: Bench) -> None:
    review, audit, uids = bench
    review.accept(uids[0])
    first, rows = work.findings[uids[0]].review, len(audit.rows())
    review.accept(uids[0], by="Dr Bea")
    assert work.findings[uids[0]].review == first
    assert len(audit.rows()) == rows


def test_painting_changes_volumes_and_no_other_measurement(work: Workspace, bench: Bench) -> None:
    _, _, uids = bench
    old = work.findings[uids[0]]
    length = Measurement(LENGTH, 12.5, "mm", "caliper", old.provenance)
    both = replace(old, measurements=(*old.measurements, length))
    work.apply(ChangeFindings(STUDY, (FindingStep(old, both),), "Measure"))
    paint(work, Box((3, 0, 0), (4, 5, 12)), 1)
    now = work.findings[uids[0]]
    assert volume_ml(now) > volume_ml(old)
    assert now.measurements[-1] == length


def test_painting_into_an_accepted_segment_edits_its_finding(work: Workspace, bench: Bench) -> None:
    review, _, uids = bench
    review.accept_all(STUDY)
    before = desk.fingerprint(work)
    paint(work, Box((3, 0, 0), (4, 5, 12)), 1)
    finding = work.findings[uids[0]]
    assert volume_ml(finding) == pytest.approx(1.5 * SLICE_ML)
    assert finding.review.state is ReviewState.EDITED
    (labels,) = work.segmentations.values()
    assert labels.find_segment(1).review.state is ReviewState.EDITED
    assert work.findings[uids[1]].review.state is ReviewState.ACCEPTED
    measured = finding.measurements[0]
    assert measured.provenance.author == Person("Dr Ada")
    assert measured.uid in measured.provenance.derived_from
    report = work.report_of(STUDY)
    assert report is not None
    assert report.findings[0] == finding
    assert "0.36" in report.sections[0].text
    work.history.undo()
    assert desk.fingerprint(work) == before


def test_correcting_a_proposal_does_not_accept_it(work: Workspace, bench: Bench) -> None:
    review, _, uids = bench
    paint(work, Box((1, 0, 0), (2, 5, 12)), 2)
    assert [work.findings[uid].review.state for uid in uids] == [ReviewState.PROPOSED] * 2
    assert [volume_ml(work.findings[uid]) for uid in uids] == pytest.approx(
        [0.5 * SLICE_ML, 1.5 * SLICE_ML]
    )
    assert work.report_of(STUDY) is None
    review.accept(uids[0])
    assert work.findings[uids[0]].review.state is ReviewState.EDITED


def test_corrections_without_a_name_are_nobodys_but_no_models() -> None:
    work = desk.workspace(reader="")
    review, _ = desk.desk(work)
    uids = desk.propose(work, review)
    paint(work, Box((1, 0, 0), (2, 5, 12)), 2)
    author = work.findings[uids[0]].measurements[0].provenance.author
    assert author == Person(UNNAMED)


def test_rejected_findings_are_not_measured_again(work: Workspace, bench: Bench) -> None:
    review, _, uids = bench
    review.reject(uids[0])
    paint(work, Box((1, 0, 0), (2, 5, 12)), 0)
    assert volume_ml(work.findings[uids[0]]) == pytest.approx(SLICE_ML)


@given(
    strokes=st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 9), st.integers(0, 11), st.integers(0, 2)),
        min_size=1,
        max_size=12,
    )
)
@settings(max_examples=40, deadline=None)
def test_volumes_follow_every_stroke(strokes: list[tuple[int, int, int, int]]) -> None:
    """Whatever is painted, volumes are those counted from the labels, also after undo."""
    work = desk.workspace()
    review, _ = desk.desk(work)
    uids = desk.propose(work, review)
    for k, j, i, number in strokes:
        edit = desk.dab(work, Box((k, j, i), (k + 1, 10, 12)), number, stroke=str(j % 2))
        if edit is not None:
            work.apply(edit)
        if k == 5:
            work.history.undo()
            if not work.findings:
                work.history.redo()
        (labels,) = work.segmentations.values()
        voxel_ml = labels.geometry.voxel_volume_ml
        for one, uid in enumerate(uids, start=1):
            counted = int(np.count_nonzero(labels.labels == one)) * voxel_ml
            assert volume_ml(work.findings[uid]) == pytest.approx(counted)


def test_deleting_a_segment_rejects_its_finding_and_can_be_undone(
    work: Workspace, bench: Bench
) -> None:
    review, audit, uids = bench
    review.accept_all(STUDY)
    before = desk.fingerprint(work)
    (labels,) = work.segmentations.values()
    review.delete_segment(SegmentRef(labels.uid, 1))
    (labels,) = work.segmentations.values()
    assert [segment.number for segment in labels.segments] == [2]
    assert not (labels.labels == 1).any()
    finding = work.findings[uids[0]]
    assert finding.review.state is ReviewState.REJECTED
    assert finding.segment_ref is None
    report = work.report_of(STUDY)
    assert report is not None
    assert [f.uid for f in report.findings] == [uids[1]]
    assert (audit.rows()[-1].action, audit.rows()[-1].note) == (
        "segment.edit",
        "Delete segment: Structure 1",
    )
    work.history.undo()
    assert desk.fingerprint(work) == before
    with pytest.raises(KeyError):
        review.delete_segment(SegmentRef(labels.uid, 9))


def test_a_label_that_lost_its_voxels_can_be_deleted(work: Workspace, bench: Bench) -> None:
    paint(work, Box((1, 0, 0), (2, 10, 12)), 0)
    (labels,) = work.segmentations.values()
    bench[0].delete_segment(SegmentRef(labels.uid, 1))
    assert [s.number for s in next(iter(work.segmentations.values())).segments] == [2]


# The report


def test_words_of_the_reader_are_left_alone_by_the_draft(work: Workspace, bench: Bench) -> None:
    review, audit, uids = bench
    review.set_section(STUDY, "Findings", "As before.")
    review.set_section(STUDY, "Impression", "Normal.")
    review.accept_all(STUDY)
    report = work.report_of(STUDY)
    assert report is not None
    texts = {section.heading: section.text for section in report.sections}
    assert texts["Findings"] == "As before."
    assert texts["Impression"] == "Normal."
    assert ("Dr Ada", "report.edit") in actions(audit)
    review.reset_section(STUDY, "Findings")
    report = work.report_of(STUDY)
    assert report is not None
    assert "Left structure 1" in report.sections[0].text
    assert len(report.findings) == len(uids)


def test_key_images_come_and_go(work: Workspace, bench: Bench) -> None:
    review = bench[0]
    image = KeyImage("v", "axial", (0.0, 0.0, 0.0), "Here", b"png")
    review.add_key_image(STUDY, image)
    report = work.report_of(STUDY)
    assert report is not None
    assert report.key_images == (image,)
    review.remove_key_image(STUDY, image.uid)
    assert not work.reports[STUDY].key_images


def test_signing_freezes_the_report(work: Workspace, bench: Bench) -> None:
    review, audit, uids = bench
    review.accept(uids[0])
    review.set_section(STUDY, "Advice", "None.")
    signed = review.sign(STUDY, despite_contradictions=True)
    assert work.report_of(STUDY) == signed
    assert signed.status is ReportStatus.FINAL
    assert signed.signatures[-1].by == "Dr Ada"
    assert signed.signatures[-1].sha256 == digest(signed)
    assert not work.history.can_undo
    assert actions(audit)[-1] == ("Dr Ada", "report.sign")
    for change in (
        lambda: review.set_section(STUDY, "Advice", "Other."),
        lambda: review.add_key_image(STUDY, KeyImage("v", "axial", (0, 0, 0), "")),
        lambda: review.sign(STUDY),
    ):
        with pytest.raises(ReportError, match="signed"):
            change()
    review.accept(uids[1])
    paint(work, Box((4, 0, 0), (5, 1, 1)), 1)
    assert work.report_of(STUDY) == signed
    assert "signed report" in work.notices[-1].text


def test_amending_keeps_what_was_signed(work: Workspace, bench: Bench) -> None:
    review, _, uids = bench
    with pytest.raises(ReportError, match="no signed report"):
        review.amend(STUDY)
    review.accept(uids[0])
    signed = review.sign(STUDY, despite_contradictions=True)
    review.accept(uids[1])
    amended = review.amend(STUDY)
    assert (amended.version, amended.status) == (2, ReportStatus.DRAFT)
    assert amended.predecessor_uid == signed.uid
    assert len(amended.findings) == 2
    again = review.sign(STUDY, despite_contradictions=True)
    assert again.status is ReportStatus.AMENDED
    assert work.versions_of(STUDY) == (signed, again)


def test_a_report_that_says_nothing_is_not_signed(work: Workspace, bench: Bench) -> None:
    review, _, uids = bench
    review.reject(uids[0])
    with pytest.raises(ReportError, match="nothing to sign"):
        review.sign(STUDY)
    review.set_section(STUDY, "Findings", "No abnormality seen.")
    review.set_section(STUDY, "Advice", "None.")
    assert review.sign(STUDY).status is ReportStatus.FINAL


def test_contradictions_are_named_before_signing(work: Workspace, bench: Bench) -> None:
    review, audit, uids = bench
    review.edit(uids[0], laterality="right")
    with pytest.raises(ReportError, match="contradicts itself"):
        review.sign(STUDY)
    assert work.reports[STUDY].status is ReportStatus.DRAFT
    review.sign(STUDY, despite_contradictions=True)
    assert "despite" in audit.rows()[-1].note


def test_every_step_is_on_record_and_the_chain_holds(work: Workspace, bench: Bench) -> None:
    review, audit, uids = bench
    review.accept(uids[0])
    review.reject(uids[1], "artefact")
    review.sign(STUDY, despite_contradictions=True)
    review.amend(STUDY)
    assert [row.action for row in audit.rows(STUDY)] == [
        "finding.propose",
        "finding.propose",
        "finding.accept",
        "finding.reject",
        "report.sign",
        "report.amend",
    ]
    assert audit.verify() == ()


def test_strokes_and_studies_are_on_record(work: Workspace, bench: Bench) -> None:
    _, audit, _ = bench
    for row in range(3):
        paint(work, Box((3, row, 0), (4, row + 1, 12)), 1, stroke="one")
    paint(work, Box((3, 5, 0), (4, 6, 12)), 1, stroke="two")
    work.open_studies([desk.study("9.9")])
    work.close_study("9.9")
    assert actions(audit)[2:] == [
        ("Dr Ada", "segment.edit"),
        ("Dr Ada", "segment.edit"),
        ("Dr Ada", "study.open"),
        ("Dr Ada", "study.close"),
    ]


def test_lengths_are_doubted_only_where_no_image_has_a_scale(work: Workspace, bench: Bench) -> None:
    review, _, uids = bench
    review.accept(uids[0])
    review.set_section(STUDY, "Impression", "Structure 1 of 12 mm.")
    doubt = "“Impression” says 12 mm, but the pictures have no scale."
    assert doubt not in review.contradictions(STUDY)
    (volume,) = work.volumes.values()
    grid = volume.geometry
    for calibration in (Calibration.NONE, Calibration.DETECTOR):
        flat = Geometry(grid.shape, grid.affine, calibration=calibration)
        work.add_volume(replace(volume, geometry=flat))
        assert (doubt in review.contradictions(STUDY)) is (calibration is Calibration.NONE)


def test_areas_and_shares_of_pictures_follow_the_pen(work: Workspace, bench: Bench) -> None:
    review, _, uids = bench
    one = work.findings[uids[0]]
    (volume,) = (m for m in one.measurements if m.kind == VOLUME)
    area = replace(volume, kind=AREA, value=1.0, unit="{pixels}", method=PIXELS_OF_SEGMENT, uid="a")
    share = replace(volume, kind=RATIO, value=1.0, unit="%", method=SHARE_OF_PICTURE, uid="s")
    other = replace(area, value=7.0, method="Median of all cells", uid="o")
    step = FindingStep(one, replace(one, measurements=(area, share, other)))
    work.apply(ChangeFindings(STUDY, (step,), "Measured"))
    review.accept(uids[0])
    paint(work, Box((3, 0, 0), (4, 10, 12)), 1)
    (segmentation,) = work.segmentations.values()
    pixels = int((segmentation.labels == 1).sum())
    _, down, across = segmentation.geometry.spacing_mm
    now = {m.uid: m for m in work.findings[uids[0]].measurements}
    assert now["a"].value == pytest.approx(pixels * down * across)
    assert now["s"].value == pytest.approx(100 * pixels / segmentation.labels.size)
    assert now["o"] == other
    assert now["a"].provenance.author == Person("Dr Ada")


def test_volumes_of_a_foreign_revision_are_counted_afresh(work: Workspace, bench: Bench) -> None:
    _, _, uids = bench
    paint(work, Box((3, 0, 0), (4, 10, 12)), 1)
    work.history.undo()
    first = next(iter(work.segmentations.values()))
    after = np.full((2, 10, 12), 1, np.uint8)
    change = LabelEdit.between(first, Box((4, 0, 0), (6, 10, 12)), after, "Two slices")
    assert change is not None
    work.apply(PaintEdit(STUDY, change))
    assert volume_ml(work.findings[uids[0]]) == pytest.approx(3 * SLICE_ML)
