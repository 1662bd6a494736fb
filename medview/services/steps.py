"""Steps of the history, written down: so that undo goes on where a kill cut it off."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from medview.core.errors import StoreError
from medview.core.findings import Finding
from medview.core.geometry import Box
from medview.core.plain import from_plain
from medview.core.report import Report
from medview.core.segmentation import LabelEdit, Segment, Segmentation
from medview.core.timeline import ClipTrack
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
    TrackStep,
    leaves,
)
from medview.services.journal import KeptReport, to_text
from medview.services.work import Work

#: How many steps are kept over the end of the program.
KEPT_STEPS = 50


@dataclass(frozen=True)
class KeptPaint:
    """A label edit in plain fields; `before` and `after` stay compressed."""

    segmentation_uid: str
    box: Box
    dtype: str
    before: bytes
    after: bytes
    title: str


@dataclass(frozen=True)
class KeptComing:
    """A segmentation that came, and its segments then.

    It is there as long as the step is: its labels are those of the work, taken back.
    """

    coming_uid: str
    segments: tuple[Segment, ...]
    title: str


@dataclass(frozen=True)
class KeptSegments:
    """Segments of one segmentation before and after."""

    segmentation_uid: str
    segments_before: tuple[Segment, ...]
    segments_after: tuple[Segment, ...]
    title: str


@dataclass(frozen=True)
class KeptFindings:
    """Findings before and after."""

    steps: tuple[FindingStep, ...]
    title: str


@dataclass(frozen=True)
class KeptTracks:
    """Tracks before and after."""

    track_steps: tuple[TrackStep, ...]
    title: str


@dataclass(frozen=True)
class KeptReports:
    """A report before and after, pictures apart."""

    report_before: KeptReport | None
    report_after: KeptReport
    title: str


KeptPart = KeptPaint | KeptComing | KeptSegments | KeptFindings | KeptTracks | KeptReports


@dataclass(frozen=True)
class KeptStep:
    """One entry of the history."""

    title: str
    stroke: str
    parts: tuple[KeptPart, ...]


def pack_step(edit: Edit) -> bytes:
    """One entry as bytes."""
    step = KeptStep(edit.title, edit.stroke, tuple(_kept(leaf) for leaf in leaves(edit)))
    return zlib.compress(to_text(step).encode("utf-8"), 1)


def unpack_step(
    packed: bytes,
    study_uid: str,
    pictures: Mapping[str, bytes],
    segmentations: Mapping[str, Segmentation],
) -> Edit:
    """The entry again; StoreError if it is damaged, or speaks of a segmentation that is not kept.

    `segmentations` are those of the work as it is, by UID: what came shares their labels.
    """
    try:
        step = from_plain(KeptStep, json.loads(zlib.decompress(packed)))
        parts = tuple(_edit(part, study_uid, pictures, segmentations) for part in step.parts)
    except (zlib.error, ValueError, KeyError) as error:
        raise StoreError("A saved step cannot be read", detail=type(error).__name__) from error
    return Compound(study_uid, step.title, parts, step.stroke)


def hold_together(
    steps: Sequence[Edit],
    segmentations: Sequence[Segmentation],
    findings: Sequence[Finding],
    reports: Sequence[Report],
    study_uid: str,
    tracks: Sequence[ClipTrack] = (),
) -> bool:
    """Whether all steps can be taken back and done again from the work as it is.

    The labels are written on the way and are as before in the end.
    """
    work = Work()
    for segmentation in segmentations:
        work.put_segmentation(segmentation)
    for finding in findings:
        work.put_finding(study_uid, finding)
    for track in tracks:
        work.put_track(study_uid, track)
    for report in reports:
        work.put_report(report)
    whole = Compound(study_uid, "All steps", tuple(steps))
    try:
        whole.revert(work)
        whole.apply(work)
    except (ValueError, KeyError):
        return False
    return True


def _kept(leaf: Edit) -> KeptPart:
    match leaf:
        case PaintEdit(change=change):
            return KeptPaint(
                change.segmentation_uid,
                change.box,
                change.dtype,
                change.before,
                change.after,
                change.title,
            )
        case AddSegmentation(segmentation=came):
            return KeptComing(came.uid, came.segments, leaf.title)
        case ChangeSegments():
            return KeptSegments(leaf.segmentation_uid, leaf.before, leaf.after, leaf.title)
        case ChangeFindings():
            return KeptFindings(leaf.steps, leaf.title)
        case ChangeTracks():
            return KeptTracks(leaf.steps, leaf.title)
        case ChangeReport():
            before = None if leaf.before is None else KeptReport.of(leaf.before)[0]
            return KeptReports(before, KeptReport.of(leaf.after)[0], leaf.title)
    raise TypeError(f"{type(leaf).__name__} has no form to be kept in")


def _edit(
    part: KeptPart,
    study_uid: str,
    pictures: Mapping[str, bytes],
    segmentations: Mapping[str, Segmentation],
) -> Edit:
    match part:
        case KeptPaint(uid, box, dtype, old, new, title):
            return PaintEdit(study_uid, LabelEdit(uid, box, dtype, old, new, title))
        case KeptComing(uid, segments, title):
            came = replace(segmentations[uid], segments=segments)
            return AddSegmentation(study_uid, came, title)
        case KeptSegments(uid, earlier, later, title):
            return ChangeSegments(study_uid, uid, earlier, later, title)
        case KeptFindings(findings, title):
            return ChangeFindings(study_uid, findings, title)
        case KeptTracks(tracks, title):
            return ChangeTracks(study_uid, tracks, title)
        case KeptReports(before, after, title):
            first = None if before is None else before.whole(pictures)
            return ChangeReport(study_uid, first, after.whole(pictures), title)
