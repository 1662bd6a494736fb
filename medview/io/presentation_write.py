"""Findings and window -> Grayscale Softcopy Presentation State (PS3.3 A.33.1) of the images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.uid import UID, GrayscaleSoftcopyPresentationStateStorage

from medview.core.errors import ExportError
from medview.core.findings import Finding, Measurement, Point
from medview.core.geometry import Geometry
from medview.core.graphics import Mark, MarkKind, Place
from medview.io.dicom_write import (
    NOT_CLINICAL,
    UTF8,
    ObjectOptions,
    foreign_values,
    new_object,
    person_name,
    reference,
    write_dataset,
)
from medview.io.presentation import presentation_of
from medview.io.request import ShownImages
from medview.io.sources import Sources

_LAYER = "FINDINGS"
#: CIELab of a warm yellow, as PCS values (PS3.3 C.10.7.1.1).
_YELLOW = (56000, 30500, 55000)
_TYPES = {MarkKind.POINT: "POINT", MarkKind.LINES: "POLYLINE"}
_UNITS = {"mm": "mm", "mm2": "mm²", "mL": "mL", "deg": "°", "1": ""}


@dataclass(frozen=True)
class _On:
    """Marks of one image: its place among the slices, and what is drawn."""

    number: int
    marks: tuple[Mark, ...]


def write_presentation(
    shown: ShownImages, findings: Sequence[Finding], sources: Sources, path: Path, now: datetime,
    creator: str = "",
) -> tuple[str, tuple[str, ...]]:  # fmt: skip
    """Write one presentation state, read it back, compare; its SOP Instance UID and notes.

    ExportError where nothing can refer to the images, or what was read back differs.
    """
    if not sources.can_be_referred_to:
        raise ExportError("The images have no identity that a presentation state could refer to")
    drawn = drawings(shown, findings)
    options = ObjectOptions("PR", 9904, f"Findings and window. {NOT_CLINICAL}", now)
    state = new_object(sources, GrayscaleSoftcopyPresentationStateStorage, options)
    state.SpecificCharacterSet = UTF8
    state.Laterality = ""
    state.ContentLabel = _LAYER
    state.ContentDescription = "Findings and window"
    state.ContentCreatorName = person_name(creator)
    state.PresentationCreationDate = state.InstanceCreationDate
    state.PresentationCreationTime = state.InstanceCreationTime
    _refer(state, sources)
    notes = _grey(state, shown, sources)
    _area(state, shown)
    if drawn:
        state.GraphicAnnotationSequence = [_annotation(shown, one, sources) for one in drawn]
        layer = Dataset()
        layer.GraphicLayer, layer.GraphicLayerOrder = _LAYER, 1
        layer.GraphicLayerRecommendedDisplayCIELabValue = list(_YELLOW)
        state.GraphicLayerSequence = [layer]
    uid = write_dataset(state, path)
    _verify(path, shown, drawn)
    left = [m for f in findings for m in f.measurements if m.points_lps_mm and not _slice(shown, m)]
    if left:
        notes += (f"{len(left)} measurements do not lie on one image and are not drawn in the "
                  "presentation state.",)  # fmt: skip
    return uid, notes


def drawings(shown: ShownImages, findings: Sequence[Finding]) -> list[_On]:
    """What is drawn on which image: boxes, points and lines of the findings, with their words."""
    found: dict[int, list[Mark]] = {}
    for finding in findings:
        for number, mark in _marks(shown, finding):
            found.setdefault(number, []).append(mark)
    return [_On(number, tuple(found[number])) for number in sorted(found)]


def _marks(shown: ShownImages, finding: Finding) -> Iterator[tuple[int, Mark]]:
    if finding.picture_box is not None:
        for box in (finding.picture_box, *finding.key_boxes):
            number = shown.slice_of(box.sop_instance_uid, box.frame_number)
            if number is not None:
                top, left, bottom, right = (value - 0.5 for value in box.box_px)
                yield from _rectangle(number, (top, left), (bottom, right), finding.label)
    elif finding.box_lps_mm is not None and finding.segment_ref is None:
        yield from _box(shown.geometry, finding.box_lps_mm, finding.label)
    elif finding.location_lps_mm is not None and finding.segment_ref is None:
        k, row, column = (float(v) for v in shown.geometry.to_index(finding.location_lps_mm))
        if 0 <= round(k) < shown.geometry.shape[0]:
            yield round(k), Mark(MarkKind.POINT, ((row, column),))
            yield round(k), Mark(MarkKind.TEXT, ((row, column),), finding.label)
    for measurement in finding.measurements:
        placed = _slice(shown, measurement)
        if placed is not None:
            number, points = placed
            kind = MarkKind.POINT if len(points) == 1 else MarkKind.LINES
            yield number, Mark(kind, points)
            unit = _UNITS.get(measurement.unit, measurement.unit)
            words = f"{finding.label} {measurement.value:.1f} {unit}".strip()
            yield number, Mark(MarkKind.TEXT, (points[-1],), words)


def _box(geometry: Geometry, box: tuple[Point, Point], label: str) -> Iterator[tuple[int, Mark]]:
    """A box in space on every slice that it reaches."""
    corners = np.array([(x, y, z) for x in (box[0][0], box[1][0]) for y in (box[0][1], box[1][1])
                        for z in (box[0][2], box[1][2])])  # fmt: skip
    index = geometry.to_index(corners)
    low, high = index.min(axis=0), index.max(axis=0)
    first, last = max(0, round(low[0])), min(geometry.shape[0] - 1, round(high[0]))
    for number in range(first, last + 1):
        yield from _rectangle(number, (low[1], low[2]), (high[1], high[2]), label)


def _rectangle(number: int, first: Place, last: Place, label: str) -> Iterator[tuple[int, Mark]]:
    (top, left), (bottom, right) = first, last
    corners = ((top, left), (top, right), (bottom, right), (bottom, left), (top, left))
    yield number, Mark(MarkKind.LINES, corners)
    yield number, Mark(MarkKind.TEXT, ((top, left),), label)


def _slice(shown: ShownImages, measurement: Measurement) -> tuple[int, tuple[Place, ...]] | None:
    """The image that all points of a measurement lie on, and their places there."""
    points = measurement.points_lps_mm
    if not points:
        return None
    named = shown.slice_of(measurement.sop_instance_uid) if measurement.sop_instance_uid else None
    if named is not None and all(plane == 0 for plane, _, _ in points):
        return named, tuple((row, column) for _, row, column in points)
    if not shown.geometry.in_patient_space or (measurement.sop_instance_uid and named is None):
        return None
    index = shown.geometry.to_index(points)
    numbers = {round(float(k)) for k in index[:, 0]}
    number = numbers.pop()
    if numbers or not 0 <= number < shown.geometry.shape[0]:
        return None
    return number, tuple((float(row), float(column)) for _, row, column in index)


# -- attributes ------------------------------------------------------------------------------


def _refer(state: Dataset, sources: Sources) -> None:
    series = Dataset()
    series.SeriesInstanceUID = UID(sources.first.SeriesInstanceUID)
    distinct = {one.sop_instance_uid: one for one in sources.instances}
    series.ReferencedImageSequence = [reference(one) for one in distinct.values()]
    state.ReferencedSeriesSequence = [series]


def _grey(state: Dataset, shown: ShownImages, sources: Sources) -> tuple[str, ...]:
    """Modality LUT, window and polarity; a state has one for all images (PS3.3 C.11.6)."""
    state.PresentationLUTShape = "INVERSE" if shown.inverted else "IDENTITY"
    first = sources.first
    slope, intercept = first.get("RescaleSlope"), first.get("RescaleIntercept")
    if not shown.one_scale:
        return ("The images are scaled one by one: the presentation state says no window.",)
    if slope is not None and intercept is not None:
        state.RescaleIntercept, state.RescaleSlope = intercept, slope
        state.RescaleType = str(first.get("RescaleType") or "US")
    window = shown.window
    if window is not None and window.curve is None:
        item = Dataset()
        item.WindowCenter, item.WindowWidth = f"{window.center:.10g}", f"{window.width:.10g}"
        if window.function != "LINEAR":
            item.VOILUTFunction = window.function
        if window.explanation:
            item.WindowCenterWidthExplanation = window.explanation[:64]
        state.SoftcopyVOILUTSequence = [item]
    return ()


def _area(state: Dataset, shown: ShownImages) -> None:
    """All of each image is to be seen."""
    area = Dataset()
    _, rows, columns = shown.geometry.shape
    area.DisplayedAreaTopLeftHandCorner = [1, 1]
    area.DisplayedAreaBottomRightHandCorner = [columns, rows]
    area.PresentationSizeMode = "SCALE TO FIT"
    _, row_mm, column_mm = shown.geometry.spacing_mm
    if shown.geometry.in_patient_space:
        area.PresentationPixelSpacing = [f"{row_mm:.10g}", f"{column_mm:.10g}"]
    else:
        area.PresentationPixelAspectRatio = [1, 1]
    state.DisplayedAreaSelectionSequence = [area]


def _annotation(shown: ShownImages, on: _On, sources: Sources) -> Dataset:
    """Item of the Graphic Annotation Sequence (PS3.3 C.10.5)."""
    by_uid = {one.sop_instance_uid: one for one in sources.instances}
    instance = by_uid[shown.instance_uids[on.number]]
    image = reference(instance)
    if instance.frames > 1 and shown.frame_numbers:
        image.ReferencedFrameNumber = shown.frame_numbers[on.number] + 1
    item = Dataset()
    item.ReferencedImageSequence = [image]
    item.GraphicLayer = _LAYER
    shapes = [_shape(mark) for mark in on.marks if mark.kind in _TYPES]
    words = [_words(mark) for mark in on.marks if mark.kind is MarkKind.TEXT]
    if shapes:
        item.GraphicObjectSequence = shapes
    if words:
        item.TextObjectSequence = words
    return item


def _xy(points: Sequence[Place]) -> list[float]:
    """Column and row of each place, from the outer corner of the first pixel."""
    return [float(value) + 0.5 for row, column in points for value in (column, row)]


def _shape(mark: Mark) -> Dataset:
    item = Dataset()
    item.GraphicAnnotationUnits = "PIXEL"
    item.GraphicDimensions = 2
    item.NumberOfGraphicPoints = len(mark.points)
    item.GraphicData = _xy(mark.points)
    item.GraphicType = _TYPES[mark.kind]
    closed = len(mark.points) > 2 and mark.points[0] == mark.points[-1]
    if closed:
        item.GraphicFilled = "N"
    return item


def _words(mark: Mark) -> Dataset:
    item = Dataset()
    item.AnchorPointAnnotationUnits = "PIXEL"
    item.UnformattedTextValue = mark.text[:1024]
    item.AnchorPoint = _xy(mark.points[:1])
    item.AnchorPointVisibility = "N"
    return item


def _verify(path: Path, shown: ShownImages, drawn: Sequence[_On]) -> None:
    """Read the file as any other program would, and compare every mark."""
    with foreign_values():
        state = presentation_of(dcmread(path))
    wanted: Mapping[str, set[MarkKind]] = {
        shown.instance_uids[on.number]: {mark.kind for mark in on.marks} for on in drawn
    }
    for on in drawn:
        frame = shown.frame_numbers[on.number] if shown.frame_numbers else 0
        look = state.look_at(shown.instance_uids[on.number], frame)
        seen = look.graphics.marks if look is not None else ()
        if sorted(map(_key, seen)) != sorted(map(_key, on.marks)):
            raise ExportError(
                f"{path.name} does not read back as it was written",
                f"{len(wanted)} images carry drawings.",
            )


def _key(mark: Mark) -> tuple[str, str, tuple[tuple[float, float], ...]]:
    return mark.kind.value, mark.text, tuple((round(r, 2), round(c, 2)) for r, c in mark.points)
