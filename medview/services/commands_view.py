"""Commands for looking: scrolling, windows, zoom, layout, tools."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from medview.core.errors import CommandError
from medview.core.views import LAYOUTS
from medview.imaging.windowing import PRESETS, Preset, find_preset, key_windows
from medview.services import commands_segment
from medview.services.commands import Command, Registry
from medview.services.objects import results_in
from medview.services.toolbox import MouseButton, ToolKind
from medview.services.viewing import Viewing, plane_of

if TYPE_CHECKING:
    # The bundle builds the registry and calls `register`: it knows this module, not the reverse.
    from medview.services.bundle import Services

_ZOOM_STEP = 1.25
_AMOUNTS = ("full", "minimal", "none")
_TOOLS = (
    (ToolKind.WINDOW, "Window and level", "W", "Drag right for a wider window, up for brighter."),
    (ToolKind.PAN, "Move", "M", "Drag the picture."),
    (ToolKind.ZOOM, "Zoom", "Z", "Drag up to come nearer."),
    (ToolKind.CROSSHAIR, "Crosshair", "Shift+C", "Drag the point where all planes cut."),
    (ToolKind.BRUSH, "Brush", "B", "Paint the chosen segment."),
    (ToolKind.ERASER, "Eraser", "X", "Clear voxels of the chosen segment."),
    (ToolKind.CONTOUR, "Contour", "Shift+A", "Draw around what becomes part of the segment."),
    (
        ToolKind.WIRE,
        "Wire along edges",
        "Shift+W",
        "Draw roughly around: the line keeps to the nearest border.",
    ),
    (
        ToolKind.SCISSORS,
        "Scissors",
        "Shift+X",
        "Draw around what is cut through all slices of the segment.",
    ),
    (
        ToolKind.TRACE,
        "Level trace",
        "Shift+T",
        "Point at a border: what the line of equal values encloses is filled.",
    ),
    (
        ToolKind.INCLUDE,
        "Point at it",
        "P",
        "Click or scribble on what the segment is: its outline is proposed. Enter accepts. With "
        "Ctrl it is what the segment is not.",
    ),
    (
        ToolKind.EXCLUDE,
        "Point beside it",
        "Shift+P",
        "Click or scribble on what does not belong to the outline that is proposed.",
    ),
    (ToolKind.FRAME, "Box around it", "Alt+P", "Drag a box around what the segment is."),
    (
        ToolKind.BOX,
        "Boxes",
        "Shift+D",
        "Drag a side, a corner or the whole of a finding's box; drag elsewhere to add one.",
    ),
    (
        ToolKind.TRACK,
        "Track",
        "T",
        "In a clip: click for a point, draw a line or contour, drag what is there to correct it.",
    ),
)


def register(registry: Registry, services: Services) -> None:
    """Add the commands of the slice views, those of segments and the brush with them."""
    viewing = services.viewing
    for command in (
        *_scrolling(viewing),
        *_windows(viewing),
        *_crosshair_keys(viewing),
        *_zooming(viewing),
        *_looks(services),
        *_series(services),
        _results(services),
        *_layouts(viewing),
        *_tools(viewing),
    ):
        registry.add(command)
    commands_segment.register(registry, services)


def _shows_image(viewing: Viewing) -> Callable[[], bool]:
    return lambda: viewing.picture is not None


def _view_command(viewing: Viewing, command_id: str, title: str, run: Any, **rest: Any) -> Command:
    """A command of the view menu that needs an image."""
    return Command(command_id, title, run, enabled=_shows_image(viewing), menu="View", **rest)


def _scrolling(viewing: Viewing) -> tuple[Command, ...]:
    def scroll(steps: int = 1, plane: str = "") -> None:
        viewing.scroll(plane_of(viewing, plane), steps)

    def end(*, last: bool) -> Callable[[], None]:
        return lambda: viewing.scroll_to_end(viewing.active_plane, last=last)

    def crosshair(point_lps_mm: Sequence[float] | None = None) -> None:
        volume = viewing.volume
        point = volume.geometry.center_lps_mm if volume and point_lps_mm is None else point_lps_mm
        if point is not None:
            x, y, z = (float(value) for value in point)
            viewing.set_crosshair((x, y, z))

    def steps(count: int) -> Callable[[], None]:
        return lambda: scroll(count)

    rows = (
        ("view.scroll", "Next image", scroll, "Down", "The next image of the plane last touched."),
        ("view.previous", "Previous image", steps(-1), "Up", "One image back."),
        ("view.forward", "Ten images on", steps(10), "Shift+Down", "Ten images on."),
        ("view.back", "Ten images back", steps(-10), "Shift+Up", "Ten images back."),
        ("view.first", "First image", end(last=False), "Home", "The first image of the plane."),
        ("view.last", "Last image", end(last=True), "End", "The last image of the plane."),
        (
            "view.crosshair",
            "Centre the crosshair",
            crosshair,
            "",
            "Move the crosshair to the middle, or to point_lps_mm; all planes follow.",
        ),
        (
            "view.next_volume",
            "Next volume of the series",
            lambda: viewing.step_volume(1),
            "Shift+Right",
            "The next point in time or echo, where a series has several.",
        ),
        (
            "view.previous_volume",
            "Previous volume of the series",
            lambda: viewing.step_volume(-1),
            "Shift+Left",
            "One volume back, where a series has several.",
        ),
    )
    return tuple(
        _view_command(viewing, id_, title, run, shortcut=key, help=words)
        for id_, title, run, key, words in rows
    )


def _windows(viewing: Viewing) -> tuple[Command, ...]:
    def window(center: float | None = None, width: float | None = None) -> None:
        if center is None or width is None:
            viewing.preset(0)
            return
        try:
            chosen = replace(
                viewing.window, center=float(center), width=float(width), explanation=""
            )
            viewing.set_window(chosen)
        except ValueError as error:
            raise CommandError(f"Not a window: {error}") from error

    def preset(name: str = "Soft tissue", number: int | None = None) -> None:
        if number is not None:
            viewing.preset(number)
            return
        try:
            viewing.set_window(find_preset(name).window)
        except LookupError as error:
            names = ", ".join(preset.name for preset in PRESETS)
            raise CommandError(str(error), f"There are: {names}.") from error

    commands = [
        _view_command(
            viewing, "view.window", "Window of the image", window, shortcut="0",
            help="The window the image came with, or center and width as given.",
        ),
        _view_command(
            viewing, "view.full_range", "Full range", viewing.full_range, shortcut="Shift+0",
            help="From the smallest to the largest value of the image.",
        ),
        Command(
            "view.preset", "Window by name", preset, enabled=_shows_image(viewing),
            help="A CT window by its name, or the window of a number key.",
        ),
    ]  # fmt: skip
    return (*commands, *(_window_key(viewing, known) for known in PRESETS))


def _window_count(viewing: Viewing) -> int:
    picture = viewing.picture
    return 0 if picture is None else len(key_windows(picture))


def _window_key(viewing: Viewing, known: Preset) -> Command:
    """A number key: the CT preset, or the image's own window of that number."""
    words = f"{known.window.width:g}/{known.window.center:g} HU"
    return Command(
        f"view.window_{known.key}",
        f"Window {known.key} (CT: {known.name.lower()})",
        lambda: viewing.preset(known.key),
        enabled=lambda: known.key <= _window_count(viewing),
        shortcut=str(known.key),
        menu="View",
        help=f"{known.name}, {words}; other modalities: window {known.key} of the image.",
    )


