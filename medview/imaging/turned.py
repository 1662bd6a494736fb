"""Images turned to another order and direction of axes, no voxel touched."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt

from medview.core.errors import GeometryError
from medview.core.geometry import Geometry
from medview.imaging.crops import axes_of


@dataclass(frozen=True)
class Turn:
    """How the axes of a grid become those of another: which comes first, which run backwards."""

    order: tuple[int, int, int]
    backwards: tuple[int, ...]

    @staticmethod
    def to(geometry: Geometry, orientation: str) -> Turn:
        """The turn after which axes run nearest to the directions of letters such as `SAR`.

        The letters name where the first, second and third index grow to; GeometryError for a
        grid that has no place in the patient.
        """
        if not geometry.in_patient_space:
            raise GeometryError("The image does not say where in the patient it lies.")
        steps = geometry.affine[:3, :3] / np.linalg.norm(geometry.affine[:3, :3], axis=0)
        likeness = axes_of(orientation).T @ steps
        order = max(
            permutations(range(3)), key=lambda one: sum(abs(likeness[i, one[i]]) for i in range(3))
        )
        backwards = tuple(i for i in range(3) if likeness[i, order[i]] < 0)
        return Turn((order[0], order[1], order[2]), backwards)

    def turned(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A view of an array (k, j, i) with its axes turned."""
        return np.flip(values.transpose(self.order), self.backwards)

    def undone(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A view of a turned array with its axes as they were."""
        return np.flip(values, self.backwards).transpose(np.argsort(self.order))

    def spacing_of(self, geometry: Geometry) -> tuple[float, float, float]:
        """The grid's steps in millimetres in the turned order."""
        steps = np.linalg.norm(geometry.affine[:3, :3], axis=0)
        a, b, c = (float(steps[axis]) for axis in self.order)
        return a, b, c


#: The axes as they are stored.
AS_STORED = Turn((0, 1, 2), ())
