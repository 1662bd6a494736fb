"""Model cards: what a model is for, what it takes and gives, how good it is, and its limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from medview.core.codes import ANATOMICAL_STRUCTURE, Code


class Task(StrEnum):
    """What a model does."""

    SEGMENTATION = "segmentation"
    CLASSIFICATION = "classification"
    DETECTION = "detection"
    INSTANCES = "instances"
    MOTION = "motion"
    RULES = "rules"
    MARKS = "marks"


@dataclass(frozen=True)
class InputSpec:
    """What a model takes: orientation (such as `RAS`), spacing, patch, intensities.

    `intensity` and `localise` are the preprocessing as the model folder states it; colours
    become one channel by their `mean`, or by what of them is stain of nuclei (`nuclear`).
    `along_body`: the image is resampled along the body's axes, however its grid is turned.
    """

    orientation: str = ""
    spacing_mm: tuple[float, float, float] | None = None
    patch_shape: tuple[int, ...] = ()
    intensity: Mapping[str, Any] = field(default_factory=dict)
    localise: str | None = None
    channels: int = 1
    grey: str = "mean"
    along_body: bool = False

    @property
    def looks_at_pictures(self) -> bool:
        """Whether it takes flat pictures, one by one, which need no place in a patient."""
        return len(self.patch_shape) == 2


@dataclass(frozen=True)
class OutputChannel:
    """One thing a model names: its index among the outputs, label, code and colour."""

    index: int
    label: str
    code: Code
    color_rgb: tuple[int, int, int]
    category: Code = ANATOMICAL_STRUCTURE


@dataclass(frozen=True)
class OutputSpec:
    """What a model gives: `kind` is labels, probabilities, boxes or classes.

    With `sides` the network draws both lungs as one; the first channel is the right, the second
    the left one, told apart afterwards.
    """

    kind: str
    channels: tuple[OutputChannel, ...]
    sides: bool = False


@dataclass(frozen=True)
class Scope:
    """What a model was made for. Empty means: no limit stated.

    `weighting` names MR contrasts: T1, T2, PD, FLAIR; `views` those of X-ray pictures in the words
    of View Position (0018,5101): PA, AP, LL, RL.
    """

    modality: tuple[str, ...] = ()
    body_part: tuple[str, ...] = ()
    weighting: tuple[str, ...] = ()
    age_years: tuple[float, float] | None = None
    spacing_mm: tuple[float, float] | None = None
    views: tuple[str, ...] = ()


@dataclass(frozen=True)
class Metric:
    """A measured figure with its 95 % interval."""

    name: str
    value: float
    ci95: tuple[float, float] | None = None


@dataclass(frozen=True)
class Metrics:
    """Figures of one evaluation: on which split, of how many cases."""

    split: str
    count: int
    values: tuple[Metric, ...]


@dataclass(frozen=True)
class ModelCard:
    """Everything a reader should know of a model before believing it.

    `engine` is the adapter as `module:Class`, imported in the worker only. `network` is the
    network class and its arguments. `weights` is relative to the model folder and checked
    against `sha256` before use.

    For models of others `format` names what the folder is, and `folder_sha256` covers every file
    of it. `code` says in words what in the folder is a program; it is run only where the reader
    has `trusted` that folder's hash, and only in the worker.
    """

    id: str
    version: str
    title: str
    task: Task
    engine: str
    intended_use: str
    limitations: tuple[str, ...]
    scope: Scope
    inputs: InputSpec
    outputs: OutputSpec
    weights: str = ""
    sha256: str = ""
    network_class: str = ""
    network_args: Mapping[str, Any] = field(default_factory=dict)
    threshold: float | None = None
    temperature: float | None = None
    license: str = ""
    data_license: str = ""
    data_source: str = ""
    authors: str = ""
    train_command: str = ""
    metrics: Metrics | None = None
    memory_mb: int = 0
    clinical_use: bool = False
    format: str = "medview"
    folder_sha256: str = ""
    code: str = ""
    trusted: bool = False

    @property
    def may_run(self) -> bool:
        """Whether nothing of it is a program, or the reader has trusted that."""
        return not self.code or self.trusted

    def __post_init__(self) -> None:
        if not (self.id and self.version and self.engine):
            raise ValueError("A model needs an id, a version and an engine")
        if ":" not in self.engine:
            raise ValueError(f"An engine is named module:Class, not {self.engine}")
