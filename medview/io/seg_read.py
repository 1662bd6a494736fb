"""DICOM SEG (PS3.3 A.51) -> segmentations on the grid of the image they belong to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from medview.core.codes import ANATOMICAL_STRUCTURE, TISSUE, Code
from medview.core.errors import ReadError
from medview.core.findings import Author, ModelAuthor, Person, Provenance, utc_now
from medview.core.geometry import Geometry
from medview.core.segmentation import Segment, Segmentation
from medview.core.study import Instance, Series
from medview.io.drawn import Drawn
from medview.io.frame_pixels import decoded_frames
from medview.io.functional_groups import items_of
from medview.io.identity import OURS
from medview.io.label_places import Parts, Piece, marked_part, numbers_in
from medview.io.multiframe import damage_refused, data_set, frame_values
from medview.io.seg_history import drawn_by, helped_by, told_by
from medview.io.stacking import is_orientation
from medview.io.values import Values, numbers

#: How far, in voxels, a segmented pixel may lie from the voxel that it marks.
_OFF_GRID = 0.1
#: What says where a frame lies.
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
#: Colour of a segment that names none.
_GREY = (160, 160, 160)


def drawn_on(series: Series, password: str = "") -> Drawn:
    """What a series of segmentations or of maps was made from, as its headers say."""
    named: dict[str, None] = {}
    images: set[str] = set()
    frame = ""
    for instance in series.instances:
        ds = data_set(instance, password)
        with damage_refused("What was made from images is damaged"):
            frame = frame or str(ds.get("FrameOfReferenceUID", ""))
            for item in ds.get("ReferencedSeriesSequence") or ():
                named[str(item.get("SeriesInstanceUID", ""))] = None
                for one in item.get("ReferencedInstanceSequence") or ():
                    images.add(str(one.get("ReferencedSOPInstanceUID", "")))
            # Frame by frame only where nothing is named for all: there may be thousands of frames.
            for group in (not images and ds.get("PerFrameFunctionalGroupsSequence")) or ():
                for derived in group.get("DerivationImageSequence") or ():
                    for one in derived.get("SourceImageSequence") or ():
                        images.add(str(one.get("ReferencedSOPInstanceUID", "")))
    return Drawn(frame, tuple(named), frozenset(images))


def read_segmentations(
    series: Series, geometry: Geometry, volume_uid: str = "", password: str = ""
) -> tuple[Segmentation, ...]:
    """All segmentations of a SEG series on a grid, that of the volume they belong to.

    Segments that overlap come in separate segmentations. Fractional ones count from one half.
    Raises ReadError where the frame of reference is another, or pixels lie between voxels.
    """
    found: list[Segmentation] = []
    for instance in series.instances:
        ds = data_set(instance, password, pixels=True)
        with damage_refused("The segmentation is damaged"):
            found += _on_grid(ds, instance, geometry, volume_uid)
    return tuple(found)


def _on_grid(
    ds: Dataset, instance: Instance, geometry: Geometry, volume_uid: str
) -> list[Segmentation]:
    ours = geometry.frame_of_reference_uid
    theirs = str(ds.get("FrameOfReferenceUID", ""))
    if ours and theirs and ours != theirs:
        raise ReadError(
            "The segmentation belongs to another frame of reference than the image",
            "Open the image it was drawn on",
        )
    segments = _segments(ds)
    dtype = np.dtype(np.uint8 if max(segments, default=0) < 256 else np.uint16)
    done = _slice_by_slice(ds, geometry, segments.keys(), dtype)
    if done is None:
        parts = Parts(geometry.shape, dtype)
        for number, piece in _marked(ds, geometry):
            if number in segments:
                parts.mark(number, piece)
        done = parts.done
    title = str(ds.get("SeriesDescription", "") or ds.get("ContentLabel", "Segmentation"))
    return [
        Segmentation(
            volume_uid=volume_uid,
            geometry=geometry,
            labels=labels,
            segments=tuple(segments[number] for number in sorted(members)),
            title=title,
            uid=instance.sop_instance_uid + (f"#{count}" if count else ""),
        )
        for count, (labels, members) in enumerate(done)
    ]


def _slice_by_slice(
    ds: Dataset, geometry: Geometry, known: Set[int], dtype: np.dtype[Any]
) -> list[tuple[npt.NDArray[Any], list[int]]] | None:
    """A label map whose frames lie on slices of the grid, pixel on pixel; None for all else."""
    count = int(ds.get("NumberOfFrames", 1) or 1)
    if ds.get("SegmentationType") != "LABELMAP":
        return None
    slice_of = _slices_of(ds, geometry)
    places = [slice_of(values) for values in frame_values(ds, count, told_apart=False)]
    if None in places or len(set(places)) < count:
        return None
    labels: npt.NDArray[Any] = np.zeros(geometry.shape, dtype)
    there = np.zeros(1 << 16, dtype=np.bool_)
    for place, frame in zip(places, decoded_frames(ds, count), strict=True):
        shown = numbers_in(frame)
        there[shown] = True
        strange = set(shown.tolist()) - {0} - known
        labels[place] = np.where(np.isin(frame, list(strange)), 0, frame) if strange else frame
    return [(labels, [int(number) for number in np.flatnonzero(there) if number in known])]


def _slices_of(ds: Dataset, geometry: Geometry) -> Callable[[Values], int | None]:
    """Gives the slice that a frame lies on, pixel on pixel; looked for once for each place."""
    known: dict[tuple[str, ...], int | None] = {}

    def find(values: Values) -> int | None:
        place = tuple(str(values.get(name, "")) for name in _PLACE)
        if place not in known:
            known[place] = _slice_of(ds, values, geometry)
        return known[place]

    return find


def _slice_of(ds: Dataset, values: Values, geometry: Geometry) -> int | None:
    """The slice that a frame lies on, pixel on pixel."""
    if geometry.shape[1:] != (int(ds.Rows), int(ds.Columns)):
        return None
    if not values.get("ImagePositionPatient"):
        return 0 if geometry.shape[0] == 1 else None
    plane = _plane(values, geometry)
    rows, columns = geometry.shape[1:]
    corners = np.array([(r, c) for r in (0, rows - 1) for c in (0, columns - 1)])
    exact = plane.origin + corners[:, :1] * plane.down + corners[:, 1:] * plane.across
    place = round(float(plane.origin[0]))
    wanted = np.column_stack([np.full(4, place), corners])
    on_it = np.abs(exact - wanted).max() <= _OFF_GRID and 0 <= place < geometry.shape[0]
    return place if on_it else None


def _marked(ds: Dataset, geometry: Geometry) -> Iterator[tuple[int, Piece]]:
    """Segment number and voxels, frame by frame."""
    count = int(ds.get("NumberOfFrames", 1) or 1)
    kind = str(ds.get("SegmentationType", "BINARY"))
    half = (int(ds.get("MaximumFractionalValue", 1) or 1) + 1) // 2 if kind == "FRACTIONAL" else 1
    per_frame = ds.get("PerFrameFunctionalGroupsSequence") or []
    if len(per_frame) < count:
        raise ReadError("The segmentation does not say where its frames lie")
    slice_of = _slices_of(ds, geometry)
    for values, group, frame in zip(
        frame_values(ds, count, told_apart=False),
        per_frame,
        decoded_frames(ds, count),
        strict=False,
    ):
        if kind == "LABELMAP":
            for number in numbers_in(frame):
                if number:
                    yield int(number), _piece(frame == number, values, geometry)
        else:
            identity = group.get("SegmentIdentificationSequence") or ds.get(
                "SharedFunctionalGroupsSequence"
            )[0].get("SegmentIdentificationSequence")
            mask = frame >= half
            if identity and mask.any():
                number, place = int(identity[0].ReferencedSegmentNumber), slice_of(values)
                if place is None:
                    yield number, _piece(mask, values, geometry)
                else:
                    part = marked_part(mask)
                    yield number, Piece((place, *part), mask[part].copy())


@dataclass(frozen=True, eq=False)
class _Plane:
    """A frame in voxel indices: where its first pixel lies, steps per row and per column."""

    origin: npt.NDArray[np.float64]
    down: npt.NDArray[np.float64]
    across: npt.NDArray[np.float64]


def _piece(mask: npt.NDArray[np.bool_], values: Values, geometry: Geometry) -> Piece:
    """The voxels that a frame's pixels mark; pixels outside the volume are left out.

    A frame without a place lies on a single picture of its own size, pixel on pixel.
    """
    rows, columns = marked_part(mask)
    row, column = np.nonzero(mask[rows, columns])
    row, column = row + rows.start, column + columns.start
    if not values.get("ImagePositionPatient") and (1, *mask.shape) == geometry.shape:
        return Piece((np.zeros_like(row), row, column))
    plane = _plane(values, geometry)
    exact = plane.origin + row[:, None] * plane.down + column[:, None] * plane.across
    near = np.rint(exact)
    if exact.size and np.abs(exact - near).max() > _OFF_GRID:
        raise ReadError(
            "The segmentation lies on another grid than the image",
            "Open the image it was drawn on",
        )
    voxel = near.astype(np.intp)
    inside = ((voxel >= 0) & (voxel < np.array(geometry.shape))).all(axis=1)
    return Piece(tuple(voxel[inside].T))


def _plane(values: Values, geometry: Geometry) -> _Plane:
    position = numbers(values, "ImagePositionPatient")
    cosines = numbers(values, "ImageOrientationPatient")
    spacing = numbers(values, "PixelSpacing")
    if len(position) != 3 or len(spacing) != 2 or not is_orientation(cosines):
        raise ReadError("The segmentation does not say where its frames lie")
    inverse = geometry.inverse[:3, :3]
    return _Plane(
        geometry.to_index(position),
        inverse @ np.array(cosines[3:]) * spacing[0],
        inverse @ np.array(cosines[:3]) * spacing[1],
    )


def _segments(ds: Dataset) -> dict[int, Segment]:
    at = made_at(ds)
    derived = (str(ds.get("SOPInstanceUID", "")),)
    segments = {}
    for item in items_of(ds, "SegmentSequence"):
        number = int(item.get("SegmentNumber", 0))
        if not 1 <= number <= 65535:
            continue
        ours = str(ds.get("Manufacturer") or "") == OURS
        told = str(item.get("SegmentDescription") or "") if ours else ""
        review, state, locked = told_by(told)
        author, aids = _authors(ds, item, told)
        segments[number] = Segment(
            number=number,
            label=str(item.get("SegmentLabel", "")).strip() or f"Segment {number}",
            category=_code(item, "SegmentedPropertyCategoryCodeSequence", TISSUE),
            type=_code(item, "SegmentedPropertyTypeCodeSequence", ANATOMICAL_STRUCTURE),
            color_rgb=_color(item.get("RecommendedDisplayCIELabValue")),
            provenance=Provenance(author, at, derived_from=derived, aids=aids),
            review=review,
            state=state,
            locked=locked,
        )
    return segments


def _code(item: Dataset, keyword: str, default: Code) -> Code:
    sequence = item.get(keyword)
    if not sequence:
        return default
    parts = [str(sequence[0].get(name, "")) for name in
             ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")]  # fmt: skip
    return Code(*parts) if all(parts) else default


def _authors(ds: Dataset, item: Dataset, told: str) -> tuple[Author, tuple[ModelAuthor, ...]]:
    """Who drew it, and with which models' help; `told` is what medview itself wrote of that."""
    author, person, others = _author(ds, item), drawn_by(told), helped_by(told)
    if person and isinstance(author, ModelAuthor):
        return Person(person), (author, *others)
    return author, others


