"""A segment as a finding: its size, its side, and where in the patient it lies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from medview.core import codes
from medview.core.findings import Finding, Measurement, Point, Provenance, SegmentRef
from medview.core.geometry import Box, Geometry
from medview.core.segmentation import LabelArray, Segment, Segmentation
from medview.core.structures import structure_of
from medview.imaging.boxes import patient_box
from medview.imaging.measure import PIXELS_OF_SEGMENT, SHARE_OF_PICTURE

_PIXELS = "{pixels}"


def finding_of(
    segment: Segment,
    count: int,
    box: tuple[slice, slice, slice],
    segmentation: Segmentation,
    made_by: Provenance,
) -> Finding:
    """What is said of a segment of so many voxels that lie within a box of the labels.

    Its volume in millilitres where the image has a place in the patient, else its share of the
    pictures, and of a single one the area in pixels too.
    """
    geometry = segmentation.geometry
    in_patient = geometry.in_patient_space
    single = geometry.shape[0] == 1
    if in_patient:
        sizes: tuple[Measurement, ...] = (measured_volume(count, geometry, made_by),)
    else:
        share = Measurement(
            kind=codes.RATIO,
            value=100 * count / segmentation.labels.size,
            unit=codes.PERCENT.value,
            method=SHARE_OF_PICTURE,
            provenance=made_by,
            name="Share of the picture" if single else "Share of the pictures",
        )
        area = (measured_area(count, geometry, "Area", made_by),) if single else ()
        sizes = (*area, share)
    place = _place(segmentation.labels, segment.number, box) if in_patient else None
    return Finding(
        label=segment.label,
        code=segment.type,
        provenance=made_by,
        site=segment.type,
        laterality=structure_of(segment.label)[1],
        measurements=sizes,
        segment_ref=SegmentRef(segmentation.uid, segment.number),
        location_lps_mm=point_of(geometry.to_lps_mm(place)) if place is not None else None,
        box_lps_mm=box_in_patient(
            geometry, [part.start for part in box], [part.stop for part in box]
        ),
    )


def located(finding: Finding, segmentation: Segmentation, box: Box | None) -> Finding:
    """A finding with its place and its box where its segment lies now, within `box`.

    A place stays as long as it is in the segment. Without a voxel, or on images that have no place
    in the patient, the finding stays as it is.
    """
    geometry, ref = segmentation.geometry, finding.segment_ref
    if box is None or ref is None or not geometry.in_patient_space:
        return finding
    place, around = finding.location_lps_mm, finding.box_lps_mm
    if place is not None and not _is_in(segmentation, ref.number, place):
        place = point_of(geometry.to_lps_mm(_place(segmentation.labels, ref.number, box.slices)))
    if around is not None:
        around = box_in_patient(geometry, box.start, box.stop)
    return replace(finding, location_lps_mm=place, box_lps_mm=around)


def _is_in(segmentation: Segmentation, number: int, place_lps_mm: Point) -> bool:
    """Whether the voxel at a place belongs to a segment."""
    voxel = np.floor(segmentation.geometry.to_index(place_lps_mm) + 0.5).astype(int)
    if (voxel < 0).any() or (voxel >= segmentation.geometry.shape).any():
        return False
    return bool(segmentation.labels[tuple(voxel)] == number)


def measured_volume(voxels: int, geometry: Geometry, made_by: Provenance) -> Measurement:
    """The volume in millilitres of so many voxels of a segment."""
    return Measurement(
        kind=codes.VOLUME,
        value=voxels * geometry.voxel_volume_ml,
        unit=codes.MILLILITRE.value,
        method="Voxels of the segment times their volume",
        provenance=made_by,
        name="Volume",
    )


def measured_area(
    pixels: float,
    geometry: Geometry,
    name: str,
    made_by: Provenance,
    method: str = PIXELS_OF_SEGMENT,
) -> Measurement:
    """An area, in square millimetres where the image is in the patient, else in pixels."""
    known = geometry.in_patient_space
    _, down, across = geometry.spacing_mm
    return Measurement(
        kind=codes.AREA,
        value=pixels * down * across if known else float(pixels),
        unit=codes.SQUARE_MILLIMETRE.value if known else _PIXELS,
        method=method,
        provenance=made_by,
        name=name,
    )


def _place(
    labels: LabelArray, number: int, box: tuple[slice, slice, slice]
) -> npt.NDArray[np.float64]:
    """A voxel of a structure where a reader would look first: in its largest slice, central."""
    inside = labels[box] == number
    k = int(inside.sum(axis=(1, 2)).argmax())
    points = np.argwhere(inside[k])
    nearest = points[((points - points.mean(axis=0)) ** 2).sum(axis=1).argmin()]
    start = np.array([part.start for part in box], dtype=np.float64)
    result: npt.NDArray[np.float64] = start + np.array([k, *nearest], dtype=np.float64)
    return result


def point_of(values: npt.NDArray[np.float64]) -> Point:
    """A place in the patient as findings hold one, from an array of three numbers."""
    x, y, z = (float(value) for value in values)
    return x, y, z


def box_in_patient(
    geometry: Geometry, start: npt.ArrayLike, stop: npt.ArrayLike
) -> tuple[Point, Point] | None:
    """The corners that `boxes.patient_box` gives for the box between two (k, row, column) edges.

    None without a place in the patient.
    """
    if not geometry.in_patient_space:
        return None
    low, high = (np.asarray(edge, dtype=np.float64) for edge in (start, stop))
    return patient_box((low, high), geometry)
