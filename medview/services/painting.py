"""Segments by hand: strokes of the brush and eraser, new segments."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

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
from medview.core.segmentation import Segment, Segmentation
from medview.core.tints import tint
from medview.core.views import Plane
from medview.core.volume import Volume
from medview.imaging.edit import Brush, Patch, stroke
from medview.services.changing import clear, ground_of, put
from medview.services.edits import AddSegmentation, ChangeSegments, Edit
from medview.services.previews import StrokePreview
from medview.services.report_desk import UNNAMED
from medview.services.toolbox import BrushOptions
from medview.services.viewing import Viewing

#: What a segment painted by hand is taken for until somebody says more (CID 7150, 7166).
_UNSPECIFIED = Code("85756007", "SCT", "Tissue")


def has_segment(viewing: Viewing) -> Callable[[], bool]:
    """Whether a segment is chosen on an image."""
    return lambda: viewing.volume is not None and viewing.overlay.active is not None


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


def dab(
    viewing: Viewing,
    points_lps_mm: Sequence[Point],
    plane: Plane,
    volume: Volume,
    options: BrushOptions,
) -> Patch | None:
    """The voxels that a stroke of the brush covers, whatever the rules say of them."""
    normal = None if options.sphere else viewing.frame(plane).normal
    brush = Brush(options.radius_mm, normal)
    if options.follows_edges:
        edges = importlib.import_module("medview.imaging.edges")
        found: Patch | None = edges.edge_stroke(volume, points_lps_mm, brush)
        return found
    return stroke(volume.geometry, points_lps_mm, brush)


def preview_stroke(
    viewing: Viewing,
    points_lps_mm: Sequence[Point],
    plane: Plane,
    ref: SegmentRef,
    options: BrushOptions,
    *,
    erases: bool,
) -> StrokePreview | None:
    """What a stroke of the brush will change, under the rules; None if that is nothing."""
    ground = ground_of(viewing, ref)
    patch = dab(viewing, points_lps_mm, plane, ground.volume, options)
    if patch is None:
        return None
    if erases and options.erase_all:
        return StrokePreview("", 0, Patch(patch.box, ground.reached(patch.box, patch.mask)))
    return preview_patch(viewing, ref, patch, erases=erases)


def preview_patch(
    viewing: Viewing, ref: SegmentRef, patch: Patch, *, erases: bool = False
) -> StrokePreview | None:
    """What giving a patch to a segment, or taking it away, will change; None if it is locked."""
    ground = ground_of(viewing, ref)
    if ground.is_locked(ref):
        return None
    mask = ground.lost(ref, patch) if erases else ground.gained(ref, patch)
    number = 0 if erases else ref.number
    return StrokePreview(ref.segmentation_uid, number, Patch(patch.box, mask))


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
    ground = ground_of(viewing, ref)
    patch = dab(viewing, points_lps_mm, plane, ground.volume, options)
    if patch is None:
        return False
    label = viewing.overlay.find(ref).label
    if erases and options.erase_all:
        return clear(viewing, ref, patch, "Erase")
    return put(
        viewing, ref, patch, f"Erase: {label}" if erases else f"Paint: {label}", adds=not erases
    )


def add_segment(
    viewing: Viewing, label: str = "", *, title: str = "", step: str = ""
) -> SegmentRef:
    """A new, empty segment of the reader's own, chosen for painting.

    It joins the segmentation the reader painted in last, or the reader's first one on this
    volume; models' segmentations are left alone. As a part of a larger step it goes by the
    `title` of that. CommandError where no image is shown.
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
    title = title or f"Add {segment.label}"
    edit: Edit
    if segmentation is None:
        labels = np.zeros(volume.geometry.shape, dtype=np.uint8)
        made = Segmentation(volume.uid, volume.geometry, labels, (segment,), "Drawn by hand")
        edit, uid = AddSegmentation(study_uid, made, title, step), made.uid
    else:
        if number > np.iinfo(segmentation.labels.dtype).max:
            raise CommandError(f"This segmentation holds no more than {number - 1} segments")
        old = segmentation.segments
        uid = segmentation.uid
        edit = ChangeSegments(study_uid, uid, old, (*old, segment), title, step)
    viewing.workspace.apply(edit)
    ref = SegmentRef(uid, number)
    viewing.overlay.select(ref)
    return ref


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
