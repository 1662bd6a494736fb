"""Commands for effects on segments: the rules they obey, and every effect by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from medview.core.errors import CommandError
from medview.core.findings import SegmentRef
from medview.core.geometry import Box
from medview.imaging.edit import Mask, Patch, segment_box, sliced, union_of
from medview.services import painting
from medview.services.commands import Command, Registry
from medview.services.effects import (
    Effects,
    PartsOf,
    Wish,
    imaging,
    normal_of,
    parts_within,
    widened,
)
from medview.services.rules import EditRules, Ground, Overlap, Where
from medview.services.viewing import Viewing, plane_of

if TYPE_CHECKING:
    # The bundle builds the registry and calls `register`: it knows this module, not the reverse.
    from medview.services.bundle import Services

KindT = TypeVar("KindT", Where, Overlap)


def register(registry: Registry, services: Services) -> None:
    """Add the commands of rules and effects."""
    viewing, effects = services.viewing, services.effects
    for command in (
        *_rules(viewing),
        *_course(effects),
        *_previewed(viewing, effects),
        *_islands(viewing, effects),
        *_parting(viewing, effects),
        *_surfaces(viewing, effects),
        *_slices(viewing, effects),
    ):
        registry.add(command)


def _kind(kinds: type[KindT], name: str) -> KindT:
    """A rule by name; CommandError with the names there are."""
    try:
        return kinds(name)
    except ValueError:
        names = ", ".join(kind.value for kind in kinds)
        raise CommandError(f"There is no rule {name}", f"There are: {names}.") from None


def _positive(value: float, what: str) -> float:
    if not 0 < float(value) <= 1000:
        raise CommandError(f"{what} lies between 0 and 1000, not {value}")
    return float(value)


def _label(viewing: Viewing, ref: SegmentRef) -> str:
    return viewing.overlay.find(ref).label


def _rules(viewing: Viewing) -> tuple[Command, ...]:
    toolbox = viewing.toolbox

    def mask(
        where: str = "",
        low: float | None = None,
        high: float | None = None,
        segments: Sequence[int] = (),
        segmentation_uids: Sequence[str] = (),
    ) -> None:
        uids = segmentation_uids or [""] * len(segments)
        if len(uids) != len(segments):
            raise CommandError("Each segment named needs the UID of its segmentation, or none does")
        named = tuple(
            painting.find_segment(viewing, int(number), uid)
            for number, uid in zip(segments, uids, strict=True)
        )
        within = None if low is None or high is None else (float(low), float(high))
        kind = _kind(Where, where or Where.EVERYWHERE.value)
        try:
            toolbox.set_rules(where=kind, segments=named, within=within)
        except ValueError as error:
            raise CommandError(str(error)) from error

    def overlap(rule: str = "") -> None:
        """The rule named, else the next one."""
        kinds = tuple(Overlap)
        after = kinds[(kinds.index(toolbox.rules.overlap) + 1) % len(kinds)]
        toolbox.set_rules(overlap=_kind(Overlap, rule) if rule else after)

    return (
        Command(
            "segment.mask", "Edit everywhere", mask, menu="Segment",
            help="Where every edit reaches: where is everywhere, inside or outside the segments "
            "that are seen, or those numbered; low and high limit it to a range of values.",
        ),
        Command(
            "segment.overlap", "Next overlap rule", overlap, menu="Segment",
            help="Who gives way to a segment that grows: group (its own group), all, spare (none "
            "does), or share (both have the voxels).",
        ),
    )  # fmt: skip


def _course(effects: Effects) -> tuple[Command, ...]:
    return (
        Command(
            "segment.accept", "Accept preview", effects.accept,
            enabled=lambda: effects.preview is not None, menu="Segment",
            help="Do what the preview shows; in a view by Enter.",
        ),
        Command(
            "segment.drop", "Drop preview", effects.drop,
            enabled=lambda: effects.preview is not None, menu="Segment",
            help="Forget the preview; in a view by Escape.",
        ),
        Command(
            "segment.cancel", "Cancel effect", effects.cancel,
            enabled=lambda: bool(effects.busy), menu="Segment",
            help="End the effect at work; nothing is changed.",
        ),
    )  # fmt: skip


def _previewed(viewing: Viewing, effects: Effects) -> tuple[Command, ...]:
    def threshold(
        low: float | None = None, high: float | None = None, segment: int | None = None
    ) -> None:
        volume = viewing.require_volume()
        if viewing.overlay.active is None and segment is None:
            painting.add_segment(viewing)
        ref = painting.find_segment(viewing, segment)
        if low is None:
            sample = volume.voxels[:: max(1, len(volume.voxels) // 32), ::4, ::4]
            low = float(imaging("seeds").otsu(volume.value_of(sample)))
        effects.preview_range(ref, float(low), float("inf") if high is None else float(high))

    def grow() -> None:
        ref = painting.find_segment(viewing)
        effects.preview_labels(ref, "Grow from seeds", lambda ground: _grown(ground, ref))

    return (
        Command(
            "segment.threshold", "Threshold", threshold,
            enabled=lambda: viewing.volume is not None, menu="Segment",
            help="Preview the chosen segment as all voxels from low to high; alone, from the value "
            "that parts the image best (Otsu).",
        ),
        Command(
            "segment.grow", "Grow from seeds", grow, menu="Segment",
            enabled=painting.has_segment(viewing),
            help="Preview what the segments of the group become when each spreads from what is "
            "painted of it until they meet at borders. Paint the background as a segment too.",
        ),
    )  # fmt: skip


def _grown(ground: Ground, ref: SegmentRef) -> tuple[Any, Any]:
    """Labels of the group grown over the box of all its seeds."""
    own = ground.of(ref)
    boxes = [segment_box(own, segment.number) for segment in own.segments]
    seeded = [box for box in boxes if box is not None]
    if len(seeded) < 2:
        raise CommandError(
            "Seeds of two segments at least are needed",
            "Paint a little of what you want, and of what you do not want as another segment.",
        )
    box = union_of(seeded)
    values = np.asarray(ground.volume.value_of(ground.volume.voxels[box.slices]), dtype=np.float32)
    steps = tuple(float(step) for step in np.linalg.norm(own.geometry.affine[:3, :3], axis=0))
    return box, imaging("seeds").grown_from_seeds(values, own.labels[box.slices], steps)


def _islands(viewing: Viewing, effects: Effects) -> tuple[Command, ...]:
    def shaped(verb: str, shape: Callable[[Any, Any], Any], segment: int | None) -> None:
        ref = painting.find_segment(viewing, segment)
        effects.reshape(ref, f"{verb}: {_label(viewing, ref)}", 0.0, shape)

    def keep_largest(segment: int | None = None) -> None:
        shaped(
            "Keep largest island",
            lambda mask, _grid: imaging("shapes").largest_island(mask),
            segment,
        )

    def remove_small(least_ml: float = 0.1, segment: int | None = None) -> None:
        least = _positive(least_ml, "The least volume in mL")

        def shape(mask: Any, grid: Any) -> Any:
            count = int(np.ceil(least / grid.voxel_volume_ml - 1e-9))
            return imaging("shapes").without_small_islands(mask, count)

        shaped(f"Remove islands below {least:g} mL", shape, segment)

    def keep_here(point_lps_mm: Sequence[float] | None = None, segment: int | None = None) -> None:
        point = viewing.crosshair_lps_mm if point_lps_mm is None else point_lps_mm

        def shape(mask: Any, grid: Any) -> Any:
            place = np.floor(grid.to_index(point) + 0.5).astype(int)
            if (place < 0).any() or (place >= mask.shape).any() or not mask[tuple(place)]:
                raise CommandError("The segment is not at the crosshair", "Put it on the island.")
            return imaging("shapes").island_at(mask, tuple(place))

        shaped("Keep this island", shape, segment)

    ready = painting.has_segment(viewing)
    rows: tuple[tuple[str, str, Callable[..., None], str], ...] = (
        ("keep_largest", "Keep largest island", keep_largest,
         "Only the largest part that hangs together stays."),
        ("keep_here", "Keep island at the crosshair", keep_here,
         "Only the part at the crosshair, or at point_lps_mm, stays."),
        ("remove_small", "Remove small islands", remove_small,
         "Parts of less than least_ml go; alone, below 0.1 mL."),
    )  # fmt: skip
    return tuple(
        Command(f"segment.{name}", title, run, enabled=ready, menu="Segment", help=words)
        for name, title, run, words in rows
    )


def _parting(viewing: Viewing, effects: Effects) -> tuple[Command, ...]:
    def parted(verb: str, segment: int | None, parts_of: PartsOf) -> None:
        ref = painting.find_segment(viewing, segment)
        title = f"{verb}: {_label(viewing, ref)}"
        effects.part(ref, title, lambda ground: parts_within(ground, ref, parts_of))

    def split(least_ml: float = 0.0, segment: int | None = None) -> None:
        one_ml = viewing.require_volume().geometry.voxel_volume_ml
        least = max(1, int(np.ceil(float(least_ml) / one_ml - 1e-9)))
        parted("Split", segment, lambda mask, _box: imaging("shapes").islands(mask, least)[1:])

    def divide(plane: str = "", segment: int | None = None) -> None:
        at = plane_of(viewing, plane)
        normal, number = normal_of(viewing, at), viewing.slice_number(at)

        def beyond(mask: Mask, box: Box) -> list[Mask]:
            part = mask.copy()
            part[(slice(None),) * normal + (slice(0, max(0, number + 1 - box.start[normal])),)] = 0
            return [part]

        parted("Divide", segment, beyond)

    return (
        Command(
            "segment.split", "Split islands", split, menu="Segment",
            enabled=painting.has_segment(viewing),
            help="Every part but the largest becomes a segment of its own; parts below least_ml "
            "stay with it.",
        ),
        Command(
            "segment.divide", "Divide at this slice", divide, enabled=painting.has_segment(viewing),
            menu="Segment",
            help="What lies beyond the slice on show becomes a segment of its own.",
        ),
    )  # fmt: skip


def _surfaces(viewing: Viewing, effects: Effects) -> tuple[Command, ...]:
    def smooth(method: str = "median", radius_mm: float = 0.0, segment: int | None = None) -> None:
        ref = painting.find_segment(viewing, segment)
        steps = np.linalg.norm(viewing.require_volume().geometry.affine[:3, :3], axis=0)
        radius = _positive(radius_mm or 1.5 * float(steps.min()), "A radius in mm")
        if method == "joint":
            effects.work(ref, "Smooth together", lambda ground: _joint(ground, ref, radius))
            return
        functions = {"median": "median", "closing": "closed", "opening": "opened"}
        if method not in functions:
            raise CommandError(
                f"There is no smoothing {method}", "median, closing, opening or joint"
            )
        effects.reshape(
            ref, f"Smooth ({method}): {_label(viewing, ref)}", 2 * radius,
            lambda mask, grid: getattr(imaging("shapes"), functions[method])(mask, grid, radius),
        )  # fmt: skip

    def margin(distance_mm: float = 2.0, segment: int | None = None) -> None:
        ref = painting.find_segment(viewing, segment)
        if not 0 < abs(float(distance_mm)) <= 200:
            raise CommandError("A margin lies between -200 and 200 mm and is not 0")
        effects.reshape(
            ref, f"Margin of {float(distance_mm):+g} mm: {_label(viewing, ref)}",
            max(float(distance_mm), 0.0),
            lambda mask, grid: imaging("shapes").margin(mask, grid, float(distance_mm)),
        )  # fmt: skip

    def hollow(thickness_mm: float = 2.0, side: str = "inside", segment: int | None = None) -> None:
        ref = painting.find_segment(viewing, segment)
        thickness = _positive(thickness_mm, "A thickness in mm")
        if side not in ("inside", "outside", "both"):
            raise CommandError(f"There is no side {side}", "inside, outside or both")

        def shape(mask: Any, grid: Any) -> Any:
            shapes = imaging("shapes")
            return shapes.hollowed(mask, grid, thickness, shapes.Side(side))

        effects.reshape(ref, f"Hollow {thickness:g} mm: {_label(viewing, ref)}", thickness, shape)

    ready = painting.has_segment(viewing)
    return (
        Command(
            "segment.smooth", "Smooth", smooth, enabled=ready, menu="Segment",
            help="Smooth by method median, closing, opening, or joint (all segments of the group "
            "side by side), with radius_mm.",
        ),
        Command(
            "segment.margin", "Grow by 2 mm", margin, enabled=ready, menu="Segment",
            help="Grow by distance_mm in all directions, or shrink where it is negative.",
        ),
        Command(
            "segment.hollow", "Hollow", hollow, enabled=ready, menu="Segment",
            help="Leave a shell of thickness_mm inside the surface, outside it, or on both sides.",
        ),
    )  # fmt: skip


def _joint(ground: Ground, ref: SegmentRef, radius_mm: float) -> Wish:
    """All segments of a group smoothed side by side, the locked ones left alone."""
    shapes, own = imaging("shapes"), ground.of(ref)
    boxes = [segment_box(own, segment.number) for segment in own.segments]
    known = [box for box in boxes if box is not None]
    if not known:
        return None
    wide = widened(own.geometry, union_of(known), 2 * radius_mm)
    free = [segment.number for segment in own.segments if not segment.locked]
    labels = own.labels[wide.slices]
    return wide, shapes.smoothed_together(labels, own.geometry, radius_mm, free)


def _slices(viewing: Viewing, effects: Effects) -> tuple[Command, ...]:
    def between(plane: str = "", segment: int | None = None) -> None:
        ref = painting.find_segment(viewing, segment)
        axis = normal_of(viewing, plane_of(viewing, plane))

        def shape(mask: Any, grid: Any) -> Any:
            steps = np.linalg.norm(grid.affine[:3, :3], axis=0)
            pixel = tuple(float(step) for n, step in enumerate(steps) if n != axis)
            return imaging("between").filled_between(mask, axis, pixel)

        effects.reshape(ref, f"Fill between slices: {_label(viewing, ref)}", 0.0, shape)

    def fill(everywhere: bool = False, solid: bool = False, segment: int | None = None) -> None:
        ref = painting.find_segment(viewing, segment)
        plane = viewing.active_plane
        axis, number = normal_of(viewing, plane), viewing.slice_number(plane)

        def wish(ground: Ground) -> Wish:
            return _filled(
                ground, ref, None if solid else axis, None if everywhere or solid else number
            )

        effects.work(ref, f"Fill holes: {_label(viewing, ref)}", wish)

    ready = painting.has_segment(viewing)
    return (
        Command(
            "segment.between", "Fill between slices", between, enabled=ready, menu="Segment",
            help="Fill the slices between those that are drawn, in the plane of the view in hand.",
        ),
        Command(
            "segment.fill", "Fill holes", fill, enabled=ready, menu="Segment",
            help="Fill what the chosen segment encloses in this slice, everywhere in such slices, "
            "or, with solid, all round.",
        ),
    )  # fmt: skip


def _filled(ground: Ground, ref: SegmentRef, axis: int | None, only: int | None) -> Wish:
    """A segment with its holes filled; what other segments of the group fill is no hole."""
    own = ground.of(ref)
    box = segment_box(own, ref.number)
    if box is None:
        return None
    if axis is not None and only is not None:
        if not box.start[axis] <= only < box.stop[axis]:
            return None
        box = sliced(box, axis, only)
    labels = own.labels[box.slices]
    mask = labels == ref.number
    holes = imaging("shapes").filled(mask, axis) & (labels == 0)
    return Patch(box, mask | holes)


def rules_text(rules: EditRules) -> str:
    """The rules in words, "" where nothing limits edits."""
    words = [] if rules.where is Where.EVERYWHERE else [f"{rules.where.value} segments"]
    if rules.within is not None:
        words.append(f"values {rules.within[0]:g} to {rules.within[1]:g}")
    return ", ".join(words)
