"""What is asked of the AI worker, and what is heard of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medview.core.clip import Clip
from medview.core.jobs import InferenceResult
from medview.core.models import ModelCard
from medview.core.shared_array import SharedArrayName
from medview.core.study import Series, Study
from medview.core.volume import Volume


@dataclass(frozen=True)
class Limits:
    """How patient the client is.

    A cancelled run has `cancel_grace_s` to stop by itself; a run that says nothing for
    `silence_s` is reported; after `starts` starts in a row that came to nothing no other is
    tried; progress is passed on every `progress_s` at most; copies of volumes that are not in
    shared memory are kept up to `copies_bytes`; all maps of a result together have at most
    `map_values` values, of two bytes each.
    """

    cancel_grace_s: float = 0.7
    silence_s: float = 30.0
    starts: int = 3
    progress_s: float = 0.1
    copies_bytes: int = 2 << 30
    map_values: int = 48 << 20


@dataclass(frozen=True)
class Order:
    """One run: the model, the image, and how. `backing` names the block the voxels lie in.

    `threads` is how many cores to use, 0 for all there are. `parameters` are plain values that
    the engine knows the meaning of, see `core.jobs.InferenceJob`.
    """

    job_uid: str
    card: ModelCard
    folder: Path
    image: Volume | Clip
    backing: SharedArrayName | None = None
    series: Series | None = None
    study: Study | None = None
    device: str = "auto"
    seed: int = 0
    threads: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def volume(self) -> Volume:
        """The voxels: the image itself, or the pictures of a clip."""
        return self.image.pictures if isinstance(self.image, Clip) else self.image


# What is heard


@dataclass(frozen=True)
class WorkerReady:
    """A worker listens; `devices` as far as it knows them, `lacking` what its box does not hold."""

    devices: tuple[str, ...]
    lacking: str = ""


@dataclass(frozen=True)
class WorkerStopped:
    """The worker does not start, or not any more; the next order tries again."""

    text: str


@dataclass(frozen=True)
class JobRunning:
    """The model is loaded and looks at the image."""

    job_uid: str
    device: str


@dataclass(frozen=True)
class JobProgress:
    """How far a job is."""

    job_uid: str
    stage: str
    fraction: float | None


@dataclass(frozen=True)
class JobSilent:
    """A job has said nothing for so long."""

    job_uid: str
    silent_s: float


@dataclass(frozen=True)
class JobDone:
    """A job's result, checked."""

    job_uid: str
    result: InferenceResult


@dataclass(frozen=True)
class JobFailed:
    """A job that came to nothing, worded for the reader."""

    job_uid: str
    text: str
    hint: str = ""
    detail: str = ""


@dataclass(frozen=True)
class JobCancelled:
    """A job that was stopped as asked."""

    job_uid: str


@dataclass(frozen=True)
class JobDied:
    """A job whose worker ended under it."""

    job_uid: str
    text: str
    exit_code: int | None


Heard = (
    WorkerReady
    | WorkerStopped
    | JobRunning
    | JobProgress
    | JobSilent
    | JobDone
    | JobFailed
    | JobCancelled
    | JobDied
)