def _crosshair_keys(viewing: Viewing) -> tuple[Command, ...]:
    """The crosshair by keys: a hundredth of the plane at a time."""

    def move(right: int, down: int) -> None:
        frame = viewing.frame(viewing.active_plane)
        number = frame.slice_number(viewing.crosshair_lps_mm)
        x, y = frame.to_plane_mm(viewing.crosshair_lps_mm)
        left, top, far, bottom = frame.extent_mm
        step = max(far - left, bottom - top) / 100
        viewing.set_crosshair(frame.to_lps_mm(x + right * step, y + down * step, number))

    sides = (("left", -1, 0), ("right", 1, 0), ("up", 0, -1), ("down", 0, 1))
    return tuple(
        Command(
            f"view.crosshair_{side}", f"Crosshair {side}", partial(move, right, down),
            shortcut=f"Ctrl+{side.capitalize()}", menu="View",
            enabled=lambda: viewing.picture is not None,
            help=f"Move the crosshair {side} in the plane last touched, by a hundredth of it.",
        )
        for side, right, down in sides
    )  # fmt: skip


def _zooming(viewing: Viewing) -> tuple[Command, ...]:
    def zoom(factor: float = _ZOOM_STEP, plane: str = "") -> None:
        at = plane_of(viewing, plane)
        viewing.set_view(at, zoom=viewing.view(at).zoom * factor)

    def flip(*, vertically: bool) -> Callable[[], None]:
        return lambda: viewing.flip(viewing.active_plane, vertically=vertically)

    rows = (
        ("view.zoom", "Zoom in", zoom, "Ctrl++", "Come nearer, by a factor."),
        ("view.zoom_out", "Zoom out", lambda: zoom(1 / _ZOOM_STEP), "Ctrl+-", "Go further away."),
        (
            "view.fit",
            "Fit to view",
            lambda: viewing.fit(viewing.active_plane),
            "Ctrl+0",
            "Show all of the image in the plane last touched.",
        ),
        (
            "view.flip",
            "Flip left and right",
            flip(vertically=False),
            "H",
            "Mirror the plane last touched; the letters at its edges follow.",
        ),
        (
            "view.flip_vertical",
            "Flip up and down",
            flip(vertically=True),
            "V",
            "Mirror the plane last touched; the letters at its edges follow.",
        ),
        (
            "view.turn",
            "Turn right",
            lambda: viewing.turn(viewing.active_plane, 1),
            "Alt+R",
            "Turn the plane last touched by a quarter, clockwise; its letters follow.",
        ),
        (
            "view.turn_left",
            "Turn left",
            lambda: viewing.turn(viewing.active_plane, -1),
            "Alt+L",
            "Turn the plane last touched by a quarter, anticlockwise; its letters follow.",
        ),
        (
            "view.maximise",
            "Fill the window with this view",
            lambda: viewing.toggle_maximised(viewing.active_plane),
            "",
            "One view fills the window; again, and the layout is back. Double click does the same.",
        ),
    )
    return tuple(
        _view_command(viewing, id_, title, run, shortcut=key, help=words)
        for id_, title, run, key, words in rows
    )


