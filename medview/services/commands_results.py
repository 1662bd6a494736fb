"""Commands for what models gave: thresholds, maps, the first read."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from medview.core.errors import CommandError
from medview.core.jobs import JobState
from medview.core.maps import MapKind
from medview.services.commands import Command, Registry
from medview.services.commands_edit import shown_study

if TYPE_CHECKING:
    # The bundle builds the registry and calls `register`: it knows this module, not the reverse.
    from medview.services.bundle import Services


def register(registry: Registry, services: Services) -> None:
    """Add the commands."""
    for command in (*_maps(services), *_first_read(services), _threshold(services)):
        registry.add(command)


def _maps(services: Services) -> tuple[Command, ...]:
    results = services.results

    def shows_or_has(kind: MapKind) -> bool:
        return results.kind is kind or results.has(kind)

    rows = (
        (MapKind.SALIENCY, "Saliency", "E",
         "Show what in the image a model's answer rests on, or hide it: an explanation of the "
         "model, not evidence of disease."),
        (MapKind.UNCERTAINTY, "Uncertainty", "U",
         "Show where the model is unsure of its result, or hide it."),
        (MapKind.PROBABILITY, "Probability", "",
         "Show how probable each place is by a model, or by a map brought in; or hide it."),
        (MapKind.QUANTITY, "Map of values", "",
         "Show the values of a map that was brought in, or hide them."),
    )  # fmt: skip
    return tuple(
        Command(
            f"ai.{kind.value}", title, partial(results.toggle, kind),
            enabled=partial(shows_or_has, kind), shortcut=key, menu="AI", help=words,
        )
        for kind, title, key, words in rows
    )  # fmt: skip


def _first_read(services: Services) -> tuple[Command, ...]:
    first_read = services.first_read

    def switch() -> None:
        first_read.switch(on=not first_read.is_on)

    def reveal(text: str = "", by: str = "", study_uid: str = "") -> None:
        first_read.commit(shown_study(services, study_uid).uid, text, by)

    def hides() -> bool:
        study = services.viewing.study
        return study is not None and first_read.hides(study.uid)

    return (
        Command(
            "ai.read_first", "Read first, then reveal AI", switch, menu="AI",
            help="Keep what models propose hidden until you have committed a first read; again, "
            "and it is shown at once. Both are recorded.",
        ),
        Command(
            "ai.reveal", "Commit first read and reveal AI", reveal, enabled=hides,
            shortcut="Ctrl+Shift+R", menu="AI", undoable=False,
            help="Record your own reading as text, then show what models propose in this study.",
        ),
    )  # fmt: skip


def _threshold(services: Services) -> Command:
    def newest(job: str) -> str:
        volume = services.viewing.volume
        if job or volume is None:
            return job
        done = [
            one.uid
            for one in services.workspace.jobs.values()
            if one.state is JobState.DONE and one.inputs[0].uid == volume.uid
        ]
        movable = [uid for uid in done if services.thresholds.movable(uid)]
        return movable[-1] if movable else ""

    def threshold(value: float = -1.0, job: str = "") -> int:
        uid = newest(job)
        if not uid:
            raise CommandError("No run on this image has findings with probabilities")
        if value < 0:
            raise CommandError("Which threshold?", "Name a number from 0 to 1: value=...")
        return services.thresholds.set(uid, value).above

    return Command(
        "ai.threshold", "Threshold of a run", threshold, enabled=lambda: bool(newest("")),
        help="Propose findings of the newest run, or of job, from the probability value on; less "
        "probable ones that are not decided are withdrawn.",
    )  # fmt: skip
