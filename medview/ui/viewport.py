"""Where a slice lies in a view: between pixels of the view and millimetres of the plane."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from medview.core.findings import Point
from medview.core.views import ViewState
from medview.imaging.reslice import PlaneFrame

#: Room around an image that fits, in pixels.
_MARGIN_PX = 10.0


@dataclass(frozen=True, eq=False)
class Viewport:
    """One slice in a view of `width_px` x `height_px` pixels, (x, y) from the top left corner."""

    frame: PlaneFrame
    state: ViewState
    number: int
    width_px: int
    height_px: int

    @cached_property
    def fit_px_per_mm(self) -> float:
        """The scale at which the whole image is seen."""
        left, top, right, bottom = self.frame.extent_mm
        width = max(self.width_px - 2 * _MARGIN_PX, 1.0)
        height = max(self.height_px - 2 * _MARGIN_PX, 1.0)
        return min(width / (right - left), height / (bottom - top))

    @property
    def px_per_mm(self) -> float:
        """The scale, the same in both directions."""
        return self.fit_px_per_mm * self.state.zoom

    @cached_property
    def center_mm(self) -> tuple[float, float]:
        """The point of the plane in the middle of the view."""
        return self.frame.to_plane_mm(self.state.center_lps_mm)

    def to_px(self, x_mm: float, y_mm: float) -> tuple[float, float]:
        """Where a point of the plane is drawn."""
        scale = self.px_per_mm
        x0, y0 = self.center_mm
        return (
            (x_mm - x0) * scale + self.width_px / 2,
            (y_mm - y0) * scale + self.height_px / 2,
        )

    def to_mm(self, x_px: float, y_px: float) -> tuple[float, float]:
        """The point of the plane at a place of the view."""
        scale = self.px_per_mm
        x0, y0 = self.center_mm
        return (
            (x_px - self.width_px / 2) / scale + x0,
            (y_px - self.height_px / 2) / scale + y0,
        )

    def to_lps_mm(self, x_px: float, y_px: float) -> Point:
        """The point in the patient, in the slice shown, at a place of the view."""
        return self.frame.to_lps_mm(*self.to_mm(x_px, y_px), self.number)

    def center_for(self, x_mm: float, y_mm: float) -> Point:
        """The centre that puts a point of the plane in the middle, at the depth it has now."""
        depth = self.frame.geometry.to_index(self.state.center_lps_mm)[self.frame.normal]
        return self.frame.to_lps_mm(x_mm, y_mm, float(depth))

    def zoomed_about(self, x_px: float, y_px: float, factor: float) -> Point:
        """The centre that keeps what lies at a place of the view there when zoom grows."""
        x, y = self.to_mm(x_px, y_px)
        x0, y0 = self.center_mm
        return self.center_for(x + (x0 - x) / factor, y + (y0 - y) / factor)

    def covered_px(self) -> tuple[int, int, int, int]:
        """The part of the view the image covers: left, top, right, bottom; may be empty."""
        left, top, right, bottom = self.frame.extent_mm
        x0, y0 = self.to_px(left, top)
        x1, y1 = self.to_px(right, bottom)
        return (
            max(0, int(np.floor(x0))),
            max(0, int(np.floor(y0))),
            min(self.width_px, int(np.ceil(x1))),
            min(self.height_px, int(np.ceil(y1))),
        )

    def pixel_matrix(self, left_px: int, top_px: int, ratio: float) -> npt.NDArray[np.float64]:
        """From device pixels of a picture at (left, top) to (row, column) in the slice, 2x3.

        `ratio` is device pixels per pixel of the view; a pixel stands for its middle.
        """
        to_index = self.frame.mm_to_index
        scale = self.px_per_mm * ratio
        matrix = np.empty((2, 3))
        matrix[:, 0] = to_index[:, 1] / scale
        matrix[:, 1] = to_index[:, 0] / scale
        start = self.to_mm(left_px + 0.5 / ratio, top_px + 0.5 / ratio)
        matrix[:, 2] = to_index @ start
        # Rounding must not hide that rows and columns run straight: that way is drawn faster.
        matrix[:, :2][np.abs(matrix[:, :2]) < 1e-12 * np.abs(matrix[:, :2]).max()] = 0
        return matrix
