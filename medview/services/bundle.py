"""The services of one running program: built here, handed to whoever needs them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import platformdirs

import medview
from medview.core.errors import ReportError
from medview.core.events import Level, ModelsChanged
from medview.core.paths import Paths
from medview.inference.catalog import ANSWERERS, Catalog
from medview.inference.client import WorkerClient
from medview.inference.trust import TrustFile
from medview.reporting.template import Template, load_templates
from medview.services import (
    commands_ai,
    commands_box,
    commands_clip,
    commands_combine,
    commands_draw,
    commands_edit,
    commands_effects,
    commands_own,
    commands_prompt,
    commands_report,
    commands_results,
    commands_track,
    commands_training,
    commands_two,
    commands_values,
    commands_view,
)
from medview.services.arrival_rules import RuleBook
from medview.services.audit import Audit
from medview.services.bringing_in import BringingIn
from medview.services.cases import Cases
from medview.services.commands import Registry, always
from medview.services.corrections import Corrections
from medview.services.detections import Detections
from medview.services.documents import Documents
from medview.services.durations import Durations
from medview.services.effects import Effects
from medview.services.export import Export
from medview.services.first_read import FirstRead
from medview.services.graphics import ImageGraphics
from medview.services.guide import Guide
from medview.services.hanging import load_protocols
from medview.services.history import History
from medview.services.jobs import Jobs
from medview.services.kept_results import ModelOutput
from medview.services.leaving import Leaving
from medview.services.loading import Loading
from medview.services.map_files import MapFiles
from medview.services.objects import Objects
from medview.services.originals import Originals
from medview.services.priors import Priors
from medview.services.prompting import Answering, Prompting
from medview.services.ranking import Ranking
from medview.services.remembered import Remembered
from medview.services.report_output import ReportOutput
from medview.services.report_parts import ReportParts
from medview.services.result_overlay import ResultOverlay
from medview.services.review import ReviewDesk
from medview.services.scales import Scales
from medview.services.settings import Settings
from medview.services.shelf import Shelf
from medview.services.staleness import stale_reason
from medview.services.statistics import SegmentStatistics
from medview.services.store import Store
from medview.services.tasks import Tasks
from medview.services.terminology import Terminology, load_terminology
from medview.services.thresholds import Thresholds
from medview.services.tracking import Tracking
from medview.services.training import Training
from medview.services.two_readers import TwoReaders
from medview.services.viewing import Viewing
from medview.services.watch import Watch
from medview.services.workspace import Workspace


@dataclass(frozen=True)
class Services:
    """Everything the program can do, short of drawing it."""

    paths: Paths
    settings: Settings
    workspace: Workspace
    history: History
    review: ReviewDesk
    parts: ReportParts
    report_output: ReportOutput
    priors: Priors
    viewing: Viewing
    effects: Effects
    prompting: Prompting
    terminology: Terminology
    statistics: SegmentStatistics
    loading: Loading
    watch: Watch
    objects: Objects
    graphics: ImageGraphics
    scales: Scales
    jobs: Jobs
    tracking: Tracking
    thresholds: Thresholds
    output: ModelOutput
    corrections: Corrections
    first_read: FirstRead
    two_readers: TwoReaders
    results: ResultOverlay
    guide: Guide
    detections: Detections
    catalog: Catalog
    shelf: Shelf
    training: Training
    ranking: Ranking
    cases: Cases
    tasks: Tasks
    store: Store
    audit: Audit
    export: Export
    commands: Registry


def find_paths(profile: Path | None = None) -> Paths:
    """The shipped resources, and the profile: `profile`, or the user's own by the platform."""
    package = Path(medview.__file__).parent
    shipped = package / "resources"
    resources = shipped if shipped.is_dir() else package.parent / "resources"
    if profile is not None:
        return Paths.in_profile(resources, profile.absolute())
    own = platformdirs.PlatformDirs("medview", appauthor=False)
    data = own.user_data_path
    return Paths(resources, own.user_config_path, data, own.user_cache_path, own.user_log_path)


