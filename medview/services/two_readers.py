"""Two readers and an adjudicator: decisions kept apart, compared, and settled by a third."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from medview.core.errors import CommandError, ReportError
from medview.core.findings import (
    Finding,
    Opinion,
    Person,
    Review,
    ReviewState,
    utc_now,
)
from medview.core.segmentation import Segmentation
from medview.imaging.agreement import cohen_kappa, joint_counts, overlap
from medview.imaging.boxes import overlap_of
from medview.services.audit import Audit
from medview.services.edits import (
    ChangeFindings,
    Compound,
    Edit,
    FindingStep,
)
from medview.services.originals import Originals
from medview.services.readers_labels import ReadersLabels
from medview.services.review import ReviewDesk
from medview.services.settings import Settings
from medview.services.workspace import Workspace

MODE, BLIND = "reading.readers", "reading.blind"
FINISH, SETTLE = "reading.finish", "reading.adjudicate"
#: Adjudication may also say that neither is right.
NEITHER = "neither"
#: Boxes and structures that agree so well need nobody to settle them.
_SAME = 0.999


@dataclass(frozen=True)
class Shared:
    """A box or structure that both readers kept, and the Dice of what they made of it."""

    label: str
    dice: float


@dataclass(frozen=True)
class Agreement:
    """How two readers agree on a study; `disputed` are findings that nobody has settled yet."""

    readers: tuple[str, ...]
    both: int
    only_first: int
    only_second: int
    neither: int
    boxes: tuple[Shared, ...]
    structures: tuple[Shared, ...]
    disputed: tuple[Finding, ...]

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa over what was accepted and rejected."""
        return cohen_kappa(self.both, self.only_first, self.only_second, self.neither)


