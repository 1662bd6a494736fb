"""Readers' labels: what each of several readers made of a model's labels, kept beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from medview.core.findings import Finding, ModelAuthor, Person, Provenance, Review, new_uid, utc_now
from medview.core.geometry import Box
from medview.core.segmentation import LabelArray, LabelEdit, Segmentation
from medview.services.edits import AddSegmentation, ChangeSegments, Edit, PaintEdit
from medview.services.originals import Originals
from medview.services.workspace import Workspace


class ReadersLabels:
    """Puts what a reader corrected beside the original, finds it, and takes it up again."""

    def __init__(self, workspace: Workspace, originals: Originals) -> None:
        self._workspace = workspace
        self._originals = originals

    def put_aside(self, study_uid: str, name: str) -> Iterator[Edit]:
        """What a reader made of models' labels as a segmentation of theirs, and the labels back."""
        for one in tuple(self._workspace.segmentations.values()):
            if self._workspace.study_of(one.uid).uid != study_uid:
                continue
            original = self._originals.changed(one.uid)
            was = None if original is None else original.restored(one).labels
            if was is None or np.array_equal(was, one.labels):
                continue
            author = Provenance(Person(name), utc_now(), derived_from=(one.uid,))
            segments = tuple(
                replace(s, provenance=_aided(author, s.provenance.aids), review=Review())
                for s in one.segments
            )
            copy = replace(
                one, labels=one.labels.copy(), segments=segments, uid=new_uid(),
                title=f"{one.title} ({name})", revision=0,
            )  # fmt: skip
            yield AddSegmentation(study_uid, copy, f"Reading of {name}")
            edit = _to(one, was, f"Reading of {name}")
            if edit is not None:
                yield PaintEdit(study_uid, edit)

    def aids_back(self, study_uid: str, name: str) -> Iterator[Edit]:
        """Models' segments without those that helped a reader: they are named with the copy."""
        for one in tuple(self._workspace.segmentations.values()):
            original = self._originals.of(one.uid)
            if original is None or self._workspace.study_of(one.uid).uid != study_uid:
                continue
            had = {segment.number: segment.provenance.aids for segment in original.segments}
            back = tuple(
                replace(s, provenance=_aided(s.provenance, had.get(s.number, ())))
                for s in one.segments
            )
            if back != one.segments:
                yield ChangeSegments(study_uid, one.uid, one.segments, back, f"Reading of {name}")

    def copy_of(self, segmentation: Segmentation, reader: str) -> Segmentation:
        """The segmentation as a reader left it."""
        for one in self._workspace.segmentations_of(segmentation.volume_uid):
            made = {segment.provenance for segment in one.segments}
            if any(
                made_by.author == Person(reader) and segmentation.uid in made_by.derived_from
                for made_by in made
            ):
                return one
        return segmentation

    def provenance_of(self, finding: Finding, reader: str) -> Provenance:
        """With the models that helped a reader with the structure that a finding speaks of."""
        ref = finding.segment_ref
        segmentation = self._workspace.segmentations.get(ref.segmentation_uid) if ref else None
        if segmentation is None or ref is None:
            return finding.provenance
        theirs = self.copy_of(segmentation, reader).segments
        aids = next((one.provenance.aids for one in theirs if one.number == ref.number), ())
        return _aided(finding.provenance, aids)

    def taken_up(self, findings: Sequence[Finding], reader: str, title: str) -> Iterator[Edit]:
        """The steps that put structures as a reader left them into the labels that count."""
        refs = [ref for one in findings if (ref := one.segment_ref) is not None]
        for uid in dict.fromkeys(ref.segmentation_uid for ref in refs):
            segmentation = self._workspace.segmentations.get(uid)
            if segmentation is None:
                continue
            numbers = [ref.number for ref in refs if ref.segmentation_uid == uid]
            theirs, wanted = self.copy_of(segmentation, reader).labels, segmentation.labels.copy()
            wanted[np.isin(wanted, numbers)] = 0
            drawn = np.isin(theirs, numbers)
            wanted[drawn] = theirs[drawn]
            edit = _to(segmentation, wanted, title)
            if edit is not None:
                yield PaintEdit(self._workspace.study_of(uid).uid, edit)


def _to(segmentation: Segmentation, wanted: LabelArray, title: str) -> LabelEdit | None:
    """The edit that makes labels others, no larger than it must be."""
    box = Box.of(segmentation.labels != wanted)
    if box is None:
        return None
    return LabelEdit.between(segmentation, box, wanted[box.slices], title)


def _aided(provenance: Provenance, aids: tuple[ModelAuthor, ...]) -> Provenance:
    """The same, with the help of these models and no others."""
    return replace(provenance, aids=aids)
