"""What becomes of findings when something is changed about the segments that they speak of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medview.core.findings import (
    Finding,
    Measurement,
    ModelAuthor,
    Person,
    Provenance,
    Review,
    ReviewState,
    utc_now,
)
from medview.core.segmentation import LabelEdit, Segment, Segmentation
from medview.core.structures import structure_of
from medview.imaging.measure import size_again
from medview.imaging.structure import located
from medview.services.edits import ChangeSegments, FindingStep
from medview.services.report_desk import UNNAMED
from medview.services.volumes import SegmentSizes
from medview.services.workspace import Workspace


def follow_labels(
    workspace: Workspace,
    sizes: SegmentSizes,
    segmentation_uid: str,
    changes: Sequence[LabelEdit],
) -> list[FindingStep]:
    """Findings on segments whose voxels changed, with size, place and review brought up to date."""
    segmentation = workspace.segmentations[segmentation_uid]
    numbers = set[int]().union(*(_numbers_in(change) for change in changes))
    steps = []
    for finding in workspace.findings.values():
        ref = finding.segment_ref
        concerned = ref is not None and ref.segmentation_uid == segmentation_uid
        if ref is None or not concerned or ref.number not in numbers:
            continue
        if finding.review.state is not ReviewState.REJECTED:
            name = workspace.reader or finding.review.by or UNNAMED
            voxels = sizes.of(segmentation, ref.number, changes)
            now = _corrected(finding, voxels, segmentation, name)
            box = sizes.box(segmentation, ref.number, changes)
            steps.append(FindingStep(finding, located(now, segmentation, box)))
    return [step for step in steps if step.before != step.after]


def follow_segments(workspace: Workspace, change: ChangeSegments) -> list[FindingStep]:
    """Findings of segments that are gone, are called otherwise, or that a model has helped with."""
    before = {segment.number: segment for segment in change.before}
    after = {segment.number: segment for segment in change.after}
    steps = []
    for finding in workspace.findings.values():
        ref = finding.segment_ref
        if ref is None or ref.segmentation_uid != change.segmentation_uid:
            continue
        old, new = before.get(ref.number), after.get(ref.number)
        if old is not None and new is None:
            steps.append(FindingStep(finding, _orphaned(finding, workspace.reader)))
        elif old is not None and new is not None:
            now = _renamed(_aided(finding, old, new), old, new, workspace.reader)
            steps.append(FindingStep(finding, now))
    return [step for step in steps if step.before != step.after]


def _numbers_in(change: LabelEdit) -> set[int]:
    """The segments that gained or lost voxels."""
    before, after = change.labels_before(), change.labels_after()
    moved = before != after
    counts = np.bincount(np.concatenate([before[moved], after[moved]]))
    return {int(n) for n in np.flatnonzero(counts) if n}


def _corrected(finding: Finding, voxels: int, segmentation: Segmentation, name: str) -> Finding:
    """A finding whose segment the reader changed: new size, `edited` if it was accepted."""
    measurements = tuple(
        _with_size(m, size_again(m, voxels, segmentation), name) for m in finding.measurements
    )
    review = finding.review
    if review.state is ReviewState.ACCEPTED:
        review = Review(ReviewState.EDITED, name, utc_now())
    return replace(finding, measurements=measurements, review=review)


def _with_size(measurement: Measurement, size: float | None, name: str) -> Measurement:
    """A size measured again after a correction; other measurements as they are."""
    if size is None or measurement.value == size:
        return measurement
    provenance = measurement.provenance
    if not isinstance(provenance.author, Person) or provenance.author.name != name:
        provenance = Provenance(
            Person(name),
            utc_now(),
            provenance.job_uid,
            (*provenance.derived_from, measurement.uid),
            aids=provenance.aids,
        )
    return replace(measurement, value=size, provenance=provenance)


def _aided(finding: Finding, old: Segment, new: Segment) -> Finding:
    """With the models that have helped with the segment since, in what a person measured too."""
    aids = new.provenance.aids
    if aids == old.provenance.aids:
        return finding
    measurements = tuple(
        replace(one, provenance=replace(one.provenance, aids=aids))
        if isinstance(one.provenance.author, Person)
        else one
        for one in finding.measurements
    )
    provenance = replace(finding.provenance, aids=aids)
    return replace(finding, provenance=provenance, measurements=measurements)


def _renamed(finding: Finding, old: Segment, new: Segment, reader: str) -> Finding:
    """Called as the segment is, where it was called so before; a model's counts as edited then."""
    now = finding
    if new.label != old.label and finding.label == old.label:
        now = replace(now, label=new.label, laterality=structure_of(new.label)[1])
    if new.type != old.type and finding.code == old.type:
        site = new.type if finding.site == old.type else finding.site
        now = replace(now, code=new.type, site=site)
    by_model = isinstance(finding.provenance.author, ModelAuthor)
    if now == finding or not by_model or finding.review.state is not ReviewState.ACCEPTED:
        return now
    name = reader or finding.review.by or UNNAMED
    return replace(now, review=Review(ReviewState.EDITED, name, utc_now()))


def _orphaned(finding: Finding, reader: str) -> Finding:
    """One whose segment was deleted: rejected by that, and kept in the record."""
    name = reader or finding.review.by or UNNAMED
    review = Review(ReviewState.REJECTED, name, utc_now(), "Segment deleted")
    return replace(finding, segment_ref=None, review=review)