class TwoReaders:
    """Keeps the decisions of two readers of a study apart until both have finished.

    With the setting `reading.readers` every decision is the opinion of who is at the desk; the
    finding itself waits. What a reader corrected of a model's labels is put beside it as a
    segmentation of theirs when they finish, and the labels go back to what they were, so that the
    next reader begins from the same. What both agree on then holds; a third settles the rest.
    Who has finished stands in the audit trail, and comes back from there.
    """

    def __init__(
        self, workspace: Workspace, review: ReviewDesk, settings: Settings, audit: Audit,
        originals: Originals,
    ) -> None:  # fmt: skip
        self._workspace = workspace
        self._review = review
        self._settings = settings
        self._audit = audit
        self._labels = ReadersLabels(workspace, originals)
        self._finished: dict[str, tuple[str, ...]] = {}
        self._settling = False
        review.route, review.lens = self.routed, self.lens
        workspace.events.study_closed.connect(lambda event: self._finished.pop(event.uid, None))

    @property
    def is_on(self) -> bool:
        """Whether two read."""
        return self._settings.text(MODE) == "two"

    def finished(self, study_uid: str) -> tuple[str, ...]:
        """The readers who have finished a study, in that order."""
        if study_uid not in self._finished:
            rows = (row for row in self._audit.rows(study_uid) if row.action == FINISH)
            self._finished[study_uid] = tuple(dict.fromkeys(row.actor for row in rows))
        return self._finished[study_uid]

    def readers(self, study_uid: str) -> tuple[str, ...]:
        """Who reads a study: those with opinions on it, the finished ones first."""
        findings = self._workspace.findings_of(study_uid)
        names = (one.review.by for finding in findings for one in finding.opinions)
        return tuple(dict.fromkeys((*self.finished(study_uid), *names)))

    def is_blind(self, study_uid: str) -> bool:
        """Whether readers must not see yet what the other made of a study."""
        return self.is_on and self._settings.flag(BLIND) and len(self.finished(study_uid)) < 2

    def lens(self, finding: Finding) -> Finding | None:
        """A finding as who is at the desk sees it; None for what the other reader added."""
        if not self.is_on or finding.review.state is not ReviewState.PROPOSED:
            return finding
        own = finding.opinion_of(self._workspace.reader)
        if own is not None:
            return finding.with_opinion(self._brought_up(finding, own))
        author = finding.provenance.author
        study_uid = self._workspace.study_of(finding.uid).uid
        if isinstance(author, Person) and finding.opinions and self.is_blind(study_uid):
            return None
        return finding

    def conceals(self, segmentation: Segmentation) -> bool:
        """Whether a segmentation is the other reader's and must not be seen yet."""
        authors = {segment.provenance.author for segment in segmentation.segments}
        others = [a for a in authors if isinstance(a, Person) and a.name != self._workspace.reader]
        if not others or not self.is_on:
            return False
        return self.is_blind(self._workspace.study_of(segmentation.uid).uid)

    def routed(self, steps: Sequence[FindingStep], study_uid: str) -> Sequence[FindingStep]:
        """Decisions on a study as opinions of who made them, where two read.

        ReportError for a third reader, and for one who has finished already.
        """
        if not self.is_on or self._settling:
            return steps
        return [self._as_opinion(step, study_uid) for step in steps]

    def require_reading(self, study_uid: str, name: str, *, settled: bool = False) -> None:
        """ReportError where two read and it is not for `name` to decide anything (any more).

        What is `settled` a third may change.
        """
        if not self.is_on:
            return
        readers = self.readers(study_uid)
        if name in self.finished(study_uid):
            raise ReportError(f"{name} has finished reading this study", "A third settles it.")
        if len(readers) > 1 and name not in readers and not settled:
            both = " and ".join(readers[:2])
            raise ReportError(f"{both} read this study", "Settle what they differ in instead.")

    def _as_opinion(self, step: FindingStep, study_uid: str) -> FindingStep:
        if step.after is None:
            return step
        known, name = self._workspace.findings.get(step.uid), step.after.review.by
        settled = known is not None and known.review.state is not ReviewState.PROPOSED
        self.require_reading(study_uid, name, settled=settled)
        if settled:
            return replace(step, before=known)
        opinion = step.after.as_opinion()
        base = known or replace(step.after, review=Review())
        others = tuple(one for one in base.opinions if one.review.by != name)
        return FindingStep(known, replace(base, opinions=(*others, opinion)))

    # Finishing

    def finish(self, study_uid: str, by: str = "") -> None:
        """Say that all of a study was read; ReportError without a name.

        CommandError where only one reads, where findings are undecided, or twice by one.
        """
        name = self._review.name_of(by)
        if not self.is_on:
            raise CommandError("One reader decides", "Preferences, Readers: two.")
        self.require_reading(study_uid, name)
        findings = self._workspace.findings_of(study_uid)
        seen = [one for finding in findings if (one := self.lens(finding)) is not None]
        waiting = sum(one.review.state is ReviewState.PROPOSED for one in seen)
        if waiting:
            raise CommandError(f"{waiting} findings are not decided yet", "Decide each first.")
        parts = [*self._opinions(study_uid, name), *self._labels.put_aside(study_uid, name)]
        if parts:
            title = f"Reading of {name}"
            self._workspace.apply(Compound(study_uid, title, tuple(parts)), undoable=False)
        for edit in self._labels.aids_back(study_uid, name):
            self._workspace.apply(edit, undoable=False)
        self._review.forget_steps(study_uid)
        self._audit.record(name, FINISH, study_uid, study_uid=study_uid)
        self._finished[study_uid] = (*self.finished(study_uid), name)
        if len(self._finished[study_uid]) == 2:
            self._conclude(study_uid)

    def _opinions(self, study_uid: str, name: str) -> Iterator[Edit]:
        """A reader's opinions with what was measured since they were given."""
        steps = []
        for finding in self._workspace.findings_of(study_uid):
            own = finding.opinion_of(name)
            now = None if own is None else self._brought_up(finding, own)
            if now is not None and now is not own:
                rest = tuple(one for one in finding.opinions if one is not own)
                steps.append(FindingStep(finding, replace(finding, opinions=(*rest, now))))
        if steps:
            yield ChangeFindings(study_uid, tuple(steps), f"Reading of {name}")

    def _brought_up(self, finding: Finding, own: Opinion) -> Opinion:
        """An opinion with numbers and place of what it speaks of, until its reader has finished.

        They follow structures and tracks, and stand in the finding itself.
        """
        study_uid = self._workspace.study_of(finding.uid).uid
        follows = finding.segment_ref is not None or any(
            uid in self._workspace.tracks for uid in finding.provenance.derived_from
        )
        now = replace(
            own,
            measurements=finding.measurements,
            location_lps_mm=finding.location_lps_mm,
            box_lps_mm=finding.box_lps_mm,
            picture_box=finding.picture_box,
        )
        if now == own or not follows or own.review.by in self.finished(study_uid):
            return own
        state = own.review.state
        state = ReviewState.EDITED if state is ReviewState.ACCEPTED else state
        review = replace(own.review, state=state)
        return replace(now, review=review)

    # Comparing

    def agreement(self, study_uid: str) -> Agreement:
        """How the two agree; CommandError before both have finished."""
        readers = self.finished(study_uid)[:2]
        if len(readers) < 2:
            raise CommandError("Both readers have to finish first")
        counts = dict.fromkeys(((True, True), (True, False), (False, True), (False, False)), 0)
        boxes: list[Shared] = []
        structures: list[Shared] = []
        disputed: list[Finding] = []
        for finding in self._workspace.findings_of(study_uid):
            if not finding.opinions:
                continue
            said = [finding.opinion_of(reader) for reader in readers]
            kept = (_keeps(said[0]), _keeps(said[1]))
            counts[kept] += 1
            dice = self._dice(finding, readers) if all(kept) else None
            if dice is not None:
                found = structures if finding.segment_ref is not None else boxes
                found.append(Shared(finding.label, dice))
            if finding.review.state is ReviewState.PROPOSED and not _agree(
                finding, said, kept, dice
            ):
                disputed.append(finding)
        return Agreement(
            readers, counts[True, True], counts[True, False], counts[False, True],
            counts[False, False], tuple(boxes), tuple(structures), tuple(disputed),
        )  # fmt: skip

    def _dice(self, finding: Finding, readers: Sequence[str]) -> float | None:
        ref = finding.segment_ref
        if ref is None:
            one, other = (
                finding.with_opinion(opinion)
                for reader in readers
                if (opinion := finding.opinion_of(reader)) is not None
            )
            return overlap_of(one, other)
        segmentation = self._workspace.segmentations.get(ref.segmentation_uid)
        if segmentation is None:
            return None
        labels = [self._labels.copy_of(segmentation, reader).labels for reader in readers]
        shared = overlap(joint_counts(*labels), ref.number, ref.number)
        return shared.dice

    def _conclude(self, study_uid: str) -> None:
        """What both say alike holds, in both names."""
        disputed = {finding.uid for finding in self.agreement(study_uid).disputed}
        readers = self.finished(study_uid)[:2]
        steps = []
        for finding in self._workspace.findings_of(study_uid):
            own = finding.opinion_of(readers[0])
            if own is None or finding.uid in disputed:
                continue
            review = Review(own.review.state, " and ".join(readers), utc_now(), "Both agree")
            settled = self._as_left(finding, replace(own, review=review), readers[0])
            steps.append(FindingStep(finding, settled))
        if steps:
            title = f"Both readers agree on {len(steps)} findings"
            self._decide(steps, title, "Both agree", readers[0])

    # Settling

    def settle(self, uid: str, reader: str, reason: str = "", by: str = "") -> None:
        """Settle a finding the two differ in: as one of them has it, or `neither`: rejected.

        CommandError before both have finished, for one of the two, and for an unknown reader.
        """
        name = self._review.name_of(by)
        finding = self._workspace.findings[uid]
        study_uid = self._workspace.study_of(uid).uid
        readers = self.finished(study_uid)[:2]
        if len(readers) < 2:
            raise CommandError("Both readers have to finish first")
        if name in readers:
            raise CommandError(f"{name} is one of the two readers", "A third person settles.")
        if reader not in (*readers, NEITHER):
            raise CommandError(f"{reader} has not read this", f"There are: {', '.join(readers)}.")
        opinion = finding.opinion_of(reader)
        words = f"Adjudicated: as {reader}" + (f". {reason.strip()}" if reason.strip() else "")
        state = ReviewState.REJECTED if opinion is None else opinion.review.state
        review = Review(state, name, utc_now(), words)
        settled = finding.reviewed(review)
        if opinion is not None:
            settled = self._as_left(finding, replace(opinion, review=review), reader)
        step = FindingStep(finding, settled)
        self._decide([step], f"Settle: {finding.label}", words, reader)

    def _as_left(self, finding: Finding, opinion: Opinion, reader: str) -> Finding:
        """A finding as a reader left it, with the models that helped."""
        made_by = self._labels.provenance_of(finding, reader)
        return replace(finding, provenance=made_by).with_opinion(opinion)

    def _decide(self, steps: Sequence[FindingStep], title: str, note: str, reader: str) -> None:
        """Findings become what a reader made of them, and with those that count their labels."""
        kept = [one.after for one in steps if one.after and one.after.review.state.counts]
        first = tuple(self._labels.taken_up(kept, reader, title))
        self._settling = True
        try:
            self._review.decide(steps, title, SETTLE, note, first=first)
        finally:
            self._settling = False


def _keeps(opinion: Opinion | None) -> bool:
    return opinion is not None and opinion.review.state.counts


def _agree(
    finding: Finding,
    said: Sequence[Opinion | None],
    kept: tuple[bool, bool],
    dice: float | None,
) -> bool:
    """Whether two opinions need nobody to settle them.

    Of structures the labels are compared, of all else the numbers too: a track has one course,
    but each reader gave an opinion on what it came to then.
    """
    first, second = said
    if kept[0] != kept[1]:
        return False
    if not kept[0] or first is None or second is None:
        return True
    same = (first.label, first.laterality) == (second.label, second.laterality)
    if finding.segment_ref is None:
        same = same and _numbers(first) == _numbers(second)
    return same and (dice is None or dice >= _SAME)


def _numbers(opinion: Opinion) -> list[tuple[str, float]]:
    return [(one.name, one.value) for one in opinion.measurements]
