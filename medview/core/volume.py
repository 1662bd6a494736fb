"""Volume: voxels, where they are, and what their numbers mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medview.core.codes import UNSPECIFIED, Code
from medview.core.errors import GeometryError
from medview.core.geometry import Geometry


@dataclass(frozen=True)
class Window:
    """A grey-scale window (PS3.3 C.11.2): centre and width in real-world values.

    `function` is LINEAR, LINEAR_EXACT or SIGMOID (VOI LUT Function (0028,1056)).
    """

    center: float
    width: float
    explanation: str = ""
    function: str = "LINEAR"

    def __post_init__(self) -> None:
        if not (np.isfinite(self.center) and np.isfinite(self.width) and self.width > 0):
            raise ValueError(f"A window needs finite numbers and a width, not {self}")


@dataclass(frozen=True, eq=False)
class Volume:
    """An image with its grid: voxels (slices, rows, columns[, channels]), read-only.

    Voxels are as stored; a real-world value is `voxel * slope + intercept`, in `unit` (UCUM).
    Where slope or intercept differ between slices the reader delivers float32 values with
    slope 1 instead. `padding` is the closed range of stored values that means "no image here".
    `inverted` is True for MONOCHROME1. The voxels may lie in shared or mapped memory.
    `geometry.calibration` other than PATIENT: no directions, no anatomy, no AI in millimetres.
    """

    uid: str
    series_uid: str
    geometry: Geometry
    voxels: npt.NDArray[Any]
    slope: float = 1.0
    intercept: float = 0.0
    time_index: int | None = None
    quantity: Code = UNSPECIFIED
    unit: str = "1"
    default_windows: tuple[Window, ...] = ()
    padding: tuple[float, float] | None = None
    inverted: bool = False
    instance_uids: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.voxels.ndim not in (3, 4) or self.voxels.shape[:3] != self.geometry.shape:
            raise GeometryError(
                f"Voxels of shape {self.voxels.shape} do not fit a grid {self.geometry.shape}"
            )
        view = self.voxels.view()
        view.setflags(write=False)
        object.__setattr__(self, "voxels", view)

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB."""
        return 1 if self.voxels.ndim == 3 else int(self.voxels.shape[3])

    def value_of(self, stored: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Real-world values of stored ones, float32."""
        scaled = np.asarray(stored, dtype=np.float64) * self.slope + self.intercept
        return scaled.astype(np.float32)

    def values(self) -> npt.NDArray[np.float32]:
        """Real-world values of the whole volume, a float32 copy unless voxels are that already."""
        if self.voxels.dtype == np.float32 and self.slope == 1 and self.intercept == 0:
            return self.voxels
        result = self.voxels.astype(np.float32)
        if self.slope != 1:
            result *= np.float32(self.slope)
        if self.intercept != 0:
            result += np.float32(self.intercept)
        return result

    def is_padding(self, stored: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """True where stored values mean "no image here"."""
        if self.padding is None:
            return np.zeros(stored.shape, dtype=np.bool_)
        low, high = self.padding
        return np.asarray((stored >= low) & (stored <= high), dtype=np.bool_)
