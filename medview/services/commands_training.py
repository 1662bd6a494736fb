"""Commands for training models: collecting cases, starting, stopping."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medview.core.errors import CommandError
from medview.services.commands import Command, Registry

if TYPE_CHECKING:
    from medview.services.bundle import Services


def register(registry: Registry, services: Services) -> None:
    """Add the commands."""
    training, viewing = services.training, services.viewing

    def collect(folder: str = "") -> None:
        if not folder:
            raise CommandError("A case needs the folder of a data set.")
        services.cases.collect(viewing.require_volume().uid, Path(folder).absolute())

    def start(config: str = "", out: str = "", *, resume: bool = False) -> None:
        if not config or not out:
            raise CommandError("A training takes a config file and a folder out.")
        training.start(Path(config).absolute(), Path(out).absolute(), resume=resume)

    def next_case(folder: str = "", model: str = "") -> None:
        if folder:
            services.ranking.begin(model, Path(folder).absolute())
        else:
            services.ranking.open_next()

    for command in (
        Command(
            "case.collect", "Add to a data set", collect, menu="AI",
            enabled=lambda: viewing.volume is not None,
            help="Write the image on show, with what you accepted and corrected, as a case to "
            "learn from into the data set at folder, under a pseudonym.",
        ),
        Command(
            "case.next", "Next most uncertain case", next_case, menu="AI", undoable=False,
            help="Put the images of a folder in order, those first that the model is least sure "
            "of, and open the first; without a folder put that one away, its work kept, and "
            "open the next.",
        ),
        Command(
            "train.start", "Start a training", start, enabled=lambda: not training.is_running,
            help="Train as the file config says into the folder out, in a process of its own; "
            "resume takes up a run that was stopped.",
        ),
        Command(
            "train.stop", "Stop the training", training.stop, enabled=lambda: training.is_running,
            help="End the training after what it is at; it can be resumed.",
        ),
    ):  # fmt: skip
        registry.add(command)
