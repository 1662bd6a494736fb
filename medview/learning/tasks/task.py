"""The face that every kind of learning shows to the loop, to the evaluation and to the export."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy.typing as npt
import torch
from torch import nn

from medview.core.errors import ReadError
from medview.inference.networks.readings import FlatRecipe
from medview.inference.networks.slices import slice_axis
from medview.learning.config import AugmentConfig, LossConfig, TrainConfig
from medview.learning.data import Case


@dataclass(frozen=True)
class Recipe:
    """How images come to a network and how its answers are read; the same in training and after.

    `decoding` holds what reads the answers beyond that, by name: thresholds, least sizes.
    `surface_tolerance` is how far surfaces may lie apart and still agree, in mm (in a picture:
    pixels); 0 for the shortest edge of a voxel.
    """

    classes: tuple[str, ...]
    patch: tuple[int, ...]
    spacing_mm: tuple[float, ...] = (1.0, 1.0, 1.0)
    size_px: tuple[int, ...] = ()
    channels: int = 1
    grey: str = "mean"
    neighbours: int = 0
    margin: float = 0.0
    intensity: Mapping[str, Any] = field(default_factory=dict)
    flips: tuple[int, ...] = ()
    keep_largest: bool = False
    decoding: Mapping[str, float] = field(default_factory=dict)
    temperature: float = 1.0
    multi_label: bool = False
    surface_tolerance: float = 0.0

    @property
    def keys(self) -> tuple[str, ...]:
        """The classes as names of figures spell them: small letters, digits, `_`; all unlike."""
        plain = [re.sub("[^a-z0-9]+", "_", name.lower()).strip("_") for name in self.classes]
        return tuple(
            name if name and plain.count(name) == 1 else f"{name or 'class'}_{number}"
            for number, name in enumerate(plain, start=1)
        )

    def flat(self) -> FlatRecipe:
        """Give the part that reading flat pictures needs."""
        return FlatRecipe(
            classes=self.classes,
            channels=self.channels,
            size_px=self.size_px,
            grey=self.grey,
            margin=self.margin,
            intensity=self.intensity,
            flips=self.flips,
            decoding=self.decoding,
            temperature=self.temperature,
            multi_label=self.multi_label,
        )


def recipe_of_config(
    config: TrainConfig,
    classes: tuple[str, ...],
    card: Mapping[str, Any],
    *,
    multi_label: bool = False,
) -> Recipe:
    """Give the recipe of a training.

    `card` may ask for `keep_largest`, `decoding`, `flips` and a `surface_tolerance`.

    Without `flips` the axes that were mirrored in training are mirrored and averaged in a reading;
    not the one across slices.
    """
    data = config.data
    flips = tuple(card.get("flips", config.augment.flip))
    return Recipe(
        classes=classes,
        patch=data.patch,
        spacing_mm=data.spacing_mm,
        size_px=data.size_px,
        channels=data.channels,
        neighbours=data.neighbours,
        grey=data.grey,
        margin=data.margin,
        intensity=data.intensity,
        flips=tuple(axis for axis in flips if axis != slice_axis(data.patch)),
        keep_largest=bool(card.get("keep_largest", False)),
        decoding=dict(card.get("decoding", {})),
        multi_label=multi_label,
        surface_tolerance=float(card.get("surface_tolerance", 0.0)),
    )


def recipe_of_model(metadata: Mapping[str, Any], classes: tuple[str, ...]) -> Recipe:
    """Give the recipe that a model folder's metadata states.

    The classes are the model's own where it names them, else those of the data set.
    """
    own = metadata["medview"]
    preprocess = own["preprocess"]
    channels = int(preprocess.get("channels", 1))
    slices = slice_axis(own["patch"]) is not None
    return Recipe(
        classes=tuple(own.get("classes") or classes),
        patch=tuple(own["patch"]),
        spacing_mm=tuple(preprocess.get("spacing_mm") or (1.0, 1.0, 1.0)),
        size_px=tuple(preprocess.get("size_px") or ()),
        channels=1 if slices else channels,
        neighbours=channels // 2 if slices else 0,
        grey=str(preprocess.get("grey", "mean")),
        margin=float(preprocess.get("margin", 0.0)),
        intensity=preprocess["intensity"],
        flips=tuple(int(axis) for axis in own.get("flips", ())),
        keep_largest=bool(own.get("keep_largest", False)),
        decoding=own.get("decoding") or {},
        temperature=float(own.get("temperature") or 1.0),
        multi_label=bool(own.get("multi_label", False)),
        surface_tolerance=float(own.get("surface_tolerance", 0.0)),
    )


@dataclass(frozen=True)
class Scored:
    """How the answer about one case did: numbers to write down, and evidence to add up."""

    case: Case
    numbers: Mapping[str, float]
    evidence: Any = None


class Task(ABC):
    """One kind of learning: how cases are read, batches made, answers found and scored.

    Examples, answers and targets are whatever the task itself makes of them.
    """

    #: The losses it can learn by.
    losses: ClassVar[frozenset[str]]
    #: What the early stop follows: a figure's name, more is better.
    watched: ClassVar[str]
    #: What `doubt` is, in words.
    doubt_words: ClassVar[str] = ""

    def __init__(self, recipe: Recipe, loss: LossConfig, augment: AugmentConfig) -> None:
        if loss.name not in self.losses:
            raise ReadError(
                f"The loss {loss.name} does not fit this data set.",
                hint=f"Choose one of {', '.join(sorted(self.losses))}.",
            )
        self.recipe = recipe
        self.augment = augment

    @abstractmethod
    def read(self, case: Case) -> Any:
        """Read and check one case; ReadError says what is wrong with it."""

    def watch(self, network: nn.Module) -> None:
        """See the network that is learning, in evaluation mode, for examples that depend on it."""
        del network

    def shows(self, example: Any) -> set[str]:
        """Give the classes that an example shows."""
        del example
        return set(self.recipe.classes)

    def picture(self, example: Any) -> npt.NDArray[Any]:
        """Give a flat picture of an example, by which copies are found."""
        picture: npt.NDArray[Any] = example.picture
        return picture

    @abstractmethod
    def prepare(self, example: Any) -> Any:
        """Give what batches are made of, kept in memory between epochs."""

    @abstractmethod
    def batch(self, prepared: Sequence[Any], generator: torch.Generator) -> tuple[Any, Any]:
        """Give images (N, C, ...) and their target, changed by chance."""

    @abstractmethod
    def loss(self, answer: torch.Tensor, target: Any) -> torch.Tensor:
        """Give the mean loss of a batch."""

    @abstractmethod
    def answer(self, network: nn.Module, example: Any) -> Any:
        """Give what the network says of one example, as in a reading."""

    def unlabelled(self, case: Case) -> Any:
        """Read the image of a case alone, as an example that shows nothing; ReadError as `read`."""
        raise ReadError(f"{case.id}: such data need no annotation.")

    def doubt(self, network: nn.Module, example: Any) -> float:
        """Give how unsure the network is of an example, from 0 to 1: see `doubt_words`."""
        raise NotImplementedError

    @abstractmethod
    def score(self, case: Case, example: Any, answer: Any, *, thorough: bool) -> Scored:
        """Compare an answer with the truth; `thorough` adds what is slow to work out."""

    @abstractmethod
    def figures(self, scored: Sequence[Scored]) -> dict[str, float]:
        """Give the figures of many cases; not a number where they cannot be told."""

    def counts(self, scored: Sequence[Scored]) -> dict[str, int]:
        """Give the number of cases of every figure that is not about all of them."""
        del scored
        return {}

    def definitions(self) -> dict[str, str]:
        """Give in words what a choice had to be made about, by the figure's first word."""
        return {}

    def tables(self, scored: Sequence[Scored]) -> dict[str, Any]:
        """Give what is worth drawing beside the figures: plain lists and numbers, by name."""
        del scored
        return {}

    def headline(self, figures: Mapping[str, float]) -> float:
        """Give the one number that stands for how good it is: the figure `watched`."""
        return figures[self.watched]

    def headlines(self) -> tuple[str, ...]:
        """Give the names of the figures that decide which of two models is better."""
        return (self.watched,)

    @abstractmethod
    def channels_wanted(self) -> int:
        """Give how many channels the network's answer must have."""

    def answer_shape(self) -> tuple[int, ...]:
        """Give the shape of the answer to one patch."""
        return (self.channels_wanted(), *self.recipe.patch)

    def input_shape(self) -> tuple[int, ...]:
        """Give the shape of one patch as the network takes it."""
        return (self.recipe.channels, *self.recipe.patch)

    def check_network(self, network: nn.Module) -> None:
        """Ask the network about an empty patch before a run is begun; ReadError if it misfits."""
        channels, *patch = self.input_shape()
        network.eval()
        try:
            with torch.inference_mode():
                given = tuple(network(torch.zeros(1, channels, *patch)).shape)[1:]
        except (RuntimeError, ValueError, IndexError, AttributeError) as error:
            raise ReadError(
                f"The network does not take patches of {' x '.join(map(str, patch))}"
                f" with {channels} channels.",
                hint=f"It divides every side by {getattr(network, 'divisor', 1)}.",
                detail=str(error),
            ) from error
        wanted = self.answer_shape()
        if given != wanted:
            raise ReadError(
                f"The network gives {given[0]} channels; the data set needs {wanted[0]}."
                if given[0] != wanted[0]
                else f"The network answers in the shape {given}; {wanted} is needed.",
                hint="Set network.args to the number of classes of the data set.",
            )


def means(scored: Sequence[Scored], names: Sequence[str]) -> dict[str, float]:
    """Give the mean over cases of each of these numbers."""
    return {name: sum(one.numbers[name] for one in scored) / max(len(scored), 1) for name in names}