def _author(ds: Dataset, item: Dataset) -> Author:
    """Who drew it: a person for a manual segment, else the algorithm by name and version."""
    person = Person(str(ds.get("ContentCreatorName", "")).strip() or "unknown")
    if str(item.get("SegmentAlgorithmType", "")) == "MANUAL":
        return person
    named = item.get("SegmentationAlgorithmIdentificationSequence")
    name = str(named[0].get("AlgorithmName", "")) if named else ""
    name = name or str(item.get("SegmentAlgorithmName", ""))
    version = str(named[0].get("AlgorithmVersion", "")) if named else ""
    given = str(named[0].get("AlgorithmParameters") or "") if named else ""
    weights = re.search(r"weights_sha256=([0-9a-f]{64})", given)
    return ModelAuthor(name, version, weights[1] if weights else "") if name else person


def made_at(ds: Dataset) -> datetime:
    """Content date and time, taken as UTC for want of a zone; now, where they are missing."""
    text = str(ds.get("ContentDate", "")) + str(ds.get("ContentTime", "") or "000000")[:6]
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return utc_now()


def _color(value: Any) -> tuple[int, int, int]:
    """RGB of a CIELab value in 16 bits (PS3.3 C.10.7.1.1; sRGB by IEC 61966-2-1, white D65)."""
    if value is None or len(value) != 3:
        return _GREY
    light = float(value[0]) / 65535 * 100
    a, b = (float(part) / 65535 * 255 - 128 for part in value[1:])
    fy = (light + 16) / 116
    xyz = np.array([_cube(fy + a / 500) * 0.95047, _cube(fy), _cube(fy - b / 200) * 1.08883])
    linear = np.clip(_RGB_OF_XYZ @ xyz, 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    red, green, blue = (round(float(part) * 255) for part in srgb)
    return red, green, blue


_RGB_OF_XYZ = np.array(
    [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
)


def _cube(value: float) -> float:
    """The inverse of CIELab's compressing function."""
    return value**3 if value > 6 / 29 else 3 * (6 / 29) ** 2 * (value - 4 / 29)
