"""Originals: label maps as a model proposed them, kept beside what the reader made of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from medview.core.events import StudyClosed
from medview.core.findings import ModelAuthor
from medview.core.geometry import Box
from medview.core.segmentation import LabelArray, LabelEdit, Segment, Segmentation
from medview.imaging.agreement import Overlap, joint_counts, overlap
from medview.services.edits import AddSegmentation, Edit, PaintEdit, leaves
from medview.services.workspace import Workspace

#: Of the latest patches, how many are asked whether they hold a new one already.
_LOOKED_AT = 64


@dataclass(frozen=True, eq=False)
class Patch:
    """Labels of a box as they were before an edit, compressed as those of edits are."""

    box: Box
    dtype: str
    before: bytes

    def labels(self) -> LabelArray:
        """The labels, in the shape of the box."""
        return LabelEdit("", self.box, self.dtype, self.before, b"", "").labels_before()


@dataclass(frozen=True, eq=False)
class Original:
    """What a model proposed: its segments, and what edits since then have written over.

    Labels outside all patches are still the model's; where patches overlap the first one holds.
    """

    segments: tuple[Segment, ...]
    patches: tuple[Patch, ...] = ()

    def restored(self, segmentation: Segmentation) -> Segmentation:
        """The segmentation as it was proposed, in an array of its own."""
        labels = segmentation.labels.copy()
        for patch in reversed(self.patches):
            labels[patch.box.slices] = patch.labels()
        return replace(segmentation, labels=labels, segments=self.segments)


class Originals:
    """The originals of all open segmentations that a model made, by UID.

    An original costs what its edits cost, and nothing before the first: an edit carries the
    labels that it wrote over. One that came back from a store which kept none is unknown.
    `on_back` is called with the UID of one that came back.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._kept: dict[str, tuple[str, Original]] = {}
        self.on_back: Callable[[str], object] = lambda _uid: None
        workspace.follow(self._follow)
        workspace.events.study_closed.connect(self._forget)

    def of(self, segmentation_uid: str) -> Original | None:
        """The original; None where it is not known, or a reader made the segmentation."""
        _, original = self._kept.get(segmentation_uid, ("", None))
        return original

    def changed(self, segmentation_uid: str) -> Original | None:
        """The original, if labels were written over or segments taken away since."""
        original = self.of(segmentation_uid)
        return original if original is not None and original.patches else None

    def put(self, study_uid: str, segmentation_uid: str, original: Original | None) -> None:
        """Take over what is known of a segmentation that came back; None: nothing is."""
        if original is None:
            self._kept.pop(segmentation_uid, None)
        else:
            self._kept[segmentation_uid] = study_uid, original
            self.on_back(segmentation_uid)

    def _follow(self, edit: Edit) -> None:
        dabs: dict[str, list[LabelEdit]] = {}
        for leaf in leaves(edit):
            if isinstance(leaf, AddSegmentation):
                self._add(edit.study_uid, leaf.segmentation)
            elif isinstance(leaf, PaintEdit):
                dabs.setdefault(leaf.change.segmentation_uid, []).append(leaf.change)
        for uid, changes in dabs.items():
            if uid in self._kept:
                study_uid, original = self._kept[uid]
                patches = with_patches(original.patches, changes)
                self._kept[uid] = study_uid, replace(original, patches=patches)

    def _add(self, study_uid: str, segmentation: Segmentation) -> None:
        """One that comes again, by redo, keeps what is known of it."""
        authors = [segment.provenance.author for segment in segmentation.segments]
        made = bool(authors) and all(isinstance(author, ModelAuthor) for author in authors)
        if made and segmentation.uid not in self._kept:
            self._kept[segmentation.uid] = study_uid, Original(segmentation.segments)

    def _forget(self, event: StudyClosed) -> None:
        self._kept = {uid: kept for uid, kept in self._kept.items() if kept[0] != event.uid}


def with_patches(patches: tuple[Patch, ...], changes: Iterable[LabelEdit]) -> tuple[Patch, ...]:
    """Patches with those of further edits; an edit inside the box of an earlier one adds none."""
    more = list(patches)
    for change in changes:
        if not any(_holds(patch.box, change.box) for patch in more[-_LOOKED_AT:]):
            more.append(Patch(change.box, change.dtype, change.before))
    return tuple(more) if len(more) > len(patches) else patches


def _holds(outer: Box, inner: Box) -> bool:
    starts = zip(outer.start, inner.start, strict=True)
    stops = zip(outer.stop, inner.stop, strict=True)
    return all(a <= b for a, b in starts) and all(a >= b for a, b in stops)


def count_changes(labels: LabelArray, patches: Sequence[Patch]) -> Mapping[int, Overlap]:
    """The overlap of each label in the original (first) with itself now (second).

    Counted in the slices and boxes that patches reach, not beyond: there nothing has changed.
    """
    planes: dict[int, Box] = {}
    for patch in patches:
        for k in range(patch.box.start[0], patch.box.stop[0]):
            flat = _on_slice(patch.box, k)
            planes[k] = planes[k].union(flat) if k in planes else flat
    before = {k: labels[box.slices].copy() for k, box in planes.items()}
    now = {k: plane.copy() for k, plane in before.items()}  # the reader may be painting
    for patch in reversed(patches):
        old = patch.labels()
        for k in range(patch.box.start[0], patch.box.stop[0]):
            _, top, left = planes[k].start
            rows = slice(patch.box.start[1] - top, patch.box.stop[1] - top)
            columns = slice(patch.box.start[2] - left, patch.box.stop[2] - left)
            before[k][0, rows, columns] = old[k - patch.box.start[0]]
    counts: Counter[tuple[int, int]] = Counter()
    for k in planes:
        counts.update(joint_counts(before[k], now[k]))
    numbers = {number for pair in counts for number in pair if number}
    return {number: overlap(counts, number, number) for number in numbers}


def _on_slice(box: Box, k: int) -> Box:
    return Box((k, *box.start[1:]), (k + 1, *box.stop[1:]))
