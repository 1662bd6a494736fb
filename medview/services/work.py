"""The reader's work: the labels, findings, tracks and reports that edits change, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from medview.core.events import (
    Event,
    FindingChanged,
    ReportChanged,
    SegmentationChanged,
    TrackChanged,
)
from medview.core.findings import Finding
from medview.core.report import Report
from medview.core.segmentation import LabelArray, LabelEdit, Segmentation
from medview.core.timeline import ClipTrack


class Work:
    """What readers and models made of the open studies, in the hands of one edit at a time.

    Edits write here; everybody else reads through the workspace. Label arrays are handed out
    read-only and written in `write_labels` alone. Every change is noted as an event, which the
    workspace sends when the edit is complete.
    """

    def __init__(self) -> None:
        self._labels: dict[str, LabelArray] = {}
        self._segmentations: dict[str, Segmentation] = {}
        self._findings: dict[str, Finding] = {}
        self._study_of_finding: dict[str, str] = {}
        self._tracks: dict[str, ClipTrack] = {}
        self._study_of_track: dict[str, str] = {}
        self._reports: dict[str, tuple[Report, ...]] = {}
        self._revisions: dict[str, int] = {}
        self._changes: list[Event] = []
        self.segmentations: Mapping[str, Segmentation] = MappingProxyType(self._segmentations)
        self.findings: Mapping[str, Finding] = MappingProxyType(self._findings)
        self.tracks: Mapping[str, ClipTrack] = MappingProxyType(self._tracks)

    @property
    def reports(self) -> Mapping[str, Report]:
        """The newest report of each study, by study UID."""
        return {study: versions[-1] for study, versions in self._reports.items()}

    def study_of_finding(self, uid: str) -> str:
        """The UID of the study a finding is about; KeyError if there is no such finding."""
        return self._study_of_finding[uid]

    def study_of_track(self, uid: str) -> str:
        """The UID of the study a track belongs to; KeyError if there is no such track."""
        return self._study_of_track[uid]

    def findings_of(self, study_uid: str) -> tuple[Finding, ...]:
        """Findings of one study in the order they first came."""
        return tuple(
            self._findings[uid]
            for uid, study in self._study_of_finding.items()
            if study == study_uid and uid in self._findings
        )

    def versions_of(self, study_uid: str) -> tuple[Report, ...]:
        """All versions of a study's report, the newest last."""
        return self._reports.get(study_uid, ())

    def write_labels(self, edit: LabelEdit, *, forward: bool) -> None:
        """Write one label edit, or take it back, in place; ValueError if the labels moved on."""
        segmentation = self._segmentations[edit.segmentation_uid]
        target = self._labels[segmentation.uid][edit.box.slices]
        old, new = edit.labels_before(), edit.labels_after()
        if not forward:
            old, new = new, old
        if not np.array_equal(target, old):
            raise ValueError(f"The labels are not those that “{edit.title}” was made for")
        # The revision first: whoever reads the labels beside this thread can tell that they move.
        self._segmentations[segmentation.uid] = self._next(segmentation)
        target[...] = new
        self._changes.append(SegmentationChanged(segmentation.uid, edit.box))

    def put_segmentation(self, segmentation: Segmentation) -> None:
        """Add a segmentation, taking its label array over, or give one other segments."""
        uid = segmentation.uid
        if uid not in self._labels:
            labels = segmentation.labels
            self._labels[uid] = labels if labels.flags.writeable else labels.copy()
        shown = self._labels[uid].view()
        shown.setflags(write=False)
        self._segmentations[uid] = self._next(replace(segmentation, labels=shown))
        self._changes.append(SegmentationChanged(uid))

    def drop_segmentation(self, uid: str) -> None:
        """Take a segmentation out."""
        del self._segmentations[uid], self._labels[uid]
        self._changes.append(SegmentationChanged(uid))

    def put_finding(self, study_uid: str, finding: Finding) -> None:
        """Add a finding or replace the one with the same UID."""
        self._findings[finding.uid] = finding
        self._study_of_finding[finding.uid] = study_uid
        self._changes.append(FindingChanged(finding.uid))

    def drop_finding(self, uid: str) -> None:
        """Take a finding out; its place is kept in case it comes back."""
        del self._findings[uid]
        self._changes.append(FindingChanged(uid))

    def put_track(self, study_uid: str, track: ClipTrack) -> None:
        """Add a track or replace the one with the same UID."""
        self._tracks[track.uid] = track
        self._study_of_track[track.uid] = study_uid
        self._changes.append(TrackChanged(track.uid, track.clip_uid))

    def drop_track(self, uid: str) -> None:
        """Take a track out."""
        track = self._tracks.pop(uid)
        del self._study_of_track[uid]
        self._changes.append(TrackChanged(uid, track.clip_uid))

    def put_report(self, report: Report) -> None:
        """Replace the newest version of a study's report, or add a version with another UID."""
        versions = self._reports.get(report.study_uid, ())
        if versions and versions[-1].uid == report.uid:
            versions = versions[:-1]
        self._reports[report.study_uid] = (*versions, report)
        self._changes.append(ReportChanged(report.study_uid))

    def drop_report(self, report: Report) -> None:
        """Take the newest version of a study's report out."""
        versions = self._reports[report.study_uid][:-1]
        if versions:
            self._reports[report.study_uid] = versions
        else:
            del self._reports[report.study_uid]
        self._changes.append(ReportChanged(report.study_uid))

    def forget(self, study_uid: str, segmentation_uids: tuple[str, ...]) -> None:
        """Let go of everything of a study that is closed; sends no events of its own."""
        for uid in segmentation_uids:
            del self._segmentations[uid], self._labels[uid]
            self._revisions.pop(uid, None)
        for uid in [uid for uid, study in self._study_of_finding.items() if study == study_uid]:
            self._findings.pop(uid, None)
            del self._study_of_finding[uid]
        for uid in [uid for uid, study in self._study_of_track.items() if study == study_uid]:
            del self._study_of_track[uid], self._tracks[uid]
        self._reports.pop(study_uid, None)

    def take_changes(self) -> tuple[Event, ...]:
        """What changed since the last call, each thing once, in order."""
        changes = tuple(dict.fromkeys(self._changes))
        self._changes.clear()
        return changes

    def _next(self, segmentation: Segmentation) -> Segmentation:
        """With a revision higher than any before, also when it comes back after an undo."""
        last = self._revisions.get(segmentation.uid)
        revision = segmentation.revision if last is None else max(segmentation.revision, last + 1)
        self._revisions[segmentation.uid] = revision
        return replace(segmentation, revision=revision)
