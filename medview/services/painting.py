"""Segments by hand: strokes of the brush and eraser, new segments, holes filled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medview.core.codes import TISSUE, Code
from medview.core.errors import CommandError
from medview.core.findings import (
    Person,
    Point,
    Provenance,
    Review,
    ReviewState,
    SegmentRef,
    utc_now,
)
from medview.core.segmentation import LabelEdit, Segment, Segmentation
from medview.core.tints import tint
from medview.core.views import Plane
from medview.imaging.edit import Brush, Patch, fill_holes, stroke, within_values
from medview.services.edits import AddSegmentation, ChangeSegments, Edit, PaintEdit
from medview.services.report_desk import UNNAMED
from medview.services.toolbox import BrushOptions
from medview.services.viewing import Viewing

#: What a segment painted by hand is taken for until somebody says more (CID 7150, 7166).
_UNSPECIFIED = Code("85756007", "SCT", "Tissue")


def find_segment(
    viewing: Viewing, number: int | None = None, segmentation_uid: str = ""
) -> SegmentRef:
    """The segment meant by a number on the volume on show; the active one without a number.

    Without a UID the active segmentation is looked in first, then the others in the order they
    came. CommandError if there is none.
    """
    active = viewing.overlay.active
    if number is None:
        if active is None:
            raise CommandError("No segment is chosen", "Add a segment, or choose one in the list.")
        return active
    known = list(viewing.overlay.segmentations)
    if active is not None:
        known.sort(key=lambda s: s.uid != active.segmentation_uid)
    for segmentation in known:
        if segmentation_uid in ("", segmentation.uid):
            for segment in segmentation.segments:
                if segment.number == number:
                    return SegmentRef(segmentation.uid, number)
    raise CommandError(f"There is no segment {number} on this image")


def reached(
    viewing: Viewing,
    points_lps_mm: Sequence[Point],
    plane: Plane,
    ref: SegmentRef,
    options: BrushOptions,
    *,
    erases: bool,
) -> Patch | None:
    """The voxels that a stroke of the brush will change; None if there are none.

    The one rule for what is previewed while dragging and what is done at release.
    """
    segmentation = viewing.workspace.segmentations[ref.segmentation_uid]
    volume = viewing.workspace.volumes[segmentation.volume_uid]
    normal = None if options.sphere else viewing.frame(plane).normal
    patch = stroke(segmentation.geometry, points_lps_mm, Brush(options.radius_mm, normal))
    if patch is None:
        return None
    old = segmentation.labels[patch.box.slices]
    if erases:
        wanted = old != 0 if options.erase_all else old == ref.number
    else:
        wanted = old != ref.number if options.over_others else old == 0
    patch = Patch(patch.box, patch.mask & wanted)
    if options.within is not None and not erases:
        patch = within_values(volume, patch, *options.within)
    return patch if patch.mask.any() else None


def apply_stroke(
    viewing: Viewing,
    points_lps_mm: Sequence[Point],
    plane: Plane,
    ref: SegmentRef,
    options: BrushOptions,
    *,
    erases: bool,
) -> bool:
    """Paint or erase along a path as one undoable step; False if nothing changes."""
    patch = reached(viewing, points_lps_mm, plane, ref, options, erases=erases)
    if patch is None:
        return False
    segmentation = viewing.workspace.segmentations[ref.segmentation_uid]
    label = segmentation.find_segment(ref.number).label
    after = segmentation.labels[patch.box.slices].copy()
    after[patch.mask] = 0 if erases else ref.number
    title = f"Erase: {label}" if erases else f"Paint: {label}"
    return _apply(viewing, LabelEdit.between(segmentation, patch.box, after, title))


def fill(viewing: Viewing, ref: SegmentRef, plane: Plane, *, everywhere: bool) -> bool:
    """Fill the holes of a segment in the slice on show, or in all slices of the plane."""
    segmentation = viewing.workspace.segmentations[ref.segmentation_uid]
    only = None if everywhere else viewing.slice_number(plane)
    normal = viewing.frame(plane).normal
    return _apply(viewing, fill_holes(segmentation, ref.number, normal, only))


def add_segment(viewing: Viewing, label: str = "") -> SegmentRef:
    """A new, empty segment of the reader's own, chosen for painting.

    It joins the segmentation the reader painted in last, or the reader's first one on this
    volume; models' segmentations are left alone. CommandError where no image is shown.
    """
    volume = viewing.require_volume()
    own = [s for s in viewing.overlay.segmentations if _is_own(s)]
    active = viewing.overlay.active
    chosen = [s for s in own if active is not None and s.uid == active.segmentation_uid]
    segmentation = next(iter(chosen or own), None)
    taken = [segment.number for segment in segmentation.segments] if segmentation else []
    number = max(taken, default=0) + 1
    segment = _new_segment(viewing, number, label or f"Segment {number}")
    study_uid = viewing.workspace.study_of(volume.uid).uid
    edit: Edit
    if segmentation is None:
        labels = np.zeros(volume.geometry.shape, dtype=np.uint8)
        made = Segmentation(volume.uid, volume.geometry, labels, (segment,), "Drawn by hand")
        edit, uid = AddSegmentation(study_uid, made, f"Add {segment.label}"), made.uid
    else:
        if number > np.iinfo(segmentation.labels.dtype).max:
            raise CommandError(f"This segmentation holds no more than {number - 1} segments")
        old = segmentation.segments
        uid = segmentation.uid
        title = f"Add {segment.label}"
        edit = ChangeSegments(study_uid, uid, old, (*old, segment), title)
    viewing.workspace.apply(edit)
    ref = SegmentRef(uid, number)
    viewing.overlay.select(ref)
    return ref


def _apply(viewing: Viewing, change: LabelEdit | None) -> bool:
    if change is None:
        return False
    study_uid = viewing.workspace.study_of(change.segmentation_uid).uid
    viewing.workspace.apply(PaintEdit(study_uid, change))
    return True


def _is_own(segmentation: Segmentation) -> bool:
    """Whether a person began it."""
    return all(isinstance(s.provenance.author, Person) for s in segmentation.segments)


def _new_segment(viewing: Viewing, number: int, label: str) -> Segment:
    """Accepted from the start: the reader's own work is no proposal."""
    reader = viewing.workspace.reader or UNNAMED
    now = utc_now()
    return Segment(
        number=number,
        label=label,
        category=TISSUE,
        type=_UNSPECIFIED,
        color_rgb=tint(number - 1),
        provenance=Provenance(Person(reader), now),
        review=Review(ReviewState.EDITED, reader, now),
    )
