"""Scalar maps: what a model says beside its result of every place in an image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from medview.core.errors import GeometryError
from medview.core.findings import new_uid
from medview.core.geometry import Geometry

MapArray = npt.NDArray[np.float16] | npt.NDArray[np.float32]


class MapKind(StrEnum):
    """What the values of a map are."""

    PROBABILITY = "probability"
    UNCERTAINTY = "uncertainty"
    SALIENCY = "saliency"
    QUANTITY = "quantity"


#: What is to be said wherever a map is shown.
CAPTIONS: Mapping[MapKind, str] = MappingProxyType(
    {
        MapKind.PROBABILITY: "Probability that the model gives, place by place",
        MapKind.UNCERTAINTY: "Where the model is unsure, which is not all places where it is wrong",
        MapKind.SALIENCY: "Explanation of the model, not evidence of disease",
        MapKind.QUANTITY: "Values that another program gives, place by place",
    }
)


@dataclass(frozen=True, eq=False)
class ScalarMap:
    """One value a place, (slices, rows, columns), on the grid of an image or on a coarser one.

    `subject` names what it is about: an output of the model, or the finding `finding_uid`.
    `value_range` are the ends of its colour bar: 0 and 1 for probabilities; uncertainty runs from
    0 (sure) to 1 (as unsure as can be); saliency is positive for, negative against its subject,
    without unit. `method` says how it was made. Values may lie outside the range, never be other
    than finite. GeometryError where values and grid differ in shape.
    """

    volume_uid: str
    kind: MapKind
    geometry: Geometry
    values: MapArray
    value_range: tuple[float, float]
    subject: str = ""
    finding_uid: str = ""
    method: str = ""
    uid: str = field(default_factory=new_uid)

    def __post_init__(self) -> None:
        if self.values.shape != self.geometry.shape:
            raise GeometryError(f"A map {self.values.shape} on a grid {self.geometry.shape}")
        low, high = self.value_range
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"A map needs a range of values, not {self.value_range}")

    @property
    def caption(self) -> str:
        """What is to be said beside it."""
        return CAPTIONS[self.kind]

    def coarser(self, most_values: int) -> ScalarMap:
        """The map with at most so many values: means of blocks, on the grid of the blocks.

        The axis with the finest steps is halved first. The map itself where it is small enough;
        ValueError where there is no room for a single value.
        """
        if most_values < 1:
            raise ValueError("There is no room for a map")
        values = np.asarray(self.values, np.float32)
        affine = self.geometry.affine.copy()
        while values.size > most_values:
            steps = np.linalg.norm(affine[:3, :3], axis=0)
            steps[np.array(values.shape) == 1] = np.inf
            axis = int(np.argmin(steps))
            values = _halved(values, axis)
            affine[:3, 3] += affine[:3, axis] / 2
            affine[:3, axis] *= 2
        if values.shape == self.values.shape:
            return self
        slices, rows, columns = values.shape
        geometry = replace(self.geometry, shape=(slices, rows, columns), affine=affine)
        return replace(self, values=values, geometry=geometry)


def _halved(values: npt.NDArray[np.float32], axis: int) -> npt.NDArray[np.float32]:
    """Means of neighbours along an axis; what is left over at the end stands alone."""
    count = values.shape[axis]
    first = np.take(values, range(0, count, 2), axis)
    last = np.take(values, [min(at + 1, count - 1) for at in range(0, count, 2)], axis)
    result: npt.NDArray[np.float32] = np.mean([first, last], axis=0, dtype=np.float32)
    return result
