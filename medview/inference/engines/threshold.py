"""Rules without a network: the body in a CT by its attenuation, the foreground of other images.

The rules lie in the model folder as JSON, checked by hash like any weights:
`{"ct_above_hu": -500, "otherwise": "otsu", "keep": "largest", "fill": "slices"}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import cc3d
import numpy as np
import numpy.typing as npt

from medview.core.codes import HOUNSFIELD, VOLUME
from medview.core.errors import ModelError
from medview.core.findings import Finding, Measurement, SegmentRef
from medview.core.jobs import InferenceResult
from medview.core.models import ModelCard
from medview.core.segmentation import Segment, Segmentation
from medview.core.study import Series, Study
from medview.core.volume import Volume
from medview.imaging.intensity import otsu_threshold
from medview.imaging.measure import segment_volume_ml
from medview.inference.adapter import Context

Mask = npt.NDArray[np.bool_]

#: The one choice there is for each rule that is a word.
_WORDS: Mapping[str, str] = MappingProxyType(
    {"otherwise": "otsu", "keep": "largest", "fill": "slices"}
)
_SAMPLES = 1 << 20


class Engine:
    """Everything above a threshold that hangs together, holes filled: one segment, its volume."""

    def __init__(self, card: ModelCard, rules: Mapping[str, Any]) -> None:
        self.card = card
        wrong = _wrong_rules(rules)
        if wrong:
            raise ModelError(f"The rules of {card.title} are not known: {', '.join(wrong)}.")
        self._above_hu = float(rules["ct_above_hu"])

    def load(self, device: str) -> None:
        """Nothing is left to read, and rules need no device."""

    def unload(self) -> None:
        """Nothing is held."""

    def run(
        self,
        volume: Volume,
        series: Series | None,  # noqa: ARG002
        study: Study | None,  # noqa: ARG002
        context: Context,
    ) -> InferenceResult:
        """One segment and one finding; a note instead where nothing lies above the threshold."""
        threshold, words = self._threshold(volume)
        mask = _above(volume, threshold, context)
        if not mask.any():
            note = f"Nothing lies above the threshold ({words})."
            return InferenceResult(context.job_uid, notes=(note,))
        context.progress("Finding the largest region")
        mask = np.asarray(cc3d.largest_k(mask, k=1, connectivity=6)) > 0
        _fill_slices(mask, context)
        return self._result(volume, mask, words, context)

    def _threshold(self, volume: Volume) -> tuple[float, str]:
        """In real-world units, and how it came about."""
        if volume.unit == HOUNSFIELD.value:
            return self._above_hu, f"above {self._above_hu:g} HU"
        step = max(1, round((volume.voxels.size / _SAMPLES) ** (1 / 3)))
        sample = volume.voxels[::step, ::step, ::step]
        values = volume.value_of(sample[~volume.is_padding(sample)])
        values = values[np.isfinite(values)]
        if values.size == 0:
            raise ModelError(f"The image holds nothing that {self.card.title} could look at.")
        threshold = otsu_threshold(values)
        return threshold, f"above {threshold:.4g}, chosen from this image (Otsu)"

    def _result(self, volume: Volume, mask: Mask, words: str, context: Context) -> InferenceResult:
        (channel,) = self.card.outputs.channels
        made_by = context.provenance
        segment = Segment(
            channel.index, channel.label, channel.category, channel.code, channel.color_rgb, made_by
        )
        labels = mask.astype(np.uint8) * np.uint8(channel.index)
        segmentation = Segmentation(
            volume.uid, volume.geometry, labels, (segment,), title=self.card.title
        )
        measurement = Measurement(
            kind=VOLUME,
            value=segment_volume_ml(segmentation, channel.index),
            unit="mL",
            method=f"Voxels {words}",
            provenance=made_by,
            name="Volume",
        )
        finding = Finding(
            label=channel.label,
            code=channel.code,
            provenance=made_by,
            measurements=(measurement,),
            segment_ref=SegmentRef(segmentation.uid, channel.index),
        )
        note = f"Rules without a network: {words}."
        return InferenceResult(context.job_uid, (segmentation,), (finding,), (note,))


def _above(volume: Volume, threshold: float, context: Context) -> Mask:
    """Voxels above a real-world threshold, padding left out."""
    mask = np.zeros(volume.geometry.shape, np.bool_)
    for k, stored in enumerate(volume.voxels):
        context.progress("Comparing", k / len(mask))
        mask[k] = (volume.value_of(stored) > threshold) & ~volume.is_padding(stored)
    return mask


def _fill_slices(mask: Mask, context: Context) -> None:
    """Fill what is enclosed within each slice, in place: lungs belong to the body."""
    for k, plane in enumerate(mask):
        context.progress("Filling", k / len(mask))
        if plane.any():
            mask[k] |= _enclosed(plane)


def _enclosed(plane: Mask) -> Mask:
    """Pixels outside a 2D mask that cannot reach the edge of the image by their sides."""
    regions = cc3d.connected_components(~plane, connectivity=4)
    enclosed = np.ones(int(regions.max()) + 1, np.bool_)
    enclosed[0] = False
    for edge in (regions[0], regions[-1], regions[:, 0], regions[:, -1]):
        enclosed[edge] = False
    result: Mask = enclosed[regions]
    return result


def _wrong_rules(rules: Mapping[str, Any]) -> list[str]:
    """Names of rules that are missing, unknown or not as they should be."""
    wrong = set(rules) ^ {"ct_above_hu", *_WORDS}
    wrong |= {name for name, word in _WORDS.items() if rules.get(name) != word}
    if type(rules.get("ct_above_hu")) not in (int, float):
        wrong.add("ct_above_hu")
    return sorted(wrong)
