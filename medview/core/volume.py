"""Volume: voxels, where they are, and what their numbers mean."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medview.core.codes import UNSPECIFIED, Code
from medview.core.errors import GeometryError
from medview.core.geometry import Geometry

if TYPE_CHECKING:
    from medview.core.clip import Region


@dataclass(frozen=True, eq=False)
class Curve:
    """The shape of a VOI LUT: outputs from 0 to `largest`, evenly spread over a window."""

    outputs: npt.NDArray[np.uint16]
    largest: int

    def __post_init__(self) -> None:
        if self.outputs.ndim != 1 or self.outputs.size < 2 or self.largest < 1:
            raise ValueError("A display curve needs two outputs or more")
        self.outputs.setflags(write=False)


@dataclass(frozen=True)
class Window:
    """A grey-scale window (PS3.3 C.11.2): centre and width in real-world values.

    `function` is LINEAR, LINEAR_EXACT or SIGMOID (VOI LUT Function (0028,1056)), or LUT with the
    outputs of a VOI LUT in `curve`, the first of them at the lower end and the last at the upper.
    """

    center: float
    width: float
    explanation: str = ""
    function: str = "LINEAR"
    curve: Curve | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.center) and np.isfinite(self.width) and self.width > 0):
            raise ValueError(f"A window needs finite numbers and a width, not {self}")
        if (self.function == "LUT") != (self.curve is not None):
            raise ValueError("A window has a curve where its function is a LUT, and only there")

    def rescaled(self, slope: float, intercept: float) -> Window:
        """The window that shows `value * slope + intercept` as this one shows the value.

        A LINEAR one becomes the LINEAR_EXACT one of the same ends: half a unit is no half any more.
        """
        center, width, function = self.center, self.width, self.function
        if function == "LINEAR" and width > 1:
            center, width, function = center - 0.5, width - 1, "LINEAR_EXACT"
        center, width = center * slope + intercept, width * abs(slope)
        return replace(self, center=center, width=width, function=function)


@dataclass(frozen=True, eq=False)
class ValueScale:
    """Another meaning of the same voxels: `value * slope + intercept`, named, in its own unit.

    `value` is the real-world value of the volume that offers it. With a `table` the stored value
    finds its meaning there instead, the first entry being that of stored value `first`; values
    beside the table have none (not a number).
    """

    name: str
    unit: str
    quantity: Code = UNSPECIFIED
    slope: float = 1.0
    intercept: float = 0.0
    first: int = 0
    table: npt.NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.slope) and np.isfinite(self.intercept) and self.slope):
            raise ValueError(f"A scale needs finite numbers and a slope, not {self}")


@dataclass(frozen=True, eq=False)
class Volume:
    """An image with its grid: voxels (slices, rows, columns[, channels]), read-only.

    Voxels are as stored; a real-world value is `voxel * slope + intercept`, in `unit` (UCUM).
    Where slope or intercept differ between slices the reader delivers float32 values with
    slope 1 instead. `padding` is the closed range of stored values that means "no image here".
    `inverted` is True for MONOCHROME1. The voxels may lie in shared or mapped memory.
    `geometry.calibration` other than PATIENT: no directions, no anatomy, no AI in millimetres.
    `scales` are other meanings of the values, `scale_name` is the name of this one where there
    are others. `instance_uids` and `frame_numbers` say which picture each slice is, `regions` what
    the pixels of an ultrasound picture measure. `empty_slices` are missing or unreadable: what
    their voxels hold is no image. `label` tells a volume from others at its place.
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
    frame_numbers: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    scale_name: str = ""
    scales: tuple[ValueScale, ...] = ()
    regions: tuple[Region, ...] = ()
    empty_slices: tuple[int, ...] = ()
    label: str = ""

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
        """Real-world values of the whole volume, a float32 copy unless voxels are that already.

        Bit for bit those of `value_of`.
        """
        if self.slope == 1 and self.intercept == 0:
            return self.voxels.astype(np.float32, copy=False)
        result = np.empty(self.voxels.shape, dtype=np.float32)
        for plane, stored in zip(result, self.voxels, strict=True):
            plane[...] = self.value_of(stored)
        return result

    def on_scale(self, name: str) -> Volume:
        """The same voxels with the meaning of that name; KeyError if it is not offered.

        The way back is among the scales of the result. Meanings out of a table make new float32
        voxels; from them no other scale but the one they came from can be had.
        """
        if name == self.scale_name:
            return self
        chosen = next((scale for scale in self.scales if scale.name == name), None)
        if chosen is None:
            raise KeyError(name)
        if chosen.table is not None:
            return self._by_table(chosen)
        a, b = chosen.slope, chosen.intercept
        back = ValueScale(self.scale_name, self.unit, self.quantity, 1 / a, -b / a)
        others = tuple(
            scale
            if scale.table is not None
            else replace(
                scale, slope=scale.slope / a, intercept=scale.intercept - b * scale.slope / a
            )
            for scale in self.scales
            if scale is not chosen
        )
        return replace(
            self,
            slope=self.slope * a,
            intercept=self.intercept * a + b,
            quantity=chosen.quantity,
            unit=chosen.unit,
            default_windows=tuple(window.rescaled(a, b) for window in self.default_windows),
            scale_name=name,
            scales=(back, *others),
        )

    def _by_table(self, scale: ValueScale) -> Volume:
        """The meanings of a table as voxels; without one where the table says nothing."""
        table = np.asarray(scale.table, dtype=np.float32)
        index = self.voxels.astype(np.int64) - scale.first
        known = (index >= 0) & (index < table.size) & ~self.is_padding(self.voxels)
        voxels = np.where(known, table[np.clip(index, 0, table.size - 1)], np.float32(np.nan))
        return replace(
            self,
            voxels=voxels,
            slope=1.0,
            intercept=0.0,
            quantity=scale.quantity,
            unit=scale.unit,
            default_windows=(),
            padding=None,
            scale_name=scale.name,
            scales=(),
        )

    def is_padding(self, stored: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """True where stored values mean "no image here"."""
        if self.padding is None:
            return np.zeros(stored.shape, dtype=np.bool_)
        low, high = self.padding
        return np.asarray((stored >= low) & (stored <= high), dtype=np.bool_)
