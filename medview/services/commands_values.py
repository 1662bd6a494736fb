"""Commands for what values mean and what files lay over their images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medview.core.events import Level
from medview.core.graphics import Mark, Presentation
from medview.core.volume import Volume
from medview.services.commands import Command, Registry

if TYPE_CHECKING:
    # The bundle builds the registry and calls `register`: it knows this module, not the reverse.
    from medview.services.bundle import Services


def register(registry: Registry, services: Services) -> None:
    """Add the commands."""
    for command in (_values(services), *_graphics(services)):
        registry.add(command)


def _values(services: Services) -> Command:
    viewing, scales = services.viewing, services.scales

    def choose(name: str = "") -> None:
        volume = viewing.require_volume()
        scales.choose(volume.uid, name or scales.following(volume.uid))

    def has_several() -> bool:
        return viewing.volume is not None and len(scales.names(viewing.volume.uid)) > 1

    return Command(
        "volume.values", "Values of the image", choose, enabled=has_several, menu="View",
        help="Show values on another scale that the files offer, by name; without one, the next: "
        "SUV by lean mass or surface, activity, real-world values.",
    )  # fmt: skip


def _graphics(services: Services) -> tuple[Command, ...]:
    viewing, graphics = services.viewing, services.graphics

    def choose(label: str = "") -> None:
        volume = viewing.require_volume()
        states = graphics.offered(volume)
        chosen = graphics.chosen(volume)
        # Without a label: the newest, and the image as it was when one is in force.
        wanted = label or ("" if chosen is not None else states[0].uid)
        taken = graphics.choose(volume, wanted)
        viewing.reset()
        if taken is not None:
            _apply(services, volume, taken)

    return (
        Command(
            "view.overlays", "Show overlays", graphics.toggle_overlays, menu="View",
            enabled=lambda: viewing.picture is not None, shortcut="Shift+O",
            help="Hide what the files draw over their images, or show it again; shutters stay.",
        ),
        Command(
            "view.presentation", "Presentation state", choose, menu="View",
            enabled=lambda: viewing.volume is not None
            and bool(graphics.offered(viewing.volume)),
            help="Show the image as a presentation state of the study does, by its label; again, "
            "and it is as before.",
        ),
    )  # fmt: skip


def _apply(services: Services, volume: Volume, state: Presentation) -> None:
    """What of a presentation state is no drawing: window, polarity, turns, part to be seen."""
    viewing = services.viewing
    plane = viewing.active_plane
    look = services.graphics.look_of(volume, viewing.slice_number(plane))
    if look is not None and look.window is not None:
        viewing.set_window(look.window)
    if state.inverted is not None and state.inverted != (viewing.inverted != volume.inverted):
        viewing.toggle_inverted()
    viewing.turn(plane, state.quarter_turns)
    if state.flipped:
        viewing.flip(plane)
    notes = list(state.notes)
    if look is not None and any(_reaches_out(mark, volume) for mark in look.graphics.marks):
        notes.append("Drawings of the presentation state reach beyond the image: clipped")
    for note in notes:
        services.workspace.notify(Level.WARNING, note)
    if look is not None and look.area is not None:
        _show_area(services, volume, look.area)


def _reaches_out(mark: Mark, volume: Volume) -> bool:
    """Whether a drawing goes beyond what it is drawn on."""
    _, rows, columns = volume.geometry.shape
    low, high = (0.0, (1.0, 1.0)) if mark.on_view else (-0.5, (rows - 0.5, columns - 0.5))
    return any(not low <= x <= end for place in mark.points
               for x, end in zip(place, high, strict=True))  # fmt: skip


def _show_area(services: Services, volume: Volume, area: tuple[int, int, int, int]) -> None:
    """Put the part of the image to be seen into the middle, as large as it fits."""
    viewing, geometry = services.viewing, volume.geometry
    plane = viewing.active_plane
    top, left, bottom, right = area
    k = viewing.slice_number(plane)
    x, y, z = geometry.to_lps_mm((k, (top + bottom) / 2, (left + right) / 2))
    _, rows, columns = geometry.shape
    zoom = min(rows / (bottom - top + 1), columns / (right - left + 1))
    if zoom > 1:
        viewing.set_view(plane, center_lps_mm=(float(x), float(y), float(z)), zoom=zoom)
