"""From class probabilities on crops to labels on the image's grid, segments and findings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from medview.core.findings import (
    Finding,
    Laterality,
    Point,
    Provenance,
    SegmentRef,
)
from medview.core.geometry import Box, Geometry
from medview.core.jobs import InferenceResult
from medview.core.models import ModelCard, OutputChannel
from medview.core.segmentation import Segment, Segmentation
from medview.core.volume import Volume
from medview.imaging.crops import spread_back
from medview.imaging.measure import expected_dice
from medview.imaging.structure import box_in_patient, measured_volume, point_of

#: One side of the structure in people without disease, generously, and left against right.
_PLAUSIBLE_ML = (1.0, 7.0)
_LARGEST_DIFFERENCE = 0.35


@dataclass(frozen=True, eq=False)
class SideAnswer:
    """One side: class probabilities (C, x, y, z), background first, and where they lie."""

    laterality: Laterality
    grid: Geometry
    probabilities: npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Part:
    """One structure of one side as it came out on the image's grid."""

    number: int
    laterality: Laterality
    channel: OutputChannel
    voxels: int
    probability: float
    center_lps_mm: Point
    box: Box

    @property
    def label(self) -> str:
        name = self.channel.label
        return f"{self.laterality.capitalize()} {name[:1].lower()}{name[1:]}"


class Proposal:
    """Both sides on the grid of one volume: labels, and what there is to say about them."""

    def __init__(
        self,
        card: ModelCard,
        volume: Volume,
        provenance: Provenance,
        sides: Iterable[SideAnswer],
    ) -> None:
        self._card = card
        self._volume = volume
        self._provenance = provenance
        self._labels = np.zeros(volume.geometry.shape, dtype=np.uint8)
        self._parts: list[_Part] = []
        for position, side in enumerate(sides):
            self._parts += self._put(side, position * len(card.outputs.channels))

    def result(self, job_uid: str) -> InferenceResult:
        """The proposal: one segmentation, one finding with a volume for each segment."""
        segments = tuple(
            Segment(
                number=part.number,
                label=part.label,
                category=part.channel.category,
                type=part.channel.code,
                color_rgb=part.channel.color_rgb,
                provenance=self._provenance,
                probability=part.probability,
            )
            for part in self._parts
        )
        segmentation = Segmentation(
            self._volume.uid,
            self._volume.geometry,
            self._labels,
            segments,
            title=self._card.title,
        )
        findings = tuple(self._finding(part, segmentation.uid) for part in self._parts)
        return InferenceResult(job_uid, (segmentation,), findings, notes=tuple(self._remarks()))

    def _put(self, side: SideAnswer, offset: int) -> Iterator[_Part]:
        """Write one side's labels, numbered from `offset` + 1, and say what became of each."""
        geometry = self._volume.geometry
        spread = spread_back(side.probabilities, side.grid, geometry)
        if spread is None:
            return
        box, probabilities = spread
        best = probabilities.argmax(axis=0)
        labels = self._labels[box.slices]
        for position, channel in enumerate(self._card.outputs.channels, start=1):
            here = (best == channel.index) & (labels == 0)
            inner = Box.of(here)
            if inner is None:
                continue
            labels[here] = offset + position
            start = np.array(box.start)
            center = geometry.to_lps_mm(np.argwhere(here).mean(axis=0) + start)
            yield _Part(
                number=offset + position,
                laterality=side.laterality,
                channel=channel,
                voxels=int(here.sum()),
                probability=expected_dice(here, probabilities[channel.index]),
                center_lps_mm=point_of(center),
                box=Box(tuple(inner.start + start), tuple(inner.stop + start)),
            )

    def _finding(self, part: _Part, segmentation_uid: str) -> Finding:
        measurement = measured_volume(part.voxels, self._volume.geometry, self._provenance)
        return Finding(
            label=part.label,
            code=part.channel.code,
            provenance=self._provenance,
            site=part.channel.code,
            laterality=part.laterality,
            probability=min(1.0, part.probability),
            calibrated=False,
            measurements=(measurement,),
            segment_ref=SegmentRef(segmentation_uid, part.number),
            location_lps_mm=part.center_lps_mm,
            box_lps_mm=box_in_patient(self._volume.geometry, part.box.start, part.box.stop),
        )

    @cached_property
    def _side_ml(self) -> dict[Laterality, float]:
        millilitres = {Laterality.LEFT: 0.0, Laterality.RIGHT: 0.0}
        for part in self._parts:
            millilitres[part.laterality] += part.voxels * self._volume.geometry.voxel_volume_ml
        return millilitres

    def _remarks(self) -> Iterator[str]:
        """What a reader should look at twice."""
        low, high = _PLAUSIBLE_ML
        for laterality, volume_ml in self._side_ml.items():
            if not low <= volume_ml <= high:
                yield (
                    f"Check the {laterality} side: {volume_ml:.1f} mL is not a plausible volume"
                    f" ({low:g} to {high:g} mL)."
                )
        left_ml, right_ml = (self._side_ml[side] for side in (Laterality.LEFT, Laterality.RIGHT))
        if abs(left_ml - right_ml) > _LARGEST_DIFFERENCE * max(left_ml, right_ml):
            yield f"Check both sides: left {left_ml:.1f} mL, right {right_ml:.1f} mL."
        if not self._left_is_left():
            yield "Check the sides: left and right do not lie as they should."

    def _left_is_left(self) -> bool:
        """Whether every part called left lies further to the patient's left than the right ones."""
        places: dict[Laterality, list[float]] = {Laterality.LEFT: [], Laterality.RIGHT: []}
        for part in self._parts:
            places[part.laterality].append(part.center_lps_mm[0])
        return min(places[Laterality.LEFT], default=np.inf) > max(
            places[Laterality.RIGHT], default=-np.inf
        )
