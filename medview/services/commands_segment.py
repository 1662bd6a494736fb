"""Commands for segments by hand: painting, erasing, the brush."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from medview.core.errors import CommandError
from medview.core.findings import Point
from medview.core.views import Plane
from medview.services import painting
from medview.services.commands import Command, Registry
from medview.services.toolbox import BrushOptions
from medview.services.viewing import Viewing, plane_of

if TYPE_CHECKING:
    from medview.services.bundle import Services

#: One press of a bracket changes the radius by a fifth.
_BRUSH_STEP = 1.2


def register(registry: Registry, services: Services) -> None:
    """Add the commands of segments and the brush."""
    for command in (*_strokes(services.viewing), *_segments(services.viewing)):
        registry.add(command)
    for command in _brush(services.viewing):
        registry.add(command)
    registry.add(_label_map(services))


def _label_map(services: Services) -> Command:
    def bring(path: str = "", names: str = "") -> None:
        volume = services.viewing.require_volume()
        if not path:
            raise CommandError("No label map was given.", "Give its path.")
        services.objects.open_labels(Path(path), volume, Path(names) if names else None)

    return Command(
        "segment.import", "Open label map or surface", bring, menu="Segment",
        enabled=_shows_image(services.viewing),
        help="Show a label map (NIfTI, NRRD, MetaImage), named by a JSON beside it, or what a "
        "surface (STL) encloses, on the image.",
    )  # fmt: skip


def _shows_image(viewing: Viewing) -> Callable[[], bool]:
    return lambda: viewing.volume is not None


def _stroke(viewing: Viewing, *, erases: bool) -> Callable[..., bool]:
    """The command that paints or erases at points; alone, at the crosshair."""

    def run(
        *,
        center_lps_mm: Sequence[float] | None = None,
        points_lps_mm: Sequence[Sequence[float]] | None = None,
        radius_mm: float | None = None,
        segment: int | None = None,
        segmentation_uid: str = "",
        sphere: bool | None = None,
        plane: str = "",
    ) -> bool:
        at: Plane = plane_of(viewing, plane)
        options = _options(viewing.toolbox.brush, radius_mm, sphere)
        points = _points(viewing, center_lps_mm, points_lps_mm)
        if segment is None and viewing.overlay.active is None and not erases:
            painting.add_segment(viewing)
        ref = painting.find_segment(viewing, segment, segmentation_uid)
        return painting.apply_stroke(viewing, points, at, ref, options, erases=erases)

    return run


def _options(brush: BrushOptions, radius_mm: float | None, sphere: bool | None) -> BrushOptions:
    try:
        return replace(
            brush,
            radius_mm=brush.radius_mm if radius_mm is None else float(radius_mm),
            sphere=brush.sphere if sphere is None else sphere,
        )
    except ValueError as error:
        raise CommandError(str(error)) from error


def _points(
    viewing: Viewing,
    center_lps_mm: Sequence[float] | None,
    points_lps_mm: Sequence[Sequence[float]] | None,
) -> list[Point]:
    given = list(points_lps_mm or ())
    if center_lps_mm is not None:
        given.append(center_lps_mm)
    if not given:
        return [viewing.crosshair_lps_mm]
    try:
        return [(float(x), float(y), float(z)) for x, y, z in given]
    except (TypeError, ValueError) as error:
        raise CommandError("Points are three numbers each: x, y, z in LPS mm") from error


def _strokes(viewing: Viewing) -> tuple[Command, ...]:
    ready = _shows_image(viewing)

    return (
        Command(
            "segment.paint", "Paint at the crosshair", _stroke(viewing, erases=False),
            enabled=ready, menu="Segment",
            help="Paint the chosen segment at the crosshair, or at points_lps_mm with radius_mm.",
        ),
        Command(
            "segment.erase", "Erase at the crosshair", _stroke(viewing, erases=True),
            enabled=ready, menu="Segment",
            help="Clear the chosen segment at the crosshair, or at points_lps_mm.",
        ),
    )  # fmt: skip


def _segments(viewing: Viewing) -> tuple[Command, ...]:
    overlay = viewing.overlay

    def add(label: str = "") -> int:
        return painting.add_segment(viewing, label).number

    def select(segment: int = 1, segmentation_uid: str = "") -> None:
        overlay.select(painting.find_segment(viewing, segment, segmentation_uid))

    def show(
        segment: int | None = None,
        segmentation_uid: str = "",
        visible: bool | None = None,
        opacity: float | None = None,
        outline: bool | None = None,
    ) -> None:
        ref = painting.find_segment(viewing, segment, segmentation_uid)
        known = overlay.display(ref)
        if visible is None and opacity is None and outline is None:
            visible = not known.visible
        overlay.set_display(
            ref,
            visible=known.visible if visible is None else visible,
            opacity=known.opacity if opacity is None else min(max(float(opacity), 0.0), 1.0),
            outline=known.outline if outline is None else outline,
        )

    ready = _shows_image(viewing)
    return (
        Command(
            "segment.add", "New segment", add, enabled=ready, shortcut="Ctrl+Shift+N",
            menu="Segment", help="An empty segment of your own to paint in.",
        ),
        Command(
            "segment.select", "Choose segment", select, enabled=ready,
            help="The segment that brush and eraser work on, by number.",
        ),
        Command(
            "segment.show", "Show or hide segment", show,
            enabled=lambda: overlay.active is not None, menu="Segment",
            help="Show or hide the chosen segment; opacity 0-1 and outline can be given.",
        ),
    )  # fmt: skip


def _brush(viewing: Viewing) -> tuple[Command, ...]:
    toolbox = viewing.toolbox

    def change(**changes: object) -> None:
        try:
            toolbox.set_brush(**changes)
        except ValueError as error:
            raise CommandError(str(error)) from error

    def scale(factor: float) -> Callable[[], None]:
        return lambda: change(radius_mm=min(max(toolbox.brush.radius_mm * factor, 0.1), 200.0))

    def size(radius_mm: float = 5.0) -> None:
        change(radius_mm=float(radius_mm))

    rows: tuple[tuple[str, str, Callable[..., None], str, str], ...] = (
        ("brush.larger", "Larger brush", scale(_BRUSH_STEP), "]", "A fifth larger."),
        ("brush.smaller", "Smaller brush", scale(1 / _BRUSH_STEP), "[", "A fifth smaller."),
        ("brush.size", "Brush of 5 mm", size, "", "Radius of the brush, radius_mm."),
        (
            "brush.sphere",
            "Brush is a ball",
            lambda: change(sphere=not toolbox.brush.sphere),
            "Shift+B",
            "Paint through the slices, or only in this one.",
        ),
        (
            "brush.edges",
            "Brush keeps to edges",
            lambda: change(follows_edges=not toolbox.brush.follows_edges),
            "Shift+E",
            "Paint only what looks like the voxels under the middle of the brush.",
        ),
        (
            "brush.erase_all",
            "Eraser clears every segment",
            lambda: change(erase_all=not toolbox.brush.erase_all),
            "",
            "Whether the eraser clears the chosen segment or all that are seen.",
        ),
    )
    return tuple(
        Command(id_, title, run, shortcut=key, menu="Segment", help=words)
        for id_, title, run, key, words in rows
    )
