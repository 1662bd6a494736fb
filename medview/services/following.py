"""What becomes of findings when something is changed about the segments that they speak of."""

from __future__ import annotations

from dataclasses import replace

from medview.core.findings import Finding, Review, ReviewState, utc_now
from medview.services.edits import ChangeSegments, FindingStep
from medview.services.report_desk import UNNAMED
from medview.services.workspace import Workspace


def follow_segments(workspace: Workspace, change: ChangeSegments) -> list[FindingStep]:
    """Findings of segments that are gone, and of those that a model has helped with since."""
    before = {segment.number: segment.provenance.aids for segment in change.before}
    now = {segment.number: segment.provenance.aids for segment in change.after}
    steps = []
    for finding in workspace.findings.values():
        ref = finding.segment_ref
        if ref is None or ref.segmentation_uid != change.segmentation_uid:
            continue
        if ref.number in before.keys() - now.keys():
            steps.append(FindingStep(finding, _orphaned(finding, workspace.reader)))
        elif now.get(ref.number) != before.get(ref.number):
            provenance = replace(finding.provenance, aids=now.get(ref.number, ()))
            steps.append(FindingStep(finding, replace(finding, provenance=provenance)))
    return [step for step in steps if step.before != step.after]


def _orphaned(finding: Finding, reader: str) -> Finding:
    """One whose segment was deleted: rejected by that, and kept in the record."""
    name = reader or finding.review.by or UNNAMED
    review = Review(ReviewState.REJECTED, name, utc_now(), "Segment deleted")
    return replace(finding, segment_ref=None, review=review)
