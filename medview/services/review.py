"""Review: what a person decides about proposals, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from medview.core.codes import Code
from medview.core.errors import ModelError, ReportError
from medview.core.events import Level, StudyClosed, StudyOpened
from medview.core.findings import (
    Finding,
    Laterality,
    ModelAuthor,
    Person,
    Review,
    ReviewState,
    SegmentRef,
    utc_now,
)
from medview.core.jobs import InferenceJob, InferenceResult
from medview.core.models import ModelCard
from medview.core.segmentation import LabelEdit, Segment
from medview.imaging.edit import delete_segment
from medview.reporting.template import Template
from medview.services.audit import Audit
from medview.services.edits import (
    AddSegmentation,
    ChangeFindings,
    ChangeReport,
    ChangeSegments,
    ChangeTracks,
    Compound,
    Edit,
    FindingStep,
    PaintEdit,
    leaves,
)
from medview.services.following import follow_labels, follow_segments
from medview.services.journal import digest
from medview.services.report_desk import UNNAMED, ReportDesk, no_cards
from medview.services.volumes import SegmentSizes
from medview.services.workspace import Workspace


class ReviewDesk(ReportDesk):
    """Takes proposals in, records decisions, keeps volumes and the report's draft in step.

    Every decision is one step of the history and one row of the audit trail. A decision without
    a name is refused (ReportError).
    """

    def __init__(
        self,
        workspace: Workspace,
        audit: Audit,
        templates: Sequence[Template],
        cards: Callable[[], Sequence[ModelCard]] = no_cards,
    ) -> None:
        super().__init__(workspace, audit, templates, cards)
        self._sizes = SegmentSizes()
        self._last_stroke = ""
        #: Where several read, each decision becomes an opinion.
        self.route: Callable[[Sequence[FindingStep], str], Sequence[FindingStep]] = _as_decided
        #: What findings about tracks say when those change.
        self.remeasure: Callable[[ChangeTracks], Sequence[FindingStep]] = _as_it_is
        workspace.follow(self._follow)
        workspace.events.study_opened.connect(lambda event: self._note_study(event, "study.open"))
        workspace.events.study_closed.connect(lambda event: self._note_study(event, "study.close"))

    # Proposals

    def propose(self, result: InferenceResult, job: InferenceJob) -> tuple[str, ...]:
        """Take a model's result in as proposals, in segmentations of their own.

        Gives the UIDs of the findings. ModelError if it claims a decision or fits no open image.
        """
        _check_proposal(self._workspace, result)
        title = f"AI proposal: {_title_of(self._cards(), job.model_id)}"
        study_uid = job.study_uid
        parts: list[Edit] = [
            AddSegmentation(study_uid, segmentation, title) for segmentation in result.segmentations
        ]
        steps = tuple(FindingStep(None, finding) for finding in result.findings)
        if steps:
            parts.append(ChangeFindings(study_uid, steps, title))
        if parts:
            self._workspace.apply(Compound(study_uid, title, tuple(parts)))
        model = f"{job.model_id} {job.version}"
        for finding in result.findings:
            self._note(job.model_id, "finding.propose", None, finding, study_uid, model)
        if not result.findings:
            self._audit.record(
                job.model_id, "ai.result", job.uid, study_uid=study_uid, model=model, note="empty"
            )
        return tuple(finding.uid for finding in result.findings)

    # Decisions

    def accept(self, uid: str, by: str = "") -> None:
        """Accept a finding as it stands: `edited` where the reader had corrected it before."""
        name = self.name_of(by)
        finding = self.finding_of(uid)
        if not finding.review.state.counts:
            self.decide([_accepted(finding, name)], f"Accept: {finding.label}", "finding.accept")

    def accept_all(self, study_uid: str, by: str = "", *, by_command: bool = False) -> int:
        """Accept every finding of a study that is not decided yet, as one step; gives how many.

        `by_command` tells the audit trail that nobody looked at each.
        """
        name = self.name_of(by)
        proposed = [
            finding
            for one in self._workspace.findings_of(study_uid)
            if (finding := self.lens(one)) is not None
            and finding.review.state is ReviewState.PROPOSED
        ]
        note = "accepted all at once by a command" if by_command else "accepted all at once"
        if proposed:
            pairs = [_accepted(finding, name) for finding in proposed]
            self.decide(pairs, f"Accept {len(pairs)} findings", "finding.accept", note)
        return len(proposed)

    def reject(self, uid: str, reason: str = "", by: str = "") -> None:
        """Reject a finding: it leaves the report and stays in the record."""
        name = self.name_of(by)
        finding = self.finding_of(uid)
        if finding.review.state is ReviewState.REJECTED:
            return
        review = Review(ReviewState.REJECTED, name, utc_now(), reason)
        pair = FindingStep(finding, finding.reviewed(review))
        self.decide([pair], f"Reject: {finding.label}", "finding.reject", reason)

    def edit(
        self,
        uid: str,
        *,
        label: str | None = None,
        text: str | None = None,
        laterality: Laterality | str | None = None,
        code: Code | None = None,
        by: str = "",
    ) -> None:
        """Accept a finding with other words or as of another class.

        None leaves a field as it is, laterality "" clears it. Its segment takes the new label too.
        """
        name = self.name_of(by)
        finding = self.finding_of(uid)
        changed = replace(
            finding,
            label=finding.label if label is None else label.strip(),
            code=finding.code if code is None else code,
            text=finding.text if text is None else text,
            laterality=finding.laterality if laterality is None else _side(laterality),
        )
        if not changed.label:
            raise ReportError("A finding needs a name")
        if changed != finding:
            review = Review(ReviewState.EDITED, name, utc_now())
            pair = FindingStep(finding, changed.reviewed(review))
            self.decide([pair], f"Edit: {finding.label}", "finding.edit")

    def delete_segment(self, ref: SegmentRef) -> None:
        """Delete a segment with its voxels, as one step; KeyError for an unknown one.

        Its findings are rejected by that and stay in the record.
        """
        segmentation = self._workspace.segmentations[ref.segmentation_uid]
        segment = segmentation.find_segment(ref.number)
        study_uid = self._workspace.study_of(segmentation.uid).uid
        title = f"Delete segment: {segment.label}"
        before = segmentation.segments
        rest = tuple(one for one in before if one != segment)
        change = ChangeSegments(study_uid, segmentation.uid, before, rest, title)
        cleared = delete_segment(segmentation, ref.number)
        painted = () if cleared is None else (PaintEdit(study_uid, cleared),)
        self._workspace.apply(Compound(study_uid, title, (*painted, change)))

    def decide(
        self,
        steps: Sequence[FindingStep],
        title: str,
        action: str,
        note: str = "",
        *,
        study_uid: str = "",
        first: Sequence[Edit] = (),
    ) -> None:
        """Apply decisions to findings and their segments as one step, and record them.

        `study_uid` is needed where the first finding is new; `first` is done before, in the step.
        """
        study_uid = study_uid or self._workspace.study_of(steps[0].uid).uid
        actor = next(step.after.review.by for step in steps if step.after is not None)
        steps = self.route(steps, study_uid)
        parts: list[Edit] = [ChangeFindings(study_uid, tuple(steps), title)]
        parts += self._segments_follow(study_uid, steps, title)
        self._workspace.apply(Compound(study_uid, title, (*first, *parts)))
        self._note_all(actor, action, steps, study_uid, note)
        report = self._workspace.report_of(study_uid)
        if report is not None and report.status.is_signed:
            self._workspace.notify(
                Level.WARNING, "The signed report does not show this change", "Amend the report."
            )

    def _segments_follow(
        self, study_uid: str, steps: Iterable[FindingStep], title: str
    ) -> list[Edit]:
        """Segments carry the review, and new label and aids, of the finding that tells of them."""
        wanted: dict[str, dict[int, tuple[Finding | None, Finding]]] = {}
        for step in steps:
            old, new = step.before, step.after
            if new is None or new.segment_ref is None:
                continue
            chosen = wanted.setdefault(new.segment_ref.segmentation_uid, {})
            chosen[new.segment_ref.number] = (old, new)
        edits: list[Edit] = []
        for uid, steps_of in wanted.items():
            before = self._workspace.segmentations[uid].segments
            after = tuple(
                _like(s, *steps_of[s.number]) if s.number in steps_of else s for s in before
            )
            if after != before:
                edits.append(ChangeSegments(study_uid, uid, before, after, title))
        return edits

    # What follows from an edit

    def _follow(self, edit: Edit) -> Edit | None:
        """Corrected segments change volumes and reviews, changed findings change the draft."""
        dabs: dict[str, list[LabelEdit]] = {}
        steps: dict[str, FindingStep] = {}
        touched = False
        for leaf in leaves(edit):
            if isinstance(leaf, ChangeReport):
                return None
            if isinstance(leaf, PaintEdit):
                dabs.setdefault(leaf.change.segmentation_uid, []).append(leaf.change)
            touched = touched or isinstance(leaf, ChangeFindings)
        if not touched:
            self._note_edit(edit)
        for uid, changes in dabs.items():
            followed = follow_labels(self._workspace, self._sizes, uid, changes)
            steps |= {step.uid: step for step in followed}
        for leaf in leaves(edit):
            steps |= {step.uid: step for step in self._told_by(leaf)}
        parts: list[Edit] = []
        if steps:
            parts.append(ChangeFindings(edit.study_uid, tuple(steps.values()), edit.title))
            parts += self._segments_follow(edit.study_uid, steps.values(), edit.title)
        if steps or touched:
            findings = self._workspace.findings_of(edit.study_uid)
            now = [steps[f.uid].after or f if f.uid in steps else f for f in findings]
            report = self._redrafted(edit.study_uid, now)
            parts += [] if report is None else [report]
        return Compound(edit.study_uid, edit.title, tuple(parts)) if parts else None

    def _told_by(self, leaf: Edit) -> Sequence[FindingStep]:
        """Findings whose segment was deleted or drawn with a model, or whose track changed."""
        if isinstance(leaf, ChangeTracks):
            return self.remeasure(leaf)
        if isinstance(leaf, ChangeSegments):
            return follow_segments(self._workspace, leaf)
        return ()

    # Proposals and records, the small print

    def _note_study(self, event: StudyOpened | StudyClosed, action: str) -> None:
        actor = self._workspace.reader or UNNAMED
        self._audit.record(actor, action, event.uid, study_uid=event.uid)

    def _note_edit(self, edit: Edit) -> None:
        """A change of segments by hand; a stroke of many dabs once."""
        if edit.stroke and edit.stroke == self._last_stroke:
            return
        self._last_stroke = edit.stroke
        actor = self._workspace.reader or UNNAMED
        study_uid = edit.study_uid
        self._audit.record(
            actor, "segment.edit", _segmentation_of(edit), study_uid=study_uid, note=edit.title
        )

    def _note_all(
        self, actor: str, action: str, steps: Iterable[FindingStep], study_uid: str, note: str
    ) -> None:
        for step in steps:
            if step.after is not None:
                author = step.after.provenance.author
                model = ""
                if isinstance(author, ModelAuthor):
                    model = f"{author.model_id} {author.version}"
                self._note(actor, action, step.before, step.after, study_uid, model, note)

    def _note(
        self,
        actor: str,
        action: str,
        before: Finding | None,
        after: Finding,
        study_uid: str,
        model: str,
        note: str = "",
    ) -> None:
        self._audit.record(
            actor,
            action,
            after.uid,
            study_uid=study_uid,
            model=model,
            digests=("" if before is None else digest(before), digest(after)),
            note=note,
        )


def _title_of(cards: Sequence[ModelCard], model_id: str) -> str:
    """What a model is called, by its card."""
    return next((card.title for card in cards if card.id == model_id), model_id)


def _as_it_is(_change: ChangeTracks) -> Sequence[FindingStep]:
    """For a desk without tracks."""
    return ()


def _as_decided(steps: Sequence[FindingStep], _study_uid: str) -> Sequence[FindingStep]:
    """One reader decides, and that is it."""
    return steps


def _check_proposal(workspace: Workspace, result: InferenceResult) -> None:
    """ModelError for a result that claims a decision, or lies on no open image."""
    reviews = [finding.review for finding in result.findings]
    for one in result.segmentations:
        reviews += [segment.review for segment in one.segments]
    if any(review.state is not ReviewState.PROPOSED for review in reviews):
        raise ModelError("The model delivered a result that claims a reader's decision")
    for one in result.segmentations:
        volume = workspace.volumes.get(one.volume_uid)
        if volume is None or not volume.geometry.agrees_with(one.geometry):
            raise ModelError("The model's result does not lie on the image it was made from")


def _segmentation_of(edit: Edit) -> str:
    """The segmentation that an edit by hand changes."""
    for leaf in leaves(edit):
        if isinstance(leaf, PaintEdit):
            return leaf.change.segmentation_uid
        if isinstance(leaf, ChangeSegments):
            return leaf.segmentation_uid
        if isinstance(leaf, AddSegmentation):
            return leaf.segmentation.uid
    return ""


def _accepted(finding: Finding, name: str) -> FindingStep:
    """Accepted by `name`: as edited if a person had changed what a model measured."""
    own = isinstance(finding.provenance.author, Person)
    corrected = any(isinstance(m.provenance.author, Person) for m in finding.measurements)
    state = ReviewState.EDITED if corrected and not own else ReviewState.ACCEPTED
    return FindingStep(finding, finding.reviewed(Review(state, name, utc_now())))


def _like(segment: Segment, old: Finding | None, new: Finding) -> Segment:
    """A segment that follows what became of the finding that speaks of it.

    What a model drew and a person made a finding of counts as edited.
    """
    review, made_by = new.review, segment.provenance
    corrected = isinstance(new.provenance.author, Person) and isinstance(
        made_by.author, ModelAuthor
    )
    if corrected and review.state is ReviewState.ACCEPTED:
        review = replace(review, state=ReviewState.EDITED)
    label = segment.label if old is None or new.label == old.label else new.label
    if old is not None and new.provenance.aids != old.provenance.aids:
        made_by = replace(made_by, aids=new.provenance.aids)
    return replace(segment, review=review, label=label, provenance=made_by)


def _side(laterality: Laterality | str) -> Laterality | None:
    """A side by name; ReportError for a word that is none."""
    if not laterality:
        return None
    try:
        return Laterality(laterality)
    except ValueError as error:
        raise ReportError(f"There is no side {laterality!r}", "left, right or both") from error
