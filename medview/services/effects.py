"""Effects on segments: worked out beside the window's thread, applied as one step under the rules.

An effect is a function from the labels as they are to a mask, or to other labels, over a box. What
it gives is dropped where the labels changed while it was at work.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medview.core.errors import Cancelled, CommandError, MedviewError
from medview.core.events import Level, StudyClosed, ViewChanged
from medview.core.findings import ModelAuthor, SegmentRef, new_uid
from medview.core.geometry import Box, Geometry
from medview.core.segmentation import LabelEdit
from medview.core.views import Plane
from medview.imaging.edit import Mask, Patch, has_values, segment_box
from medview.services.changing import apply_changes, become, ground_of, name_aids, put
from medview.services.painting import add_segment
from medview.services.previews import LabelsPreview, PatchPreview, Preview, RangePreview
from medview.services.rules import Ground
from medview.services.tasks import Task, Tasks
from medview.services.viewing import Viewing

#: A segment is parted into no more segments than this at once.
MOST_PARTS = 40

#: Over a box: from the mask of a segment and the grid of the box to another mask.
Shape = Callable[[Mask, Geometry], Mask]
#: From the mask of a segment over its box to parts of it.
PartsOf = Callable[[Mask, Box], list[Mask]]
#: What an effect wants: a patch that the segment becomes, or labels of a box; None: nothing.
Wish = Patch | tuple[Box, npt.NDArray[Any]] | None


@dataclass(frozen=True, eq=False)
class _Outcome:
    """What an effect came to: the edits, and for a segment that must move first its patch."""

    changes: tuple[LabelEdit, ...] = ()
    crowded: Patch | None = None


class Effects:
    """Runs effects and holds the preview that waits for the reader.

    One effect is at work at a time: `busy` names it, `cancel` ends it. `preview` is drawn over the
    slices until `accept` or `drop`.
    """

    def __init__(self, viewing: Viewing, tasks: Tasks) -> None:
        self._viewing = viewing
        self._tasks = tasks
        self._task: Task | None = None
        self._busy = ""
        self._preview: Preview | None = None
        self._title = ""
        self._stamps: dict[str, int] = {}
        viewing.workspace.events.study_closed.connect(self._forget)

    @property
    def busy(self) -> str:
        """The effect at work, "" for none."""
        return self._busy

    @property
    def preview(self) -> Preview | None:
        """What waits to be accepted; None where it is no longer true, or on another image."""
        preview = self._preview
        if preview is None or self._moved_on():
            return None
        on_show = {one.uid for one in self._viewing.overlay.segmentations}
        return preview if preview.segmentation_uid in on_show else None

    # Working

    def reshape(self, ref: SegmentRef, title: str, reach_mm: float, shape: Shape) -> None:
        """Give a segment another shape, worked out over its box with `reach_mm` around it.

        CommandError if it is locked or has no voxel yet.
        """

        def wish(ground: Ground) -> Wish:
            own = ground.of(ref)
            box = segment_box(own, ref.number)
            if box is None:
                label = own.find_segment(ref.number).label
                raise CommandError(f"{label} has no voxels yet", "Paint it first.")
            wide = widened(own.geometry, box, reach_mm)
            mask = own.labels[wide.slices] == ref.number
            return Patch(wide, shape(mask, own.geometry.cropped(wide)))

        self.work(ref, title, wish)

    def work(
        self,
        ref: SegmentRef,
        title: str,
        wish: Callable[[Ground], Wish],
        aids: Sequence[ModelAuthor] = (),
    ) -> None:
        """Work a wish out and grant it; `aids` are models whose shapes go into it.

        CommandError while another effect is at work.
        """
        ground = self._begin(ref, title)
        self._task = self._tasks.run(
            _worked_out, ground, ref, title, wish,
            on_done=lambda outcome: self._grant(ref, title, outcome, aids), on_error=self._failed,
        )  # fmt: skip

    def part(self, ref: SegmentRef, title: str, parts_of: Callable[[Ground], list[Patch]]) -> None:
        """Make segments of the reader's own out of parts of a segment, which loses them."""
        ground = self._begin(ref, title)
        self._task = self._tasks.run(
            parts_of, ground,
            on_done=lambda parts: self._take_parts(ref, title, parts), on_error=self._failed,
        )  # fmt: skip

    def cancel(self) -> None:
        """End the effect at work; nothing was changed yet."""
        if self._task is not None:
            self._task.cancel()
            self._end()

    # Previews

    def preview_range(self, ref: SegmentRef, low: float, high: float) -> None:
        """Show a segment as all voxels with values from `low` to `high`; CommandError if none."""
        if not low <= high:
            raise CommandError(f"No value lies from {low:g} to {high:g}")
        ground = ground_of(self._viewing, ref)
        ground.require_free(ref)
        self._show(RangePreview(ground, ref, low, high), "Threshold", ground)

    def preview_labels(
        self, ref: SegmentRef, title: str, wish: Callable[[Ground], tuple[Box, npt.NDArray[Any]]]
    ) -> None:
        """Work other labels out and show them."""
        ground = self._begin(ref, title)

        def show(found: tuple[Box, npt.NDArray[Any]]) -> None:
            self._end()
            if self._moved_on():
                self._tell_dropped(title)
                return
            uid = ref.segmentation_uid
            after = ground.relabelled(uid, *found)
            self._show(LabelsPreview(uid, found[0], after), title, ground)

        self._task = self._tasks.run(wish, ground, on_done=show, on_error=self._failed)

    def offer(
        self,
        ref: SegmentRef,
        title: str,
        patch: Patch,
        ground: Ground,
        aids: tuple[ModelAuthor, ...] = (),
    ) -> Preview:
        """Show a segment as the mask of a patch that was worked out on a ground elsewhere.

        Models that had a part in it are named by the segment once the preview is accepted.
        """
        preview = PatchPreview.of(ground, ref, patch, aids)
        self._show(preview, title, ground)
        return preview

    def accept(self) -> None:
        """Do what the preview shows. CommandError if none waits."""
        preview = self.preview
        if preview is None:
            raise CommandError("No preview waits to be accepted")
        title = self._title
        self.drop()
        if isinstance(preview, RangePreview):
            low, high, ref = preview.low, preview.high, preview.ref
            label = self._viewing.overlay.find(ref).label

            def everywhere(ground: Ground) -> Wish:
                box = Box.whole(ground.volume.geometry.shape)
                return Patch(box, has_values(ground.volume, box, low, high))

            self.work(ref, f"{title}: {label}", everywhere)
        elif isinstance(preview, PatchPreview):
            become(self._viewing, preview.ref, preview.patch, title, aids=preview.aids)
        elif isinstance(preview, LabelsPreview):
            one = self._viewing.workspace.segmentations[preview.segmentation_uid]
            change = LabelEdit.between(one, preview.box, preview.labels, title)
            apply_changes(self._viewing, () if change is None else (change,), title)

    def drop(self) -> None:
        """Forget the preview."""
        if self._preview is not None:
            self._preview = None
            self._viewing.workspace.emit(ViewChanged())

    def _show(self, preview: Preview, title: str, ground: Ground) -> None:
        self._preview, self._title = preview, title
        self._stamps = {one.uid: one.revision for one in ground.segmentations}
        self._viewing.workspace.emit(ViewChanged())

    # The course of an effect

    def _begin(self, ref: SegmentRef, title: str) -> Ground:
        if self._busy:
            raise CommandError(f"“{self._busy}” is still at work", "Wait for it, or cancel it.")
        ground = ground_of(self._viewing, ref)
        ground.require_free(ref)
        self._preview = None
        self._busy = title
        self._stamps = {one.uid: one.revision for one in ground.segmentations}
        self._viewing.workspace.emit(ViewChanged())
        return ground

    def _end(self) -> None:
        self._task, self._busy = None, ""
        self._viewing.workspace.emit(ViewChanged())

    def _moved_on(self) -> bool:
        """Whether any label that was looked at is another by now."""
        known = self._viewing.workspace.segmentations
        return any(
            uid not in known or known[uid].revision != stamp for uid, stamp in self._stamps.items()
        )

    def _grant(
        self, ref: SegmentRef, title: str, outcome: _Outcome, aids: Sequence[ModelAuthor]
    ) -> None:
        self._end()
        step = new_uid() if aids else ""
        if self._moved_on():
            self._tell_dropped(title)
        elif outcome.crowded is not None:
            become(self._viewing, ref, outcome.crowded, title, step, aids)
        elif apply_changes(self._viewing, outcome.changes, title, step):
            name_aids(self._viewing, ref, aids, title, step)
        else:
            self._viewing.workspace.notify(Level.INFO, f"“{title}” changes nothing here")

    def _take_parts(self, ref: SegmentRef, title: str, parts: list[Patch]) -> None:
        self._end()
        if self._moved_on():
            self._tell_dropped(title)
            return
        if not parts:
            self._viewing.workspace.notify(Level.INFO, f"“{title}” changes nothing here")
            return
        whole, step = self._viewing.overlay.find(ref), new_uid()
        for number, patch in enumerate(parts, 2):
            put(self._viewing, ref, patch, title, adds=False, step=step)
            made = add_segment(self._viewing, f"{whole.label} {number}", title=title, step=step)
            aids = whole.provenance.models
            put(self._viewing, made, patch, title, adds=True, step=step, aids=aids)
        self._viewing.overlay.select(ref)

    def _tell_dropped(self, title: str) -> None:
        self._viewing.workspace.notify(
            Level.WARNING, f"“{title}” was dropped: the labels changed meanwhile", "Do it again."
        )

    def _failed(self, error: MedviewError) -> None:
        if isinstance(error, Cancelled):
            return
        self._end()
        self._viewing.workspace.notify(Level.WARNING, error.user_text, error.hint)

    def _forget(self, _event: StudyClosed) -> None:
        self._preview = None


