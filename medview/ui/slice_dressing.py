"""What to draw over a slice now: read from the services, drawn by `slice_overlay`."""

from __future__ import annotations

import numpy as np

from medview.core.clip import NO_UNIT, Region
from medview.core.findings import ReviewState
from medview.core.geometry import Calibration
from medview.core.views import Plane
from medview.services.bundle import Services
from medview.services.toolbox import ToolKind
from medview.services.viewing import Viewing
from medview.ui import slice_text
from medview.ui.map_painting import bar_of
from medview.ui.region_text import UNIT_TEXT, region_of
from medview.ui.slice_overlay import PLANE_COLORS, Dressing, Line, Ruler, Rulers
from medview.ui.slice_text import Shown, TextAmount
from medview.ui.viewport import Viewport

#: Below this many pixels a view keeps the shorter text.
_SMALL_PX = 260
_OTHERS = {
    Plane.AXIAL: (Plane.SAGITTAL, Plane.CORONAL),
    Plane.CORONAL: (Plane.SAGITTAL, Plane.AXIAL),
    Plane.SAGITTAL: (Plane.CORONAL, Plane.AXIAL),
    Plane.ACQUIRED: (),
}
Place = tuple[float, float]


def shown_in(services: Services, port: Viewport, hover_px: Place | None) -> Shown:
    """What a view shows, with the study that the volume itself belongs to."""
    workspace, viewing = services.workspace, services.viewing
    volume = viewing.require_picture()
    arriving = viewing.shown.arriving
    study = workspace.study_of(volume.uid) if arriving is None else arriving.study
    series = study.find_series(volume.series_uid) if arriving is None else arriving.series
    place, count = viewing.shown.place()
    return Shown(
        study=study,
        series=series,
        volume=volume,
        port=port,
        window=viewing.window,
        hover_lps_mm=None if hover_px is None else port.to_lps_mm(*hover_px),
        volume_count=count,
        volume_place=place,
        clip=viewing.clip,
        speed=viewing.cine.state.speed if viewing.clip is not None else 1.0,
    )


def dressing_of(
    services: Services, slot: Plane, port: Viewport, hover_px: Place | None
) -> Dressing:
    """Everything drawn over the slice of the view that stands in the layout as `slot`."""
    settings, viewing = services.settings, services.viewing
    shown = shown_in(services, port, hover_px)
    amount = TextAmount(settings.text("view.corner_text"))
    if amount is TextAmount.FULL and min(port.width_px, port.height_px) < _SMALL_PX:
        amount = TextAmount.MINIMAL
    letters = slice_text.edge_letters(shown)
    several = len([name for row in viewing.layout.rows for name in row if name != "volume"]) > 1
    # In a single view it matters to tools that place things where it is.
    wanted = several or viewing.toolbox.tool() in (ToolKind.CROSSHAIR, ToolKind.TRACK)
    lines = wanted and settings.flag("view.crosshair")
    return Dressing(
        plane=port.frame.plane,
        corners=slice_text.corners(shown, amount),
        letters=letters,
        warnings=(
            *graphics_words(services, port),
            *slice_text.warnings(shown, letters),
            *_progress(services),
        ),
        ai_notice=ai_notice(services),
        bar=bar_of(maps) if (maps := services.results.maps) else None,
        rulers=_rulers(shown) if amount is not TextAmount.NONE else None,
        crosshair=_crosshair(viewing, port) if lines else (),
        position=_position(port),
        ring=_ring(viewing, port, hover_px),
        is_active=several and viewing.active_plane is slot,
    )


def _progress(services: Services) -> tuple[str, ...]:
    """That not all of what is shown is there yet."""
    arriving = services.viewing.shown.arriving
    if arriving is None:
        return ()
    if arriving is services.viewing.shown.preview:
        return ("First image", slice_text.reading_words(services.loading.scanned))
    return (slice_text.loading_words(arriving.fraction),)


