"""Results as they come from the worker, checked before anybody sees them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from medview.core.errors import MedviewError, ModelError
from medview.core.findings import Finding, Measurement, Provenance, Review
from medview.core.jobs import InferenceResult
from medview.core.models import ModelCard
from medview.core.segmentation import LabelArray, Segmentation
from medview.core.volume import Volume
from medview.inference import wire


def checked(
    done: wire.Done,
    labels: LabelArray | None,
    volume: Volume,
    card: ModelCard,
    provenance: Provenance,
) -> InferenceResult:
    """What a run came to, as a proposal by `provenance` that nobody has reviewed.

    `labels` is the label map the worker wrote, already a private copy. ModelError naming the
    model, and nothing of the result, for another grid than the volume's, label numbers without a
    segment, numbers that are not finite, references to segments that are not there, more than
    10,000 findings.
    """
    if len(done.findings) > wire.MAX_FINDINGS:
        raise refusal(card, f"it has {len(done.findings):,} findings")
    segmentations: tuple[Segmentation, ...] = ()
    if done.labels is not None:
        if labels is None:
            raise refusal(card, "it has labels where its card announces none")
        segmentations = (_segmentation(done.labels, labels, volume, card, provenance),)
    references = {(one.uid, part.number) for one in segmentations for part in one.segments}
    for finding in done.findings:
        _check_finding(finding, references, card)
    return InferenceResult(
        job_uid=done.job_uid,
        segmentations=segmentations,
        findings=tuple(_proposed(finding, provenance) for finding in done.findings),
        notes=done.notes,
        out_of_scope=done.out_of_scope,
        fallbacks=done.fallbacks,
        seconds=done.seconds,
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


def _strange_number(labels: LabelArray, numbers: list[int]) -> int:
    """A label that no segment has, or 0."""
    known = np.zeros(np.iinfo(labels.dtype).max + 1, dtype=np.bool_)
    known[[0, *(number for number in numbers if number < known.size)]] = True
    for plane in labels:  # slice by slice: nothing of the volume's size is made
        if plane.any() and not known[plane].all():
            strange: npt.NDArray[np.integer] = plane[~known[plane]]
            return int(strange[0])
    return 0


def _check_finding(finding: Finding, references: set[tuple[str, int]], card: ModelCard) -> None:
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


def _proposed(finding: Finding, provenance: Provenance) -> Finding:
    """By this model, unreviewed, whatever the worker wrote there."""
    measurements: tuple[Measurement, ...] = tuple(
        replace(measurement, provenance=provenance) for measurement in finding.measurements
    )
    return replace(finding, provenance=provenance, review=Review(), measurements=measurements)


def refusal(card: ModelCard, why: str) -> ModelError:
    """The error for a result that breaks the rules, naming the model."""
    return ModelError(
        f"The result of {card.title or card.id} was refused: {why}.",
        hint="Nothing of it is shown. The model may not suit this image.",
    )
