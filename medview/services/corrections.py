"""Corrections: how far a reader's labels have moved away from what a model proposed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from medview.core.codes import AREA
from medview.core.events import SegmentationChanged, StudyClosed, ViewChanged
from medview.core.findings import Finding
from medview.imaging.agreement import Overlap
from medview.imaging.measure import size_again
from medview.services.originals import Originals, count_changes
from medview.services.tasks import Tasks
from medview.services.workspace import Workspace

#: A reader who paints has paused for so long before it is counted.
_PAUSE_S = 0.4


@dataclass(frozen=True)
class Correction:
    """A structure now against the model's original: Dice, and the change of its volume.

    `change` is a share of the original's volume, or of what `what` names, None where that had none.
    """

    dice: float
    change: float | None
    what: str = "volume"


class Corrections:
    """Counts beside the window's thread what edits changed; sends ViewChanged when it is known."""

    def __init__(self, workspace: Workspace, originals: Originals, tasks: Tasks) -> None:
        self._workspace = workspace
        self.originals = originals
        self._tasks = tasks
        self._counts: dict[str, Mapping[int, Overlap]] = {}
        self._due: set[str] = set()
        originals.on_back = self.recount
        workspace.events.segmentation_changed.connect(self._on_changed)
        workspace.events.study_closed.connect(self._forget)

    def of(self, finding: Finding) -> Correction | None:
        """What the reader changed of a finding's structure; None: nothing, or not counted yet."""
        ref = finding.segment_ref
        segmentation = self._workspace.segmentations.get(ref.segmentation_uid) if ref else None
        if ref is None or segmentation is None:
            return None
        counted = self._counts.get(ref.segmentation_uid, {}).get(ref.number)
        sizes = [(m, size_again(m, 1, segmentation)) for m in finding.measurements]
        size, one = next(((m, one) for m, one in sizes if one), (None, None))
        if counted is None or size is None or not one:
            return None
        # What lies beyond the patches is in both: so much of it as the volume has left over.
        now = round(size.value / one)
        same = max(0, now - counted.second)
        whole = Overlap(same + counted.first, same + counted.second, same + counted.both)
        if whole.first == whole.second == whole.both:
            return None
        change = whole.second / whole.first - 1 if whole.first else None
        return Correction(whole.dice, change, "area" if size.kind == AREA else "volume")

    def recount(self, segmentation_uid: str) -> None:
        """Count soon what edits changed in a segmentation; nothing where they did not."""
        if segmentation_uid in self._due or self.originals.changed(segmentation_uid) is None:
            return
        self._due.add(segmentation_uid)
        self._tasks.after(_PAUSE_S, partial(self._count, segmentation_uid))

    def _on_changed(self, event: SegmentationChanged) -> None:
        self.recount(event.uid)

    def _count(self, uid: str) -> None:
        self._due.discard(uid)
        segmentation = self._workspace.segmentations.get(uid)
        original = self.originals.changed(uid)
        if segmentation is None or original is None:
            return

        def take(counts: Mapping[int, Overlap]) -> None:
            if uid in self._workspace.segmentations:
                self._counts[uid] = counts
                self._workspace.emit(ViewChanged())

        self._tasks.run(count_changes, segmentation.labels, original.patches, on_done=take)

    def _forget(self, _event: StudyClosed) -> None:
        known = self._workspace.segmentations
        self._counts = {uid: counts for uid, counts in self._counts.items() if uid in known}
