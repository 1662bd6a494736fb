"""The classification engine: what a picture, a stack of slices or a volume shows as a whole."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from medview.core.codes import COUNT, NO_UNIT
from medview.core.errors import ModelError
from medview.core.findings import ClassProbability, Finding, Measurement
from medview.core.geometry import Geometry
from medview.core.jobs import InferenceResult
from medview.core.maps import MapKind, ScalarMap
from medview.core.models import ModelCard, OutputChannel
from medview.core.study import Series, Study
from medview.core.volume import Volume
from medview.inference.adapter import (
    Context,
    loaded,
    refuse_other_than_volume,
    wanted_maps,
    wanted_threshold,
)
from medview.inference.engines.explaining import MOST_EXPLAINED, Subject
from medview.inference.engines.planes import FlatModel, picture_at
from medview.inference.engines.solids import SolidModel
from medview.inference.networks.averaging import FlipMean, opinions
from medview.inference.networks.pictures import ask
from medview.inference.networks.readings import (
    class_opinions,
    class_probabilities,
    probabilities_of,
)

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Looks:
    """Places that were looked at, by number, and the probability of each class (looks, classes)."""

    places: tuple[int, ...]
    probabilities: Numbers

    def surest(self, number: int) -> tuple[int, float]:
        """Where a class is most probable, and how probable."""
        row = int(self.probabilities[:, number].argmax())
        return self.places[row], float(self.probabilities[row, number])


class _Classifier(Protocol):
    """A network with the way an image comes to it."""

    channels: tuple[OutputChannel, ...]
    multi_label: bool

    def looks(self, volume: Volume, context: Context) -> Looks:
        """The probabilities of everything that was looked at."""

    def spread(self, volume: Volume, place: int, context: Context) -> Numbers | None:
        """How far single opinions lie apart at one place, by class; None for a single opinion."""

    def explained(
        self, volume: Volume, place: int, subject: Subject, finding: Finding, context: Context
    ) -> ScalarMap:
        """Where the answer about a finding comes from."""


class _Flat:
    """Slice by slice."""

    def __init__(self, model: FlatModel) -> None:
        self._model = model
        self.channels = model.channels
        self.multi_label = model.recipe.multi_label

    def looks(self, volume: Volume, context: Context) -> Looks:
        seen, said = [], []
        for k, picture in self._model.pictures(volume, context):
            seen.append(k)
            said.append(class_probabilities(self._model.network, picture, self._model.recipe))
        return Looks(tuple(seen), np.array(said))

    def spread(self, volume: Volume, place: int, context: Context) -> Numbers | None:
        model, picture = self._model, picture_at(volume, place)
        return _spread(class_opinions(model.network, picture, model.recipe, context.seed))

    def explained(
        self, volume: Volume, place: int, subject: Subject, finding: Finding, context: Context
    ) -> ScalarMap:
        return self._model.saliency(volume, place, subject, finding, context)


class _Solid:
    """A volume as a whole, as much of its middle as the network takes."""

    def __init__(self, model: SolidModel) -> None:
        self._model = model
        self.channels = model.channels
        self.multi_label = model.multi_label

    def looks(self, volume: Volume, context: Context) -> Looks:
        context.progress("Looking")
        model = self._model
        refuse_other_than_volume(volume)
        logits = ask(
            FlipMean(model.network, model.flips), model.reading.input_on(volume, self._grid(volume))
        )
        return Looks((0,), self._probabilities(logits.double().numpy())[None])

    def spread(self, volume: Volume, place: int, context: Context) -> Numbers | None:
        del place
        model = self._model
        image = model.reading.input_on(volume, self._grid(volume))
        said = opinions(model.network, image, model.flips, context.seed)
        return _spread(self._probabilities(said.double().numpy()))

    def explained(
        self, volume: Volume, place: int, subject: Subject, finding: Finding, context: Context
    ) -> ScalarMap:
        del place
        return self._model.saliency(volume, self._grid(volume), subject, finding, context)

    def _grid(self, volume: Volume) -> Geometry:
        reading = self._model.reading
        return reading.grid_about(volume) if reading.patch else reading.grid_over(volume)

    def _probabilities(self, logits: Numbers) -> Numbers:
        return probabilities_of(logits, self._model.temperature, multi_label=self.multi_label)


class Engine:
    """Classes of a network: what is there as findings, the other classes as candidates.

    Of classes that exclude each other the most probable one is found; of two, the second is what
    is looked for, and is found from the threshold on. Of classes that may all be there at once
    (`multi_label`), each is found from the threshold on. A flat network looks at a stack slice by
    slice, and a class is as probable as on the slice where it is most probable; two classes that
    exclude each other follow the one that is looked for.
    """

    def __init__(self, card: ModelCard, folder: Path) -> None:
        self.card = card
        self._folder = folder
        self._classifier: _Classifier | None = None

    def load(self, device: str) -> None:
        """Read the weights, their checksum checked, onto a device."""
        if len(self.card.inputs.patch_shape) == 3:
            self._classifier = _Solid(SolidModel(self.card, self._folder, device))
        else:
            self._classifier = _Flat(FlatModel(self.card, self._folder, device))

    def unload(self) -> None:
        """Let go of the network."""
        self._classifier = None

    def run(
        self, volume: Volume, series: Series | None, study: Study | None, context: Context
    ) -> InferenceResult:
        """Findings with probabilities; ModelError where there is no picture to look at."""
        del series, study  # what the headers say was weighed before
        classifier = loaded(self._classifier, self.card)
        looks = classifier.looks(volume, context)
        if not looks.places:
            raise ModelError("The image holds nothing that could be looked at.")
        threshold = wanted_threshold(context, self.card)
        found, others = _by_rank(looks, threshold, multi_label=classifier.multi_label)
        weighed = _weighed(classifier, volume, looks, context)
        findings = {
            number: self._finding(weighed, number, looks, threshold, context)
            for number in (*found, *others)
        }
        result = InferenceResult(
            context.job_uid,
            findings=tuple(findings[number] for number in found),
            candidates=tuple(findings[number] for number in others),
            threshold=threshold,
            notes=() if found else (f"Nothing is as probable as {threshold:g}.",),
            device=context.device,
        )
        if MapKind.SALIENCY not in wanted_maps(context):
            return result
        maps: list[ScalarMap] = []
        for number in (*found, *others)[:MOST_EXPLAINED]:
            context.progress("Explaining", len(maps) / min(len(findings), MOST_EXPLAINED))
            subject = Subject(number, alone=classifier.multi_label)
            place, _ = _overall(looks, number, multi_label=classifier.multi_label)
            maps.append(classifier.explained(volume, place, subject, findings[number], context))
        return replace(result, maps=tuple(maps))

    def _finding(
        self,
        weighed: tuple[ClassProbability, ...],
        number: int,
        looks: Looks,
        threshold: float,
        context: Context,
    ) -> Finding:
        own = weighed[number]
        measurements: tuple[Measurement, ...] = ()
        text = ""
        if len(looks.places) > 1:
            count = int((looks.probabilities[:, number] >= threshold).sum())
            place, _ = looks.surest(number)
            text = f"Most probable on slice {place + 1}."
            measurements = (
                Measurement(
                    kind=COUNT,
                    value=float(count),
                    unit=NO_UNIT.value,
                    method=f"Slices with a probability of at least {threshold:g}",
                    provenance=context.provenance,
                    name="Slices",
                ),
            )
        return Finding(
            label=own.label,
            code=own.code,
            provenance=context.provenance,
            text=text,
            probability=own.probability,
            # A temperature is fitted on single pictures; the best of many slices is another number.
            calibrated=self.card.temperature is not None and len(looks.places) == 1,
            measurements=measurements,
            classes=weighed,
        )


def _weighed(
    classifier: _Classifier, volume: Volume, looks: Looks, context: Context
) -> tuple[ClassProbability, ...]:
    """Every class with its probability, and how far opinions lie apart where it is surest."""
    spreads: dict[int, Numbers | None] = {}
    weighed = []
    for number, channel in enumerate(classifier.channels):
        place, probability = _overall(looks, number, multi_label=classifier.multi_label)
        if place not in spreads:
            context.progress("Asking again")
            spreads[place] = classifier.spread(volume, place, context)
        apart = spreads[place]
        spread = None if apart is None else float(apart[number])
        weighed.append(ClassProbability(channel.label, channel.code, probability, spread))
    return tuple(weighed)


def _overall(looks: Looks, number: int, *, multi_label: bool) -> tuple[int, float]:
    """Where a class was decided on, and its probability for the whole image."""
    classes = looks.probabilities.shape[1]
    if classes == 2 and not multi_label:
        place, sought = looks.surest(1)
        return place, sought if number == 1 else 1 - sought
    return looks.surest(number)


def _by_rank(
    looks: Looks, threshold: float, *, multi_label: bool
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The numbers of the classes that are found, and of the others, the most probable first."""
    classes = looks.probabilities.shape[1]
    overall = [_overall(looks, n, multi_label=multi_label)[1] for n in range(classes)]
    order = sorted(range(classes), key=lambda number: -overall[number])
    if multi_label:
        found = [number for number in order if overall[number] >= threshold]
    elif classes == 2:
        found = [int(overall[1] >= threshold)]
    else:
        found = order[:1]
    return tuple(found), tuple(number for number in order if number not in found)


def _spread(said: Numbers) -> Numbers | None:
    """The standard deviation of opinions (n, classes); None for a single one."""
    return None if len(said) < 2 else np.asarray(said.std(axis=0))
