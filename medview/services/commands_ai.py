"""Commands for running models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medview.core.errors import CommandError, ModelError
from medview.services.commands import Command, Registry

if TYPE_CHECKING:
    # The bundle builds the registry and calls `register`: it knows this module, not the reverse.
    from medview.services.bundle import Services


def register(registry: Registry, services: Services) -> None:
    """Add `ai.run` and `ai.cancel`."""
    jobs, viewing = services.jobs, services.viewing

    def run(model: str = "", volume: str = "", device: str = "", *, override: bool = False) -> str:
        image_uid = volume or _shown_image(services)
        workspace = services.workspace
        if image_uid not in workspace.volumes and image_uid not in workspace.clips:
            raise CommandError("That image is not open.", "Open its series first.")
        model_id = model or _best_model(services, image_uid)
        return jobs.run(model_id, image_uid, device=device, override=override)

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
