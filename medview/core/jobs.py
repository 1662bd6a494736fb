"""Jobs: one run of one model, its state, and what came of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any

import numpy as np

from medview.core.clip import Clip
from medview.core.findings import Finding, ModelAuthor, new_uid, utc_now
from medview.core.maps import ScalarMap
from medview.core.segmentation import Segmentation
from medview.core.timeline import Timeline
from medview.core.volume import Volume


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

    @property
    def is_waiting(self) -> bool:
        """Whether it has not begun."""
        return self is JobState.QUEUED

    def may_become(self, other: JobState) -> bool:
        """Whether the step is allowed; leaving an end is not."""
        return other in _STEPS[self]


class Priority(IntEnum):
    """Who is waiting for a job; the lower number goes first."""

    READER = 0
    ARRIVAL = 1


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
    """One run of one model on one volume or clip.

    `fraction` is 0-1 and `seconds_left` an estimate, both None while unknown. `error` is worded
    for the reader. `parameters` is what the reader wished for, in plain values; engines know
    `maps` (a list of MapKind words), `threshold` (0-1), `saliency` (grad_cam,
    integrated_gradients) and what their cards name. `rule` says in words why it started by
    itself; "" where a reader asked. `line` is the threshold the reader chose for its findings,
    `stale` why its result no longer speaks of the image at hand.
    """

    model_id: str
    version: str
    inputs: tuple[JobInput, ...]
    study_uid: str = ""
    device: str = "auto"
    seed: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)
    override_scope: bool = False
    state: JobState = JobState.QUEUED
    stage: str = ""
    fraction: float | None = None
    seconds_left: float | None = None
    priority: Priority = Priority.READER
    queued_at: datetime = field(default_factory=utc_now)
    ended_at: datetime | None = None
    error: str = ""
    rule: str = ""
    line: float | None = None
    stale: str = ""
    uid: str = field(default_factory=new_uid)

    @property
    def has_failed(self) -> bool:
        """Whether it is over and nothing came of it."""
        return self.state.is_over and self.state is not JobState.DONE

    def step(self, state: JobState, *, error: str = "") -> InferenceJob:
        """The job in its next state; ValueError for a step that is not allowed."""
        if not self.state.may_become(state):
            raise ValueError(f"A job that is {self.state} cannot become {state}")
        ended = utc_now() if state.is_over else None
        return replace(self, state=state, ended_at=ended, error=error)


@dataclass(frozen=True)
class InputHash:
    """What a run looked at: the SHA-256 of the stored voxels, C order, little endian."""

    uid: str
    sha256: str

    @staticmethod
    def of(image: Volume | Clip) -> InputHash:
        """Of a volume, or the frames of a clip; reads all of it."""
        voxels = image.pictures.voxels if isinstance(image, Clip) else image.voxels
        return InputHash(image.uid, hashlib.sha256(np.ascontiguousarray(voxels).data).hexdigest())


@dataclass(frozen=True)
class InferenceResult:
    """What a model proposes: on the source grid, nothing of it accepted by anyone.

    `candidates` are findings less probable than `threshold`: not proposed, kept for a reader who
    lowers it. `maps` and `timeline` are to be looked at; they are no findings. `out_of_scope`
    says in words where the input left the model's card. How it came about: `author`, `inputs`,
    `parameters` as wished, `device`, `seconds`, and in `fallbacks` what the run did otherwise than
    asked (processor instead of GPU, smaller patches).
    """

    job_uid: str
    segmentations: tuple[Segmentation, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    out_of_scope: tuple[str, ...] = ()
    fallbacks: tuple[str, ...] = ()
    device: str = "cpu"
    seconds: float = 0.0
    candidates: tuple[Finding, ...] = ()
    threshold: float | None = None
    maps: tuple[ScalarMap, ...] = ()
    timeline: Timeline | None = None
    author: ModelAuthor | None = None
    inputs: tuple[InputHash, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
