"""Results as they come from the worker, checked before anybody sees them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import numpy.typing as npt

from medview.core.clip import Clip
from medview.core.errors import GeometryError, MedviewError, ModelError
from medview.core.findings import (
    Finding,
    Measurement,
    ModelAuthor,
    PictureBox,
    Provenance,
    Review,
)
from medview.core.geometry import Geometry
from medview.core.jobs import InferenceResult
from medview.core.maps import ScalarMap
from medview.core.models import ModelCard
from medview.core.segmentation import LabelArray, Segmentation
from medview.core.timeline import Timeline
from medview.core.volume import Volume
from medview.imaging.sides import wrong_sides
from medview.inference import wire
from medview.inference.orders import Order

#: The part of an image's side by which a map may reach beyond its edge.
_OVER = 0.1


def map_extent(done: wire.Done) -> int:
    """How many values of the maps' block a result speaks of; never below 0."""
    return max((one.start + math.prod(one.grid.shape) for one in done.maps), default=0)


def checked(
    done: wire.Done,
    labels: LabelArray | None,
    maps: npt.NDArray[np.float16] | None,
    order: Order,
    provenance: Provenance,
) -> InferenceResult:
    """What a run came to, as a proposal by `provenance` that nobody has reviewed.

    `labels` is the label map the worker wrote, `maps` the values of all its maps in a row, both
    already private copies. ModelError naming the model, and nothing of the result, for another
    grid than the volume's, label numbers without a segment, maps beside the image, a timeline of
    another clip, numbers that are not finite, references to what is not there, more than
    10,000 findings.
    """
    volume, card = order.volume, order.card
    count = len(done.findings) + len(done.candidates)
    if count > wire.MAX_FINDINGS:
        raise refusal(card, f"it has {count:,} findings")
    segmentations: tuple[Segmentation, ...] = ()
    if done.labels is not None:
        if labels is None:
            raise refusal(card, "it has labels where its card announces none")
        segmentations = (_segmentation(done.labels, labels, volume, card, provenance),)
    references = {(one.uid, part.number) for one in segmentations for part in one.segments}
    for finding in (*done.findings, *done.candidates):
        _check_finding(finding, references, volume, card)
    author = provenance.author
    return InferenceResult(
        job_uid=done.job_uid,
        segmentations=segmentations,
        findings=tuple(_proposed(finding, volume, provenance) for finding in done.findings),
        notes=done.notes,
        out_of_scope=(*done.out_of_scope, *_side_warnings(segmentations)),
        fallbacks=done.fallbacks,
        seconds=done.seconds,
        candidates=tuple(_proposed(finding, volume, provenance) for finding in done.candidates),
        threshold=done.threshold,
        maps=_maps(done, maps, volume, card),
        timeline=_timeline(done, order, provenance),
        author=author if isinstance(author, ModelAuthor) else None,
        inputs=done.inputs,
        parameters=order.parameters,
    )


def _segmentation(
    stated: wire.Labels,
    labels: LabelArray,
    volume: Volume,
    card: ModelCard,
    provenance: Provenance,
) -> Segmentation:
    try:
        geometry = stated.grid.geometry()
    except (MedviewError, ValueError) as error:
        raise refusal(card, "its grid makes no sense") from error
    if stated.volume_uid != volume.uid or not geometry.agrees_with(volume.geometry):
        raise refusal(card, "it lies on another grid than the image")
    numbers = [segment.number for segment in stated.segments]
    if len(set(numbers)) != len(numbers):
        raise refusal(card, "two of its segments share a number")
    if strange := _strange_number(labels, numbers):
        raise refusal(card, f"it has voxels labelled {strange}, which it does not name")
    if any(
        part.probability is not None and not 0 <= part.probability <= 1 for part in stated.segments
    ):
        raise refusal(card, "a probability is not between 0 and 1")
    segments = tuple(
        replace(segment, provenance=provenance, review=Review()) for segment in stated.segments
    )
    return Segmentation(volume.uid, volume.geometry, labels, segments, stated.title, 0, stated.uid)


def _side_warnings(segmentations: Sequence[Segmentation]) -> tuple[str, ...]:
    """What to say of label maps whose left and right disagree with the patient's axes."""
    wrong = [label for one in segmentations for label in wrong_sides(one)]
    if not wrong:
        return ()
    return (f"Left and right disagree with the patient's axes: {', '.join(wrong)}.",)


def _strange_number(labels: LabelArray, numbers: list[int]) -> int:
    """A label that no segment has, or 0."""
    known = np.zeros(np.iinfo(labels.dtype).max + 1, dtype=np.bool_)
    known[[0, *(number for number in numbers if number < known.size)]] = True
    for plane in labels:  # slice by slice: nothing of the volume's size is made
        if plane.any() and not known[plane].all():
            strange: npt.NDArray[np.integer] = plane[~known[plane]]
            return int(strange[0])
    return 0