def catalog(paths: Paths) -> Catalog:
    """The shipped models and the reader's own."""
    marks = Catalog((paths.own_prompt_models, paths.prompt_models), ANSWERERS)
    folders = (paths.shipped_models, paths.own_models)
    return Catalog(folders, trust=TrustFile(paths.trust_file), beside=marks)


def build(paths: Paths, *, keeps_work: bool = True) -> Services:
    """Wire the services. With `keeps_work` False only the audit trail goes into the profile."""
    paths.create()
    settings = Settings(paths.settings_file)
    workspace = Workspace(settings)
    tasks = Tasks(import_workers=int(settings.number("loading.workers")))
    store = Store(paths.store_file, settings.number("store.delay_s"))
    audit = Audit(store)
    models = catalog(paths)
    originals = Originals(workspace)
    review = ReviewDesk(workspace, audit, _templates(paths, workspace), models.every_card)
    loading = Loading(workspace, tasks, load_protocols(paths.resources / "hanging"), paths.cache)
    jobs = _jobs(paths, workspace, models, review, settings)
    viewing = Viewing(workspace, settings)
    effects = Effects(viewing, tasks)
    thresholds = Thresholds(workspace, jobs.outcomes, audit, _usual(paths))
    first_read = FirstRead(workspace, settings, audit)
    results = ResultOverlay(viewing, jobs.outcomes, thresholds, first_read)
    leaving = Leaving(workspace, jobs, models.every_card, audit, viewing.grey_of)
    services = Services(
        paths=paths,
        settings=settings,
        workspace=workspace,
        history=workspace.history,
        review=review,
        parts=ReportParts(workspace, review),
        report_output=ReportOutput(workspace, review, models.every_card, tasks, paths.resources),
        priors=Priors(workspace, store),
        viewing=viewing,
        effects=effects,
        prompting=_prompting(viewing, effects, tasks, models, settings),
        statistics=SegmentStatistics(workspace, tasks),
        terminology=load_terminology(paths.resources / "terminology" / "segments.toml"),
        loading=loading,
        watch=Watch(workspace, tasks),
        objects=_objects(workspace, tasks, loading, viewing, BringingIn(workspace, review, audit)),
        graphics=ImageGraphics(workspace, tasks),
        scales=Scales(workspace),
        jobs=jobs,
        tracking=Tracking(workspace, viewing, jobs, tasks),
        thresholds=thresholds,
        output=ModelOutput(jobs.outcomes, originals, _map_files(paths, settings)),
        corrections=Corrections(workspace, originals, tasks),
        first_read=first_read,
        two_readers=TwoReaders(workspace, review, settings, audit, originals),
        results=results,
        guide=Guide(viewing, results, settings),
        detections=Detections(viewing, review, jobs.outcomes),
        catalog=models,
        shelf=Shelf(paths, models, audit, TrustFile(paths.trust_file)),
        training=Training(workspace, models),
        ranking=Ranking(workspace, models, loading, paths.cache),
        cases=Cases(workspace, models, tasks, audit, paths),
        tasks=tasks,
        store=store,
        audit=audit,
        export=Export(workspace, review, leaving, tasks, audit, paths.resources),
        commands=Registry(settings),
    )
    return _tied(services, keeps_work=keeps_work)


def _prompting(
    viewing: Viewing, effects: Effects, tasks: Tasks, models: Catalog, settings: Settings
) -> Prompting:
    """What answers marks: the models beside the others, as long as the reader wants them."""
    wanted = partial(settings.flag, "segment.network")
    return Prompting(viewing, effects, tasks, Answering(models.beside, wanted))


def _objects(
    workspace: Workspace, tasks: Tasks, loading: Loading, viewing: Viewing, results: BringingIn
) -> Objects:
    """What opens series that are no pictures."""
    documents = Documents(workspace, tasks, loading, viewing, results)
    return Objects(workspace, tasks, loading, viewing, documents)


