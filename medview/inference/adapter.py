"""The protocol a model implements, and what a run offers to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from medview.core.clip import Clip
from medview.core.errors import ModelError
from medview.core.findings import Provenance
from medview.core.geometry import Geometry
from medview.core.jobs import InferenceResult
from medview.core.maps import MapKind
from medview.core.models import ModelCard
from medview.core.study import Series, Study
from medview.core.volume import Volume

T = TypeVar("T")


class Context(Protocol):
    """What one run may use. Lives in the worker; a test makes its own in a few lines."""

    @property
    def job_uid(self) -> str:
        """The job this run belongs to; goes into the result."""

    @property
    def provenance(self) -> Provenance:
        """Author, time and job: goes into every segment, finding and measurement made here."""

    @property
    def seed(self) -> int:
        """What every random choice starts from."""

    @property
    def device(self) -> str:
        """Where to compute: `cpu`, `cuda:0`; never `auto`."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What the reader wished for, in plain values; see `core.jobs.InferenceJob`."""

    @property
    def resources(self) -> Path:
        """The shipped resources (templates beside the models), read only."""

    def progress(self, stage: str, fraction: float | None = None) -> None:
        """Say what is being done, in the reader's words, and how far (0-1, None while unknown).

        Cheap: call it as often as there is something to say. Raises Cancelled like
        `check_cancelled`.
        """

    def check_cancelled(self) -> None:
        """Raise Cancelled if the reader stopped the run; call it between patches."""


class ModelAdapter(Protocol):
    """One model, loaded. Constructed `Engine(card, folder)`, cheaply, in the worker only.

    Preprocessing, inference and the way back to the source grid are inside. A result has the
    geometry of `volume` and at most one segmentation, at most `wire.MAX_MAPS` maps on its grid or
    a coarser one (they are made coarser on the way where they are too large), and boxes on
    pictures by `slice_index`. Anything the model cannot do raises ModelError, worded for the
    reader. `fit` before the run is `inference.scope`'s matter; what only the pixels show (no head
    found) is the adapter's, and refused by ModelError.
    """

    card: ModelCard

    def load(self, device: str) -> None:
        """Read the weights and make ready on `device`. Called once before the first run."""

    def run(
        self, volume: Volume, series: Series | None, study: Study | None, context: Context
    ) -> InferenceResult:
        """Look at one volume. `study` and `series` come without names, ids and file paths."""

    def unload(self) -> None:
        """Let go of weights and memory."""


class ClipAdapter(Protocol):
    """One model that looks at clips; otherwise like ModelAdapter.

    What it says frame by frame is the result's `timeline`; label maps have the grid of
    `clip.pictures`.
    """

    card: ModelCard

    def load(self, device: str) -> None:
        """Read the weights and make ready on `device`. Called once before the first run."""

    def run(
        self, clip: Clip, series: Series | None, study: Study | None, context: Context
    ) -> InferenceResult:
        """Look at one clip. `study` and `series` come without names, ids and file paths."""

    def unload(self) -> None:
        """Let go of weights and memory."""


def wanted_maps(context: Context) -> frozenset[MapKind]:
    """The kinds of maps that a run is to give: `parameters["maps"]`; ModelError for other words."""
    try:
        return frozenset(MapKind(word) for word in context.parameters.get("maps", ()))
    except (TypeError, ValueError) as error:
        known = ", ".join(MapKind)
        raise ModelError("There is no such map.", hint=f"Maps are {known}.") from error


def wanted_threshold(context: Context, card: ModelCard, default: float = 0.5) -> float:
    """How probable a finding must be: `parameters["threshold"]`, else the card's, else `default`.

    ModelError for what is no number from 0 to 1.
    """
    value = context.parameters.get("threshold")
    if value is None:
        return default if card.threshold is None else card.threshold
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise ModelError(f"A threshold is a number from 0 to 1, not {value}.")
    return float(value)


def loaded(part: T | None, card: ModelCard) -> T:
    """A part of a model that `load` made; ModelError naming the model where there is none."""
    if part is None:
        raise ModelError(f"{card.title or card.id} is not loaded.")
    return part


def refuse_colour(volume: Volume) -> None:
    """Raise ModelError for coloured pictures, which a model of grey values cannot look at."""
    if volume.channels != 1:
        raise ModelError("The model looks at grey images, not at coloured ones.")


def refuse_placeless(geometry: Geometry) -> None:
    """Raise ModelError where an image does not say where in the patient it lies."""
    if not geometry.in_patient_space:
        raise ModelError("The image does not say where in the patient it lies.")


def refuse_other_than_volume(volume: Volume) -> None:
    """Raise ModelError for what is no grey volume with a place in the patient."""
    refuse_colour(volume)
    if min(volume.geometry.shape) < 2:
        raise ModelError("The model looks at volumes, not at single pictures.")
    refuse_placeless(volume.geometry)


def not_finite(name: str = "The network") -> ModelError:
    """The error for an answer with NaN or infinity in it."""
    return ModelError(
        f"{name} gave numbers that are not finite; its result is refused.",
        hint="Try again on the processor, or another model.",
    )


def refuse_not_finite(probabilities: npt.NDArray[Any], card: ModelCard) -> None:
    """Raise ModelError naming the model if its output holds NaN or infinity.

    Adapters call this on what the network gives, before arg-max hides it.
    """
    # One sum finds both: NaN and infinity survive addition, and nothing is allocated.
    if not np.isfinite(np.sum(probabilities, dtype=np.float64)):
        raise not_finite(card.title or card.id)
