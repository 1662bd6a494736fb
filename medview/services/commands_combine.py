"""Commands that work between segments: union and difference, copy and paste, mirror; and states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from medview.core.errors import CommandError
from medview.core.findings import ModelAuthor, SegmentRef
from medview.core.geometry import Box, Geometry
from medview.core.segmentation import Segment, SegmentState
from medview.imaging.edit import Mask, Patch, segment_box, sliced
from medview.services import painting
from medview.services.changing import change_segment, put
from medview.services.commands import Command, Registry
from medview.services.effects import Effects, Wish, imaging, normal_of
from medview.services.rules import Ground
from medview.services.terminology import Terminology
from medview.services.viewing import Viewing, plane_of

if TYPE_CHECKING:
    # The bundle builds the registry and calls `register`: it knows this module, not the reverse.
    from medview.services.bundle import Services

_OPERATIONS: dict[str, tuple[str, Callable[[Mask, Mask], Mask]]] = {
    "union": ("Add", lambda mine, other: mine | other),
    "subtract": ("Subtract", lambda mine, other: mine & ~other),
    "intersect": ("Intersect with", lambda mine, other: mine & other),
    "copy": ("Copy", lambda _mine, other: other),
}


@dataclass(frozen=True, eq=False)
class _Clip:
    """What was copied: a mask on a grid, of one slice across an axis or of a whole segment."""

    patch: Patch
    geometry: Geometry
    normal: int | None
    aids: tuple[ModelAuthor, ...]


def register(registry: Registry, services: Services) -> None:
    """Add the commands."""
    viewing, effects = services.viewing, services.effects
    for command in (
        _combine(viewing, effects),
        _invert(viewing, effects),
        _mirror(viewing, effects),
        *_clipboard(viewing),
        *_standing(viewing),
        _classify(viewing, services.terminology),
    ):
        registry.add(command)


def _combine(viewing: Viewing, effects: Effects) -> Command:
    def combine(
        operation: str = "union", other: int | None = None, other_uid: str = "",
        segment: int | None = None,
    ) -> None:  # fmt: skip
        if operation not in _OPERATIONS:
            raise CommandError(f"There is no operation {operation}", ", ".join(_OPERATIONS))
        if other is None:
            raise CommandError("With which other segment?", "Name its number: other=2.")
        ref = painting.find_segment(viewing, segment)
        second = painting.find_segment(viewing, other, other_uid)
        if second == ref:
            raise CommandError("A segment is not combined with itself", "Name another.")
        verb, joined = _OPERATIONS[operation]
        mine, other_one = viewing.overlay.find(ref), viewing.overlay.find(second)

        def wish(ground: Ground) -> Wish:
            masks = [(ground.of(one).labels, one.number) for one in (ref, second)]
            boxes = [segment_box(ground.of(one), one.number) for one in (ref, second)]
            known = [box for box in boxes if box is not None]
            if not known:
                return None
            box = known[0].union(known[-1])
            own, others = (labels[box.slices] == number for labels, number in masks)
            return Patch(box, joined(own, others))

        title = f"{verb} {other_one.label}: {mine.label}"
        effects.work(ref, title, wish, other_one.provenance.models)

    return Command(
        "segment.combine", "Add another segment", combine, enabled=painting.has_segment(viewing),
        menu="Segment",
        help="Join the chosen segment with the one numbered other: operation is union, subtract, "
        "intersect or copy. Who gives way the overlap rule says.",
    )  # fmt: skip


def _invert(viewing: Viewing, effects: Effects) -> Command:
    def invert(segment: int | None = None) -> None:
        ref = painting.find_segment(viewing, segment)

        def wish(ground: Ground) -> Wish:
            labels = ground.of(ref).labels
            return Patch(Box.whole(ground.volume.geometry.shape), labels != ref.number)

        effects.work(ref, f"Invert: {viewing.overlay.find(ref).label}", wish)

    return Command(
        "segment.complement",
        "Turn inside out",
        invert,
        enabled=painting.has_segment(viewing),
        menu="Segment",
        help="The segment becomes all that it was not, as far as the rules allow.",
    )


def _mirror(viewing: Viewing, effects: Effects) -> Command:
    def mirror(plane: str = "sagittal", adds: bool = False, segment: int | None = None) -> None:
        ref = painting.find_segment(viewing, segment)
        at = plane_of(viewing, plane)
        normal = normal_of(viewing, at)
        index = viewing.require_volume().geometry.to_index(viewing.crosshair_lps_mm)[normal]
        twice = int(np.floor(2 * float(index) + 0.5))

        def wish(ground: Ground) -> Wish:
            own = ground.of(ref)
            box = segment_box(own, ref.number)
            if box is None:
                return None
            count = own.geometry.shape[normal]
            mask = own.labels[box.slices] == ref.number
            turned = imaging("shapes").mirrored(mask, box, normal, twice, count)
            whole = box if turned is None else box.union(turned[0])
            wanted = own.labels[whole.slices] == ref.number if adds else np.zeros(whole.shape, bool)
            patch = Patch(whole, wanted)
            return patch if turned is None else patch.union(Patch(*turned))

        effects.work(ref, f"Mirror: {viewing.overlay.find(ref).label}", wish)

    return Command(
        "segment.mirror", "Mirror left and right", mirror, enabled=painting.has_segment(viewing),
        menu="Segment",
        help="Mirror the segment across the slice of a plane at the crosshair; adds keeps what "
        "was there. Put the crosshair into the middle first.",
    )  # fmt: skip


class _Clipboard:
    """The shape copied last."""

    def __init__(self, viewing: Viewing) -> None:
        self._viewing = viewing
        self._held: _Clip | None = None

    @property
    def is_full(self) -> bool:
        """Whether there is something to paste, and an image to paste it on."""
        return self._held is not None and self._viewing.volume is not None

    def copy(self, segment: int | None = None) -> None:
        """Keep a whole segment."""
        self._held = self._clip(painting.find_segment(self._viewing, segment), None)

    def copy_slice(self, plane: str = "", segment: int | None = None) -> None:
        """Keep what it has in one slice."""
        at = plane_of(self._viewing, plane)
        only = (normal_of(self._viewing, at), self._viewing.slice_number(at))
        self._held = self._clip(painting.find_segment(self._viewing, segment), only)

    def paste(self, plane: str = "", segment: int | None = None) -> bool:
        """Add it to a segment; False if that has it all."""
        viewing, clip = self._viewing, self._held
        if clip is None:
            raise CommandError("Nothing was copied")
        if viewing.overlay.active is None and segment is None:
            painting.add_segment(viewing)
        ref = painting.find_segment(viewing, segment)
        geometry = viewing.workspace.segmentations[ref.segmentation_uid].geometry
        if not geometry.agrees_with(clip.geometry):
            raise CommandError(
                "What was copied lies on another grid", "Paste it on the image it comes from."
            )
        patch = clip.patch
        if clip.normal is not None:
            at = plane_of(viewing, plane)
            if normal_of(viewing, at) != clip.normal:
                raise CommandError("The slice was copied in another plane", "Choose that view.")
            patch = _moved(patch, clip.normal, viewing.slice_number(at))
        title = f"Paste: {viewing.overlay.find(ref).label}"
        return put(viewing, ref, patch, title, adds=True, aids=clip.aids)

    def _clip(self, ref: SegmentRef, only: tuple[int, int] | None) -> _Clip:
        own = self._viewing.workspace.segmentations[ref.segmentation_uid]
        box = segment_box(own, ref.number)
        if box is not None and only is not None:
            inside = box.start[only[0]] <= only[1] < box.stop[only[0]]
            box = sliced(box, *only) if inside else None
        if box is None:
            raise CommandError(f"{self._viewing.overlay.find(ref).label} has no voxels here")
        mask: Mask = own.labels[box.slices] == ref.number
        normal = None if only is None else only[0]
        aids = own.find_segment(ref.number).provenance.models
        return _Clip(Patch(box, mask.copy()), own.geometry, normal, aids)


def _clipboard(viewing: Viewing) -> tuple[Command, ...]:
    board, ready = _Clipboard(viewing), painting.has_segment(viewing)
    return (
        Command(
            "segment.copy", "Copy segment", board.copy, enabled=ready, menu="Segment",
            shortcut="Alt+C", context="segments",
            help="Keep the shape of the chosen segment to be pasted into another.",
        ),
        Command(
            "segment.copy_slice", "Copy slice", board.copy_slice, enabled=ready, menu="Segment",
            help="Keep what the chosen segment has in this slice, to be pasted into other slices.",
        ),
        Command(
            "segment.paste", "Paste", board.paste, enabled=lambda: board.is_full, menu="Segment",
            shortcut="Alt+V", context="segments",
            help="Add what was copied to the chosen segment: a segment at its place, a slice in "
            "the slice on show.",
        ),
    )  # fmt: skip


def _moved(patch: Patch, axis: int, number: int) -> Patch:
    """A patch of one slice, in another slice."""
    starts, stops = list(patch.box.start), list(patch.box.stop)
    starts[axis], stops[axis] = number, number + 1
    box = Box((starts[0], starts[1], starts[2]), (stops[0], stops[1], stops[2]))
    return Patch(box, patch.mask)


def _standing(viewing: Viewing) -> tuple[Command, ...]:
    def lock(
        locked: bool | None = None, segment: int | None = None, segmentation_uid: str = ""
    ) -> None:
        ref = painting.find_segment(viewing, segment, segmentation_uid)
        wanted = not viewing.overlay.find(ref).locked if locked is None else bool(locked)
        verb = "Lock" if wanted else "Unlock"
        change_segment(viewing, ref, verb, lambda one: replace(one, locked=wanted))

    def state(state: str = "", segment: int | None = None, segmentation_uid: str = "") -> None:
        """The state named, else the next one."""
        ref = painting.find_segment(viewing, segment, segmentation_uid)
        kinds = tuple(SegmentState)
        after = kinds[(kinds.index(viewing.overlay.find(ref).state) + 1) % len(kinds)]
        try:
            wanted = SegmentState(state) if state else after
        except ValueError:
            raise CommandError(f"There is no state {state}", ", ".join(kinds)) from None
        verb = f"State {wanted.value}"
        change_segment(viewing, ref, verb, lambda one: replace(one, state=wanted))

    ready = painting.has_segment(viewing)
    return (
        Command(
            "segment.lock", "Lock or unlock", lock, enabled=ready, menu="Segment",
            help="A locked segment neither gains nor loses voxels, whatever is done beside it.",
        ),
        Command(
            "segment.state", "Next state of work", state, enabled=ready, menu="Segment",
            help="How far the segment is: not started, in progress, done or flagged.",
        ),
    )  # fmt: skip


def _classify(viewing: Viewing, terminology: Terminology) -> Command:
    def classify(
        type: str = "",  # noqa: A002  (the word of the standard)
        category: str = "",
        colour: bool = True,
        segment: int | None = None,
        segmentation_uid: str = "",
    ) -> None:
        term = terminology.find(type, category)
        if term is None:
            raise CommandError(
                f"No type {type or 'was named'}", "Name a SNOMED CT code of the list."
            )
        ref = painting.find_segment(viewing, segment, segmentation_uid)

        def changed(one: Segment) -> Segment:
            rgb = term.color_rgb if colour else one.color_rgb
            named = term.type.meaning if one.label.startswith("Segment ") else one.label
            return replace(one, category=term.category, type=term.type, color_rgb=rgb, label=named)

        change_segment(viewing, ref, f"Type {term.type.meaning}", changed)

    return Command(
        "segment.classify", "Type of segment", classify, enabled=painting.has_segment(viewing),
        menu="Segment",
        help="Say by its SNOMED CT code, type and category, what the segment is; it takes the "
        "recommended colour unless colour is false.",
    )  # fmt: skip