def _looks(services: Services) -> tuple[Command, ...]:
    viewing, settings = services.viewing, services.settings

    def text() -> None:
        now = _AMOUNTS.index(settings.text("view.corner_text"))
        settings.set("view.corner_text", _AMOUNTS[(now + 1) % len(_AMOUNTS)])

    def lines() -> None:
        settings.set("view.crosshair", not settings.flag("view.crosshair"))

    return (
        _view_command(
            viewing, "view.reset", "Reset the view", viewing.reset, shortcut="R",
            help="Window, zoom, place and flips as at first.",
        ),
        _view_command(
            viewing, "view.invert", "Invert greys", viewing.toggle_inverted, shortcut="I",
            help="White becomes black; padding stays black.",
        ),
        Command(
            "view.text", "Corner text", text, shortcut="Space", menu="View",
            help="Full, minimal, none. Sides, orientation and warnings always stay.",
        ),
        Command(
            "view.crosshair_lines", "Show crosshair lines", lines, menu="View",
            help="Show or hide where the planes cut each other.",
        ),
        _view_command(
            viewing, "view.segments", "Show segments", viewing.overlay.toggle, shortcut="O",
            help="Hide all segments, or show them again.",
        ),
    )  # fmt: skip


def _series(services: Services) -> tuple[Command, ...]:
    viewing, workspace = services.viewing, services.workspace

    def show(series_uid: str = "") -> None:
        uid = series_uid or viewing.series_uid
        try:
            series = workspace.series(uid)
        except KeyError:
            raise CommandError("There is no such series", "Choose one in the list.") from None
        if not series.kind.is_shown:
            services.objects.open(uid)
            return
        viewing.show_series(uid)
        if not workspace.is_loaded(uid):
            services.loading.load_series(uid)

    def describe(series_uid: str = "") -> None:
        uid = series_uid or viewing.series_uid
        try:
            services.objects.describe(uid)
        except KeyError:
            raise CommandError("There is no such series", "Choose one in the list.") from None

    def step(by: int) -> Callable[[], None]:
        def go() -> None:
            study = viewing.study
            if study is None:
                raise CommandError("No study is open")
            uids = [series.uid for series in study.series if series.kind.is_shown]
            at = uids.index(viewing.series_uid) if viewing.series_uid in uids else 0
            show(uids[min(max(at + by, 0), len(uids) - 1)])

        return go

    has_study = lambda: viewing.study is not None  # noqa: E731
    return (
        Command(
            "series.show", "Show series", show,
            help="Show a series by its UID and load it if need be.",
        ),
        Command(
            "series.describe", "Describe series", describe,
            help="Tell what a series, by its UID, says of itself.",
        ),
        Command(
            "series.next", "Next series", step(1), enabled=has_study, shortcut="PgDown",
            menu="View", help="The next series of the study.",
        ),
        Command(
            "series.previous", "Previous series", step(-1), enabled=has_study, shortcut="PgUp",
            menu="View", help="The series before.",
        ),
    )  # fmt: skip