def _tied(services: Services, *, keeps_work: bool) -> Services:
    """Let services know each other that cannot be given each other when they are made."""
    review, jobs, store = services.review, services.jobs, services.store
    workspace, tasks = services.workspace, services.tasks
    loading, viewing = services.loading, services.viewing
    first_read, two = services.first_read, services.two_readers
    first_read.lens = two.lens
    viewing.overlay.conceals = lambda one: first_read.conceals(one) or two.conceals(one)
    jobs.usual = services.thresholds.usual
    services.tracking.hides = services.first_read.hides
    loading.on_chosen = viewing.hang
    loading.on_first_look = viewing.preview
    loading.on_opened = services.objects.offer
    services.objects.on_maps = jobs.outcomes.bring
    loading.read_first(viewing.plane_on_show)
    review.prior_of = services.priors.of
    review.original_of = services.detections.original_of
    review.stale_of = partial(stale_reason, workspace)
    if keeps_work:
        store.attach(workspace, tasks, loading, services.output)
        jobs.arrivals.waits = lambda: store.is_bringing_back
        store.on_back = jobs.wake
    services.shelf.on_change = lambda: workspace.emit(ModelsChanged())
    _register(services)
    return services


def _templates(paths: Paths, workspace: Workspace) -> tuple[Template, ...]:
    """The shipped report templates and the reader's own, which stand before shipped ones."""
    shipped = load_templates(paths.resources / "report_templates")
    try:
        own = load_templates(paths.own_templates)
    except ReportError as error:
        workspace.notify(Level.WARNING, error.user_text, f"{error.hint} {error.detail}")
        own = ()
    names = {one.id for one in own}
    return (*own, *(one for one in shipped if one.id not in names))


def _map_files(paths: Paths, settings: Settings) -> MapFiles:
    """Where the maps of kept results lie."""
    return MapFiles(paths.cache / "maps", int(settings.number("store.maps_mb")) << 20)


def _usual(paths: Paths) -> Remembered:
    """The thresholds that were set last, by model."""
    return Remembered(paths.data / "thresholds.json")


def _jobs(
    paths: Paths, workspace: Workspace, models: Catalog, review: ReviewDesk, settings: Settings
) -> Jobs:
    """The queue of model runs and the worker behind it."""
    client = WorkerClient(
        paths.resources, paths.logs, models=paths.own_models, scratch=paths.cache / "ai"
    )
    return Jobs(
        workspace,
        models,
        client,
        review,
        settings,
        durations=Durations(paths.data / "durations.json"),
        rules=_rule_book(paths, workspace),
    )


def _rule_book(paths: Paths, workspace: Workspace) -> RuleBook:
    """What runs by itself; a file that makes no sense is said and nothing runs."""
    book = RuleBook(paths.config / "arrival.toml")
    if book.error:
        workspace.notify(Level.WARNING, book.error, "Rules on arrival in the AI menu start anew.")
    return book


def _register(services: Services) -> None:
    registry = services.commands
    rooms = (
        commands_edit,
        commands_view,
        commands_values,
        commands_clip,
        commands_track,
        commands_box,
        commands_own,
        commands_report,
        commands_two,
    )
    segments = (commands_effects, commands_combine, commands_draw, commands_prompt)
    for room in (*rooms, *segments, commands_ai, commands_results, commands_training):
        room.register(registry, services)
    tasks, jobs, loading, store = services.tasks, services.jobs, services.loading, services.store
    registry.add_activity(tasks.pump, lambda: tasks.idle and loading.idle and store.idle)
    registry.add_activity(jobs.pump, lambda: jobs.idle)
    registry.add_activity(services.training.pump, always)  # nobody waits for hours


def close(services: Services) -> None:
    """Stop the AI worker, save what is left, and stop the background work, in that order."""
    services.training.close()
    services.ranking.close()
    services.jobs.close()
    services.tasks.pump()
    services.store.close()
    for study_uid in list(services.workspace.studies):
        services.workspace.close_study(study_uid)
    services.tasks.close()
    services.loading.close()


@contextmanager
def running(paths: Paths, *, keeps_work: bool = True) -> Iterator[Services]:
    """Services for the time of a `with` block."""
    services = build(paths, keeps_work=keeps_work)
    try:
        yield services
    finally:
        close(services)
