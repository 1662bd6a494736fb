"""Commands for what is drawn around segments: contours, scissors, lines of equal values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from medview.core.errors import CommandError
from medview.core.findings import Point, SegmentRef
from medview.core.geometry import Box
from medview.core.views import Plane
from medview.imaging.edit import Mask, Patch, segment_box
from medview.imaging.outlined import contour, seen_within
from medview.services import painting
from medview.services.changing import clear, put
from medview.services.commands import Command, Registry
from medview.services.effects import Effects, Wish, imaging
from medview.services.rules import Ground
from medview.services.toolbox import Cut
from medview.services.viewing import Viewing, plane_of

if TYPE_CHECKING:
    # The bundle builds the registry and calls `register`: it knows this module, not the reverse.
    from medview.services.bundle import Services


def register(registry: Registry, services: Services) -> None:
    """Add the commands."""
    viewing, effects = services.viewing, services.effects
    for command in (
        _contour(viewing),
        _cut(viewing),
        _cut_3d(viewing, effects),
        _trace(viewing),
        _scissors(viewing),
    ):
        registry.add(command)


def _points(points: Sequence[Sequence[float]]) -> list[Point]:
    try:
        given = [(float(x), float(y), float(z)) for x, y, z in points]
    except (TypeError, ValueError) as error:
        raise CommandError("Points are three numbers each: x, y, z in LPS mm") from error
    if len(given) < 3:
        raise CommandError("An outline needs three points at least")
    return given


def _painted(viewing: Viewing, segment: int | None, *, erases: bool) -> SegmentRef:
    """The segment meant, or a new one where there is none yet and something is drawn."""
    if viewing.overlay.active is None and segment is None and not erases:
        painting.add_segment(viewing)
    return painting.find_segment(viewing, segment)


def _contour(viewing: Viewing) -> Command:
    def draw(
        points_lps_mm: Sequence[Sequence[float]] = (),
        plane: str = "",
        erases: bool = False,
        segment: int | None = None,
    ) -> bool:
        normal = viewing.frame(plane_of(viewing, plane)).normal
        points = _points(points_lps_mm)
        patch = contour(viewing.require_volume().geometry, points, normal, None)
        if patch is None:
            return False
        ref = _painted(viewing, segment, erases=erases)
        label = viewing.overlay.find(ref).label
        title = f"Erase contour: {label}" if erases else f"Contour: {label}"
        return put(viewing, ref, patch, title, adds=not erases)

    return Command(
        "segment.contour",
        "Draw contour",
        draw,
        enabled=lambda: viewing.volume is not None,
        help="Fill the closed outline points_lps_mm in the slice of a plane, or clear it.",
    )


def _cut(viewing: Viewing) -> Command:
    def run(
        points_lps_mm: Sequence[Sequence[float]] = (),
        plane: str = "",
        what: str = "",
        everything: bool = False,
        segment: int | None = None,
    ) -> bool:
        cut = _cut_of(viewing, what)
        frame = viewing.frame(plane_of(viewing, plane))
        geometry, points = viewing.require_volume().geometry, _points(points_lps_mm)
        ref = painting.find_segment(viewing, segment)
        span = _span(viewing, ref, frame.normal, whole=everything or cut is Cut.FILL)
        if span is None:
            return False
        patch = contour(geometry, points, frame.normal, span)
        if cut is Cut.KEEP:
            patch = _beyond(viewing, ref, patch)
        if patch is None:
            return False
        label = viewing.overlay.find(ref).label
        if everything and cut is Cut.ERASE:
            return clear(viewing, ref, patch, "Cut out of all segments")
        return put(viewing, ref, patch, f"Scissors ({cut}): {label}", adds=cut is Cut.FILL)

    return Command(
        "segment.cut", "Scissors", run,
        enabled=painting.has_segment(viewing),
        help="Cut along the outline points_lps_mm through all slices of a plane: what is erase, "
        "keep or fill; everything erases from all segments that are seen.",
    )  # fmt: skip


def _scissors(viewing: Viewing) -> Command:
    def choose(what: str = "") -> None:
        kinds = tuple(Cut)
        after = kinds[(kinds.index(viewing.toolbox.cut) + 1) % len(kinds)]
        viewing.toolbox.set_cut(_cut_of(viewing, what) if what else after)

    return Command(
        "brush.scissors",
        "Next use of scissors",
        choose,
        menu="Segment",
        help="What the scissors do within their outline: erase, keep or fill.",
    )


def _cut_of(viewing: Viewing, what: str) -> Cut:
    """What scissors do by name; as they are set without one."""
    try:
        return Cut(what) if what else viewing.toolbox.cut
    except ValueError:
        raise CommandError(f"Scissors do not {what}", ", ".join(Cut)) from None


def _span(viewing: Viewing, ref: SegmentRef, normal: int, *, whole: bool) -> tuple[int, int] | None:
    """Through which slices scissors go: those of the segment, or all."""
    own = viewing.workspace.segmentations[ref.segmentation_uid]
    if whole:
        return 0, own.geometry.shape[normal]
    box = segment_box(own, ref.number)
    return None if box is None else (box.start[normal], box.stop[normal])


def _beyond(viewing: Viewing, ref: SegmentRef, patch: Patch | None) -> Patch | None:
    """What a segment has outside a patch."""
    own = viewing.workspace.segmentations[ref.segmentation_uid]
    box = segment_box(own, ref.number)
    if box is None:
        return None
    mask: Mask = own.labels[box.slices] == ref.number
    if patch is None:
        return Patch(box, mask)
    whole = Patch(box, np.zeros(box.shape, dtype=np.bool_)).union(patch)
    offset = np.array(box.start) - whole.box.start
    inner = tuple(slice(int(o), int(o) + n) for o, n in zip(offset, box.shape, strict=True))
    return Patch(box, mask & ~whole.mask[inner])


def _cut_3d(viewing: Viewing, effects: Effects) -> Command:
    def cut(
        outline: Sequence[Sequence[float]] = (),
        to_view: Sequence[Sequence[float]] = (),
        what: str = "erase",
        segment: int | None = None,
    ) -> None:
        kind = _cut_of(viewing, what)
        if kind is Cut.FILL:
            raise CommandError("Scissors in 3D do not fill", "erase, keep")
        ref = painting.find_segment(viewing, segment)
        matrix, corners = _matrix(to_view), np.asarray(outline, dtype=np.float64).reshape(-1, 2)
        if len(corners) < 3:
            raise CommandError("An outline needs three points at least")

        def wish(ground: Ground) -> Wish:
            own = ground.of(ref)
            box: Box | None = segment_box(own, ref.number)
            if box is None:
                return None
            seen = seen_within(own.geometry, box, matrix, corners)
            mine = own.labels[box.slices] == ref.number
            return Patch(box, mine & ~seen if kind is Cut.ERASE else mine & seen)

        label = viewing.overlay.find(ref).label
        effects.work(ref, f"Scissors in 3D ({kind}): {label}", wish)

    return Command(
        "segment.cut_3d", "Scissors in 3D", cut,
        enabled=painting.has_segment(viewing),
        help="Cut along an outline drawn on the 3D view, through all that is behind it; to_view "
        "takes LPS mm to the view (4x4).",
    )  # fmt: skip


def _matrix(rows: Sequence[Sequence[float]]) -> npt.NDArray[np.float64]:
    matrix = np.asarray(rows, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise CommandError("A view is 16 numbers, four rows of four")
    return matrix


def _trace(viewing: Viewing) -> Command:
    def trace(
        point_lps_mm: Sequence[float] | None = None,
        plane: str = "",
        erases: bool = False,
        segment: int | None = None,
    ) -> bool:
        point = viewing.crosshair_lps_mm if point_lps_mm is None else tuple(point_lps_mm)
        patch = level_patch(viewing, point, plane_of(viewing, plane))
        if patch is None:
            raise CommandError(
                "No line of equal values closes around this point", "Try one nearer the border."
            )
        ref = _painted(viewing, segment, erases=erases)
        label = viewing.overlay.find(ref).label
        return put(viewing, ref, patch, f"Level trace: {label}", adds=not erases)

    return Command(
        "segment.trace",
        "Level trace at the crosshair",
        trace,
        menu="Segment",
        enabled=lambda: viewing.volume is not None,
        help="Fill what the line of equal values through a point of the slice encloses.",
    )


def level_patch(viewing: Viewing, point_lps_mm: Sequence[float], plane: Plane) -> Patch | None:
    """What the line of equal values through a point encloses in its slice; None if it is open."""
    volume, frame = viewing.require_volume(), viewing.frame(plane)
    index = np.floor(volume.geometry.to_index(point_lps_mm) + 0.5).astype(int)
    if (index < 0).any() or (index >= volume.geometry.shape).any() or volume.channels > 1:
        return None
    number = int(index[frame.normal])
    values = np.asarray(volume.value_of(frame.pixels(volume.voxels, number)), dtype=np.float64)
    place = int(index[frame.down_axis]), int(index[frame.right_axis])
    area: Mask | None = imaging("edges").traced(values, place)
    if area is None:
        return None
    flat = area.T if frame.down_axis > frame.right_axis else area
    starts, stops = [0, 0, 0], list(volume.geometry.shape)
    starts[frame.normal], stops[frame.normal] = number, number + 1
    box = Box((starts[0], starts[1], starts[2]), (stops[0], stops[1], stops[2]))
    return Patch(box, np.ascontiguousarray(np.expand_dims(flat, frame.normal)))