def _results(services: Services) -> Command:
    viewing = services.viewing

    def bring_in() -> None:
        study = viewing.study
        found = [] if study is None else results_in(study)
        if not found:
            raise CommandError("No results of others came with this study")
        services.objects.bring_in(found)

    return Command(
        "study.bring_in", "Bring in results", bring_in, menu="File",
        enabled=lambda: viewing.study is not None,
        help="Bring in all segments, reports, key images and maps that came with the study.",
    )  # fmt: skip


def _layouts(viewing: Viewing) -> tuple[Command, ...]:
    def choose(name: str = "mpr") -> None:
        viewing.set_layout(name)

    named = tuple(
        Command(
            f"layout.{layout.name}",
            layout.title,
            lambda name=layout.name: viewing.set_layout(name),
            shortcut=f"Ctrl+{number}",
            menu="View",
            help=f"Layout: {layout.title.lower()}.",
        )
        for number, layout in enumerate(LAYOUTS, 1)
    )
    names = ", ".join(layout.name for layout in LAYOUTS)
    return (Command("layout.set", "Layout", choose, help=f"A layout by name: {names}."), *named)


def _tools(viewing: Viewing) -> tuple[Command, ...]:
    def choose(tool: str = "window", button: str = "left") -> None:
        try:
            viewing.toolbox.choose(ToolKind(tool), MouseButton(button))
        except ValueError as error:
            names = ", ".join(kind.value for kind in ToolKind)
            raise CommandError(f"No such tool or button: {error}", f"Tools: {names}.") from error

    named = tuple(
        Command(
            f"tool.{kind.value}",
            title,
            lambda kind=kind: viewing.toolbox.choose(kind),
            shortcut=key,
            menu="Tools",
            help=words,
        )
        for kind, title, key, words in _TOOLS
    )
    words = "Put a tool on a mouse button: left, middle or right."
    return (Command("tool.choose", "Choose tool", choose, help=words), *named)
