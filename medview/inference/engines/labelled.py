"""Labels on an image's own grid as what a model proposes: segments, findings, volumes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medview.core import codes
from medview.core.errors import ModelError
from medview.core.findings import Finding, Measurement, Point, Provenance, SegmentRef
from medview.core.geometry import Geometry
from medview.core.jobs import InferenceResult
from medview.core.models import ModelCard, OutputChannel
from medview.core.segmentation import LabelArray, Segment, Segmentation
from medview.core.structures import structure_of
from medview.core.volume import Volume
from medview.imaging.measure import PIXELS_OF_SEGMENT, SHARE_OF_PICTURE, count_voxels
from medview.inference.adapter import Context

_PIXELS = "{pixels}"


def labelled_result(
    card: ModelCard,
    volume: Volume,
    labels: LabelArray,
    context: Context,
    notes: Iterable[str] = (),
) -> InferenceResult:
    """One segmentation on the volume's grid, and a finding for each structure that was found.

    Volumes in millilitres where the image has a place in the patient, else the area of a single
    picture in pixels and its share; of a stack of pictures the share in words. ModelError for a
    label that the card does not name.
    """
    counts = count_voxels(labels)
    known = {channel.index: channel for channel in card.outputs.channels}
    if strange := sorted(counts.keys() - known.keys()):
        raise ModelError(
            f"{card.title} found something its folder does not name (label {strange[0]})."
        )
    found = [known[number] for number in sorted(counts)]
    if not found:
        return InferenceResult(context.job_uid, notes=(*notes, "Nothing was found."))
    made_by = context.provenance
    segments = tuple(
        Segment(one.index, one.label, one.category, one.code, one.color_rgb, made_by)
        for one in found
    )
    segmentation = Segmentation(volume.uid, volume.geometry, labels, segments, title=card.title)
    boxes = ndimage.find_objects(labels)
    findings = tuple(
        _finding(channel, counts[channel.index], boxes[channel.index - 1], segmentation, made_by)
        for channel in found
    )
    return InferenceResult(context.job_uid, (segmentation,), findings, tuple(notes))


def _finding(
    channel: OutputChannel,
    count: int,
    box: tuple[slice, slice, slice],
    segmentation: Segmentation,
    made_by: Provenance,
) -> Finding:
    geometry = segmentation.geometry
    in_patient = geometry.in_patient_space
    single = geometry.shape[0] == 1
    share = 100 * count / segmentation.labels.size
    sizes: tuple[Measurement, ...] = ()
    if in_patient:
        sizes = (measured_volume(count, geometry, made_by),)
    elif single:
        sizes = (
            measured_area(count, geometry, "Area", made_by),
            Measurement(
                kind=codes.RATIO,
                value=share,
                unit=codes.PERCENT.value,
                method=SHARE_OF_PICTURE,
                provenance=made_by,
                name="Share of the picture",
            ),
        )
    place = _place(segmentation.labels, channel.index, box) if in_patient else None
    return Finding(
        label=channel.label,
        code=channel.code,
        provenance=made_by,
        site=channel.code,
        laterality=structure_of(channel.label)[1],
        text="" if in_patient or single else f"{share:.3g} % of the picture.",
        measurements=sizes,
        segment_ref=SegmentRef(segmentation.uid, channel.index),
        location_lps_mm=point_of(geometry.to_lps_mm(place)) if place is not None else None,
        box_lps_mm=patient_box(geometry, [part.start for part in box], [part.stop for part in box]),
    )


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


def patient_box(
    geometry: Geometry, start: npt.ArrayLike, stop: npt.ArrayLike
) -> tuple[Point, Point] | None:
    """Opposite corners in LPS millimetres of the box between two (k, row, column) edges.

    Edges count from the outer corner of the first voxel. None without a place in the patient.
    """
    if not geometry.in_patient_space:
        return None
    ends = product(*zip(np.asarray(start) - 0.5, np.asarray(stop) - 0.5, strict=True))
    corners = geometry.to_lps_mm(list(ends))
    return point_of(corners.min(axis=0)), point_of(corners.max(axis=0))


def classified_result(
    card: ModelCard, chances: Sequence[float], threshold: float, context: Context
) -> InferenceResult:
    """A finding for the likeliest class, and one for every other that reaches the threshold.

    `chances` has one number a class, in the order of the card's outputs; ModelError for another
    count.
    """
    channels = card.outputs.channels
    if len(chances) != len(channels):
        raise ModelError(
            f"{card.title} gives {len(chances)} numbers; its card names {len(channels)} classes."
        )
    best = max(range(len(chances)), key=chances.__getitem__)
    findings = tuple(
        Finding(
            label=channel.label,
            code=channel.code,
            provenance=context.provenance,
            probability=min(1.0, max(0.0, chances[place])),
            calibrated=card.temperature is not None,
        )
        for place, channel in enumerate(channels)
        if place == best or chances[place] >= threshold
    )
    return InferenceResult(context.job_uid, findings=findings)
