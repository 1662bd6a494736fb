"""Bringing in: what files of results say becomes findings and words of an open study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from medview.core.events import Level
from medview.core.findings import Finding, PictureBox, SegmentRef, new_uid
from medview.core.report import KeyImage
from medview.core.views import Plane
from medview.core.volume import Volume
from medview.io.brought import Brought, KeyPicture
from medview.services.audit import Audit
from medview.services.edits import ChangeFindings, Compound, Edit, FindingStep
from medview.services.leaving import IMPORTED
from medview.services.report_desk import UNNAMED, ReportDesk
from medview.services.workspace import Workspace


class BringingIn:
    """Puts what a document says into the workspace, as one step that can be undone.

    Findings keep identity, author and decision; one that is there already stays as it is. Places
    on images that are not open are kept and not drawn; the reader is told how many. The words of a
    report become the draft of a study that has no report yet.
    """

    def __init__(self, workspace: Workspace, desk: ReportDesk, audit: Audit) -> None:
        self._workspace = workspace
        self._desk = desk
        self._audit = audit

    def put(self, study_uid: str, brought: Brought) -> None:
        """Take a document in; its images have been loaded as far as they are here."""
        workspace, name = self._workspace, brought.name
        mine = {one.uid for one in workspace.findings_of(study_uid)}
        told = [one for one in brought.findings if one.uid not in mine]
        new = [self._fitted(one, brought) for one in told]
        # A thing that is tracked through several studies is one finding in each of them.
        new = [replace(one, uid=new_uid()) if one.uid in workspace.findings else one for one in new]
        title = f"Bring in {name}"
        edits: list[Edit] = []
        if new:
            steps = tuple(FindingStep(None, one) for one in new)
            edits.append(ChangeFindings(study_uid, steps, title))
        pictures = tuple(self._pictures(brought.pictures))
        report = self._desk.taken_up(study_uid, new, brought.words, pictures)
        if report is not None:
            edits.append(report)
        if edits:
            workspace.apply(Compound(study_uid, title, tuple(edits)))
            self._record(study_uid, brought)
        self._tell(brought, told, new, with_report=report is not None)

    # -- places

    def _fitted(self, finding: Finding, brought: Brought) -> Finding:
        """The finding on the images and segments that are open."""
        sources = [one.uid for one in self._images_of(finding, brought)]
        made = finding.provenance
        derived = tuple(dict.fromkeys((*made.derived_from, *sources)))
        ref = brought.segments.get(finding.uid)
        box = finding.picture_box
        return replace(
            finding,
            provenance=replace(made, derived_from=derived),
            segment_ref=None if ref is None else self._segment(ref),
            picture_box=None if box is None else self._on_slice(box),
        )

    def _images_of(self, finding: Finding, brought: Brought) -> Iterator[Volume]:
        for volume in self._workspace.volumes.values():
            box = finding.picture_box
            on_it = box is not None and box.sop_instance_uid in volume.instance_uids
            if on_it or volume.geometry.frame_of_reference_uid in brought.frames:
                yield volume

    def _segment(self, ref: SegmentRef) -> SegmentRef | None:
        """The segment of ours that a segment of a SEG has become."""
        for one in self._workspace.segmentations.values():
            numbers = {segment.number for segment in one.segments}
            if one.uid.split("#")[0] == ref.segmentation_uid and ref.number in numbers:
                return SegmentRef(one.uid, ref.number)
        return None

    def _on_slice(self, box: PictureBox) -> PictureBox | None:
        """The box on its slice, cut off at the borders of the image; None for one beside it."""
        found = self._find(box.sop_instance_uid, box.frame_number)
        if found is None:
            return box
        volume, at = found
        _, rows, columns = volume.geometry.shape
        top, left, bottom, right = box.box_px
        top, left = max(0.0, top), max(0.0, left)
        bottom, right = min(float(rows), bottom), min(float(columns), right)
        if top >= bottom or left >= right:
            return None
        return replace(box, box_px=(top, left, bottom, right), slice_index=at)

    def _find(self, sop_instance_uid: str, frame_number: int) -> tuple[Volume, int] | None:
        """The volume an image is in, and the slice it is."""
        for volume in self._workspace.volumes.values():
            for at, uid in enumerate(volume.instance_uids):
                frames = volume.frame_numbers
                same = at >= len(frames) or frames[at] == frame_number - 1
                if uid == sop_instance_uid and same:
                    return volume, at
        return None

    def _pictures(self, chosen: Sequence[KeyPicture]) -> Iterator[KeyImage]:
        """Key images on the slices of what is open."""
        for one in chosen:
            found = self._find(one.sop_instance_uid, one.frame_number)
            if found is None:
                continue
            volume, at = found
            slices, rows, columns = volume.geometry.shape
            middle = volume.geometry.to_lps_mm((at, (rows - 1) / 2, (columns - 1) / 2))
            x, y, z = (float(value) for value in middle)
            caption = one.caption or f"Key image, {at + 1} of {slices}"
            yield KeyImage(volume.uid, Plane.ACQUIRED.value, (x, y, z), caption,
                           sop_instance_uid=one.sop_instance_uid)  # fmt: skip

    # -- telling

    def _record(self, study_uid: str, brought: Brought) -> None:
        document = brought.document
        note = (
            ""
            if document is None
            else (f"sr:{document.sop_instance_uid}/{document.series_uid}/{document.study_uid}")
        )
        uid = study_uid if document is None else document.sop_instance_uid
        actor = self._workspace.reader or UNNAMED
        self._audit.record(actor, IMPORTED, uid, study_uid=study_uid, note=note)

    def _tell(
        self,
        brought: Brought,
        told: Sequence[Finding],
        new: Sequence[Finding],
        *,
        with_report: bool,
    ) -> None:
        """`told` are the new findings as the document has them."""
        workspace = self._workspace
        words = [_counted(len(new), "finding") + " brought in"] if new else []
        known = len(brought.findings) - len(new)
        if known:
            words.append(f"{_counted(known, 'finding')} here already")
        if with_report and not brought.words.are_none:
            words.append("its text is the draft of the report")
        if with_report and brought.pictures:
            words.append("its images are key images")
        beside = sum(
            one.picture_box is not None and new_one.picture_box is None
            for one, new_one in zip(told, new, strict=True)
        )
        if beside:
            text = f"{_counted(beside, 'drawing')} beside the image"
            workspace.notify(Level.WARNING, f"{brought.name}: {text}: listed, not drawn")
        orphans = [one for one in new if self._is_orphan(one, brought)]
        text = f"{brought.name}: {', '.join(words) or 'nothing to bring in'}"
        if brought.words.signed:
            text += f" (verified by {brought.words.signed})"
        workspace.notify(Level.INFO, text, "; ".join(brought.notes))
        if orphans:
            workspace.notify(
                Level.WARNING,
                f"{brought.name}: {_counted(len(orphans), 'finding')} on images or segments that"
                " are not open: listed, not drawn",
                "Open the images together with the report.",
            )

    def _is_orphan(self, finding: Finding, brought: Brought) -> bool:
        box = finding.picture_box
        lost = box is not None and self._find(box.sop_instance_uid, box.frame_number) is None
        return lost or (finding.uid in brought.segments and finding.segment_ref is None)


def _counted(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"
