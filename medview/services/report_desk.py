"""The report of a study: drafted from accepted findings, worded by the reader, signed, amended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from medview.core.errors import ReportError
from medview.core.events import HistoryChanged
from medview.core.findings import Finding, ReviewState, new_uid, utc_now
from medview.core.geometry import Calibration
from medview.core.models import ModelCard
from medview.core.report import (
    KeyImage,
    Report,
    ReportStatus,
    Section,
    Signature,
    Subject,
)
from medview.core.study import Series, Study
from medview.io.brought import Words
from medview.reporting.canonical import digest
from medview.reporting.changes import Background
from medview.reporting.check import contradictions
from medview.reporting.draft import draft, with_numbers
from medview.reporting.live import has_marks
from medview.reporting.template import Template, choose
from medview.services.audit import Audit
from medview.services.edits import ChangeReport
from medview.services.workspace import Workspace

#: Author of what was done before anybody gave a name.
UNNAMED = "Unnamed reader"


def no_cards() -> Sequence[ModelCard]:
    """For a desk without models."""
    return ()


class ReportDesk:
    """Writes, signs and amends reports.

    ReportError for what must be refused: changing a signed report, signing without a name or
    with nothing said, signing what contradicts itself.
    """

    def __init__(
        self,
        workspace: Workspace,
        audit: Audit,
        templates: Sequence[Template],
        cards: Callable[[], Sequence[ModelCard]] = no_cards,
    ) -> None:
        self._workspace = workspace
        self._audit = audit
        self._templates = tuple(templates)
        self._cards = cards
        #: The earlier report of the patient of a study, to be compared with.
        self.prior_of: Callable[[str], Report | None] = _none
        #: How who is at the desk sees a finding, where several read; None: not at all.
        self.lens: Callable[[Finding], Finding | None] = _as_it_is
        #: A finding as its model gave it.
        self.original_of: Callable[[Finding], Finding | None] = _none
        #: Why a finding no longer speaks of what is there; "" if it still does.
        self.stale_of: Callable[[Finding], str] = lambda _finding: ""

    def begin_report(self, study_uid: str) -> Report:
        """The report of a study, drafted now if there is none yet."""
        report = self._workspace.report_of(study_uid)
        if report is not None:
            return report
        drafted = self._drafted(study_uid, self._workspace.findings_of(study_uid), None)
        self._workspace.apply(ChangeReport(study_uid, None, drafted, "Begin report"))
        return drafted

    def set_section(self, study_uid: str, heading: str, text: str) -> None:
        """Put the reader's words under a heading; the draft leaves them alone from then on.

        Marks in them (`reporting.live`) stand for measurements and follow those.
        """
        report = self.open_report(study_uid)
        mine = Section(heading, text, edited=True)
        if has_marks(text):
            mine = with_numbers(replace(mine, source=text), report.findings)
        headings = [section.heading for section in report.sections]
        if heading not in headings:
            sections = (*report.sections, mine)
        else:
            sections = tuple(mine if s.heading == heading else s for s in report.sections)
        self.change(report, replace(report, sections=sections), f"Report: {heading}")

    def reset_section(self, study_uid: str, heading: str) -> None:
        """Give a section back to the draft."""
        report = self.open_report(study_uid)
        bare = replace(report, sections=tuple(s for s in report.sections if s.heading != heading))
        drafted = self._drafted(study_uid, self._workspace.findings_of(study_uid), bare)
        self.change(report, drafted, f"Draft again: {heading}")

    def add_key_image(self, study_uid: str, image: KeyImage, place: int | None = None) -> None:
        """Put a picture into the report, at a place among the others or after them."""
        report = self.open_report(study_uid)
        images = list(report.key_images)
        images.insert(len(images) if place is None else place, image)
        self.change(report, replace(report, key_images=tuple(images)), "Add key image")

    def remove_key_image(self, study_uid: str, uid: str) -> None:
        """Take a picture out of the report."""
        report = self.open_report(study_uid)
        images = tuple(image for image in report.key_images if image.uid != uid)
        self.change(report, replace(report, key_images=images), "Remove key image")

    def finding_of(self, uid: str) -> Finding:
        """A finding as who is at the desk sees it; KeyError for an unknown one."""
        finding = self._workspace.findings[uid]
        return self.lens(finding) or finding

    def contradictions(self, study_uid: str) -> tuple[str, ...]:
        """What does not agree in the report as it stands, in words."""
        report = self.begin_report(study_uid)
        study = self._workspace.studies[study_uid]
        mine = [
            segmentation
            for segmentation in self._workspace.segmentations.values()
            if self._workspace.study_of(segmentation.uid).uid == study_uid
        ]
        others = [one.patient for one in self._workspace.studies.values()]
        stale = {one.uid: why for one in report.findings if (why := self.stale_of(one))}
        return contradictions(
            report, study, mine, others=others, stale=stale, has_scale=self._has_scale(study)
        )

    def _has_scale(self, study: Study) -> bool:
        """Whether pixels of any image that was read of a study have a known size."""
        work = self._workspace
        pictures = [one for series in study.series for one in work.volumes_of(series.uid)]
        pictures += [one.pictures for series in study.series for one in work.clips_of(series.uid)]
        return not pictures or any(
            one.regions or one.geometry.calibration is not Calibration.NONE for one in pictures
        )

    def template_of(self, study_uid: str) -> Template:
        """The template that the report of a study is, or would be, drafted from."""
        study, report = self._workspace.studies[study_uid], self._workspace.report_of(study_uid)
        findings = self._workspace.findings_of(study_uid)
        accepted = [finding for finding in findings if finding.review.state.counts]
        series = self.series_of_report(study_uid, findings)
        chosen = "" if report is None else report.template
        return choose(self._templates, study, series, accepted, chosen)

    @property
    def templates(self) -> tuple[Template, ...]:
        """All kinds of report there are."""
        return self._templates

    def release(self, study_uid: str, by: str = "") -> Report:
        """Give the report out as preliminary: read, but not verified, and still to be changed.

        Signing makes it final. ReportError as for signing, contradictions apart.
        """
        name = self.name_of(by)
        report = self.open_report(study_uid)
        _require_content(report)
        mark = Signature(name, utc_now(), digest(report))
        released = replace(report, status=ReportStatus.PRELIMINARY, released=mark)
        self._workspace.apply(ChangeReport(study_uid, report, released, "Release as preliminary"))
        self._record(name, "report.release", report, released)
        return released

    def sign(self, study_uid: str, by: str = "", *, despite_contradictions: bool = False) -> Report:
        """Sign the report; it is frozen from then on, and what led to it cannot be undone.

        ReportError without a name, for a report that is signed, that says nothing, or that
        contradicts itself while `despite_contradictions` is False.
        """
        name = self.name_of(by)
        report = self.open_report(study_uid)
        _require_content(report)
        wrong = self.contradictions(study_uid)
        if wrong and not despite_contradictions:
            raise ReportError("The report contradicts itself: " + " ".join(wrong), _READ_AGAIN)
        status = ReportStatus.FINAL if report.version == 1 else ReportStatus.AMENDED
        signature = Signature(name, utc_now(), digest(report))
        signed = replace(report, status=status, signatures=(*report.signatures, signature))
        change = ChangeReport(study_uid, report, signed, "Sign report")
        self._workspace.apply(change, undoable=False)
        self.forget_steps(study_uid)
        note = "despite: " + " ".join(wrong) if wrong else ""
        self._record(name, "report.sign", report, signed, note)
        return signed

    def forget_steps(self, study_uid: str) -> None:
        """Let nothing of a study be taken back any more, in a later run neither."""
        self._workspace.history.clear_report(study_uid)
        self._workspace.history.focus(study_uid)
        self._workspace.emit(HistoryChanged())

    def amend(self, study_uid: str, by: str = "") -> Report:
        """Begin the next version of a signed report; the signed one is kept as it is."""
        name = self.name_of(by)
        old = self._workspace.report_of(study_uid)
        if old is None or not old.status.is_signed:
            raise ReportError("There is no signed report to amend", "Change the draft instead.")
        fresh = replace(
            old,
            uid=new_uid(),
            version=old.version + 1,
            status=ReportStatus.DRAFT,
            signatures=(),
            predecessor_uid=old.uid,
            released=None,
        )
        new = self._drafted(study_uid, self._workspace.findings_of(study_uid), fresh)
        self._workspace.apply(ChangeReport(study_uid, old, new, "Amend report"))
        self._record(name, "report.amend", old, new)
        return new

    def name_of(self, by: str) -> str:
        """Who answers for a decision: `by`, or who is at the desk; ReportError for nobody."""
        name = by.strip() or self._workspace.reader
        if not name:
            raise ReportError(
                "A decision needs a name", "Enter your name in Preferences, under Name."
            )
        return name

    def series_of_report(
        self, study_uid: str, findings: Sequence[Finding] | None = None
    ) -> Series | None:
        """The series a report speaks of: of the first finding with a segment, else the first.

        `findings` are those of the study if None is given; without any image loaded, None.
        """
        if findings is None:
            findings = self._workspace.findings_of(study_uid)
        study = self._workspace.studies[study_uid]
        for finding in findings:
            ref = finding.segment_ref
            if ref is not None and ref.segmentation_uid in self._workspace.segmentations:
                volume_uid = self._workspace.segmentations[ref.segmentation_uid].volume_uid
                return study.find_series(self._workspace.volumes[volume_uid].series_uid)
        loaded = [s for s in study.series if self._workspace.is_loaded(s.uid)]
        return loaded[0] if loaded else None

    def taken_up(
        self,
        study_uid: str,
        findings: Sequence[Finding],
        words: Words,
        pictures: Sequence[KeyImage] = (),
    ) -> ChangeReport | None:
        """The step that puts what a document says into the report; None if it changes nothing.

        `findings` are new ones. Words and pictures become the draft of a study without a report;
        in one that is begun the accepted findings enter, and a signed one stays as it is.
        """
        every = (*self._workspace.findings_of(study_uid), *findings)
        report = self._workspace.report_of(study_uid)
        if report is not None or (words.are_none and not pictures):
            return self._redrafted(study_uid, every)
        study = self._workspace.studies[study_uid]
        begun = Report(
            study_uid,
            sections=words.sections,
            answers=words.answers,
            critical=words.critical,
            template=words.template,
            key_images=tuple(pictures),
            subject=Subject(study.patient, study.date, study.description),
        )
        drafted = self._drafted(study_uid, every, begun)
        return ChangeReport(study_uid, None, drafted, "Take up report")

    def _redrafted(self, study_uid: str, findings: Sequence[Finding]) -> ChangeReport | None:
        """The step that brings an open draft in line with findings; None if it is already."""
        report = self._workspace.report_of(study_uid)
        if report is None and not any(finding.review.state.counts for finding in findings):
            return None
        if report is not None and report.status.is_signed:
            return None
        new = self._drafted(study_uid, findings, report)
        return None if new == report else ChangeReport(study_uid, report, new, "Draft report")

    def _drafted(
        self, study_uid: str, findings: Sequence[Finding], previous: Report | None
    ) -> Report:
        originals = {
            one.uid: original
            for one in findings
            if one.review.state is ReviewState.EDITED
            and (original := self.original_of(one)) is not None
        }
        return draft(
            self._workspace.studies[study_uid],
            self.series_of_report(study_uid, findings),
            findings,
            self._cards(),
            templates=self._templates,
            previous=previous,
            background=Background(self.prior_of(study_uid), originals),
        )

    def redraft(self, report: Report, title: str) -> None:
        """Draft an open report anew from what it now says, as a step of that title."""
        findings = self._workspace.findings_of(report.study_uid)
        drafted = self._drafted(report.study_uid, findings, report)
        before = self._workspace.report_of(report.study_uid)
        if before is not None:
            self.change(before, drafted, title)

    def open_report(self, study_uid: str) -> Report:
        """The report, which must not be signed."""
        report = self.begin_report(study_uid)
        if report.status.is_signed:
            raise ReportError(
                "The report is signed and does not change any more",
                "Amend it: the signed version is kept beside the new one.",
            )
        return report

    def change(self, report: Report, new: Report, title: str) -> None:
        """Put an open report in the place of another, as a step of that title."""
        if new == report:
            return
        self._workspace.apply(ChangeReport(report.study_uid, report, new, title))
        self._record(self._workspace.reader or UNNAMED, "report.edit", report, new, title)

    def _record(self, actor: str, action: str, old: Report, new: Report, note: str = "") -> None:
        self._audit.record(
            actor,
            action,
            new.uid,
            study_uid=new.study_uid,
            digests=(digest(old), digest(new)),
            note=note,
        )


def _as_it_is(finding: Finding) -> Finding:
    """For one reader."""
    return finding


def _none(_what: object) -> None:
    """For a desk where nothing of the kind is kept."""


def _require_content(report: Report) -> None:
    """ReportError for a report that says nothing."""
    if not report.findings and not any(s.edited and s.text.strip() for s in report.sections):
        raise ReportError(
            "There is nothing to sign: no finding was accepted and no text written",
            "Accept a finding, or write what you saw.",
        )


_READ_AGAIN = "Correct what is wrong, or say that you sign it all the same."
