"""Staleness: results of models whose input is no longer what the model looked at."""

from __future__ import annotations

from collections.abc import Iterable

from medview.core.errors import CommandError
from medview.core.findings import Finding, ModelAuthor, Person
from medview.services.watch import CHANGED
from medview.services.workspace import Workspace


def stale_reason(workspace: Workspace, finding: Finding) -> str:
    """Why a model's finding no longer speaks of what is there, in words; "" if it still does.

    Its files changed or went after they were read or since the result was kept, or a segmentation
    it was made from was corrected. What a reader said is never stale by this.
    """
    if not isinstance(finding.provenance.author, ModelAuthor):
        return ""
    job = workspace.jobs.get(finding.provenance.job_uid)
    if job is not None and job.stale:
        return job.stale
    if (
        finding.segment_ref is None
        and finding.measurements
        and _measured_on_corrected(workspace, finding.provenance.job_uid)
    ):
        return "Stale: the reader corrected the segments it was measured on"
    for item in () if job is None else job.inputs:
        segmentation = workspace.segmentations.get(item.uid)
        if segmentation is not None and segmentation.revision != item.revision:
            return "Stale: the segments it was made from were changed since"
    known = finding.uid in workspace.findings
    studies = (workspace.study_of(finding.uid),) if known else workspace.studies.values()
    noted = {series.uid for one in studies for series in one.series if CHANGED in series.notes}
    if noted and noted & _series_of(workspace, finding):
        return "Stale: the files of the image changed after the model looked at it"
    return ""


def _measured_on_corrected(workspace: Workspace, job_uid: str) -> bool:
    """Whether a reader corrected a structure that the same run drew.

    Its own finding was measured again then; one about several structures was not.
    """
    drawn = {
        one.uid
        for one in workspace.segmentations.values()
        if any(segment.provenance.job_uid == job_uid for segment in one.segments)
    }
    return bool(drawn) and any(
        isinstance(measured.provenance.author, Person)
        for one in workspace.findings.values()
        if one.segment_ref is not None and one.segment_ref.segmentation_uid in drawn
        for measured in one.measurements
    )


def require_fresh(workspace: Workspace, findings: Iterable[Finding]) -> None:
    """CommandError naming how many of some findings are stale, if any is."""
    stale = [reason for finding in findings if (reason := stale_reason(workspace, finding))]
    if stale:
        raise CommandError(
            f"{len(stale)} results are stale and are not exported without your word. {stale[0]}.",
            "Run the model again, or confirm that they shall leave as they are.",
        )


def _series_of(workspace: Workspace, finding: Finding) -> set[str]:
    """The series that a finding was made on, as far as they are open."""
    ref = finding.segment_ref
    segmentation = None if ref is None else workspace.segmentations.get(ref.segmentation_uid)
    job = workspace.jobs.get(finding.provenance.job_uid)
    uids = set(finding.provenance.derived_from)
    uids |= set() if segmentation is None else {segmentation.volume_uid}
    uids |= set() if job is None else {item.uid for item in job.inputs}
    images = [workspace.volumes.get(uid) or workspace.clips.get(uid) for uid in uids]
    found = {image.series_uid for image in images if image is not None}
    box = finding.picture_box
    if box is not None and box.sop_instance_uid:
        found |= {
            volume.series_uid
            for volume in workspace.volumes.values()
            if box.sop_instance_uid in volume.instance_uids
        }
    return found
