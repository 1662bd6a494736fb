"""How one volume is looked at: values that `Viewing` keeps for each and replaces as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from medview.core.findings import Point
from medview.core.views import Plane, ViewState
from medview.core.volume import Volume, Window
from medview.imaging.reslice import PlaneFrame, acquired_plane, plane_frame
from medview.imaging.windowing import (
    SUV_WINDOW,
    LookupTable,
    dynamic_range,
    initial_window,
    lookup_table,
)

#: Zoom 1 fits the image into the view.
_ZOOM_LIMITS = (0.1, 60.0)


@dataclass(frozen=True, eq=False)
class Look:
    """One volume, its planes as they lie on the screen, and what the reader set for it."""

    volume: Volume
    window: Window
    dynamic_range: float
    table: LookupTable
    inverted: bool = False
    frames: Mapping[Plane, PlaneFrame] = field(default_factory=dict)
    views: Mapping[Plane, ViewState] = field(default_factory=dict)
    provisional: Window | None = None

    def view(self, plane: Plane) -> ViewState:
        """The state of one plane, with the window that all planes share."""
        center = self.volume.geometry.center_lps_mm
        at = (float(center[0]), float(center[1]), float(center[2]))
        known = self.views.get(plane, ViewState(plane, at))
        return replace(
            known,
            window_center=self.window.center,
            window_width=self.window.width,
            inverted=self.inverted,
        )

    def with_grey(self, window: Window, *, inverted: bool) -> Look:
        """In another window, the greys as they are or turned round."""
        table = lookup_table(self.volume, window, inverted=inverted)
        return replace(self, window=window, inverted=inverted, table=table)

    def with_view(self, state: ViewState) -> Look:
        """With another state of one plane; its zoom is held to what can be shown."""
        low, high = _ZOOM_LIMITS
        held = replace(state, zoom=min(max(state.zoom, low), high))
        old = self.view(held.orientation)
        frames = self.frames
        if _turns(held) != _turns(old):
            frame = plane_frame(
                self.volume.geometry,
                held.orientation,
                quarter_turns=held.quarter_turns,
                flip_horizontal=held.flipped_horizontally,
                flip_vertical=held.flipped_vertically,
            )
            frames = MappingProxyType({**frames, held.orientation: frame})
        views = MappingProxyType({**self.views, held.orientation: held})
        return replace(self, views=views, frames=frames)

    @property
    def middle_lps_mm(self) -> Point:
        """The voxel in the middle."""
        geometry = self.volume.geometry
        index = np.floor(geometry.to_index(geometry.center_lps_mm) + 0.5)
        x, y, z = geometry.to_lps_mm(index)
        return float(x), float(y), float(z)

    def clamped(self, point_lps_mm: Point) -> Point:
        """The nearest point of the grid."""
        geometry = self.volume.geometry
        index = geometry.to_index(point_lps_mm)
        last = [count - 1 for count in geometry.shape]
        if all(0 <= value <= end for value, end in zip(index, last, strict=True)):
            return point_lps_mm
        held = [min(max(float(v), 0.0), end) for v, end in zip(index, last, strict=True)]
        x, y, z = geometry.to_lps_mm(held)
        return float(x), float(y), float(z)

    def at_slice(self, plane: Plane, point_lps_mm: Point, number: int) -> Point:
        """The point moved along the grid to slice `number` of a plane, held to the volume."""
        frame = self.frames[plane]
        index = frame.geometry.to_index(point_lps_mm)
        index[frame.normal] = min(max(number, 0), frame.count - 1)
        x, y, z = frame.geometry.to_lps_mm(index)
        return float(x), float(y), float(z)


def _turns(state: ViewState) -> tuple[int, bool, bool]:
    """How a plane lies on the screen."""
    return state.quarter_turns % 4, state.flipped_horizontally, state.flipped_vertically


def fresh_look(volume: Volume, sibling: Look | None = None, sample: Volume | None = None) -> Look:
    """How a volume is shown at first: its own window, everything in view.

    A volume on the same grid as its `sibling` (the next of a series over time) takes over
    window, zoom and place; values of another unit get a window of their own. Where not all voxels
    are there yet, `sample` holds some that are: a window found in them is found anew afterwards.
    """
    known = volume if sample is None else sample
    if sibling is not None and sibling.volume.geometry.agrees_with(volume.geometry):
        same = replace(sibling, volume=volume, provisional=None)
        if sibling.volume.unit == volume.unit and sibling.window is not sibling.provisional:
            return same.with_grey(sibling.window, inverted=sibling.inverted)
        same = replace(same, dynamic_range=dynamic_range(known))
        return same.with_grey(initial_window(known), inverted=sibling.inverted)
    planes = [Plane.ACQUIRED]
    if volume.geometry.in_patient_space:
        planes += [Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL]
    window = initial_window(known)
    inverted = window is SUV_WINDOW
    return Look(
        volume=volume,
        window=window,
        dynamic_range=dynamic_range(known),
        table=lookup_table(volume, window, inverted=inverted),
        inverted=inverted,
        frames=MappingProxyType({plane: plane_frame(volume.geometry, plane) for plane in planes}),
        provisional=None if sample is None else window,
    )


def reading_plane(volume: Volume) -> Plane:
    """The plane a volume was taken in, named after the body where that is known."""
    return acquired_plane(volume.geometry)


def is_flat(volume: Volume) -> bool:
    """Whether there is one plane to show only: a single image, or no patient space."""
    return not volume.geometry.in_patient_space or volume.geometry.shape[0] == 1