def widened(geometry: Geometry, box: Box, reach_mm: float) -> Box:
    """A box with a distance around it, held to the grid."""
    steps = np.linalg.norm(geometry.inverse[:3, :3], axis=1) * reach_mm
    reach = np.ceil(steps).astype(int) + 1
    low = np.maximum(np.array(box.start) - reach, 0)
    high = np.minimum(np.array(box.stop) + reach, geometry.shape)
    return Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))


def imaging(name: str) -> Any:
    """A module of imaging that is slow to import, when it is needed."""
    return importlib.import_module(f"medview.imaging.{name}")


def normal_of(viewing: Viewing, plane: Plane) -> int:
    """The grid axis across the slices of a plane."""
    return viewing.frame(plane).normal


def parts_within(ground: Ground, ref: SegmentRef, parts_of: PartsOf) -> list[Patch]:
    """Parts of a segment as patches; none where a part would be all of it or nothing.

    CommandError for more than `MOST_PARTS`.
    """
    own = ground.of(ref)
    box = segment_box(own, ref.number)
    if box is None:
        return []
    mask = own.labels[box.slices] == ref.number
    parts = [part for part in parts_of(mask, box) if part.any()]
    if len(parts) > MOST_PARTS:
        raise CommandError(
            f"The segment has {len(parts) + 1} islands", "Remove the small ones first."
        )
    return [Patch(box, part) for part in parts if not np.array_equal(part, mask)]


def _worked_out(
    ground: Ground, ref: SegmentRef, title: str, wish: Callable[[Ground], Wish]
) -> _Outcome:
    """On the pool: the wish, and the edits that grant it."""
    wanted = wish(ground)
    if wanted is None:
        return _Outcome()
    if isinstance(wanted, Patch):
        if ground.crowds(ref, wanted):
            return _Outcome(crowded=wanted)
        return _Outcome(ground.become(ref, wanted, title))
    return _Outcome(ground.relabel(ref.segmentation_uid, *wanted, title))
