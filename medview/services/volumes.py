"""Sizes of segments that follow the pen: counted once, then kept up by what edits change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medview.core.segmentation import LabelEdit, Segmentation
from medview.imaging.measure import count_change


class SegmentSizes:
    """Voxels of segments; a stroke costs its box, not the whole grid.

    Counts hold for one revision of a segmentation; an edit that follows directly is added.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, int], tuple[int, int]] = {}

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
