"""Commands for prompts: marks that are answered by an outline, in a slice or through all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medview.core.errors import CommandError
from medview.services import painting
from medview.services.commands import Command, Registry
from medview.services.prompting import Marked, Prompting
from medview.services.viewing import Viewing, plane_of

if TYPE_CHECKING:
    # The bundle builds the registry and calls `register`: it knows this module, not the reverse.
    from medview.services.bundle import Services

_KINDS = ("adds", "takes", "box")


def register(registry: Registry, services: Services) -> None:
    """Add the commands."""
    viewing, prompting = services.viewing, services.prompting
    for command in (_prompt(viewing, prompting), *_course(viewing, prompting)):
        registry.add(command)


def _prompt(viewing: Viewing, prompting: Prompting) -> Command:
    def mark(
        points_lps_mm: Sequence[Sequence[float]] = (),
        what: str = "adds",
        plane: str = "",
        segment: int | None = None,
    ) -> None:
        if what not in _KINDS:
            raise CommandError(f"A mark is no {what}", ", ".join(_KINDS))
        given = points_lps_mm or (viewing.crosshair_lps_mm,)
        try:
            points = tuple((float(x), float(y), float(z)) for x, y, z in given)
        except (TypeError, ValueError) as error:
            raise CommandError("Points are three numbers each: x, y, z in LPS mm") from error
        if what == "box" and len(points) != 2:
            raise CommandError("A box is two of its corners")
        if not _inside(viewing, points):
            raise CommandError("The mark lies beside the image")
        if viewing.overlay.active is None and segment is None:
            painting.add_segment(viewing)
        ref = painting.find_segment(viewing, segment)
        normal = viewing.frame(plane_of(viewing, plane)).normal
        prompting.mark(ref, Marked(what, points, normal))

    return Command(
        "segment.prompt", "Outline what is at the crosshair", mark, menu="Segment",
        enabled=lambda: viewing.volume is not None,
        help="Propose the outline of what is marked at points_lps_mm in a plane; what is adds "
        "(it belongs), takes (it does not) or box (two corners). In a view Enter accepts it.",
    )  # fmt: skip


def _inside(viewing: Viewing, points: Sequence[Sequence[float]]) -> bool:
    """Whether any of some points is in the image."""
    geometry = viewing.require_volume().geometry
    indices = geometry.to_index(points)
    reach = [(index > -1).all() and (index < geometry.shape).all() for index in indices]
    return any(reach)


def _course(viewing: Viewing, prompting: Prompting) -> tuple[Command, ...]:
    toolbox = viewing.toolbox

    def solid(on: bool | None = None) -> None:
        toolbox.set_prompts_solid(solid=not toolbox.prompts_solid if on is None else bool(on))

    return (
        Command(
            "segment.prompt_back", "Take back the last mark", prompting.take_back,
            enabled=lambda: bool(prompting.marks), menu="Segment", shortcut="Backspace",
            help="The proposed outline goes back to what it was before the last mark.",
        ),
        Command(
            "segment.prompt_solid", "Marks through all slices", solid, menu="Segment",
            shortcut="Ctrl+Alt+P",
            help="Carry what marks mean on through the slices beside them, or answer them in their "
            "own slice alone.",
        ),
    )  # fmt: skip
