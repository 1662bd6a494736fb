"""Sizes and boxes of segments that follow the pen: counted once, kept up by what edits change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medview.core.geometry import Box
from medview.core.segmentation import LabelEdit, Segmentation
from medview.imaging.edit import Mask, segment_box
from medview.imaging.measure import count_change


class SegmentSizes:
    """Voxels of segments and the boxes around them; a stroke costs its box, not the whole grid.

    What is known holds for one revision of a segmentation; an edit that follows directly is added.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, int], tuple[int, int]] = {}
        self._boxes: dict[tuple[str, int], tuple[int, Box | None]] = {}

    def of(self, segmentation: Segmentation, number: int, edits: Sequence[LabelEdit] = ()) -> int:
        """Voxels after `edits`, the latest changes to that segmentation."""
        key = (segmentation.uid, number)
        revision, count = self._counts.get(key, (-1, 0))
        if revision >= 0 and revision == segmentation.revision - len(edits):
            count += sum(count_change(edit).get(number, 0) for edit in edits)
        elif revision != segmentation.revision:
            count = sum(int(np.count_nonzero(layer == number)) for layer in segmentation.labels)
        self._counts[key] = (segmentation.revision, count)
        return count

    def box(
        self, segmentation: Segmentation, number: int, edits: Sequence[LabelEdit] = ()
    ) -> Box | None:
        """The box around a segment after `edits`; None where it has no voxel.

        It is looked for only where an edit took voxels at a face of the box, and within that.
        """
        key = (segmentation.uid, number)
        revision, box = self._boxes.get(key, (-1, None))
        if revision >= 0 and revision == segmentation.revision - len(edits):
            follows = True
            for edit in edits:
                gained, lost = _moved(edit, number)
                follows = follows and (lost is None or (box is not None and _within(lost, box)))
                box = gained if box is None else box if gained is None else box.union(gained)
        else:
            follows = revision == segmentation.revision
            box = box if follows else None
        if not follows:
            box = segment_box(segmentation, number, within=box)
        self._boxes[key] = (segmentation.revision, box)
        return box


def _moved(edit: LabelEdit, number: int) -> tuple[Box | None, Box | None]:
    """The boxes of what a segment gains by an edit, and of what it loses."""
    before, after = edit.labels_before() == number, edit.labels_after() == number
    return _placed(edit, after & ~before), _placed(edit, before & ~after)


def _placed(edit: LabelEdit, mask: Mask) -> Box | None:
    found = Box.of(mask)
    if found is None:
        return None
    low, high = (
        tuple(a + b for a, b in zip(edit.box.start, corner, strict=True))
        for corner in (found.start, found.stop)
    )
    return Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))


def _within(inner: Box, outer: Box) -> bool:
    """Whether one box lies in another without touching a face of it."""
    low = all(a > b for a, b in zip(inner.start, outer.start, strict=True))
    return low and all(a < b for a, b in zip(inner.stop, outer.stop, strict=True))
