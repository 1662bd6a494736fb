"""Where the findings of a structured report lie: segments, regions of images, shapes in space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from medview.core.findings import Finding, PictureBox, Point, SegmentRef
from medview.io.sr_items import children

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_SEGMENTATIONS = (f"{_STORAGE}66.4", f"{_STORAGE}66.7")
#: No pictures: objects that a report refers to beside its images.
_NO_IMAGES = (f"{_STORAGE}66", f"{_STORAGE}67", f"{_STORAGE}11.", f"{_STORAGE}88.")


@dataclass
class Places:
    """What a report refers to, gathered while it is read.

    Shapes on images are kept as the boxes around them, shapes in space as boxes and points.
    """

    images: set[str] = field(default_factory=set)
    frames: set[str] = field(default_factory=set)
    segments: dict[str, SegmentRef] = field(default_factory=dict)

    def note(self, item: Dataset) -> None:
        """Keep which image, or which frame of reference, a content item speaks of."""
        for one in item.get("ReferencedSOPSequence") or ():
            sop_class = str(one.get("ReferencedSOPClassUID") or "")
            uid = str(one.get("ReferencedSOPInstanceUID") or "")
            if uid and not sop_class.startswith(_NO_IMAGES):
                self.images.add(uid)
        frame = str(item.get("ReferencedFrameOfReferenceUID") or "")
        if frame:
            self.frames.add(frame)

    def placed(self, finding: Finding, items: Sequence[Dataset]) -> Finding:
        """The finding with the places that its measurement group tells."""
        corners: list[npt.NDArray[np.float64]] = []
        for item in items:
            kind = str(item.get("ValueType") or "")
            self._segment(finding.uid, item)
            if kind == "SCOORD":
                finding = _with_box(finding, _picture_box(item))
            elif kind == "SCOORD3D":
                points = _triples(item)
                if str(item.get("GraphicType") or "") == "POINT" and len(points):
                    finding = replace(finding, location_lps_mm=_point(points[0]))
                elif len(points):
                    corners.append(points)
        if corners:
            every = np.concatenate(corners)
            box = _point(every.min(axis=0)), _point(every.max(axis=0))
            finding = replace(finding, box_lps_mm=box)
        return finding

    def _segment(self, uid: str, item: Dataset) -> None:
        for one in item.get("ReferencedSOPSequence") or ():
            if str(one.get("ReferencedSOPClassUID") or "") not in _SEGMENTATIONS:
                continue
            numbers = one.get("ReferencedSegmentNumber")
            listed = [numbers] if isinstance(numbers, int) else list(numbers or ())
            if listed:
                target = str(one.get("ReferencedSOPInstanceUID") or "")
                self.segments.setdefault(uid, SegmentRef(target, int(listed[0])))


def points_of(items: Sequence[Dataset]) -> tuple[tuple[Point, ...], str]:
    """The points a number was measured with, and the image they lie on ("" in the patient)."""
    for item in items:
        kind = str(item.get("ValueType") or "")
        if kind == "SCOORD3D":
            return tuple(_point(one) for one in _triples(item)), ""
        if kind == "SCOORD":
            image, _ = _image(item)
            # From the outer corner of the first pixel to its middle (PS3.3 C.18.6.1.2).
            flat = _numbers(item).reshape(-1, 2) - 0.5
            return tuple((0.0, float(row), float(column)) for column, row in flat), image
    return (), ""


def _numbers(item: Dataset) -> npt.NDArray[np.float64]:
    values = np.array(item.get("GraphicData") or (), dtype=np.float64).reshape(-1)
    if not np.isfinite(values).all():
        return np.zeros(0)
    size = 3 if str(item.get("ValueType")) == "SCOORD3D" else 2
    return values[: values.size // size * size]


def _triples(item: Dataset) -> npt.NDArray[np.float64]:
    return _numbers(item).reshape(-1, 3)


def _with_box(finding: Finding, box: PictureBox | None) -> Finding:
    """The finding with a box on its picture; those on further frames of a clip are key frames."""
    first = finding.picture_box
    if first is None or box is None:
        return replace(finding, picture_box=first or box)
    taken = {one.frame_number for one in (first, *finding.key_boxes)}
    if box.sop_instance_uid != first.sop_instance_uid or box.frame_number in taken:
        return finding
    return replace(finding, key_boxes=(*finding.key_boxes, box))


def _picture_box(item: Dataset) -> PictureBox | None:
    """The box around a shape on an image; a point gets a pixel."""
    points = _numbers(item).reshape(-1, 2)
    if not len(points):
        return None
    if str(item.get("GraphicType") or "") == "CIRCLE" and len(points) == 2:
        radius = math.dist(points[0], points[1])
        points = np.array([points[0] - radius, points[0] + radius])
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    if left == right or top == bottom:
        left, right, top, bottom = left - 0.5, right + 0.5, top - 0.5, bottom + 0.5
    uid, frame = _image(item)
    box = (float(top), float(left), float(bottom), float(right))
    return PictureBox(box, 0, uid, frame)


def _image(item: Dataset) -> tuple[str, int]:
    """The image that a shape lies on, and the frame of it, from 1."""
    for below in children(item):
        for one in below.get("ReferencedSOPSequence") or ():
            frames = one.get("ReferencedFrameNumber")
            listed = [frames] if isinstance(frames, int) else list(frames or ())
            uid = str(one.get("ReferencedSOPInstanceUID") or "")
            return uid, int(listed[0]) if listed else 1
    return "", 1


def _point(values: npt.NDArray[np.float64]) -> Point:
    x, y, z = (float(value) for value in values)
    return x, y, z