def graphics_words(services: Services, port: Viewport) -> tuple[str, ...]:
    """What of the files' own drawings is offered, in force or hidden, in words."""
    volume, graphics = services.viewing.volume, services.graphics
    if volume is None or port.frame.normal != 0:
        return ()
    chosen, words = graphics.chosen(volume), []
    if chosen is not None:
        words.append(f"As in presentation state {chosen.label}")
    elif offered := len(graphics.offered(volume)):
        count = "A presentation state" if offered == 1 else f"{offered} presentation states"
        words.append(f"{count} of this image: View, Presentation state")
    over = graphics.of(volume, port.number)
    if not graphics.overlays_shown and (over.bitmaps or over.marks):
        words.append("Overlays hidden")
    return tuple(words)


def ai_notice(services: Services) -> str:
    """What of a model's work is in the picture, in words."""
    overlay, study = services.viewing.overlay, services.viewing.study
    if study is not None and services.first_read.waiting(study.uid):
        return "AI hidden until first read"
    if any(one.review.state is ReviewState.PROPOSED for one in services.results.boxed()):
        return "AI proposal shown"
    proposed = any(
        segment.review.state is ReviewState.PROPOSED
        for segmentation in overlay.segmentations
        for segment in segmentation.segments
    )
    visible = overlay.visible_segments()
    return slice_text.ai_notice(visible, overlay_shown=overlay.shown, any_proposed=proposed)


def _rulers(shown: Shown) -> Rulers:
    """Those of the ultrasound region under the pointer, else the one of the whole image."""
    pixel = None if shown.hover_lps_mm is None else shown.pixel_at(shown.hover_lps_mm)
    region = region_of(shown.volume, pixel)
    if region is not None:
        across, down = _region_ruler(shown, region, 0), _region_ruler(shown, region, 1)
        if across is not None and down is not None:
            return Rulers(across, None if across.is_like(down) else down)
    return Rulers(_ruler(shown))


def _region_ruler(shown: Shown, region: Region, axis: int) -> Ruler | None:
    """The ruler along rows (axis 0) or columns (1) of a region; None where it has no scale."""
    px_per_pixel = shown.port.px_per_mm * shown.volume.geometry.spacing_mm[2 - axis]
    step, unit = abs(region.spacing[axis]), region.unit[axis]
    if not step or unit == NO_UNIT:
        return None
    if unit == "cm":
        return Ruler(px_per_pixel / (step * 10), "mm")
    return Ruler(px_per_pixel / step, UNIT_TEXT.get(unit, unit))


def _ruler(shown: Shown) -> Ruler:
    geometry = shown.volume.geometry
    note = slice_text.ruler_note(geometry)
    if geometry.calibration is Calibration.NONE:
        return Ruler(shown.port.px_per_mm * geometry.spacing_mm[2], "px", note)
    return Ruler(shown.port.px_per_mm, "mm", note)


def _crosshair(viewing: Viewing, port: Viewport) -> tuple[Line, ...]:
    """The cuts of the other planes: each runs along the grid axis that is not its normal.

    A single image has no other planes: the lines run along its rows and columns.
    """
    frame = port.frame
    through = port.to_px(*frame.to_plane_mm(viewing.crosshair_lps_mm))
    cuts = [
        (other, 1 if viewing.frame(other).normal == frame.down_axis else 0)
        for other in _OTHERS[frame.plane]
    ]
    lines = []
    for other, column in cuts or [(frame.plane, 0), (frame.plane, 1)]:
        x, y = frame.index_to_mm[:, column]
        length = float(np.hypot(x, y))
        along = (float(x) / length, float(y) / length)
        lines.append(Line(PLANE_COLORS[other], through, along))
    return tuple(lines)


def _position(port: Viewport) -> float | None:
    """How far through the stack the slice is, 0-1; None for a single one."""
    frame = port.frame
    if frame.count < 2:
        return None
    place = port.number / (frame.count - 1)
    return place if frame.next_sign > 0 else 1 - place


def _ring(
    viewing: Viewing, port: Viewport, hover_px: Place | None
) -> tuple[float, float, float] | None:
    """The brush around the pointer."""
    toolbox = viewing.toolbox
    if hover_px is None or toolbox.tool() not in (ToolKind.BRUSH, ToolKind.ERASER):
        return None
    return *hover_px, toolbox.brush.radius_mm * port.px_per_mm