def _maps(
    done: wire.Done,
    values: npt.NDArray[np.float16] | None,
    volume: Volume,
    card: ModelCard,
) -> tuple[ScalarMap, ...]:
    if done.maps and values is None:
        raise refusal(card, "it has maps that nobody asked for")
    if len(done.maps) > wire.MAX_MAPS:
        raise refusal(card, f"it has {len(done.maps)} maps")
    known = {finding.uid for finding in (*done.findings, *done.candidates)}
    maps = []
    for stated in done.maps:
        if stated.volume_uid != volume.uid or (
            stated.finding_uid and stated.finding_uid not in known
        ):
            raise refusal(card, "a map speaks of what is not there")
        assert values is not None  # noqa: S101  (seen to above)
        maps.append(_map(stated, values, volume.geometry, card))
    return tuple(maps)


def _map(
    stated: wire.Map, values: npt.NDArray[np.float16], geometry: Geometry, card: ModelCard
) -> ScalarMap:
    try:
        grid = stated.grid.geometry()
        end = stated.start + math.prod(grid.shape)
        if not 0 <= stated.start < end <= values.size:
            raise refusal(card, "a map lies beside the room it was given")
        made = ScalarMap(
            volume_uid=stated.volume_uid,
            kind=stated.kind,
            geometry=grid,
            values=values[stated.start : end].reshape(grid.shape),
            value_range=stated.value_range,
            subject=stated.subject,
            finding_uid=stated.finding_uid,
            method=stated.method,
            uid=stated.uid,
        )
    except (GeometryError, ValueError) as error:
        raise refusal(card, "a map makes no sense") from error
    if not np.isfinite(made.values).all():
        raise refusal(card, "a map has numbers that are not finite")
    if not _within(grid, geometry):
        raise refusal(card, "a map lies beside the image")
    return made


def _within(grid: Geometry, image: Geometry) -> bool:
    """Whether a grid lies on an image: hardly beyond its outer edges.

    Blocks at the end of a coarser grid, and crops turned for a network, may reach over them by a
    step of their own and a tenth of the image.
    """
    if (grid.frame_of_reference_uid, grid.calibration) != (
        image.frame_of_reference_uid,
        image.calibration,
    ):
        return False
    ends = product(*((-0.5, size - 0.5) for size in grid.shape))
    corners = image.to_index(grid.to_lps_mm(list(ends)))
    steps = np.abs(image.inverse[:3, :3] @ grid.affine[:3, :3]).sum(axis=1)
    size = np.array(image.shape)
    over = steps + _OVER * size
    return bool(np.all(corners >= -0.5 - over) and np.all(corners <= size - 0.5 + over))


def _timeline(done: wire.Done, order: Order, provenance: Provenance) -> Timeline | None:
    stated = done.timeline
    if stated is None:
        return None
    clip = order.image
    if not isinstance(clip, Clip) or stated.clip_uid != clip.uid:
        raise refusal(order.card, "its timeline is of another clip")
    if stated.frames != len(clip.frame_times_s):
        raise refusal(order.card, f"its timeline has {stated.frames} frames")
    return replace(stated, frame_times_s=clip.frame_times_s, provenance=provenance)


def _check_finding(
    finding: Finding, references: set[tuple[str, int]], volume: Volume, card: ModelCard
) -> None:
    numbers: list[float] = [measurement.value for measurement in finding.measurements]
    numbers += finding.location_lps_mm or ()
    for corner in finding.box_lps_mm or ():
        numbers += corner
    for measurement in finding.measurements:
        for point in measurement.points_lps_mm:
            numbers += point
    if not all(math.isfinite(number) for number in numbers):
        raise refusal(card, "it has numbers that are not finite")
    reference = finding.segment_ref
    if reference and (reference.segmentation_uid, reference.number) not in references:
        raise refusal(card, "a finding points to a segment that is not there")
    if finding.picture_box and not _on_picture(finding.picture_box, volume.geometry):
        raise refusal(card, "a box lies beside the picture")


def _on_picture(box: PictureBox, geometry: Geometry) -> bool:
    slices, rows, columns = geometry.shape
    top, left, bottom, right = box.box_px
    inside = top >= 0 and left >= 0 and bottom <= rows and right <= columns
    return inside and 0 <= box.slice_index < slices


def _proposed(finding: Finding, volume: Volume, provenance: Provenance) -> Finding:
    """By this model, unreviewed, on the picture that was looked at, whatever the worker wrote."""
    measurements: tuple[Measurement, ...] = tuple(
        replace(measurement, provenance=provenance) for measurement in finding.measurements
    )
    box = finding.picture_box
    return replace(
        finding,
        provenance=provenance,
        review=Review(),
        measurements=measurements,
        picture_box=None if box is None else _named(box, volume),
    )


def _named(box: PictureBox, volume: Volume) -> PictureBox:
    """The box with the name of the picture it lies on; the worker does not know such names."""
    uids, numbers, at = volume.instance_uids, volume.frame_numbers, box.slice_index
    uid = uids[at] if at < len(uids) else next(iter(uids), "")
    frame = numbers[at] if at < len(numbers) else at * (len(uids) == 1)
    return replace(box, sop_instance_uid=uid, frame_number=frame + 1)


def refusal(card: ModelCard, why: str) -> ModelError:
    """The error for a result that breaks the rules, naming the model."""
    return ModelError(
        f"The result of {card.title or card.id} was refused: {why}.",
        hint="Nothing of it is shown. The model may not suit this image.",
    )
