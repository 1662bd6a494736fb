"""Jobs: the queue of model runs, what becomes of each, and their results as proposals."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from medview.core.clip import Clip
from medview.core.errors import MedviewError, ModelError
from medview.core.events import Level, StudyClosed, VolumeLoaded
from medview.core.findings import Finding
from medview.core.jobs import InferenceJob, InferenceResult, JobInput, JobState
from medview.core.models import ModelCard, Task
from medview.core.shared_array import SharedArray, SharedArrayName
from medview.core.volume import Volume
from medview.inference import orders, scope
from medview.inference.catalog import Catalog
from medview.inference.client import WorkerClient
from medview.services.outcomes import Outcomes
from medview.services.review import ReviewDesk
from medview.services.settings import Settings
from medview.services.workspace import Workspace

CANCELLING = "Cancelling"


class Jobs:
    """Runs models one after the other; what they propose goes to the review desk.

    All methods belong to the owner's thread. `pump` takes in what was heard from the worker;
    `on_wake` is called from another thread when there is something to pump. The jobs themselves
    are in `workspace.jobs`; `outcomes` tells how finished ones went.
    """

    def __init__(
        self,
        workspace: Workspace,
        catalog: Catalog,
        client: WorkerClient,
        review: ReviewDesk,
        settings: Settings | None = None,
    ) -> None:
        self._workspace = workspace
        self._catalog = catalog
        self._client = client
        self._review = review
        self._settings = settings or Settings(None)
        self._arrived: list[str] = []
        self._queue: deque[str] = deque()
        self._active = ""
        self._cancelling = False
        self._volumes: dict[str, str] = {}
        self._reasons: dict[str, tuple[str, ...]] = {}
        self.outcomes = Outcomes()
        self.devices: tuple[str, ...] = ()
        workspace.events.study_closed.connect(self._on_study_closed)

    @property
    def on_wake(self) -> Callable[[], object] | None:
        """Called from the listening thread when there is something to pump."""
        return self._client.on_wake

    @on_wake.setter
    def on_wake(self, callback: Callable[[], object] | None) -> None:
        self._client.on_wake = callback

    @property
    def idle(self) -> bool:
        """Whether no job waits or runs."""
        return not self._active and not self._queue

    def warm(self) -> None:
        """A window is up: start the worker, so that it has imported what takes long.

        From now on fitting models run on what is opened, if the settings ask for it.
        """
        self._workspace.events.volume_loaded.connect(self._on_volume_loaded, unique=True)
        self._client.warm()

    def wait(self, timeout_s: float) -> bool:
        """Wait until there is something to pump; for programs without a window."""
        return self._client.wait(timeout_s)

    def close(self) -> None:
        """Stop everything and end the worker. May be called twice."""
        self._queue.clear()
        self._arrived.clear()
        self._workspace.events.volume_loaded.disconnect(self._on_volume_loaded, missing_ok=True)
        self._client.close()
        self.pump()

    def fit(self, model_id: str, image_uid: str) -> tuple[scope.Reason, ...]:
        """What speaks against running a model on an open volume or clip.

        ModelError for an unknown model, KeyError for an image that is not open.
        """
        image = _image(self._workspace, image_uid)
        study = self._workspace.study_of(image_uid)
        series = study.find_series(image.series_uid)
        return scope.fit_image(self._catalog.card(model_id), study, series, image)

    def fitting(self, image_uid: str) -> tuple[ModelCard, ...]:
        """Models that may run on an open volume or clip, the least doubtful first, rules last."""
        choices = [(card, self.fit(card.id, image_uid)) for card in self._catalog.cards()]
        fitting = [choice for choice in choices if not scope.refusals(choice[1])]
        fitting.sort(key=lambda choice: (choice[0].task is Task.RULES, len(choice[1])))
        return tuple(card for card, _ in fitting)

    def run(
        self,
        model_id: str,
        image_uid: str,
        *,
        device: str = "",
        override: bool = False,
        parameters: Mapping[str, Any] | None = None,
    ) -> str:
        """Queue a run and give the job's UID. Without `device` the settings choose.

        `parameters` are plain values for the engine, see InferenceJob. ModelError with the reasons
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
            parameters=dict(parameters or {}),
        )
        self._reasons[job.uid] = tuple(reason.text for reason in reasons)
        self._queue.append(job.uid)
        self._workspace.put_job(job)
        self._start_next()
        return job.uid

    def cancel(self, job_uid: str) -> None:
        """Stop a job: a waiting one at once, a running one within a second. Over: nothing."""
        job = self._workspace.jobs.get(job_uid)
        if job is None or job.state.is_over:
            return
        if job_uid in self._queue:
            self._queue.remove(job_uid)
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
        self._run_on_arrivals()
        self._start_next()
        return len(heard)

    # From the queue to the worker

    def _start_next(self) -> None:
        while self._queue and not self._active:
            job = self._workspace.jobs[self._queue.popleft()]
            try:
                order = self._order(job)
                self._client.submit(order)
            except MedviewError as error:
                self._fail(job, error.user_text, error.hint)
                continue
            self._active, self._cancelling = job.uid, False
            self._volumes[order.volume.uid] = job.study_uid
            self._workspace.put_job(replace(job.step(JobState.LOADING), stage="Loading the model"))

    def _order(self, job: InferenceJob) -> orders.Order:
        image = _image(self._workspace, job.inputs[0].uid)
        volume = image.pictures if isinstance(image, Clip) else image
        study = self._workspace.studies[job.study_uid]
        return orders.Order(
            job_uid=job.uid,
            card=self._catalog.card(job.model_id),
            folder=self._catalog.folder(job.model_id),
            image=image,
            backing=_backing(volume, self._workspace.hold_of(volume.uid)),
            series=study.find_series(volume.series_uid),
            study=study,
            device=job.device,
            seed=job.seed,
            threads=int(self._settings.number("ai.threads")),
            parameters=job.parameters,
        )

    # From the worker to the workspace

    def _take_in(self, heard: orders.Heard) -> None:
        match heard:
            case orders.WorkerReady():
                self.devices = heard.devices or self.devices
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
                running = job.step(JobState.RUNNING)
                self._workspace.put_job(replace(running, device=heard.device, stage="Starting"))
            case orders.JobProgress():
                moved = replace(job, stage=heard.stage, fraction=heard.fraction)
                self._workspace.put_job(moved)
            case orders.JobSilent():
                title = self._title_of(job)
                text = f"{title} has shown no sign of life for {heard.silent_s:.0f} s."
                self._workspace.notify(Level.WARNING, text, "Wait, or stop it.")

    def _over(
        self,
        heard: orders.JobDone | orders.JobFailed | orders.JobCancelled | orders.JobDied,
    ) -> None:
        """The active job ended; one whose study was closed meanwhile leaves only a notice."""
        stopped, self._active, self._cancelling = self._cancelling, "", False
        job = self._workspace.jobs.get(heard.job_uid)
        if job is None:
            text = "A model was stopped because its study was closed."
            self._workspace.notify(Level.INFO, text)
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
                hint = "Nothing you did is lost. It can be run again."
                self._workspace.notify(Level.ERROR, f"{heard.text} ({self._title_of(job)})", hint)

    def _propose(self, job: InferenceJob, result: InferenceResult) -> None:
        if not _inputs_unchanged(self._workspace, job):
            self._fail(job, "The image changed while the model ran; its result was dropped.", "")
            return
        limits = (*self._reasons.get(job.uid, ()), *result.out_of_scope)
        result = _with_cautions(replace(result, out_of_scope=tuple(dict.fromkeys(limits))))
        try:
            self._review.propose(result, job)
        except ModelError as error:
            self._fail(job, error.user_text, error.hint)
            return
        self.outcomes.put(result)
        self._end(job, JobState.DONE)

    def _fail(self, job: InferenceJob, text: str, hint: str) -> None:
        self._end(job, JobState.FAILED, text)
        self._workspace.notify(Level.ERROR, text, hint)

    def _end(self, job: InferenceJob, state: JobState, error: str = "") -> None:
        self._reasons.pop(job.uid, None)
        fraction = 1.0 if state is JobState.DONE else None
        self._workspace.put_job(replace(job.step(state, error=error), stage="", fraction=fraction))

    def _title_of(self, job: InferenceJob) -> str:
        try:
            return self._catalog.card(job.model_id).title
        except ModelError:
            return job.model_id

    def _on_volume_loaded(self, event: VolumeLoaded) -> None:
        """Only noted here: handlers change nothing."""
        if self._settings.flag("ai.run_on_open"):
            self._arrived.append(event.uid)
            if self.on_wake is not None:
                self.on_wake()

    def _run_on_arrivals(self) -> None:
        """Run what fits what was opened; of a series over time, on its first volume."""
        arrived, self._arrived = self._arrived, []
        for uid in arrived:
            volume = self._workspace.volumes.get(uid)
            if volume is None or volume.time_index:
                continue
            for card in self.fitting(uid):
                if card.task is not Task.RULES:
                    self.run(card.id, uid)

    def _on_study_closed(self, event: StudyClosed) -> None:
        """Only what is the queue's own changes here; the workspace has dropped the jobs."""
        jobs = self._workspace.jobs
        self._queue = deque(uid for uid in self._queue if uid in jobs)
        if self._active and self._active not in jobs and not self._cancelling:
            self._cancelling = True
            self._client.cancel(self._active)
        for uid in [uid for uid, study in self._volumes.items() if study == event.uid]:
            del self._volumes[uid]
            self._client.forget(uid)
        self.outcomes.keep_only(jobs)
        self._reasons = {uid: words for uid, words in self._reasons.items() if uid in jobs}


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


def _with_cautions(result: InferenceResult) -> InferenceResult:
    """The result with its findings saying where the image left the model's card."""

    def marked(finding: Finding) -> Finding:
        return replace(
            finding, provenance=replace(finding.provenance, cautions=result.out_of_scope)
        )

    return replace(
        result,
        findings=tuple(marked(finding) for finding in result.findings),
        candidates=tuple(marked(finding) for finding in result.candidates),
    )
