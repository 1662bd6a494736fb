"""Parametric maps (PS3.3 A.75) and fractional segmentations (A.51) -> maps over an image.

Where planes lie is told by their positions alone: Spacing Between Slices is not believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from medview.core.codes import PROBABILITY, UNIT_TEXT, Code
from medview.core.errors import ReadError
from medview.core.geometry import Geometry
from medview.core.maps import MapKind, ScalarMap
from medview.core.study import Instance, Series
from medview.io.frame_pixels import decoded_frames
from medview.io.multiframe import damage_refused, data_set, frame_values
from medview.io.real_world import frame_mappings
from medview.io.sr_terms import SCHEME
from medview.io.stacking import is_orientation, normal_of
from medview.io.values import Values, number, numbers

UNCERTAINTY = Code("uncertainty", SCHEME, "Uncertainty of an algorithm")
SALIENCY = Code("saliency", SCHEME, "Influence on the answer of an algorithm")
VALUE = Code("111", SCHEME, "Stored value")
_KINDS: Mapping[Code, MapKind] = MappingProxyType({
    PROBABILITY: MapKind.PROBABILITY, UNCERTAINTY: MapKind.UNCERTAINTY,
    SALIENCY: MapKind.SALIENCY,
})  # fmt: skip
#: How far a plane may lie from its place in a row of planes, in steps of the row.
_OFF_ROW = 0.05
#: Values of one object beyond which it is refused: they are held in memory at once.
_MOST_VALUES = 1 << 28
Array = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Layer:
    """The planes of one segment, or of a whole map, as a grid; planes that are left out are 0."""

    geometry: Geometry
    values: Array

    def on_grid(self, grid: Geometry) -> Array | None:
        """The values on another grid whose voxels these are; None where they are not."""
        for one in (self, self._turned()):
            found = one.within(grid)
            if found is not None:
                return found
        return None

    def _turned(self) -> Layer:
        """The same planes, the last first."""
        affine = self.geometry.affine.copy()
        affine[:3, 3] = self.geometry.to_lps_mm((self.values.shape[0] - 1, 0, 0))
        affine[:3, 0] *= -1
        return Layer(replace(self.geometry, affine=affine), self.values[::-1])

    def within(self, grid: Geometry) -> Array | None:
        """As `on_grid`, with the planes in the order they have here."""
        end = np.array(self.values.shape) - 1
        first = grid.to_index(self.geometry.to_lps_mm((0, 0, 0)))
        last = grid.to_index(self.geometry.to_lps_mm((int(end[0]), int(end[1]), int(end[2]))))
        start = np.rint(first).astype(int)
        if np.abs(first - start).max() > _OFF_ROW or np.abs(last - start - end).max() > 0.1:
            return None
        stop = start + self.values.shape
        if (start < 0).any() or (stop > np.array(grid.shape)).any():
            return None
        whole: Array = np.zeros(grid.shape, np.float32)
        whole[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = self.values
        return whole


def read_maps(
    series: Series, geometry: Geometry, volume_uid: str = "", password: str = ""
) -> tuple[ScalarMap, ...]:
    """All maps of a series, on the grid of the image where their places are its voxels.

    A fractional segmentation gives a map of each of its segments, a series of others none.
    ReadError where the frame of reference is another, or planes do not stand in a row.
    """
    found: list[ScalarMap] = []
    for instance in series.instances:
        ds = data_set(instance, password)
        with damage_refused("The map is damaged"):
            if str(ds.get("SegmentationType") or "FRACTIONAL") != "FRACTIONAL":
                continue
            ds = data_set(instance, password, pixels=True)
            ours, theirs = geometry.frame_of_reference_uid, str(ds.get("FrameOfReferenceUID", ""))
            if ours and theirs and ours != theirs:
                raise ReadError(
                    "The map belongs to another frame of reference than the image",
                    "Open the image it was made from",
                )
            found += _maps(ds, instance, geometry, volume_uid)
    return tuple(found)


def _maps(ds: Dataset, instance: Instance, geometry: Geometry, volume_uid: str) -> list[ScalarMap]:
    names = {int(item.SegmentNumber): str(item.get("SegmentLabel") or "")
             for item in ds.get("SegmentSequence") or ()}  # fmt: skip
    found = []
    for place, layer in frames_of(ds).items():
        kind, subject, limits = _about(ds, layer)
        placed = layer.on_grid(geometry)
        found.append(
            ScalarMap(
                volume_uid=volume_uid,
                kind=kind,
                geometry=layer.geometry if placed is None else geometry,
                values=layer.values if placed is None else placed,
                value_range=limits,
                subject=names.get(place) or subject,
                method=str(ds.get("ContentDescription") or ""),
                uid=instance.sop_instance_uid + (f"#{place}" if place else ""),
            )
        )
    return found


def _about(ds: Dataset, layer: Layer) -> tuple[MapKind, str, tuple[float, float]]:
    """What the values are, what of, and the ends of their colours."""
    low, high = float(layer.values.min()), float(layer.values.max())
    widest = (low, high if high > low else low + 1.0)
    if ds.get("SegmentSequence"):
        chance = str(ds.get("SegmentationFractionalType") or "") == "PROBABILITY"
        return (MapKind.PROBABILITY, "", (0.0, 1.0)) if chance else (
            MapKind.QUANTITY, "Share of each voxel", (0.0, 1.0)
        )  # fmt: skip
    of_frame = frame_mappings(ds, 1)[0]
    if not of_frame:
        return MapKind.QUANTITY, str(ds.get("ContentLabel") or ""), _window(ds) or widest
    first = of_frame[0]
    kind = _KINDS.get(first.quantity, MapKind.QUANTITY)
    unit = UNIT_TEXT.get(first.unit, first.unit)
    subject = first.name if kind is not MapKind.QUANTITY else (
        f"{first.name} [{unit}]" if unit else first.name
    )  # fmt: skip
    return kind, subject, _window(ds) or widest


def _window(ds: Dataset) -> tuple[float, float] | None:
    """The ends of the window that the object asks for."""
    texts = frame_values(ds, 1)[0]
    centre, width = number(texts, "WindowCenter"), number(texts, "WindowWidth")
    if centre is None or width is None or width <= 0:
        return None
    return centre - width / 2, centre + width / 2


def frames_of(ds: Dataset) -> dict[int, Layer]:
    """The layers of an object by segment number, 0 for a map without segments."""
    count = int(ds.get("NumberOfFrames", 1) or 1)
    if count * int(ds.Rows) * int(ds.Columns) > _MOST_VALUES:
        raise ReadError("The map is larger than can be held in memory")
    per_frame = ds.get("PerFrameFunctionalGroupsSequence") or []
    if len(per_frame) < count:
        raise ReadError("The map does not say where its frames lie")
    scales = frame_mappings(ds, count)
    whole = float(ds.get("MaximumFractionalValue") or 1)
    planes: dict[int, list[tuple[Values, Array]]] = {}
    places = frame_values(ds, count)
    for at, (place, pixels) in enumerate(zip(places, decoded_frames(ds, count), strict=True)):
        values = np.asarray(pixels, np.float32)
        if ds.get("SegmentSequence"):
            values = values / np.float32(whole)
        elif scales[at] and scales[at][0].table is None:
            line = scales[at][0]
            values = np.asarray(values * line.slope + line.intercept, np.float32)
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        planes.setdefault(_segment(ds, per_frame[at]), []).append((place, values))
    frame = str(ds.get("FrameOfReferenceUID", ""))
    return {segment: _stacked(found, frame) for segment, found in planes.items()}


def _segment(ds: Dataset, group: Dataset) -> int:
    shared = (ds.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    for holder in (group, shared):
        for item in holder.get("SegmentIdentificationSequence") or ():
            return int(item.ReferencedSegmentNumber)
    return 0


def _stacked(planes: list[tuple[Values, Array]], frame_uid: str) -> Layer:
    """Planes in a row by their positions; those that are missing in it are 0."""
    first = planes[0][0]
    cosines, spacing = numbers(first, "ImageOrientationPatient"), numbers(first, "PixelSpacing")
    positions = np.array([numbers(one, "ImagePositionPatient") for one, _ in planes], float)
    if positions.shape != (len(planes), 3) or len(spacing) != 2 or not is_orientation(cosines):
        raise ReadError("The map does not say where its frames lie")
    normal = normal_of(cosines)
    along = positions @ normal
    gaps = np.diff(np.unique(np.round(along, 4)))
    step = float(gaps.min()) if gaps.size else (number(first, "SliceThickness") or 1.0)
    at = (along - along.min()) / step
    if np.abs(at - np.rint(at)).max() > _OFF_ROW:
        raise ReadError("The planes of the map do not stand in a row")
    origin = positions[int(np.argmin(along))]
    index = np.rint(at).astype(int)
    values: npt.NDArray[Any] = np.zeros((int(index.max()) + 1, *planes[0][1].shape), np.float32)
    for k, (_, pixels) in zip(index, planes, strict=True):
        values[k] = pixels
    affine = np.eye(4)
    affine[:3, 0] = normal * step
    affine[:3, 1] = np.array(cosines[3:]) * spacing[0]
    affine[:3, 2] = np.array(cosines[:3]) * spacing[1]
    affine[:3, 3] = origin
    slices, rows, columns = values.shape
    return Layer(Geometry((slices, rows, columns), affine, frame_uid), values)
