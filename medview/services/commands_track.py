"""Commands for tracks on clips: placing, correcting, following, deleting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medview.core.errors import CommandError
from medview.core.timeline import FramePoint, TrackShape
from medview.reporting.tables import timeline_csv
from medview.services.commands import Command, Registry
from medview.services.tracking import Tracking
from medview.services.viewing import Viewing

if TYPE_CHECKING:
    # The bundle builds the registry and calls `register`: it knows this module, not the reverse.
    from medview.services.bundle import Services


def register(registry: Registry, services: Services) -> None:
    """Add the commands of tracks."""
    for command in _commands(services.viewing, services.tracking, services.paths.data):
        registry.add(command)


def _commands(viewing: Viewing, tracking: Tracking, folder: Path) -> tuple[Command, ...]:
    def has_clip() -> bool:
        return viewing.clip is not None

    def point(row: float | None = None, column: float | None = None, name: str = "") -> str:
        if row is None or column is None:
            geometry = viewing.require_picture().geometry
            _, row, column = (float(n) for n in geometry.to_index(viewing.crosshair_lps_mm))
        return tracking.place([(row, column)], TrackShape.POINT, name)

    def line(points: Sequence[Sequence[float]], name: str = "", *, closed: bool = False) -> str:
        shape = TrackShape.CONTOUR if closed else TrackShape.LINE
        return tracking.place(_places(points), shape, name)

    def save_table(path: str = "") -> str:
        target = Path(path) if path else folder / "timeline.csv"
        try:
            target.write_text(timeline_csv(tracking.whole()), encoding="utf-8", newline="")
        except OSError as error:
            raise CommandError(f"The table could not be written to {target}") from error
        return str(target)

    return (
        Command(
            "track.point", "Place a point at the crosshair", point, enabled=has_clip, menu="Track",
            help="Put a point on the frame on show and follow it: at the crosshair, or at row and "
            "column in pixels.",
        ),
        Command(
            "track.line", "Place a line", line, enabled=has_clip,
            help="Put a line through points (row, column) on the frame on show, closed or open.",
        ),
        Command(
            "track.save_table", "Save the curves as a table", save_table,
            enabled=lambda: tracking.selected is not None, menu="Track",
            help="What all tracks of the clip measure, frame by frame, as CSV at path, else in the "
            "profile folder.",
        ),
        *_changes(tracking),
    )  # fmt: skip


def _changes(tracking: Tracking) -> tuple[Command, ...]:
    """Commands for a track that is there: the one named by its UID, else the chosen one."""

    def correct(points: Sequence[Sequence[float]], track: str = "") -> None:
        tracking.correct(track, _places(points))

    def rename(name: str, track: str = "") -> None:
        tracking.rename(track, name)

    def follow(track: str = "") -> None:
        tracking.follow(track)

    def uncorrect(track: str = "") -> None:
        tracking.uncorrect(track)

    def delete(track: str = "") -> None:
        tracking.delete(track)

    def select(track: str) -> None:
        tracking.select(track)

    rows: tuple[tuple[str, str, Callable[..., None], str, str], ...] = (
        ("correct", "Correct a track", correct, "",
         "Say where the chosen track is on the frame on show: its points (row, column)."),
        ("select", "Choose a track", select, "",
         "The track that commands and the timeline are about, by its UID."),
        ("rename", "Name a track", rename, "", "Give the chosen track another name."),
        ("follow", "Follow again", follow, "Track",
         "Let the model follow the chosen track through the clip."),
        ("uncorrect", "Drop the correction", uncorrect, "Track",
         "The frame on show is no key frame of the chosen track any more."),
        ("delete", "Delete the track", delete, "Track", "Take the chosen track off the clip."),
    )  # fmt: skip
    return tuple(
        Command(
            f"track.{name}", title, run, enabled=lambda: tracking.selected is not None,
            menu=menu, help=words,
        )
        for name, title, run, menu, words in rows
    )  # fmt: skip


def _places(points: Sequence[Sequence[float]]) -> list[FramePoint]:
    try:
        return [(float(row), float(column)) for row, column in points]
    except (TypeError, ValueError) as error:
        raise CommandError("Points are two numbers each: row and column in pixels") from error
