"""A report beside its text: live numbers, answers, critical results, release, priors, versions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from medview.core.errors import ReportError
from medview.core.findings import utc_now
from medview.core.geometry import Box
from medview.core.report import KeyImage, Report, ReportStatus
from medview.core.study import Patient
from medview.reporting.canonical import digest, signature_holds
from medview.reporting.live import WITHDRAWN, mark
from medview.reporting.template import Choice, ChoiceField, Template, TemplateSection
from medview.services.audit import Audit
from medview.services.journal import KeptReport, from_text, to_text
from medview.services.priors import Priors
from medview.services.report_parts import ReportParts
from medview.services.review import ReviewDesk
from medview.services.store import Store
from medview.services.tasks import Tasks
from medview.services.workspace import Workspace
from tests.helpers import desk
from tests.helpers.desk import STUDY

RADS = ChoiceField("rads", "RADS", (Choice("1", "negative"), Choice("2", "benign")))
MANY = ChoiceField(
    "icd", "ICD-10", (Choice("J90", "effusion"), Choice("J43.9", "emphysema")), many=True
)
TEMPLATES = (
    Template(
        "general",
        "General",
        (
            TemplateSection("Findings", "{$findings|$no_findings}"),
            TemplateSection(
                "Comparison", "{Compared with $prior_date.|$no_prior}\n\n$prior_changes"
            ),
            TemplateSection("Advice", "{RADS $rads: $rads_meaning.}\n{$icd_meaning.}"),
        ),
        fields=(RADS, MANY),
    ),
    Template("short", "Short", (TemplateSection("Findings", "$findings"),)),
)


@pytest.fixture
def work() -> Workspace:
    return desk.workspace()


@pytest.fixture
def review(work: Workspace) -> ReviewDesk:
    made = ReviewDesk(work, Audit(Store(None)), TEMPLATES)
    desk.propose(work, made)
    return made


@pytest.fixture
def parts(work: Workspace, review: ReviewDesk) -> ReportParts:
    return ReportParts(work, review)


def report_of(work: Workspace) -> Report:
    report = work.report_of(STUDY)
    assert report is not None
    return report


def text_under(work: Workspace, heading: str) -> str:
    return next(s.text for s in report_of(work).sections if s.heading == heading)


def test_numbers_in_the_readers_words_follow_the_segment_until_signing(
    work: Workspace, review: ReviewDesk
) -> None:
    finding = work.findings_of(STUDY)[0]
    review.accept(finding.uid)
    volume = finding.measurements[0]
    review.set_section(STUDY, "Advice", f"It holds {mark(volume.uid)} now.")
    # 120 voxels of 2 mm3; two more are painted.
    assert text_under(work, "Advice") == "It holds 0.24 mL now."
    edit = desk.dab(work, Box((4, 0, 0), (5, 1, 10)), 1)
    assert edit is not None
    work.apply(edit)
    assert text_under(work, "Advice") == "It holds 0.26 mL now."
    work.history.undo()
    assert text_under(work, "Advice") == "It holds 0.24 mL now."
    signed = review.sign(STUDY, despite_contradictions=True)
    work.apply(edit)
    assert report_of(work) == signed


def test_a_number_whose_finding_was_rejected_is_named_before_signing(
    work: Workspace, review: ReviewDesk
) -> None:
    first, second = work.findings_of(STUDY)
    review.accept_all(STUDY)
    review.set_section(STUDY, "Advice", f"Both: {mark(first.measurements[0].uid)}.")
    review.reject(first.uid)
    assert text_under(work, "Advice") == f"Both: {WITHDRAWN}."
    assert any("rejected or deleted" in told for told in review.contradictions(STUDY))
    assert second.uid in {finding.uid for finding in report_of(work).findings}


def test_answers_stand_in_the_draft_and_are_undone(work: Workspace, parts: ReportParts) -> None:
    parts.answer(STUDY, "rads", ["2"])
    parts.answer(STUDY, "icd", ["J90", "J43.9"])
    assert text_under(work, "Advice") == "RADS 2: benign. effusion; emphysema."
    assert work.history.undo_title == "ICD-10: J90, J43.9"
    work.history.undo()
    assert text_under(work, "Advice") == "RADS 2: benign."
    parts.answer(STUDY, "rads", [])
    assert report_of(work).answers == ()
    with pytest.raises(ReportError, match="no value"):
        parts.answer(STUDY, "rads", ["9"])
    with pytest.raises(ReportError, match="one value"):
        parts.answer(STUDY, "rads", ["1", "2"])
    with pytest.raises(ReportError, match="no field"):
        parts.answer(STUDY, "other", ["1"])


def test_another_template_keeps_what_was_written(
    work: Workspace, review: ReviewDesk, parts: ReportParts
) -> None:
    review.set_section(STUDY, "Advice", "Mine.")
    parts.choose_template(STUDY, "short")
    assert [s.heading for s in report_of(work).sections] == ["Findings", "Advice"]
    assert text_under(work, "Advice") == "Mine."
    work.history.undo()
    assert [s.heading for s in report_of(work).sections] == ["Findings", "Comparison", "Advice"]
    with pytest.raises(ReportError, match="no template"):
        parts.choose_template(STUDY, "nonsense")


def test_a_critical_result_names_who_was_told_and_when(
    work: Workspace, parts: ReportParts, review: ReviewDesk
) -> None:
    at = datetime(2026, 3, 14, 15, 9, tzinfo=UTC)
    parts.flag_critical(STUDY, "Pneumothorax", "Dr Bea", how="by telephone", at=at)
    told = report_of(work).critical
    assert told is not None
    assert (told.finding, told.informed, told.at, told.by) == (
        "Pneumothorax",
        "Dr Bea",
        at,
        "Dr Ada",
    )
    parts.clear_critical(STUDY)
    assert report_of(work).critical is None
    work.history.undo()
    assert report_of(work).critical == told
    with pytest.raises(ReportError, match="future"):
        parts.flag_critical(STUDY, "x", "y", at=utc_now() + timedelta(hours=1))
    with pytest.raises(ReportError, match="who was informed"):
        parts.flag_critical(STUDY, "x", " ")
    review.accept_all(STUDY)
    review.sign(STUDY, despite_contradictions=True)
    with pytest.raises(ReportError, match="signed"):
        parts.clear_critical(STUDY)


def test_pictures_are_placed_among_others_and_under_headings(
    work: Workspace, review: ReviewDesk, parts: ReportParts
) -> None:
    images = [KeyImage("v", "axial", (0.0, 0.0, float(n)), f"{n}", b"png") for n in range(3)]
    for image in images:
        review.add_key_image(STUDY, image)
    parts.move_image(STUDY, images[2].uid, place=0)
    assert [image.caption for image in report_of(work).key_images] == ["2", "0", "1"]
    parts.move_image(STUDY, images[0].uid, "Findings")
    assert [i.section for i in report_of(work).key_images] == ["", "", "Findings"]
    parts.caption_image(STUDY, images[1].uid, "One")
    assert {i.caption for i in report_of(work).key_images} == {"2", "0", "One"}
    assert work.history.undo_title == "Caption of key image"
    with pytest.raises(ReportError, match="no such key image"):
        parts.move_image(STUDY, "nonsense")


def test_preliminary_final_amended(work: Workspace, review: ReviewDesk) -> None:
    with pytest.raises(ReportError, match="nothing to sign"):
        review.release(STUDY)
    review.accept_all(STUDY)
    released = review.release(STUDY)
    assert released.status is ReportStatus.PRELIMINARY
    assert released.released is not None
    assert released.released.sha256 == digest(released)
    review.set_section(STUDY, "Advice", "Added.")
    changed = report_of(work)
    assert changed.status is ReportStatus.PRELIMINARY
    assert digest(changed) != released.released.sha256
    signed = review.sign(STUDY, despite_contradictions=True)
    assert signed.status is ReportStatus.FINAL
    assert signature_holds(signed)
    assert not signature_holds(replace(signed, ai_statement="No AI was used."))
    amended = review.amend(STUDY)
    assert amended.released is None
    assert review.sign(STUDY, despite_contradictions=True).status is ReportStatus.AMENDED
    assert work.versions_of(STUDY)[0] == signed


def test_what_the_reader_changed_of_a_model_stands_in_the_report(
    work: Workspace, review: ReviewDesk
) -> None:
    original = work.findings_of(STUDY)[0]
    review.original_of = lambda finding: original if finding.uid == original.uid else None
    edit = desk.dab(work, Box((4, 0, 0), (5, 1, 10)), 1)
    assert edit is not None
    work.apply(edit)
    review.edit(original.uid, label="Cyst", laterality="right")
    told = report_of(work).ai_statement
    assert "finder version 1.0" in told
    assert "was called Left structure 1" in told
    assert "side left to right" in told
    assert "volume 0.26 mL, proposed 0.24 mL" in told
    review.set_section(STUDY, "Advice", "No AI.")
    assert report_of(work).ai_statement == told


def prior_report(date: str = "20250101", patient: Patient = Patient("7", "DOE^JANE")) -> Report:  # noqa: B008
    other = desk.workspace(uid="9.9")
    made = ReviewDesk(other, Audit(Store(None)), TEMPLATES)
    desk.propose(other, made)
    made.accept_all("9.9")
    report = made.sign("9.9", despite_contradictions=True)
    assert report.subject is not None
    return replace(report, subject=replace(report.subject, study_date=date, patient=patient))


def test_the_prior_of_the_same_patient_is_compared(work: Workspace, review: ReviewDesk) -> None:
    prior = prior_report()
    first = prior.findings[0]
    smaller = replace(first.measurements[0], value=0.2)
    gone = replace(prior.findings[1], label="Left thing")
    prior = replace(prior, findings=(replace(first, measurements=(smaller,)), gone))
    review.prior_of = lambda _uid: prior
    review.accept_all(STUDY)
    told = text_under(work, "Comparison")
    assert told.startswith("Compared with 2025-01-01.")
    # 0.24 against 0.2 mL: a fifth more.
    assert "Left structure 1: volume 0.24 mL, before 0.20 mL (+20.0 %)." in told
    assert "Not in the earlier report: Left structure 2." in told
    assert "In the earlier report only: Left thing." in told
    assert report_of(work).prior_uid == prior.uid


@pytest.mark.parametrize(
    ("patient", "date", "found"),
    [
        (Patient("7", "DOE^JANE"), "20250101", True),
        (Patient("7", "ROE^JOHN"), "20250101", False),
        (Patient("8", "DOE^JANE"), "20250101", False),
        (Patient("7", "DOE^JANE"), "20270101", False),
        (Patient("7", "DOE^JANE"), "", False),
    ],
)
def test_priors_come_from_the_profile_and_are_of_one_patient(
    tmp_path: Path, patient: Patient, date: str, *, found: bool
) -> None:
    kept, _ = KeptReport.of(prior_report(date, patient))
    store = Store(tmp_path / "store.sqlite")
    assert store._connection is not None
    row = (kept.report.uid, kept.report.study_uid, 1, to_text(kept))
    store._connection.execute("INSERT INTO report VALUES (?, ?, ?, ?)", row)
    work = desk.workspace()
    priors = Priors(work, store)
    assert [one.study_uid for one in priors.all_of(STUDY)] == (["9.9"] if found else [])
    store.close()


def test_a_kept_report_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite")
    work, tasks = desk.workspace(), Tasks(import_workers=1)
    store.attach(work, tasks)
    assert store._connection is not None
    broken = '{"report": {"subject": {"patient": {"id": "7"}}}}'
    store._connection.execute("INSERT INTO report VALUES ('u', 's', 1, ?)", (broken,))
    assert Priors(work, store).of(STUDY) is None
    assert "cannot be read" in work.notices[-1].text
    store.close()
    tasks.close()


def test_new_parts_are_kept_and_old_texts_stay_as_they_were(
    work: Workspace, review: ReviewDesk, parts: ReportParts
) -> None:
    review.accept_all(STUDY)
    parts.answer(STUDY, "rads", ["1"])
    parts.flag_critical(STUDY, "Bleed", "Dr Bea")
    review.release(STUDY)
    whole = report_of(work)
    assert from_text(Report, to_text(whole)) == whole
    plain = replace(whole, answers=(), critical=None, subject=None, released=None)
    for name in ("answers", "critical", "subject", "released", "template", "prior_uid"):
        assert f'"{name}"' not in to_text(plain)
