"""Input check: whether results that came back speak of the image that is there now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from medview.core.events import ClipLoaded, StudyClosed, VolumeLoaded
from medview.core.jobs import InputHash
from medview.services.outcomes import Outcomes
from medview.services.tasks import Tasks
from medview.services.workspace import Workspace

_OTHER = "Stale: the image is not the one that the model looked at"


class InputCheck:
    """Compares the voxels of images with what earlier runs looked at, beside the window's thread.

    The job of a run that looked at others is marked stale, and its maps are let go.
    """

    def __init__(self, workspace: Workspace, tasks: Tasks, outcomes: Outcomes) -> None:
        self._workspace = workspace
        self._tasks = tasks
        self._outcomes = outcomes
        self._expected: dict[str, dict[str, str]] = {}
        events = workspace.events
        events.volume_loaded.connect(self._on_loaded)
        events.clip_loaded.connect(self._on_loaded)
        events.study_closed.connect(self._forget)

    def expect(self, job_uid: str, inputs: Iterable[InputHash]) -> None:
        """Check what a run that came back had looked at, now or when it is loaded."""
        for one in inputs:
            self._expected.setdefault(one.uid, {})[job_uid] = one.sha256
            self._check(one.uid)

    def _on_loaded(self, event: VolumeLoaded | ClipLoaded) -> None:
        self._check(event.uid)

    def _check(self, image_uid: str) -> None:
        image = self._workspace.volumes.get(image_uid) or self._workspace.clips.get(image_uid)
        if image is None or image_uid not in self._expected:
            return
        expected = self._expected.pop(image_uid)

        def compare(found: InputHash) -> None:
            for job_uid, digest in expected.items():
                if digest != found.sha256:
                    self._mark(job_uid)

        self._tasks.run(InputHash.of, image, on_done=compare)

    def _mark(self, job_uid: str) -> None:
        self._outcomes.drop_maps(job_uid)
        job = self._workspace.jobs.get(job_uid)
        if job is not None:
            self._workspace.put_job(replace(job, stale=_OTHER))

    def _forget(self, _event: StudyClosed) -> None:
        known = self._workspace.jobs.keys()
        for image_uid, jobs in list(self._expected.items()):
            self._expected[image_uid] = {uid: one for uid, one in jobs.items() if uid in known}
