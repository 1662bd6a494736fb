"""Jobs: the queue of model runs, what becomes of each, and their results as proposals."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from medview.core.clip import Clip
from medview.core.errors import MedviewError, ModelError
from medview.core.events import Level, StudyClosed
from medview.core.findings import Finding
from medview.core.jobs import InferenceJob, InferenceResult, JobInput, JobState, Priority
from medview.core.maps import MapKind
from medview.core.models import ModelCard
from medview.core.shared_array import SharedArray, SharedArrayName
from medview.core.volume import Volume
from medview.inference import orders, scope
from medview.inference.catalog import Catalog
from medview.inference.client import WorkerClient
from medview.services.arrival_rules import Arrivals, RuleBook
from medview.services.durations import Durations, seconds_left
from medview.services.outcomes import Outcomes
from medview.services.review import ReviewDesk
from medview.services.room import free_bytes
from medview.services.settings import Settings
from medview.services.waiting import Waiting
from medview.services.workspace import Workspace

CANCELLING = "Cancelling"


def wishes(settings: Settings) -> dict[str, Any]:
    """What the settings say that runs are asked for beside their result."""
    kinds = (MapKind.UNCERTAINTY, MapKind.SALIENCY)
    maps = [kind.value for kind in kinds if settings.flag(f"ai.{kind.value}")]
    return {"maps": maps} if maps else {}


class Jobs:
    """Runs models one after the other; what they propose goes to the review desk.

    What the reader asks for goes before what runs by itself on arrival (`rules`, or all that
    fits if the settings say so). `durations` tell how long a run should take.

    All methods belong to the owner's thread. `pump` takes in what was heard from the worker;
    `on_wake` is called from another thread when there is something to pump. The jobs themselves
    are in `workspace.jobs`, those that wait in `queue`; `outcomes` tells how finished ones went.
    """

    def __init__(
        self,
        workspace: Workspace,
        catalog: Catalog,
        client: WorkerClient,
        review: ReviewDesk,
        settings: Settings | None = None,
        *,
        durations: Durations | None = None,
        rules: RuleBook | None = None,
    ) -> None:
        self._workspace = workspace
        self._catalog = catalog
        self._client = client
        self._review = review
        self._settings = settings or Settings(None)
        self.queue = Waiting()
        self._durations = durations or Durations()
        self.usual: Callable[[ModelCard], Mapping[str, Any]] = lambda _card: {}
        self.rules = rules or RuleBook()
        self.arrivals = Arrivals(workspace, self._settings, self.rules, self.wake)
        self._running_since = 0.0
        self._active = ""
        self._cancelling = False
        self._volumes: dict[str, str] = {}
        self._reasons: dict[str, tuple[str, ...]] = {}
        self._silent = ""
        self.outcomes = Outcomes()
        self.devices: tuple[str, ...] = ()
        self.lacking = ""
        workspace.events.study_closed.connect(self._on_study_closed)

    @property
    def on_wake(self) -> Callable[[], object] | None:
        """Called from the listening thread when there is something to pump."""
        return self._client.on_wake

    @on_wake.setter
    def on_wake(self, callback: Callable[[], object] | None) -> None:
        self._client.on_wake = callback

    def wake(self) -> None:
        """Have the owner pump soon."""
        if self.on_wake is not None:
            self.on_wake()

    @property
    def idle(self) -> bool:
        """Whether no job waits or runs."""
        return not self._active and not self.queue

    def warm(self) -> None:
        """A window is up: start the worker, so that it has imported what takes long.

        From now on fitting models run on what is opened, if the settings ask for it.
        """
        self.arrivals.watch()
        self._client.warm()

    def wait(self, timeout_s: float) -> bool:
        """Wait until there is something to pump; for programs without a window."""
        return self._client.wait(timeout_s)

    def close(self) -> None:
        """Stop everything and end the worker. May be called twice."""
        self.queue.keep_only(())
        self.arrivals.stop()
        self._client.close()
        self.pump()

    def fit(self, model_id: str, image_uid: str) -> tuple[scope.Reason, ...]:
        """What speaks against a run there; ModelError for no such model, KeyError for no image."""
        return _reasons(self._catalog.card(model_id), self._workspace, image_uid)

    def fitting(self, image_uid: str) -> tuple[ModelCard, ...]:
        """Models that may run on an open volume or clip, the least doubtful first, rules last."""
        choices = [(card, self.fit(card.id, image_uid)) for card in self._catalog.cards()]
        fitting = [choice for choice in choices if not scope.refusals(choice[1])]
        fitting.sort(key=lambda choice: scope.preference(*choice))
        return tuple(card for card, _ in fitting)

    def run(
        self,
        model_id: str,
        image_uid: str,
        *,
        device: str = "",
        override: bool = False,
        parameters: Mapping[str, Any] | None = None,
        rule: str = "",
    ) -> str:
        """Queue a run and give the job's UID. Without `device` the settings choose.

        `parameters` are plain values for the engine, see InferenceJob; without a threshold among
        them it is the one the reader set last for this model. `rule` says why it starts by itself,
        and it then waits behind what readers ask for. ModelError with the reasons
        if the model is not for this image; with `override` only where it could not even look at
        it. What was overridden is marked in the result.
        """
        card = self._catalog.card(model_id)
        reasons = self.fit(model_id, image_uid)
        against = scope.refusals(reasons, final_only=override)
        if against:
            raise ModelError(f"{card.title} is not for this image.", hint=" ".join(against))
        job = InferenceJob(
            model_id=card.id,
            version=card.version,
            inputs=(JobInput(image_uid),),
            study_uid=self._workspace.study_of(image_uid).uid,
            device=device or self._settings.text("ai.device"),
            override_scope=override,
            parameters={**self.usual(card), **(parameters or {})},
            priority=Priority.ARRIVAL if rule else Priority.READER,
            rule=rule,
        )
        job = replace(job, seconds_left=self._expected_s(job))
        self._reasons[job.uid] = tuple(reason.text for reason in reasons)
        self.queue.put(job.uid, job.priority)
        self._workspace.put_job(job)
        self._start_next()
        return job.uid

    def expected_s(self, model_id: str, image_uid: str) -> float | None:
        """Seconds a run should take by earlier ones on this machine; None if there were none."""
        device, card = self._settings.text("ai.device"), self._catalog.card(model_id)
        voxels = _voxels(self._workspace, image_uid)
        return self._durations.expected_s((card.id, card.version), device, voxels)

    def put_first(self, job_uid: str) -> None:
        """Have a waiting job run next. One that runs or is over: nothing."""
        if job_uid in self.queue:
            self.queue.put_first(job_uid)
            self._workspace.put_job(
                replace(self._workspace.jobs[job_uid], priority=Priority.READER)
            )

    def cancel(self, job_uid: str) -> None:
        """Stop a job: a waiting one at once, a running one within a second. Over: nothing."""
        job = self._workspace.jobs.get(job_uid)
        if job is None or job.state.is_over:
            return
        if job_uid in self.queue:
            self.queue.remove(job_uid)
            self._end(job, JobState.CANCELLED)
        elif job_uid == self._active and not self._cancelling:
            self._cancelling = True
            self._client.cancel(job_uid)
            self._workspace.put_job(replace(job, stage=CANCELLING, fraction=None))

    def pump(self) -> int:
        """Take in what was heard from the worker; how much it was."""
        heard = self._client.poll()
        for one in heard:
            self._take_in(one)
        for volume in self.arrivals.take():
            for model_id, why in self.arrivals.due(volume, self.fitting(volume.uid)).items():
                try:
                    self.run(model_id, volume.uid, parameters=wishes(self._settings), rule=why)
                except ModelError as error:  # it fitted a moment ago, when there was more memory
                    self._workspace.notify(Level.WARNING, error.user_text, error.hint)
        self._start_next()
        return len(heard)

    # From the queue to the worker

    def _start_next(self) -> None:
        while self.queue and not self._active:
            job = self._workspace.jobs[self.queue.pop()]
            try:
                order = _order(job, self._workspace, self._catalog, self._settings)
                self._client.submit(order)
            except MedviewError as error:
                self._fail(job, error.user_text, error.hint)
                continue
            self._active, self._cancelling = job.uid, False
            self._volumes[order.volume.uid] = job.study_uid
            self._workspace.put_job(replace(job.step(JobState.LOADING), stage="Loading the model"))

    # From the worker to the workspace

    def _take_in(self, heard: orders.Heard) -> None:
        match heard:
            case orders.WorkerReady():
                self.devices = heard.devices or self.devices
                if heard.lacking and heard.lacking != self.lacking:
                    self._workspace.notify(Level.INFO, heard.lacking, "Use models you trust.")
                self.lacking = heard.lacking
            case orders.WorkerStopped():
                self._workspace.notify(Level.ERROR, heard.text, "Everything else goes on.")
            case orders.JobRunning() | orders.JobProgress() | orders.JobSilent():
                self._moved(heard)
            case _:
                self._over(heard)

    def _moved(self, heard: orders.JobRunning | orders.JobProgress | orders.JobSilent) -> None:
        job = self._workspace.jobs.get(heard.job_uid)
        if job is None or self._cancelling:
            return
        match heard:
            case orders.JobRunning():
                self._running_since = time.monotonic()
                running = job.step(JobState.RUNNING)
                self._workspace.put_job(replace(running, device=heard.device, stage="Starting"))
            case orders.JobProgress():
                elapsed = time.monotonic() - self._running_since
                left = seconds_left(elapsed, heard.fraction, self._expected_s(job))
                self._workspace.put_job(
                    replace(job, stage=heard.stage, fraction=heard.fraction, seconds_left=left)
                )
            case orders.JobSilent():
                title = _title(self._catalog, job.model_id)
                text = f"{title} has shown no sign of life for {heard.silent_s:.0f} s."
                self._workspace.notify(Level.WARNING, text, "Wait, or stop it.")
                self._silent = job.uid

    def _over(
        self,
        heard: orders.JobDone | orders.JobFailed | orders.JobCancelled | orders.JobDied,
    ) -> None:
        """The active job ended; one whose study was closed meanwhile leaves only a notice."""
        stopped, self._active, self._cancelling = self._cancelling, "", False
        job = self._workspace.jobs.get(heard.job_uid)
        if job is None:
            self._workspace.notify(Level.INFO, "A model was stopped because its study was closed.")
            return
        if stopped:  # whatever came in between: the reader wanted it stopped
            self._end(job, JobState.CANCELLED)
            return
        match heard:
            case orders.JobDone():
                self._propose(job, heard.result)
            case orders.JobFailed():
                self._fail(job, heard.text, heard.hint)
            case orders.JobCancelled():
                self._end(job, JobState.CANCELLED)
            case orders.JobDied():
                self._end(job, JobState.DIED, heard.text)
                text = f"{heard.text} ({_title(self._catalog, job.model_id)})"
                hint = "Nothing you did is lost. It can be run again."
                self._workspace.notify(Level.ERROR, text, hint)

    def _propose(self, job: InferenceJob, result: InferenceResult) -> None:
        if not _inputs_unchanged(self._workspace, job):
            self._fail(job, "The image changed while the model ran; its result was dropped.", "")
            return
        result = _with_cautions(result, self._reasons.get(job.uid, ()))
        try:
            self._review.propose(result, job)
        except ModelError as error:
            self._fail(job, error.user_text, error.hint)
            return
        self.outcomes.put(result)
        model, voxels = (job.model_id, job.version), _voxels(self._workspace, job.inputs[0].uid)
        self._durations.learn(model, job.device, voxels, result.seconds)
        self._end(job, JobState.DONE)

    def _fail(self, job: InferenceJob, text: str, hint: str) -> None:
        self._end(job, JobState.FAILED, text)
        self._workspace.notify(Level.ERROR, text, hint)

    def _end(self, job: InferenceJob, state: JobState, error: str = "") -> None:
        self._reasons.pop(job.uid, None)
        if self._silent == job.uid and state is JobState.DONE:  # the warning holds no longer
            text = f"{_title(self._catalog, job.model_id)} is done."
            self._workspace.notify(Level.INFO, text)
        fraction = 1.0 if state is JobState.DONE else None
        ended = replace(job.step(state, error=error), stage="", fraction=fraction)
        self._workspace.put_job(replace(ended, seconds_left=None))

    def _expected_s(self, job: InferenceJob) -> float | None:
        model, voxels = (job.model_id, job.version), _voxels(self._workspace, job.inputs[0].uid)
        return self._durations.expected_s(model, job.device, voxels)

    def _on_study_closed(self, event: StudyClosed) -> None:
        """Only what is the queue's own changes here; the workspace has dropped the jobs."""
        jobs = self._workspace.jobs
        self.queue.keep_only(jobs)
        if self._active and self._active not in jobs and not self._cancelling:
            self._cancelling = True
            self._client.cancel(self._active)
        for uid in [uid for uid, study in self._volumes.items() if study == event.uid]:
            del self._volumes[uid]
            self._client.forget(uid)
        self.outcomes.keep_only(jobs, self._workspace.volumes)
        self._reasons = {uid: words for uid, words in self._reasons.items() if uid in jobs}


