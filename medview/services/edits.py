"""The changes a reader or a model can make, each able to be taken back exactly."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from medview.core.findings import Finding
from medview.core.report import Report
from medview.core.segmentation import LabelEdit, Segment, Segmentation
from medview.core.timeline import ClipTrack
from medview.services.work import Work

#: What one object of a few fields costs in memory, roughly.
_OBJECT_BYTES = 2_000

#: What steps are made of: things with a UID that come, change and go as a whole.
ThingT = TypeVar("ThingT", Finding, ClipTrack)


class Edit(Protocol):
    """A change of the reader's work: `revert` after `apply` leaves everything as it was.

    Both raise ValueError, and change nothing, when the work is not what the edit was made for.
    `stroke` joins edits of one gesture into one entry of the history; "" joins nothing.
    """

    @property
    def title(self) -> str:
        """What the menu says after Undo: "Paint: Left anterior hippocampus"."""

    @property
    def study_uid(self) -> str:
        """The study whose history it belongs to."""

    @property
    def cost_bytes(self) -> int:
        """What keeping it costs."""

    @property
    def stroke(self) -> str:
        """The gesture it is part of, or ""."""

    def apply(self, work: Work) -> None:
        """Make the change."""

    def revert(self, work: Work) -> None:
        """Take it back."""


@dataclass(frozen=True, eq=False)
class PaintEdit:
    """Labels changed inside one box. Dabs that share a `stroke` become one entry."""

    study_uid: str
    change: LabelEdit
    stroke: str = ""

    @property
    def title(self) -> str:
        """As the label edit is called."""
        return self.change.title

    @property
    def cost_bytes(self) -> int:
        """Compressed labels before and after."""
        return self.change.cost_bytes

    def apply(self, work: Work) -> None:
        """Write the new labels."""
        work.write_labels(self.change, forward=True)

    def revert(self, work: Work) -> None:
        """Write the old labels."""
        work.write_labels(self.change, forward=False)


@dataclass(frozen=True, eq=False)
class AddSegmentation:
    """A segmentation comes: a model's proposal, or an empty one to paint in."""

    study_uid: str
    segmentation: Segmentation
    title: str
    stroke: str = ""

    @property
    def cost_bytes(self) -> int:
        """Next to nothing: the labels are the workspace's own while it is open."""
        return _OBJECT_BYTES

    def apply(self, work: Work) -> None:
        """Add it."""
        if self.segmentation.uid in work.segmentations:
            raise ValueError("This segmentation is there already")
        work.put_segmentation(self.segmentation)

    def revert(self, work: Work) -> None:
        """Take it out."""
        work.drop_segmentation(self.segmentation.uid)


@dataclass(frozen=True, eq=False)
class ChangeSegments:
    """The segments of a segmentation become others: names, colours, review, one more or less."""

    study_uid: str
    segmentation_uid: str
    before: tuple[Segment, ...]
    after: tuple[Segment, ...]
    title: str
    stroke: str = ""

    @property
    def cost_bytes(self) -> int:
        """A few fields for each segment."""
        return _OBJECT_BYTES * (len(self.before) + len(self.after))

    def apply(self, work: Work) -> None:
        """Give it the new segments."""
        self._change(work, self.before, self.after)

    def revert(self, work: Work) -> None:
        """Give it the old ones."""
        self._change(work, self.after, self.before)

    def _change(self, work: Work, old: tuple[Segment, ...], new: tuple[Segment, ...]) -> None:
        segmentation = work.segmentations[self.segmentation_uid]
        if segmentation.segments != old:
            raise ValueError(f"The segments are not those that “{self.title}” was made for")
        work.put_segmentation(segmentation.with_segments(new))


@dataclass(frozen=True)
class Step(Generic[ThingT]):
    """One finding or track before and after; None where it is not there."""

    before: ThingT | None
    after: ThingT | None

    @property
    def uid(self) -> str:
        """Of the finding or track."""
        either = self.after or self.before
        if either is None:
            raise ValueError("A step from nothing to nothing")
        return either.uid


FindingStep = Step[Finding]
TrackStep = Step[ClipTrack]


@dataclass(frozen=True, eq=False)
class Change(Generic[ThingT]):
    """Things of one kind come, change or go: all of them, or none where one is another by now."""

    study_uid: str
    steps: tuple[Step[ThingT], ...]
    title: str
    stroke: str = ""

    @property
    @abstractmethod
    def cost_bytes(self) -> int:
        """What keeping it costs."""

    def apply(self, work: Work) -> None:
        """Put things as they are after."""
        self._change(work, [(step.uid, step.before, step.after) for step in self.steps])

    def revert(self, work: Work) -> None:
        """Put them as they were."""
        self._change(work, [(step.uid, step.after, step.before) for step in reversed(self.steps)])

    def _change(self, work: Work, steps: list[tuple[str, ThingT | None, ThingT | None]]) -> None:
        there = self._there(work)
        if any(there.get(uid) != old for uid, old, _ in steps):
            raise ValueError(f"What is there is not what “{self.title}” was made for")
        for uid, old, new in steps:
            if new is not None:
                self._put(work, new)
            elif old is not None:
                self._drop(work, uid)

    @abstractmethod
    def _there(self, work: Work) -> Mapping[str, ThingT]:
        """The things of this kind, by UID."""

    @abstractmethod
    def _put(self, work: Work, thing: ThingT) -> None:
        """Add one or replace it."""

    @abstractmethod
    def _drop(self, work: Work, uid: str) -> None:
        """Take one out."""


