"""The detection engine: boxes on pictures, through the slices of a stack, and in volumes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from medview.core.codes import COUNT, LENGTH, MILLIMETRE, NO_UNIT
from medview.core.findings import Finding, Measurement, PictureBox, Point
from medview.core.geometry import FloatArray, Geometry
from medview.core.jobs import InferenceResult
from medview.core.maps import MapArray, MapKind, ScalarMap
from medview.core.models import ModelCard, OutputChannel
from medview.core.study import Series, Study
from medview.core.volume import Volume
from medview.imaging.structure import box_in_patient, point_of
from medview.inference.adapter import (
    Context,
    loaded,
    refuse_other_than_volume,
    wanted_maps,
    wanted_threshold,
)
from medview.inference.engines.explaining import MOST_EXPLAINED, Subject
from medview.inference.engines.planes import FlatModel, picture_at, slice_grid
from medview.inference.engines.solids import SolidModel, box_on, boxes_over
from medview.inference.networks.centres import STRIDE
from medview.inference.networks.pictures import overlaps
from medview.inference.networks.readings import FoundBoxes, boxes_in, heat_in

#: Where neither the reader nor the card says from which probability on a box is a finding.
_DEFAULT_THRESHOLD = 0.3
#: Boxes that are less probable are not even candidates, and more than so many are not kept.
_LEAST = 0.05
_MOST = 2000
#: Boxes on neighbouring slices that share so much (intersection over union) are one object.
_SAME = 0.3


@dataclass(frozen=True, eq=False)
class Found:
    """One object: its class and probability, and its box in the image.

    `start` and `stop` are edges (k, row, column) counted from the outer corner of the first voxel;
    `surest` is the slice where it shows best.
    """

    number: int
    probability: float
    start: FloatArray
    stop: FloatArray
    surest: int


class _Detector(Protocol):
    """A network with the way an image comes to it."""

    channels: tuple[OutputChannel, ...]
    decoding: dict[str, float]

    def objects(self, volume: Volume, context: Context) -> list[Found]:
        """What is found, unsure boxes too, the surest first."""

    def explained(
        self, volume: Volume, found: Found, finding: Finding, context: Context
    ) -> ScalarMap:
        """Where the answer about an object comes from."""

    def heat(self, volume: Volume) -> tuple[ScalarMap, ...]:
        """How probable the middle of an object is, place by place, a map a class."""


class _Flat:
    """Slice by slice; boxes that go on in the next slice are one object."""

    def __init__(self, model: FlatModel) -> None:
        self._model = model
        self.channels = model.channels
        self.decoding = dict(model.recipe.decoding)

    def objects(self, volume: Volume, context: Context) -> list[Found]:
        model = self._model
        single = [
            Found(
                int(number),
                float(score),
                np.array([k, *box[:2]], np.float64),
                np.array([k + 1, *box[2:]], np.float64),
                k,
            )
            for k, picture in model.pictures(volume, context)
            for box, score, number in _sure_enough(boxes_in(model.network, picture, model.recipe))
        ]
        return sorted(_through_slices(single), key=lambda one: -one.probability)

    def explained(
        self, volume: Volume, found: Found, finding: Finding, context: Context
    ) -> ScalarMap:
        recipe = self._model.recipe
        picture = picture_at(volume, found.surest)
        sides = recipe.to_input(picture).shape[1:]
        scale = np.array(sides) / picture.shape[:2] / STRIDE
        cells = _cells(found.start[1:] * scale, found.stop[1:] * scale)
        subject = Subject(found.number, cells=cells)
        return self._model.saliency(volume, found.surest, subject, finding, context)

    def heat(self, volume: Volume) -> tuple[ScalarMap, ...]:
        if volume.geometry.shape[0] > 1:
            return ()  # one map for every slice and class is more than anybody looks at
        model = self._model
        heat = heat_in(model.network, picture_at(volume, 0), model.recipe)
        grid = slice_grid(volume.geometry, 0)
        return tuple(
            _heat_map(volume, grid, channel, values[None])
            for channel, values in zip(self.channels, heat, strict=True)
        )


class _Solid:
    """A volume as a whole, a large one in windows that share a part of each other."""

    def __init__(self, model: SolidModel) -> None:
        self._model = model
        self.channels = model.channels
        self.decoding = model.decoding

    def objects(self, volume: Volume, context: Context) -> list[Found]:
        model = self._model
        refuse_other_than_volume(volume)
        grid = model.reading.grid_over(volume)
        context.progress("Preparing the volume")
        found = boxes_over(
            model.network,
            model.reading.input_on(volume, grid),
            model.reading.patch,
            len(self.channels),
            most_overlap=float(self.decoding.get("most_overlap", 0.5)),
            progress=lambda share: context.progress("Looking", share),
        )
        return list(_in_volume(found, grid, volume))

    def explained(
        self, volume: Volume, found: Found, finding: Finding, context: Context
    ) -> ScalarMap:
        model = self._model
        reading = model.reading
        grid = _around(found, reading.grid_over(volume), volume.geometry, reading.patch)
        start, stop = box_on(grid, volume.geometry, found.start, found.stop)
        cells = _cells(start / STRIDE, stop / STRIDE)
        subject = Subject(found.number, cells=cells)
        return model.saliency(volume, grid, subject, finding, context)

    def heat(self, volume: Volume) -> tuple[ScalarMap, ...]:
        del volume
        return ()


def _in_volume(found: FoundBoxes, grid: Geometry, volume: Volume) -> Iterator[Found]:
    """Boxes of a network's grid, surest first, in the volume's index; none without an extent."""
    for box, score, number in zip(found.boxes, found.scores, found.numbers, strict=True):
        if score < _LEAST:
            return
        low, high = np.maximum(box[:3], 0), np.minimum(box[3:], grid.shape)
        start, stop = box_on(volume.geometry, grid, low, high)
        start, stop = np.maximum(start, 0), np.minimum(stop, volume.geometry.shape)
        if np.all(stop > start):
            middle = int(min((start[0] + stop[0]) / 2, volume.geometry.shape[0] - 1))
            yield Found(int(number), float(score), start, stop, middle)


class Engine:
    """Boxes with probabilities: from the threshold on findings, less probable ones candidates.

    On a picture without a place in the patient (a microscope's field, a photograph) the objects of
    each class are counted too.
    """

    def __init__(self, card: ModelCard, folder: Path) -> None:
        self.card = card
        self._folder = folder
        self._detector: _Detector | None = None

    def load(self, device: str) -> None:
        """Read the weights, their checksum checked, onto a device."""
        if len(self.card.inputs.patch_shape) == 3:
            self._detector = _Solid(SolidModel(self.card, self._folder, device))
        else:
            self._detector = _Flat(FlatModel(self.card, self._folder, device))

    def unload(self) -> None:
        """Let go of the network."""
        self._detector = None

    def run(
        self, volume: Volume, series: Series | None, study: Study | None, context: Context
    ) -> InferenceResult:
        """Boxes on the volume; a note where nothing is probable enough."""
        del series, study  # what the headers say was weighed before
        detector = loaded(self._detector, self.card)
        default = float(detector.decoding.get("least_score", _DEFAULT_THRESHOLD))
        threshold = wanted_threshold(context, self.card, default)
        objects = detector.objects(volume, context)[:_MOST]
        told = [self._finding(detector, volume, one, context) for one in objects]
        sure = [one for one in told if (one.probability or 0) >= threshold]
        counted = self._counts(detector, volume, sure, threshold, context)
        result = InferenceResult(
            context.job_uid,
            findings=(*counted, *sure),
            candidates=tuple(told[len(sure) :]),
            threshold=threshold,
            notes=() if sure else (f"Nothing is as probable as {threshold:g}.",),
            device=context.device,
        )
        return replace(result, maps=self._maps(detector, volume, objects, told, context))

    def _maps(
        self,
        detector: _Detector,
        volume: Volume,
        objects: Sequence[Found],
        told: Sequence[Finding],
        context: Context,
    ) -> tuple[ScalarMap, ...]:
        wanted = wanted_maps(context)
        maps = list(detector.heat(volume)) if MapKind.PROBABILITY in wanted else []
        if MapKind.SALIENCY in wanted:
            pairs = list(zip(objects, told, strict=True))[:MOST_EXPLAINED]
            for done, (one, finding) in enumerate(pairs):
                context.progress("Explaining", done / len(pairs))
                maps.append(detector.explained(volume, one, finding, context))
        return tuple(maps)

    def _finding(
        self, detector: _Detector, volume: Volume, one: Found, context: Context
    ) -> Finding:
        channel, geometry = detector.channels[one.number], volume.geometry
        box = box_in_patient(geometry, one.start, one.stop)
        measurements: tuple[Measurement, ...] = ()
        middle: Point | None = None
        if box is not None:
            low, high = np.array(box[0]), np.array(box[1])
            middle = point_of((low + high) / 2)
            measurements = (
                Measurement(
                    kind=LENGTH,
                    value=float((high - low).max()),
                    unit=MILLIMETRE.value,
                    method="Longest side of the box",
                    provenance=context.provenance,
                    name="Extent",
                ),
            )
        top, left, bottom, right = (float(v) for v in (*one.start[1:], *one.stop[1:]))
        return Finding(
            label=channel.label,
            code=channel.code,
            provenance=context.provenance,
            probability=min(1.0, one.probability),
            measurements=measurements,
            location_lps_mm=middle,
            box_lps_mm=box,
            picture_box=PictureBox((top, left, bottom, right), one.surest),
        )

    def _counts(
        self,
        detector: _Detector,
        volume: Volume,
        sure: Sequence[Finding],
        threshold: float,
        context: Context,
    ) -> Iterator[Finding]:
        """How many there are of each class, on a single picture that is no part of a patient."""
        if volume.geometry.in_patient_space or volume.geometry.shape[0] > 1:
            return
        for channel in detector.channels:
            count = sum(one.label == channel.label for one in sure)
            yield Finding(
                label=f"{channel.label}: count",
                code=channel.code,
                provenance=context.provenance,
                measurements=(
                    Measurement(
                        kind=COUNT,
                        value=float(count),
                        unit=NO_UNIT.value,
                        method=f"Boxes with a probability of at least {threshold:g}",
                        provenance=context.provenance,
                        name="Count",
                    ),
                ),
            )


def _sure_enough(found: FoundBoxes) -> Iterator[tuple[FloatArray, float, int]]:
    """Boxes worth keeping, with an extent, and how probable they are and of which class."""
    for box, score, number in zip(found.boxes, found.scores, found.numbers, strict=True):
        if score >= _LEAST and box[0] < box[2] and box[1] < box[3]:
            yield box, score, number


def _through_slices(single: Sequence[Found]) -> Iterator[Found]:
    """Boxes of one slice each, by slice, joined with those they go on in on the next slice.

    The joined one is as probable as its surest slice; slices where it is less than half as
    probable do not widen its box.
    """
    chains: list[list[Found]] = []
    open_ends: list[list[Found]] = []
    last = -1
    for one in single:
        if one.surest != last:
            open_ends = [chain for chain in chains if chain[-1].surest == one.surest - 1]
            last = one.surest
        best = max(open_ends, key=lambda chain: _shared(chain[-1], one), default=None)
        if best is not None and _shared(best[-1], one) >= _SAME:
            best.append(one)
            open_ends.remove(best)
        else:
            chains.append([one])
    for chain in chains:
        surest = max(chain, key=lambda one: one.probability)
        wide = [one for one in chain if one.probability >= surest.probability / 2]
        start = np.min([one.start for one in wide], axis=0)
        stop = np.max([one.stop for one in wide], axis=0)
        yield replace(surest, start=start, stop=stop)


def _shared(first: Found, second: Found) -> float:
    """Intersection over union on the picture; 0 for another class."""
    if first.number != second.number:
        return 0.0
    boxes = [
        torch.from_numpy(np.concatenate([one.start[1:], one.stop[1:]]))[None]
        for one in (first, second)
    ]
    return float(overlaps(*boxes)[0, 0])


def _around(found: Found, grid: Geometry, image: Geometry, patch: Sequence[int]) -> Geometry:
    """The part of a network's grid, of the size of its patch, about an object."""
    if not patch:
        return grid
    start, stop = box_on(grid, image, found.start, found.stop)
    corner = np.round((start + stop - np.array(patch)) / 2)
    corner = np.clip(corner, 0, np.maximum(0, np.array(grid.shape) - patch)).astype(int)
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_lps_mm(corner)
    x, y, z = (int(min(side, size)) for side, size in zip(patch, grid.shape, strict=True))
    return replace(grid, shape=(x, y, z), affine=affine)


def _cells(start: FloatArray, stop: FloatArray) -> tuple[slice, ...]:
    """The cells of an answer within two edges, one at least along every axis."""
    first = np.maximum(np.floor(start), 0).astype(int)
    last = np.maximum(np.ceil(stop).astype(int), first + 1)
    return tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))


def _heat_map(
    volume: Volume, grid: Geometry, channel: OutputChannel, values: MapArray
) -> ScalarMap:
    return ScalarMap(
        volume_uid=volume.uid,
        kind=MapKind.PROBABILITY,
        geometry=grid,
        values=values,
        value_range=(0.0, 1.0),
        subject=channel.label,
        method="Middles of objects",
    )
