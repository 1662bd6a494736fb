"""Jobs: one run of one model, its state, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from medview.core.findings import Finding, Point, new_uid, utc_now
from medview.core.segmentation import Segmentation


class JobState(StrEnum):
    """Where a job stands: Queued -> Loading -> Running -> one of the four ends."""

    QUEUED = "queued"
    LOADING = "loading"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DIED = "died"

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of it."""
        return self in _ENDS

    def may_become(self, other: JobState) -> bool:
        """Whether the step is allowed; leaving an end is not."""
        return other in _STEPS[self]


_ENDS = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.DIED})
_STEPS: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset(
        {JobState.LOADING, JobState.FAILED, JobState.CANCELLED, JobState.DIED}
    ),
    JobState.LOADING: frozenset(
        {JobState.RUNNING, JobState.FAILED, JobState.CANCELLED, JobState.DIED}
    ),
    JobState.RUNNING: _ENDS,
    **{end: frozenset() for end in _ENDS},
}


@dataclass(frozen=True)
class JobInput:
    """What a job looks at, and in which revision (0 for volumes, which do not change)."""

    uid: str
    revision: int = 0


@dataclass(frozen=True)
class InferenceJob:
    """One run of one model on one volume.

    `fraction` is 0-1, None while unknown. `error` is worded for the reader.
    """

    model_id: str
    version: str
    inputs: tuple[JobInput, ...]
    study_uid: str = ""
    device: str = "auto"
    seed: int = 0
    prompts_lps_mm: tuple[Point, ...] = ()
    override_scope: bool = False
    state: JobState = JobState.QUEUED
    stage: str = ""
    fraction: float | None = None
    queued_at: datetime = field(default_factory=utc_now)
    ended_at: datetime | None = None
    error: str = ""
    uid: str = field(default_factory=new_uid)

    def step(self, state: JobState, *, error: str = "") -> InferenceJob:
        """The job in its next state; ValueError for a step that is not allowed."""
        if not self.state.may_become(state):
            raise ValueError(f"A job that is {self.state} cannot become {state}")
        ended = utc_now() if state.is_over else None
        return replace(self, state=state, ended_at=ended, error=error)


@dataclass(frozen=True)
class InferenceResult:
    """What a model proposes: on the source grid, nothing of it accepted by anyone.

    `out_of_scope` says in words where the input left the model's card;
    `fallbacks` what the run did otherwise than asked (processor instead of GPU, smaller patches).
    """

    job_uid: str
    segmentations: tuple[Segmentation, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    out_of_scope: tuple[str, ...] = ()
    fallbacks: tuple[str, ...] = ()
    device: str = "cpu"
    seconds: float = 0.0
