"""Commands for running models."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from medview.core.errors import CommandError, MedviewError, ModelError
from medview.core.events import Level
from medview.services.commands import Command, Registry
from medview.services.jobs import wishes
from medview.services.shelf import Prepared

if TYPE_CHECKING:
    # The bundle builds the registry and calls `register`: it knows this module, not the reverse.
    from medview.services.bundle import Services


def register(registry: Registry, services: Services) -> None:
    """Add what runs models, and what adds, trusts and removes them."""
    _register_shelf(registry, services)
    _register_queue(registry, services)
    jobs, viewing = services.jobs, services.viewing

    def run(model: str = "", volume: str = "", device: str = "", *, override: bool = False) -> str:
        image_uid = volume or _shown_image(services)
        workspace = services.workspace
        if image_uid not in workspace.volumes and image_uid not in workspace.clips:
            raise CommandError("That image is not open.", "Open its series first.")
        model_id = model or _best_model(services, image_uid)
        return jobs.run(
            model_id,
            image_uid,
            device=device,
            override=override,
            parameters=wishes(services.settings),
        )

    def cancel(job: str = "") -> int:
        uids = [job] if job else _unfinished(services)
        for uid in uids:
            jobs.cancel(uid)
        return len(uids)

    registry.add(
        Command(
            "ai.run",
            "Run the model",
            run,
            enabled=lambda: bool(viewing.volume or viewing.clip or services.workspace.volumes),
            shortcut="Ctrl+R",
            help="Run a model on the image or clip: the one named, else the one that fits best.",
            menu="AI",
        )
    )

    registry.add(
        Command(
            "ai.cancel",
            "Stop the models",
            cancel,
            enabled=lambda: bool(_unfinished(services)),
            shortcut="Ctrl+.",
            help="Stop the job named, else all that wait or run.",
            menu="AI",
        )
    )


def _register_queue(registry: Registry, services: Services) -> None:
    jobs = services.jobs

    def first(job: str = "") -> None:
        waiting = [one.uid for one in services.workspace.jobs.values() if one.state.is_waiting]
        uid = job or (waiting[-1] if waiting else "")
        if uid not in waiting:
            raise CommandError("No job waits.", "Jobs that run cannot be overtaken, but stopped.")
        jobs.put_first(uid)

    registry.add(
        Command(
            "ai.first",
            "Run next",
            first,
            enabled=lambda: any(one.state.is_waiting for one in services.workspace.jobs.values()),
            help="Have the job named run before all others that wait, else the one that came last.",
            menu="AI",
        )
    )


def _register_shelf(registry: Registry, services: Services) -> None:
    shelf, workspace = services.shelf, services.workspace

    def add(source: str = "", sha256: str = "", card: str = "", *, replace: bool = False) -> None:
        if not source:
            raise CommandError("Nothing to add was given.", "Give a folder, a ZIP or a URL.")

        def added(ready: Prepared) -> None:
            found = shelf.take(ready, workspace.reader, replace=replace)
            hint = "" if found.may_run else "It brings a program: trust it before it runs."
            done = f"is in the place of {found.id}" if replace else "is added"
            workspace.notify(Level.INFO, f"{found.title} {done}.", hint)

        def refused(error: MedviewError) -> None:
            workspace.notify(Level.ERROR, error.user_text, error.hint)

        described = Path(card) if card else None
        prepare = partial(shelf.prepare, source, sha256=sha256, card=described)
        services.tasks.run(prepare, on_done=added, on_error=refused)

    def remove(model: str = "") -> None:
        shelf.remove(_named(model), workspace.reader)

    def trust(model: str = "") -> None:
        if not workspace.reader:
            raise CommandError("Nobody reads.", "Trust needs a name: say who reads first.")
        shelf.trust(_named(model), workspace.reader)

    rows = (
        ("ai.add_model", "Add a model", add,
         "Add a model from a folder, a ZIP, a URL with its SHA-256, or one that is offered; with "
         "replace in the place of the model it was trained from and compared with."),
        ("ai.trust", "Trust a model's program", trust,
         "Allow the program that a model brings to run in the AI process."),
        ("ai.remove_model", "Remove a model", remove,
         "Delete a model that was added; those that come with medview stay."),
    )  # fmt: skip
    for id_, title, run, words in rows:
        registry.add(Command(id_, title, run, help=words, menu="AI"))


def _named(model: str) -> str:
    if not model:
        raise CommandError("No model is named.", "Give its id.")
    return model


def _best_model(services: Services, image_uid: str) -> str:
    fitting = services.jobs.fitting(image_uid)
    if not fitting:
        raise ModelError(
            "No installed model is for this image.",
            hint="The AI panel says of each model why not.",
        )
    return fitting[0].id


def _shown_image(services: Services) -> str:
    shown = services.viewing.volume or services.viewing.clip
    if shown is None:
        raise CommandError("There is no image to look at.", "Open a study first.")
    return shown.uid


def _unfinished(services: Services) -> list[str]:
    return [job.uid for job in services.workspace.jobs.values() if not job.state.is_over]
