"""Boxes of findings on the grid of an image: where they lie, and how they are moved and joined.

Index boxes are pairs of corners (k, j, i); voxel n reaches from n to n + 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from medview.core.findings import Finding, PictureBox, Point
from medview.core.geometry import Geometry
from medview.imaging.reslice import grid_axes

FloatArray = npt.NDArray[np.float64]
IndexBox = tuple[FloatArray, FloatArray]


def index_box(finding: Finding, geometry: Geometry) -> IndexBox | None:
    """The lowest and the highest corner of a finding's box; None where it has none on this grid.

    Of a box in the patient it is the smallest that holds it; one that is on a picture alone fills
    its slice.
    """
    picture = finding.picture_box
    if finding.box_lps_mm is not None and geometry.in_patient_space:
        (x0, y0, z0), (x1, y1, z1) = finding.box_lps_mm
        corners = np.array([(x, y, z) for x in (x0, x1) for y in (y0, y1) for z in (z0, z1)])
        index = np.array([geometry.to_index(corner) for corner in corners]) + 0.5
        return index.min(axis=0), index.max(axis=0)
    return None if picture is None else picture_index_box(picture)


def picture_index_box(picture: PictureBox) -> IndexBox:
    """A box on a picture in the slice it is on."""
    top, left, bottom, right = picture.box_px
    at = float(picture.slice_index)
    return np.array([at, top, left]), np.array([at + 1, bottom, right])


def key_boxes(finding: Finding) -> tuple[PictureBox, ...]:
    """The boxes that were placed on frames of a clip, in order; none without a box on a picture."""
    first = () if finding.picture_box is None else (finding.picture_box,)
    return tuple(sorted((*first, *finding.key_boxes), key=lambda box: box.slice_index))


def box_on(finding: Finding, frame: int) -> PictureBox | None:
    """The box of a finding on a frame: as placed there, or evenly between two that were placed.

    None before the first and after the last of them: nobody has said where it is.
    """
    keys = key_boxes(finding)
    before = [box for box in keys if box.slice_index <= frame]
    after = [box for box in keys if box.slice_index >= frame]
    if not before or not after:
        return None
    start, stop = before[-1], after[0]
    if start.slice_index == stop.slice_index:
        return start
    part = (frame - start.slice_index) / (stop.slice_index - start.slice_index)
    pairs = zip(start.box_px, stop.box_px, strict=True)
    top, left, bottom, right = (a + part * (b - a) for a, b in pairs)
    return moved_to(replace(start, box_px=(top, left, bottom, right)), frame)


def moved_to(box: PictureBox, frame: int) -> PictureBox:
    """A box on another frame of the same object."""
    number = box.frame_number + frame - box.slice_index
    return replace(box, slice_index=frame, frame_number=number)


def with_key_box(finding: Finding, box: PictureBox) -> Finding:
    """The finding with a box placed on a frame, in place of one that was placed there."""
    return _with_keys(finding, (*_apart_from(finding, box.slice_index), box))


def without_key_box(finding: Finding, frame: int) -> Finding:
    """The finding without the box placed on a frame; ValueError for none, and for the only one."""
    rest = _apart_from(finding, frame)
    if not rest or len(rest) == len(key_boxes(finding)):
        raise ValueError("No key frame that can go")
    return _with_keys(finding, rest)


def _apart_from(finding: Finding, frame: int) -> tuple[PictureBox, ...]:
    return tuple(box for box in key_boxes(finding) if box.slice_index != frame)


def _with_keys(finding: Finding, boxes: Sequence[PictureBox]) -> Finding:
    """What was the first box stays it, where it is still among them."""
    first = finding.picture_box
    at = -1 if first is None else first.slice_index
    own = next((box for box in boxes if box.slice_index == at), boxes[0])
    rest = sorted((box for box in boxes if box is not own), key=lambda box: box.slice_index)
    return replace(finding, picture_box=own, key_boxes=tuple(rest))


def patient_box(box: IndexBox, geometry: Geometry) -> tuple[Point, Point]:
    """Two opposite corners in LPS mm of the smallest box in the patient that holds an index box."""
    corners = np.array(
        [
            geometry.to_lps_mm((k - 0.5, j - 0.5, i - 0.5))
            for k in (box[0][0], box[1][0])
            for j in (box[0][1], box[1][1])
            for i in (box[0][2], box[1][2])
        ]
    )
    return _corners(corners.min(axis=0), corners.max(axis=0))


def with_index_box(finding: Finding, box: IndexBox, geometry: Geometry) -> Finding:
    """The finding in another box of the grid; its place, where it has one, moves along.

    In the patient every face moves by what its grid face moved, along the patient's axis nearest
    to it, so that a face which was not touched stays where it is also on an oblique grid.
    ValueError for a box without extent, and for a finding that has no box here.
    """
    old = index_box(finding, geometry)
    if old is None:
        raise ValueError("The finding has no box on this image")
    if not _has_extent(box):
        raise ValueError("A box needs an extent in every direction")
    picture, corners, place = finding.picture_box, finding.box_lps_mm, finding.location_lps_mm
    if picture is not None:
        (first, top, left), (last, bottom, right) = box
        edges = (float(top), float(left), float(bottom), float(right))
        at = min(max(picture.slice_index, round(float(first))), max(0, round(float(last)) - 1))
        picture = replace(picture, box_px=edges, slice_index=at)
    if corners is not None and geometry.in_patient_space:
        faces = np.sort(np.array(corners), axis=0)
        for patient, axis in enumerate(grid_axes(geometry)):
            step = float(geometry.affine[patient, axis])
            moved = [step * float(n[axis] - o[axis]) for n, o in zip(box, old, strict=True)]
            faces[:, patient] += moved if step > 0 else moved[::-1]
        if not (faces[0] < faces[1]).all():
            raise ValueError("A box needs an extent in every direction")
        corners = _corners(faces[0], faces[1])
        x, y, z = (float(value) for value in faces.mean(axis=0))
        place = place and (x, y, z)
    return replace(finding, picture_box=picture, box_lps_mm=corners, location_lps_mm=place)


def joined_box(boxes: Sequence[IndexBox]) -> IndexBox:
    """The smallest box that holds all of some; ValueError for none."""
    if not boxes:
        raise ValueError("No boxes to join")
    lows, highs = zip(*boxes, strict=True)
    return np.minimum.reduce(lows), np.maximum.reduce(highs)


def overlap_of(first: Finding, second: Finding) -> float | None:
    """Dice of two boxes of one kind, twice the shared content over the sum; None for others.

    Boxes on different slices or frames share nothing.
    """
    if first.box_lps_mm is not None and second.box_lps_mm is not None:
        pairs = [np.sort(np.array(box), axis=0) for box in (first.box_lps_mm, second.box_lps_mm)]
    elif first.picture_box is not None and second.picture_box is not None:
        pairs = [
            np.array(picture_index_box(box)) for box in (first.picture_box, second.picture_box)
        ]
    else:
        return None
    low, high = np.maximum(pairs[0][0], pairs[1][0]), np.minimum(pairs[0][1], pairs[1][1])
    shared = float(np.prod(np.maximum(high - low, 0)))
    whole = sum(float(np.prod(pair[1] - pair[0])) for pair in pairs)
    return 2 * shared / whole if whole > 0 else None


def _has_extent(box: IndexBox) -> bool:
    low, high = box
    return bool(np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all())


def _corners(low: FloatArray, high: FloatArray) -> tuple[Point, Point]:
    (x0, y0, z0), (x1, y1, z1) = ([float(value) for value in corner] for corner in (low, high))
    return (x0, y0, z0), (x1, y1, z1)
