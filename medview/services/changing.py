"""Changing segments under the rules: every effect ends here, as one step of the history."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce

import numpy as np

from medview.core.errors import CommandError
from medview.core.findings import ModelAuthor, Person, Provenance, SegmentRef, new_uid
from medview.core.segmentation import LabelEdit, Segment, Segmentation
from medview.imaging.edit import Patch, delete_segment
from medview.services.edits import (
    AddSegmentation,
    ChangeFindings,
    ChangeSegments,
    Compound,
    Edit,
    FindingStep,
    PaintEdit,
)
from medview.services.rules import EditRules, Ground
from medview.services.viewing import Viewing


def ground_of(viewing: Viewing, ref: SegmentRef) -> Ground:
    """What an edit of a segment meets: the image it lies on, and all segments there."""
    workspace, overlay = viewing.workspace, viewing.overlay
    volume = workspace.volumes[workspace.segmentations[ref.segmentation_uid].volume_uid]
    every = workspace.segmentations_of(volume.uid)
    visible = frozenset(
        SegmentRef(one.uid, number)
        for one in every
        for number, display in overlay.displays(one).items()
        if display.visible
    )
    return Ground(volume, every, visible, rules_on(viewing.toolbox.rules, every))


def rules_on(rules: EditRules, segmentations: Sequence[Segmentation]) -> EditRules:
    """The rules as they hold on an image: segments that are not there are named no more."""
    there = {SegmentRef(one.uid, s.number) for one in segmentations for s in one.segments}
    return replace(rules, segments=tuple(ref for ref in rules.segments if ref in there))


def put(
    viewing: Viewing,
    ref: SegmentRef,
    patch: Patch,
    title: str,
    *,
    adds: bool,
    step: str = "",
    aids: Sequence[ModelAuthor] = (),
) -> bool:
    """Give a patch to a segment, or take it away, under the rules; False if nothing changes.

    A `step` joins it with what was applied before under the same name; `aids` as in `become`.
    """
    segmentation = viewing.workspace.segmentations[ref.segmentation_uid]
    mine = segmentation.labels[patch.box.slices] == ref.number
    mask = mine | patch.mask if adds else mine & ~patch.mask
    return become(viewing, ref, Patch(patch.box, mask), title, step, aids) is not None


def become(
    viewing: Viewing,
    ref: SegmentRef,
    patch: Patch,
    title: str,
    step: str = "",
    aids: Sequence[ModelAuthor] = (),
) -> SegmentRef | None:
    """Make a segment, within a box, the mask of a patch under the rules, as one step.

    Where it is to share voxels with others of its group it moves into a group of its own first.
    `aids` are models that the patch comes from: the segment names them from then on.
    Gives where it is then, None if nothing changes; CommandError for a locked segment.
    """
    step = step or (new_uid() if aids else "")
    ground = ground_of(viewing, ref)
    ground.require_free(ref)
    if ground.crowds(ref, patch):
        step = step or new_uid()
        ref = own_group(viewing, ref, title, step)
        ground = ground_of(viewing, ref)
    changed = apply_changes(viewing, ground.become(ref, patch, title), title, step)
    if changed:
        name_aids(viewing, ref, aids, title, step)
    return ref if changed else None


def name_aids(
    viewing: Viewing, ref: SegmentRef, aids: Sequence[ModelAuthor], title: str, step: str
) -> None:
    """Have a segment name models that its shape comes from, as part of the step that gave it."""

    def aided(one: Segment) -> Segment:
        provenance = reduce(Provenance.aided_by, aids, one.provenance)
        return replace(one, provenance=provenance)

    change_segment(viewing, ref, "", aided, part_of=(title, step))


def clear(viewing: Viewing, ref: SegmentRef, patch: Patch, title: str) -> bool:
    """Take a patch from every segment seen on the image of `ref`, under the mask rule."""
    ground = ground_of(viewing, ref)
    changes: list[LabelEdit] = []
    for one in ground.segmentations:
        old = one.labels[patch.box.slices]
        seen = ground.held(patch.box, (r for r in ground.visible if r.segmentation_uid == one.uid))
        wanted = np.where(patch.mask & seen, old.dtype.type(0), old)
        changes += ground.relabel(one.uid, patch.box, wanted, title)
    return apply_changes(viewing, changes, title)


def own_group(viewing: Viewing, ref: SegmentRef, title: str, step: str = "") -> SegmentRef:
    """Move a segment into a segmentation of its own, where it may overlap all others.

    Its findings follow. CommandError for a model's segment: what a model proposed stays together.
    """
    workspace = viewing.workspace
    old = workspace.segmentations[ref.segmentation_uid]
    segment = old.find_segment(ref.number)
    if not isinstance(segment.provenance.author, Person):
        raise CommandError(
            f"{segment.label} is part of what a model proposed and cannot overlap it",
            "Copy it into a segment of your own first.",
        )
    study_uid = workspace.study_of(old.uid).uid
    labels = np.where(old.labels == ref.number, old.labels, old.labels.dtype.type(0))
    made = Segmentation(old.volume_uid, old.geometry, labels, (segment,), old.title)
    moved = SegmentRef(made.uid, ref.number)
    steps = tuple(
        FindingStep(finding, replace(finding, segment_ref=moved))
        for finding in workspace.findings.values()
        if finding.segment_ref == ref
    )
    rest = tuple(one for one in old.segments if one is not segment)
    cleared = delete_segment(old, ref.number)
    parts: list[Edit] = [AddSegmentation(study_uid, made, title)]
    parts += [ChangeFindings(study_uid, steps, title)] if steps else []
    parts += [PaintEdit(study_uid, cleared)] if cleared is not None else []
    parts.append(ChangeSegments(study_uid, old.uid, old.segments, rest, title))
    workspace.apply(Compound(study_uid, title, tuple(parts), step))
    viewing.overlay.move(ref, moved)
    return moved


def apply_changes(
    viewing: Viewing, changes: Sequence[LabelEdit], title: str, step: str = ""
) -> bool:
    """Apply label edits as one step of the history; False if there are none.

    A `step` joins it with what was applied before under the same name.
    """
    if not changes:
        return False
    study_uid = viewing.workspace.study_of(changes[0].segmentation_uid).uid
    parts = tuple(PaintEdit(study_uid, change, step) for change in changes)
    whole = parts[0] if len(parts) == 1 else Compound(study_uid, title, parts, step)
    viewing.workspace.apply(whole)
    return True


def change_segment(
    viewing: Viewing,
    ref: SegmentRef,
    verb: str,
    changed: Callable[[Segment], Segment],
    *,
    part_of: tuple[str, str] = ("", ""),
) -> None:
    """Change what is said of one segment, as one step, or as `part_of` a larger one.

    That is named by its title and by what joins its parts.
    """
    workspace = viewing.workspace
    segmentation = workspace.segmentations[ref.segmentation_uid]
    old = segmentation.find_segment(ref.number)
    before = segmentation.segments
    after = tuple(changed(one) if one is old else one for one in before)
    if after != before:
        study_uid = workspace.study_of(segmentation.uid).uid
        title, step = part_of
        title = title or f"{verb}: {old.label}"
        workspace.apply(ChangeSegments(study_uid, segmentation.uid, before, after, title, step))
