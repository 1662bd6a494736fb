"""Cases for learning, made of an image and what was accepted of it.

A model that looks at crops around paired structures learns from such crops, so its cases are cut
the same way: one for each side, the right one mirrored. Everything else is kept whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from medview.core.cases import DecidedImage, LabelledCase
from medview.core.errors import ModelError
from medview.core.findings import Author, Finding, ModelAuthor, Person
from medview.core.geometry import FloatArray
from medview.core.models import ModelCard
from medview.core.segmentation import Segment, Segmentation, as_labels
from medview.core.volume import Volume
from medview.imaging.crops import axes_of, crop_around, sample_cubic, upright
from medview.imaging.resample import resample_labels
from medview.imaging.sides import side_of

_MIRRORED = np.array([-1.0, 1.0, 1.0])


def cases_of(image: DecidedImage, axes_lps: FloatArray | None = None) -> tuple[LabelledCase, ...]:
    """What can be learned from an image: structures, else boxes, else what it shows as a whole.

    `axes_lps` (3x3, columns) are those of a crop of a left structure: the patient's own without.
    ModelError for segments that overlap, and for boxes on some slices of many.
    """
    counted = [one for one in image.findings if one.review.state.counts]
    segments = _accepted(image)
    if segments:
        card = image.card
        if card is not None and card.inputs.localise:
            axes = axes_of("RAS") if axes_lps is None else axes_lps
            return tuple(_sides(image, segments, card, axes))
        return (_whole(image, segments),)
    boxes = tuple(
        (_class_of(one), one.picture_box.box_px) for one in counted if one.picture_box is not None
    )
    if boxes:
        if image.volume.geometry.shape[0] > 1:
            raise ModelError("Boxes can be learned from on single pictures only, so far.")
        return (replace(_case(image, "detection", [name for name, _ in boxes]), boxes=boxes),)
    classes = list(dict.fromkeys(_class_of(one) for one in counted))
    if len(classes) > 1:
        raise ModelError(
            f"The image shows {', '.join(classes)}: one class an image can be learned from."
        )
    return (replace(_case(image, "classification", classes), answer=classes[0]),)


def _accepted(image: DecidedImage) -> list[tuple[Segmentation, Segment]]:
    return [
        (one, segment)
        for one in image.segmentations
        for segment in one.segments
        if segment.review.state.counts
    ]


def _case(image: DecidedImage, task: str, classes: Sequence[str]) -> LabelledCase:
    return LabelledCase(
        image.name,
        image.patient,
        task,
        _as_looked_at(image.volume),
        tuple(dict.fromkeys(classes)),
        origin=_origin(image),
    )


def _as_looked_at(volume: Volume) -> Volume:
    """Real-world values, bright where bright (MONOCHROME1 turned), with a grid and nothing else."""
    if volume.channels > 1:
        return Volume("case", "case", volume.geometry, volume.voxels)
    if not volume.inverted:
        return Volume(
            "case", "case", volume.geometry, volume.voxels, volume.slope, volume.intercept
        )
    return Volume("case", "case", volume.geometry, -volume.values())


def _whole(image: DecidedImage, segments: Sequence[tuple[Segmentation, Segment]]) -> LabelledCase:
    names = list(dict.fromkeys(segment.label.strip() for _, segment in segments))
    labels = np.zeros(image.volume.geometry.shape, np.uint8)
    for one, segment in segments:
        _put(labels, one.labels == segment.number, names.index(segment.label.strip()) + 1)
    return replace(_case(image, "segmentation", names), labels=labels)


def _put(labels: Any, mask: Any, number: int) -> None:
    if (labels[mask] > 0).any():
        raise ModelError(
            "Accepted segments overlap: in a label map a voxel belongs to one structure.",
            "Correct the segments so that they do not.",
        )
    labels[mask] = number


def _sides(
    image: DecidedImage,
    segments: Sequence[tuple[Segmentation, Segment]],
    card: ModelCard,
    axes_lps: FloatArray,
) -> Iterator[LabelledCase]:
    """A crop of each side as the network sees it; the grid of the file says nothing of the head."""
    names = [channel.label for channel in card.outputs.channels]
    values = image.volume.values()
    for side in ("left", "right"):
        own = [(one, part, _plain(part.label)) for one, part in segments if side_of(part) == side]
        known = {name.casefold(): number for number, name in enumerate(names, start=1)}
        if not own or any(name not in known for _, _, name in own):
            continue
        whole = np.zeros(image.volume.geometry.shape, np.uint8)
        for one, part, name in own:
            _put(whole, one.labels == part.number, known[name])
        geometry, spacing = image.volume.geometry, card.inputs.spacing_mm or (1.0, 1.0, 1.0)
        own_axes = axes_lps * (_MIRRORED if side == "right" else 1.0)
        grid = crop_around(whole > 0, geometry, spacing, own_axes)
        if grid is None:
            continue
        crop, cut = sample_cubic(values, geometry, grid), resample_labels(whole, geometry, grid)
        yield replace(
            _case(image, "segmentation", names),
            name=f"{image.name}-{side}",
            image=Volume("case", "case", upright(grid), np.ascontiguousarray(crop.T)),
            labels=as_labels(cut.T),
            origin={**_origin(image), "side": side},
        )


def _plain(label: str) -> str:
    """The name of a structure without its side."""
    return " ".join(word for word in label.casefold().split() if word not in ("left", "right"))


def _class_of(finding: Finding) -> str:
    return finding.label.strip()


def _origin(image: DecidedImage) -> dict[str, Any]:
    """Which models proposed or helped, what readers made of it, from which input; nobody's name."""
    volume = image.volume
    return {
        "input_sha256": hashlib.sha256(volume.voxels.tobytes()).hexdigest(),
        "shape": list(volume.geometry.shape),
        "findings": [
            {
                "label": one.label,
                "by": _author(one.provenance.author),
                "aids": [_author(model) for model in one.provenance.aids],
                "state": one.review.state.value,
                "decided_at": "" if one.review.at is None else one.review.at.isoformat(),
            }
            for one in image.findings
        ],
    }


def _author(author: Author) -> dict[str, str]:
    match author:
        case ModelAuthor():
            return {
                "model": author.model_id,
                "version": author.version,
                "weights_sha256": author.weights_sha256,
            }
        case Person():
            return {"person": "a reader"}
