"""Running models on studies without a window: what `medview analyze` does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medview.core.clip import Clip
from medview.core.errors import MedviewError, ModelError, ReadError
from medview.core.jobs import JobState
from medview.core.models import ModelCard, Task
from medview.core.study import Series, Study
from medview.core.volume import Volume
from medview.inference.scope import best_series
from medview.reporting.tables import timeline_csv
from medview.services.bundle import Services
from medview.services.scanning import scan_now

Tell = Callable[[str], object]


@dataclass(frozen=True)
class Order:
    """What to analyse. `accept_as` names the reader who answers for all findings, None nobody."""

    paths: tuple[Path, ...]
    models: tuple[str, ...]
    out: Path
    series_uid: str | None = None
    device: str = "auto"
    accept_as: str | None = None


def analyze(services: Services, order: Order, tell: Tell) -> list[dict[str, Any]]:
    """Run the models on the best-fitting series of each study and export; the result.json of each.

    ReadError if nothing is readable, ModelError if no series fits or a model fails, ReportError
    if an export does not read back as written. With several studies, what fails in one is told
    and the others go on; the first error is raised at the end.
    """
    cards = [services.catalog.card(name) for name in order.models]
    for card in cards:
        services.catalog.verify(card.id)
    studies = _open(services, order, tell)
    results: list[dict[str, Any]] = []
    errors: list[MedviewError] = []
    for study in studies:
        folder = order.out if len(studies) == 1 else order.out / study.uid
        try:
            results.append(_analyze_study(services, order, study, cards, folder, tell))
        except MedviewError as error:
            errors.append(error)
            if len(studies) > 1:
                tell(f"Study {study.uid}: {error.user_text} {error.hint}".rstrip())
    if errors:
        raise errors[0]
    return results


def _open(services: Services, order: Order, tell: Tell) -> list[Study]:
    scanned = scan_now(services.tasks, order.paths)
    for problem in scanned.problems:
        tell(f"{problem.severity.value}: {problem.path.name}: {problem.reason}")
    services.workspace.open_studies(scanned.studies, scanned.problems, sources=order.paths)
    studies = list(services.workspace.studies.values())
    if order.series_uid is not None:
        studies = [s for s in studies if order.series_uid in {one.uid for one in s.series}]
        if not studies:
            raise ReadError(f"There is no series {order.series_uid} in what was given")
    if not studies:
        raise ReadError("Nothing readable was given", "Give DICOM, NIfTI, NRRD or MetaImage files.")
    return studies


def _analyze_study(
    services: Services,
    order: Order,
    study: Study,
    cards: list[ModelCard],
    folder: Path,
    tell: Tell,
) -> dict[str, Any]:
    series_uids = []
    for card in cards:
        series = _series_for(card, study, order.series_uid)
        tell(f"{card.id}: series {series.description or series.uid} ({series.modality})")
        image = _image_of(services, card, series)
        job_uid = _run(services, card, image.uid, order.device, tell)
        _write_timeline(services, job_uid, folder / f"timeline-{card.id}.csv")
        series_uids.append(series.uid)
    if order.accept_as is not None:
        services.review.accept_all(study.uid, order.accept_as, by_command=True)
    return services.export.export_now(
        study.uid, folder, series_uids[0], proposals=order.accept_as is None
    )


def _series_for(card: ModelCard, study: Study, wanted: str | None) -> Series:
    if wanted is not None:
        return study.find_series(wanted)
    return best_series(card, [study]).series


def _image_of(services: Services, card: ModelCard, series: Series) -> Volume | Clip:
    """The largest volume of a series; for a model of motion its longest clip."""
    volumes: list[Volume] = []
    errors: list[MedviewError] = []
    services.loading.load_series(series.uid, volumes.extend, errors.append)
    services.commands.wait_idle(timeout_s=3600)
    if errors:
        raise errors[0]
    clips = services.workspace.clips_of(series.uid)
    if card.task is Task.MOTION and clips:
        return max(clips, key=lambda clip: len(clip.frames))
    if not volumes:
        raise ReadError(f"The series {series.description or series.uid} holds no volume")
    return max(volumes, key=lambda volume: volume.voxels.size)


def _run(services: Services, card: ModelCard, image_uid: str, device: str, tell: Tell) -> str:
    """Run a model and wait for it; the job's UID."""
    uid = services.jobs.run(card.id, image_uid, device=device)
    stage = ""

    def follow() -> None:
        nonlocal stage
        job = services.workspace.jobs[uid]
        if job.stage and job.stage != stage:
            stage = job.stage
            tell(f"{card.id}: {stage}")

    services.commands.wait_idle(timeout_s=24 * 3600, turn=follow)
    job = services.workspace.jobs[uid]
    if job.state is not JobState.DONE:
        raise ModelError(job.error or f"{card.title} ended as {job.state.value}")
    return uid


def _write_timeline(services: Services, job_uid: str, path: Path) -> None:
    """What a run said of a clip frame by frame, as a table; nothing where it said nothing."""
    timeline = services.jobs.outcomes.result(job_uid).timeline
    if timeline is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(timeline_csv(timeline), encoding="utf-8", newline="")