class ChangeFindings(Change[Finding]):
    """Findings come, change or go."""

    @property
    def cost_bytes(self) -> int:
        """A few fields for each finding."""
        return 2 * _OBJECT_BYTES * len(self.steps)

    def _there(self, work: Work) -> Mapping[str, Finding]:
        return work.findings

    def _put(self, work: Work, thing: Finding) -> None:
        work.put_finding(self.study_uid, thing)

    def _drop(self, work: Work, uid: str) -> None:
        work.drop_finding(uid)


class ChangeTracks(Change[ClipTrack]):
    """Tracks on a clip come, change or go."""

    @property
    def cost_bytes(self) -> int:
        """About a hundred bytes a place."""
        tracks = [one.track for step in self.steps for one in (step.before, step.after) if one]
        return _OBJECT_BYTES + 100 * sum(len(on) for track in tracks for on in track.places)

    def _there(self, work: Work) -> Mapping[str, ClipTrack]:
        return work.tracks

    def _put(self, work: Work, thing: ClipTrack) -> None:
        work.put_track(self.study_uid, thing)

    def _drop(self, work: Work, uid: str) -> None:
        work.drop_track(uid)


@dataclass(frozen=True, eq=False)
class ChangeReport:
    """The newest report of a study becomes another; None where there is none yet."""

    study_uid: str
    before: Report | None
    after: Report
    title: str
    stroke: str = ""

    @property
    def cost_bytes(self) -> int:
        """Texts and key images of both."""
        reports = [report for report in (self.before, self.after) if report is not None]
        pictures = sum(len(image.png) for report in reports for image in report.key_images)
        return _OBJECT_BYTES * len(reports) + pictures

    def apply(self, work: Work) -> None:
        """Put the new report: in place of the old one, or as a version after it."""
        if work.reports.get(self.study_uid) != self.before:
            raise ValueError(f"The report is not the one that “{self.title}” was made for")
        work.put_report(self.after)

    def revert(self, work: Work) -> None:
        """Put the old one back."""
        if work.reports.get(self.study_uid) != self.after:
            raise ValueError(f"The report is not the one that “{self.title}” left")
        if self.before is None or self.before.uid != self.after.uid:
            work.drop_report(self.after)
        else:
            work.put_report(self.before)


@dataclass(frozen=True, eq=False)
class Compound:
    """Several edits that are one step for the reader."""

    study_uid: str
    title: str
    parts: tuple[Edit, ...]
    stroke: str = ""

    @property
    def cost_bytes(self) -> int:
        """Of all parts."""
        return sum(part.cost_bytes for part in self.parts)

    def apply(self, work: Work) -> None:
        """Apply the parts in order, all of them or none."""
        for count, part in enumerate(self.parts):
            try:
                part.apply(work)
            except (ValueError, KeyError):
                for done in reversed(self.parts[:count]):
                    done.revert(work)
                raise

    def revert(self, work: Work) -> None:
        """Take the parts back, the last first, all of them or none."""
        for count, part in enumerate(reversed(self.parts)):
            try:
                part.revert(work)
            except (ValueError, KeyError):
                for done in self.parts[len(self.parts) - count :]:
                    done.apply(work)
                raise


def leaves(edit: Edit) -> Iterator[Edit]:
    """The edits that an edit is made of, in order."""
    if isinstance(edit, Compound):
        for part in edit.parts:
            yield from leaves(part)
    else:
        yield edit


def joined(first: Edit, second: Edit) -> Compound:
    """Two edits of one stroke as one: dabs side by side, all else from first to last.

    What a stroke does to findings and report depends on no label, so it may be gathered behind
    the dabs; a hundred dabs then keep two versions of a report and not a hundred.
    """
    dabs: list[Edit] = []
    changes: dict[type[Change[Any]], dict[str, Step[Any]]] = {}
    reports: ChangeReport | None = None
    for leaf in (*leaves(first), *leaves(second)):
        if isinstance(leaf, Change):
            steps = changes.setdefault(type(leaf), {})
            for step in leaf.steps:
                steps[step.uid] = replace(step, before=steps.get(step.uid, step).before)
        elif isinstance(leaf, ChangeReport):
            reports = leaf if reports is None else replace(reports, after=leaf.after)
        else:
            dabs.append(leaf)
    parts = list(dabs)
    for kind, steps in changes.items():
        parts.append(kind(first.study_uid, tuple(steps.values()), first.title))
    if reports is not None:
        parts.append(reports)
    return Compound(first.study_uid, first.title, tuple(parts), first.stroke)
