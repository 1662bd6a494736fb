"""Commands for clips: playing, stepping, speed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from medview.services.commands import Command, Registry
from medview.services.viewing import Viewing

if TYPE_CHECKING:
    # The bundle builds the registry and calls `register`: it knows this module, not the reverse.
    from medview.services.bundle import Services

#: The speeds that are offered; any other between the ends can be given.
SPEEDS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)


def register(registry: Registry, services: Services) -> None:
    """Add the commands of clips."""
    for command in _commands(services.viewing):
        registry.add(command)


def _commands(viewing: Viewing) -> tuple[Command, ...]:
    cine = viewing.cine

    def step(frames: int = 1) -> None:
        cine.step(frames)

    def speed(factor: float = 1.0) -> None:
        cine.set_speed(float(factor))

    def next_speed(by: int) -> Callable[[], None]:
        def change() -> None:
            now = min(range(len(SPEEDS)), key=lambda n: abs(SPEEDS[n] - cine.state.speed))
            cine.set_speed(SPEEDS[min(max(now + by, 0), len(SPEEDS) - 1)])

        return change

    rows = (
        (
            "clip.toggle", "Play or pause", cine.toggle, "C",
            "Play the clip, or stop at the frame on show. The space bar does it in the picture.",
        ),
        ("clip.play", "Play", cine.play, "", "Play the clip as fast as it was taken."),
        ("clip.pause", "Pause", cine.pause, "", "Stop at the frame on show."),
        ("clip.step", "Next frame", step, "Right", "One frame on, or as many as are given."),
        ("clip.step_back", "Previous frame", lambda: step(-1), "Left", "One frame back."),
        (
            "clip.speed", "True speed", speed, "",
            "As fast as it was taken, or by a factor between 0.25 and 4.",
        ),
        ("clip.faster", "Faster", next_speed(1), "Alt+Right", "The next higher speed, up to 4."),
        ("clip.slower", "Slower", next_speed(-1), "Alt+Left", "The next lower speed, to 0.25."),
        (
            "clip.sweep", "Play forth and back", cine.toggle_sweep, "",
            "At the end go back the way it came, or begin anew.",
        ),
    )  # fmt: skip
    return tuple(
        Command(
            id_, title, run, enabled=lambda: _moves(viewing), shortcut=key, menu="View", help=words
        )
        for id_, title, run, key, words in rows
    )


def _moves(viewing: Viewing) -> bool:
    clip = viewing.clip
    return clip is not None and len(clip.frames) > 1