def _title(catalog: Catalog, model_id: str) -> str:
    try:
        return catalog.card(model_id).title
    except ModelError:
        return model_id


def _order(
    job: InferenceJob, workspace: Workspace, catalog: Catalog, settings: Settings
) -> orders.Order:
    """A job as the worker is asked for it."""
    image = _image(workspace, job.inputs[0].uid)
    volume = image.pictures if isinstance(image, Clip) else image
    study = workspace.studies[job.study_uid]
    return orders.Order(
        job_uid=job.uid,
        card=catalog.card(job.model_id),
        folder=catalog.folder(job.model_id),
        image=image,
        backing=_backing(volume, workspace.hold_of(volume.uid)),
        series=study.find_series(volume.series_uid),
        study=study,
        device=job.device,
        seed=job.seed,
        threads=int(settings.number("ai.threads")),
        parameters=job.parameters,
    )


def _reasons(card: ModelCard, workspace: Workspace, image_uid: str) -> tuple[scope.Reason, ...]:
    image = _image(workspace, image_uid)
    study = workspace.study_of(image_uid)
    free = free_bytes()
    lacking = () if free is None else scope.room(card, free / 2**20)
    fit = scope.fit_image(card, study, study.find_series(image.series_uid), image)
    return (*fit, *lacking)


