"""Labels on an image's own grid as what a model proposes: segments, findings, volumes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scipy import ndimage

from medview.core.errors import ModelError
from medview.core.findings import Finding
from medview.core.jobs import InferenceResult
from medview.core.models import ModelCard
from medview.core.segmentation import LabelArray, Segment, Segmentation
from medview.core.volume import Volume
from medview.imaging.measure import count_voxels
from medview.imaging.structure import finding_of
from medview.inference.adapter import Context


def labelled_result(
    card: ModelCard,
    volume: Volume,
    labels: LabelArray,
    context: Context,
    notes: Iterable[str] = (),
) -> InferenceResult:
    """One segmentation on the volume's grid, and a finding for each structure that was found.

    ModelError for a label that the card does not name.
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
        finding_of(one, counts[one.number], boxes[one.number - 1], segmentation, made_by)
        for one in segments
    )
    return InferenceResult(context.job_uid, (segmentation,), findings, tuple(notes))


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
