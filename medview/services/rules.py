"""What an edit of segments may touch: one mask rule and one overlap rule for every effect."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from medview.core.errors import CommandError
from medview.core.findings import SegmentRef
from medview.core.geometry import Box
from medview.core.segmentation import LabelEdit, Segmentation
from medview.core.volume import Volume
from medview.imaging.edit import Mask, Patch, has_values


class Where(StrEnum):
    """Where edits reach."""

    EVERYWHERE = "everywhere"
    INSIDE = "inside"
    OUTSIDE = "outside"


class Overlap(StrEnum):
    """What becomes of the voxels of other segments that a segment gains.

    Segments of one segmentation share its labels and form a group. GROUP: the others of the group
    give way, those of other groups are overlapped. ALL: every other segment on the image gives way.
    SPARE: no other segment gives way. SHARE: both have the voxels; a segment that overlaps others
    of its group gets a group of its own.
    """

    GROUP = "group"
    ALL = "all"
    SPARE = "spare"
    SHARE = "share"


@dataclass(frozen=True)
class EditRules:
    """The mask rule and the overlap rule.

    `where` speaks of `segments`, or of all that are seen where none is named. `within` limits
    edits to voxels whose real-world values lie in that closed range; ValueError if it is empty.
    """

    where: Where = Where.EVERYWHERE
    segments: tuple[SegmentRef, ...] = ()
    within: tuple[float, float] | None = None
    overlap: Overlap = Overlap.GROUP

    def __post_init__(self) -> None:
        if self.within is not None and not self.within[0] <= self.within[1]:
            raise ValueError(f"No value lies from {self.within[0]:g} to {self.within[1]:g}")


@dataclass(frozen=True, eq=False)
class Ground:
    """What an edit meets: the image, every segmentation on it, the segments that are seen."""

    volume: Volume
    segmentations: tuple[Segmentation, ...]
    visible: frozenset[SegmentRef]
    rules: EditRules

    def permitted(self, box: Box) -> Mask | None:
        """The voxels of a box that the mask rule lets edits reach; None for all of them."""
        rules, mask = self.rules, None
        if rules.where is not Where.EVERYWHERE:
            inside = self.held(box, rules.segments or self.visible)
            mask = inside if rules.where is Where.INSIDE else ~inside
        if rules.within is not None:
            fits = has_values(self.volume, box, *rules.within)
            mask = fits if mask is None else mask & fits
        return mask

    def gained(self, ref: SegmentRef, patch: Patch) -> Mask:
        """The voxels of a patch that a segment would gain under both rules."""
        own = self.of(ref)
        old = own.labels[patch.box.slices]
        gain = self.reached(patch.box, patch.mask & (old != ref.number))
        barred = self._barred(ref)
        return gain & ~self.held(patch.box, barred) if barred else gain

    def lost(self, ref: SegmentRef, patch: Patch) -> Mask:
        """The voxels of a patch that a segment would lose under the mask rule."""
        old = self.of(ref).labels[patch.box.slices]
        return self.reached(patch.box, patch.mask & (old == ref.number))

    def after(self, ref: SegmentRef, patch: Patch) -> tuple[npt.NDArray[Any], Mask]:
        """The labels of a box once a segment is there the mask of the patch; and what it gains."""
        own, box = self.of(ref), patch.box
        gain = self.gained(ref, patch)
        after = own.labels[box.slices].copy()
        np.putmask(after, self.lost(ref, Patch(box, ~patch.mask)), 0)
        np.putmask(after, gain, ref.number)
        return after, gain

    def become(self, ref: SegmentRef, patch: Patch, title: str) -> tuple[LabelEdit, ...]:
        """The edits that make a segment, within a box, the mask of the patch.

        CommandError if the segment is locked.
        """
        self.require_free(ref)
        own, box = self.of(ref), patch.box
        after, gain = self.after(ref, patch)
        edits = [LabelEdit.between(own, box, after, title)]
        edits += self._give_way(own, box, gain, title)
        return tuple(edit for edit in edits if edit is not None)

    def relabelled(self, uid: str, box: Box, wanted: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The labels of a box of a segmentation once others were wanted there.

        Segments of the group exchange voxels; locked ones keep what they have and gain nothing.
        """
        own = next(one for one in self.segmentations if one.uid == uid)
        old = own.labels[box.slices]
        locked = [segment.number for segment in own.segments if segment.locked]
        changed = wanted != old
        if locked:
            changed &= ~_are(old, locked) & ~_are(wanted, locked)
        changed = self.reached(box, changed)
        others = [ref for ref in self._barred(SegmentRef(uid, 0)) if ref.segmentation_uid != uid]
        if others:
            changed &= ~((wanted != 0) & self.held(box, others))
        return np.where(changed, wanted, old).astype(old.dtype, copy=False)

    def relabel(
        self, uid: str, box: Box, wanted: npt.NDArray[Any], title: str
    ) -> tuple[LabelEdit, ...]:
        """The edits that give a box of a segmentation other labels."""
        own = next(one for one in self.segmentations if one.uid == uid)
        after = self.relabelled(uid, box, wanted)
        gain = (after != 0) & (after != own.labels[box.slices])
        edits = [LabelEdit.between(own, box, after, title)]
        edits += self._give_way(own, box, gain, title)
        return tuple(edit for edit in edits if edit is not None)

    def crowds(self, ref: SegmentRef, patch: Patch) -> bool:
        """Whether to gain a patch means to overlap others of the group, as the rule wants it."""
        if self.rules.overlap is not Overlap.SHARE:
            return False
        old = self.of(ref).labels[patch.box.slices]
        return bool((self.gained(ref, patch) & (old != 0)).any())

    def is_locked(self, ref: SegmentRef) -> bool:
        """Whether a segment neither gains nor loses voxels."""
        return self.of(ref).find_segment(ref.number).locked

    def require_free(self, ref: SegmentRef) -> None:
        """CommandError if a segment is locked."""
        segment = self.of(ref).find_segment(ref.number)
        if segment.locked:
            raise CommandError(f"{segment.label} is locked", "Unlock it in the list of segments.")

    def of(self, ref: SegmentRef) -> Segmentation:
        """The segmentation that a segment is in."""
        return next(one for one in self.segmentations if one.uid == ref.segmentation_uid)

    def reached(self, box: Box, mask: Mask) -> Mask:
        """What of a mask over a box the mask rule lets edits reach."""
        permitted = self.permitted(box)
        return mask if permitted is None else mask & permitted

    def _barred(self, ref: SegmentRef) -> list[SegmentRef]:
        """The segments whose voxels another segment must not gain: locked or spared ones."""
        rule = self.rules.overlap
        barred = []
        for one in self.segmentations:
            near = one.uid == ref.segmentation_uid
            for segment in one.segments:
                takes = rule is Overlap.ALL or (rule is Overlap.GROUP and near)
                if rule is Overlap.SPARE or (segment.locked and takes):
                    barred.append(SegmentRef(one.uid, segment.number))
        return [other for other in barred if other != ref]

    def _give_way(
        self, own: Segmentation, box: Box, gain: Mask, title: str
    ) -> Iterable[LabelEdit | None]:
        """Where all give way: the edits of the other groups."""
        if self.rules.overlap is not Overlap.ALL:
            return
        for one in self.segmentations:
            old = one.labels[box.slices]
            if one is not own and (gain & (old != 0)).any():
                yield LabelEdit.between(one, box, np.where(gain, old.dtype.type(0), old), title)

    def held(self, box: Box, refs: Iterable[SegmentRef]) -> Mask:
        """The voxels of a box that any of these segments has."""
        numbers: dict[str, list[int]] = {}
        for ref in refs:
            numbers.setdefault(ref.segmentation_uid, []).append(ref.number)
        held = np.zeros(box.shape, dtype=np.bool_)
        for one in self.segmentations:
            if one.uid in numbers:
                held |= _are(one.labels[box.slices], numbers[one.uid])
        return held


def _are(labels: npt.NDArray[Any], numbers: Iterable[int]) -> Mask:
    """Where labels are one of some numbers."""
    table = np.zeros(np.iinfo(labels.dtype).max + 1, dtype=np.bool_)
    table[list(numbers)] = True
    mask: Mask = table[labels]
    return mask
