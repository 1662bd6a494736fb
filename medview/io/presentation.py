"""Grayscale Softcopy Presentation States (PS3.3 A.33.1): how somebody showed images.

Window or curve, polarity, turns and flips, the part to be seen, shutters, overlays, drawings and
words. What lies outside an image is clipped when it is drawn, what is no number is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from medview.core.codes import Code
from medview.core.errors import ReadError
from medview.core.findings import Finding, Person, PictureBox, Provenance
from medview.core.graphics import Graphics, ImageLook, Mark, MarkKind, Place, Presentation
from medview.core.study import Series
from medview.core.volume import Window
from medview.io.brought import Brought
from medview.io.identity import patient_of
from medview.io.lookup import voi_windows
from medview.io.multiframe import damage_refused, data_sets
from medview.io.overlays import bitmaps_of, shutter_of
from medview.io.seg_read import made_at
from medview.io.values import windows_of

_GRAYSCALE = "1.2.840.10008.5.1.4.1.1.11.1"
_KINDS = {"POINT": MarkKind.POINT, "POLYLINE": MarkKind.LINES, "INTERPOLATED": MarkKind.LINES,
          "CIRCLE": MarkKind.CIRCLE, "ELLIPSE": MarkKind.ELLIPSE}  # fmt: skip
_POINTS = {MarkKind.POINT: 1, MarkKind.CIRCLE: 2, MarkKind.ELLIPSE: 4}
_LONGEST_TEXT = 1024
_NO_NUMBERS = "A drawing of the presentation state has places that are no numbers: left out"

_DRAWING = Code("404684003", "SCT", "Clinical finding")

Key = tuple[str, int]


def read_presentations(series: Series, password: str = "") -> tuple[Presentation, ...]:
    """The presentation states of a series; those that cannot be read are left out."""
    wanted = [one for one in series.instances if one.sop_class_uid == _GRAYSCALE]
    found = []
    for ds in data_sets(wanted, password).values():
        if not isinstance(ds, Dataset):
            continue
        try:
            with damage_refused("The presentation state is damaged"):
                found.append(presentation_of(ds))
        except ReadError:
            continue
    found.sort(key=lambda one: one.made_at, reverse=True)
    return tuple(found)


def read_annotations(series: Series, password: str = "") -> tuple[Brought, ...]:
    """What the presentation states of a series drew on images, as findings with their boxes.

    Nobody has decided on them. Windows are for `read_presentations`: they are no findings.
    """
    found = []
    for ds in data_sets(list(series.instances), password).values():
        if isinstance(ds, ReadError):
            raise ds
        with damage_refused("The presentation state is damaged"):
            found.append(annotations_of(ds))
    return tuple(found)


def annotations_of(ds: Dataset) -> Brought:
    """The drawings of one presentation state; words belong to the shapes they are listed with."""
    notes: dict[str, None] = {}
    person = str(ds.get("ContentCreatorName") or "").replace("^", " ").strip() or "unknown"
    provenance = Provenance(Person(person), made_at(ds), derived_from=(str(ds.SOPInstanceUID),))
    findings: list[Finding] = []
    images = list(_images(ds.get("ReferencedSeriesSequence") or ()))
    for item in ds.get("GraphicAnnotationSequence") or ():
        marks = [one for one in _marks(item, notes) if not one.on_view]
        shapes = [one for one in marks if one.kind is not MarkKind.TEXT]
        words = [one.text for one in marks if one.kind is MarkKind.TEXT]
        texts = words if len(words) == len(shapes) else ["; ".join(words)] * len(shapes)
        drawn = list(zip(shapes, texts, strict=True)) or [
            (one, one.text) for one in marks if one.kind is MarkKind.TEXT
        ]
        for uid, frame in dict.fromkeys(_images(item.get("ReferencedImageSequence") or ())):
            images.append((uid, frame))
            for mark, text in drawn:
                findings.append(
                    Finding(
                        label=" ".join(text.split())[:64] or "Drawing",
                        code=_DRAWING,
                        provenance=provenance,
                        text=text if len(text) > 64 else "",
                        picture_box=_box_around(mark, uid, frame),
                        uid=f"{ds.SOPInstanceUID}/{len(findings) + 1}",
                    )
                )
    keys = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "IssuerOfPatientID")
    return Brought(
        name=str(ds.get("ContentLabel") or "") or "Presentation state",
        patient=patient_of({key: str(ds.get(key) or "") for key in keys}),
        study_uid=str(ds.get("StudyInstanceUID") or ""),
        findings=tuple(findings),
        images=frozenset(uid for uid, _ in images),
        notes=tuple(notes),
    )


def _box_around(mark: Mark, uid: str, frame: int) -> PictureBox:
    """The box around a drawing, from the outer corner of the first pixel; a point gets a pixel."""
    points = np.array(mark.points) + 0.5
    if mark.kind is MarkKind.CIRCLE:
        radius = float(np.linalg.norm(points[1] - points[0]))
        points = np.array([points[0] - radius, points[0] + radius])
    low, high = points.min(axis=0), points.max(axis=0)
    thin = high - low < 1
    low, high = low - 0.5 * thin, high + 0.5 * thin
    box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    return PictureBox(box, 0, uid, max(0, frame) + 1)


def presentation_of(ds: Dataset) -> Presentation:
    """One presentation state."""
    images = list(_images(ds.get("ReferencedSeriesSequence") or ()))
    # What is for single frames of an image that is named as a whole counts for those frames.
    for keyword in ("GraphicAnnotationSequence", "SoftcopyVOILUTSequence"):
        for item in ds.get(keyword) or ():
            named = _images(item.get("ReferencedImageSequence") or ())
            images += [key for key in named if key not in images and (key[0], -1) in images]
    notes: dict[str, None] = {}
    whole = _whole_graphics(ds)
    looks = {key: _look(ds, key, whole, notes) for key in images}
    shape = str(ds.get("PresentationLUTShape") or "")
    turns = int(ds.get("ImageRotation") or 0) // 90 % 4
    return Presentation(
        uid=str(ds.get("SOPInstanceUID") or ""),
        label=str(ds.get("ContentLabel") or "") or "Presentation state",
        description=str(ds.get("ContentDescription") or ""),
        creator=str(ds.get("ContentCreatorName") or "").replace("^", " ").strip(),
        made_at=str(ds.get("PresentationCreationDate") or "")
        + str(ds.get("PresentationCreationTime") or ""),
        looks=looks,
        inverted={"INVERSE": True, "IDENTITY": False}.get(shape),
        quarter_turns=turns,
        flipped=str(ds.get("ImageHorizontalFlip") or "") == "Y",
        notes=tuple(notes),
    )


def _images(items: Sequence[Dataset]) -> Iterator[Key]:
    """The images an item names: UID and frame from 0, or -1 for all frames."""
    for item in items:
        inner = item.get("ReferencedImageSequence")
        for reference in (item,) if inner is None else inner:
            uid = str(reference.get("ReferencedSOPInstanceUID") or "")
            frames = reference.get("ReferencedFrameNumber")
            listed = [frames] if isinstance(frames, int) else list(frames or ())
            if uid:
                yield from ((uid, int(frame) - 1) for frame in listed or (0,))


def _applies(item: Dataset, key: Key) -> bool:
    """Whether an item is for an image: one that names none is for all."""
    references = item.get("ReferencedImageSequence") or ()
    named = list(_images(references))
    return not named or any(uid == key[0] and frame in (-1, key[1]) for uid, frame in named)


def _whole_graphics(ds: Dataset) -> Graphics:
    """Shutter and overlays, which are for all images."""
    planes = dict(bitmaps_of(ds))
    active = _active_layers(ds)
    shutter, used = shutter_of(ds, planes)
    shown = [
        plane
        for group, plane in planes.items()
        if group != used and (active is None or group in active)
    ]
    return Graphics(tuple(shown), shutter)


def _active_layers(ds: Dataset) -> set[int] | None:
    """Overlay groups that are switched on (60xx,1001); None where none says."""
    active = {group for group in range(0x6000, 0x6020, 2) if (group, 0x1001) in ds}
    return active or None


def _look(ds: Dataset, key: Key, whole: Graphics, notes: dict[str, None]) -> ImageLook:
    window = None
    for item in ds.get("SoftcopyVOILUTSequence") or ():
        if _applies(item, key):
            window = _window(item) or window
    area = None
    for item in ds.get("DisplayedAreaSelectionSequence") or ():
        if _applies(item, key):
            area = _area(item)
    marks: list[Mark] = []
    for item in ds.get("GraphicAnnotationSequence") or ():
        if _applies(item, key):
            marks += _marks(item, notes)
    return ImageLook(window, area, Graphics(whole.bitmaps, whole.shutter, tuple(marks)))


def _window(item: Dataset) -> Window | None:
    curves, _ = voi_windows(item, signed=False)
    if curves:
        return curves[0]
    texts = {
        keyword: _text(item.get(keyword))
        for keyword in ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation",
                        "VOILUTFunction")
    }  # fmt: skip
    return next(iter(windows_of(texts)), None)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (str, int, float)):
        return str(value)
    return "\\".join(str(part) for part in value)


def _area(item: Dataset) -> tuple[int, int, int, int] | None:
    first = item.get("DisplayedAreaTopLeftHandCorner")
    last = item.get("DisplayedAreaBottomRightHandCorner")
    if first is None or last is None or len(first) != 2 or len(last) != 2:
        return None
    # Columns come first here, and count from 1; a flipped or turned area has its corners swapped.
    (left, right), (top, bottom) = (sorted((int(first[n]), int(last[n]))) for n in (0, 1))
    return top - 1, left - 1, bottom - 1, right - 1


def _marks(item: Dataset, notes: dict[str, None]) -> Iterator[Mark]:
    for part in item.get("GraphicObjectSequence") or ():
        kind = _KINDS.get(str(part.get("GraphicType") or ""))
        points = _points(part.get("GraphicData"), part.get("GraphicAnnotationUnits"))
        if kind is None or len(points) < _POINTS.get(kind, 2):
            continue
        yield from _mark(kind, points, notes, part.get("GraphicAnnotationUnits"),
                         filled=str(part.get("GraphicFilled") or "") == "Y")  # fmt: skip
    for part in item.get("TextObjectSequence") or ():
        text = str(part.get("UnformattedTextValue") or "")[:_LONGEST_TEXT]
        place = part.get("AnchorPoint")
        units = part.get("AnchorPointAnnotationUnits")
        if place is None:
            place = part.get("BoundingBoxTopLeftHandCorner")
            units = part.get("BoundingBoxAnnotationUnits")
        points = _points(place, units)
        if text.strip() and points:
            yield from _mark(MarkKind.TEXT, points, notes, units, text=text)


def _points(values: Any, units: Any) -> tuple[Place, ...]:
    """(row, column) pairs of x, y pairs. PIXEL counts from the corner of the first pixel."""
    numbers = [float(x) for x in values or ()]
    shift = 0.0 if str(units) == "DISPLAY" else 0.5
    pairs = zip(numbers[::2], numbers[1::2], strict=False)
    return tuple((y - shift, x - shift) for x, y in pairs)


def _mark(
    kind: MarkKind,
    points: tuple[Place, ...],
    notes: dict[str, None],
    units: Any,
    *,
    text: str = "",
    filled: bool = False,
) -> Iterator[Mark]:
    if not np.isfinite(points).all():
        notes[_NO_NUMBERS] = None
        return
    yield Mark(kind, points, text, filled, str(units) == "DISPLAY")
