"""A volume while it is being read: some planes are there, others are not yet."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from medview.core.geometry import Geometry
from medview.core.study import Series, Study
from medview.core.volume import Volume

#: So many planes are enough to judge the values of a volume by.
_SAMPLE_PLANES = 8


@dataclass(frozen=True, eq=False)
class Arriving:
    """A volume whose voxels are not all there, and whose it is.

    `there` says of each plane along the first axis whether it has come; it changes while the
    volume is being read. What lies in the voxels of the other planes means nothing.
    """

    study: Study
    series: Series
    volume: Volume
    there: npt.NDArray[np.bool_]

    @property
    def fraction(self) -> float:
        """How much of it is there, 0-1."""
        return float(self.there.mean())

    def sample(self) -> Volume:
        """A few of the planes that are there, as a volume, to judge its values by."""
        known = np.flatnonzero(self.there)
        some = known[:: max(1, len(known) // _SAMPLE_PLANES)]
        grid = self.volume.geometry
        shape = (len(some), *grid.shape[1:])
        geometry = Geometry(shape, grid.affine, grid.frame_of_reference_uid, grid.calibration)
        return replace(
            self.volume, geometry=geometry, voxels=self.volume.voxels[some], instance_uids=()
        )