def _voxels(workspace: Workspace, image_uid: str) -> int:
    image = _image(workspace, image_uid)
    return int((image.pictures if isinstance(image, Clip) else image).voxels.size)


def _image(workspace: Workspace, uid: str) -> Volume | Clip:
    """An open volume or clip; KeyError for any other UID."""
    clip = workspace.clips.get(uid)
    return workspace.volumes[uid] if clip is None else clip


def _inputs_unchanged(workspace: Workspace, job: InferenceJob) -> bool:
    """Whether what the job looked at is still what it was; volumes and clips never change."""
    for item in job.inputs:
        segmentation = workspace.segmentations.get(item.uid)
        if segmentation is not None and segmentation.revision == item.revision:
            continue
        if item.uid not in workspace.volumes and item.uid not in workspace.clips:
            return False
    return True


def _backing(volume: Volume, hold: object) -> SharedArrayName | None:
    """The shared block the voxels lie in, if they do."""
    if not isinstance(hold, SharedArray):
        return None
    same = hold.array.shape == volume.voxels.shape and hold.array.dtype == volume.voxels.dtype
    return hold.key if same and np.shares_memory(hold.array, volume.voxels) else None


def _with_cautions(result: InferenceResult, reasons: Sequence[str]) -> InferenceResult:
    """The result with its findings saying where the image left the model's card.

    A probability was calibrated on images that the card is for; of others it is a score.
    """
    limits = tuple(dict.fromkeys((*reasons, *result.out_of_scope)))
    result = replace(result, out_of_scope=limits)

    def marked(finding: Finding) -> Finding:
        return replace(
            finding,
            provenance=replace(finding.provenance, cautions=result.out_of_scope),
            calibrated=finding.calibrated and not result.out_of_scope,
        )

    return replace(
        result,
        findings=tuple(marked(finding) for finding in result.findings),
        candidates=tuple(marked(finding) for finding in result.candidates),
    )
