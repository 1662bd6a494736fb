"""Networks of whole volumes, or of slices with a place in them, asked window by window."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
import torch
from torch import nn

from medview.core.errors import ModelError
from medview.core.jobs import InferenceResult
from medview.core.maps import MapKind, ScalarMap
from medview.core.models import ModelCard
from medview.core.segmentation import LabelArray
from medview.core.study import Series, Study
from medview.core.volume import Volume
from medview.imaging.intensity import normalise
from medview.inference import wire
from medview.inference.adapter import Context, loaded, wanted_maps
from medview.inference.engines.labelled import labelled_result
from medview.inference.engines.network import load_trained, read_flips, read_metadata
from medview.inference.engines.patches import Asked
from medview.inference.engines.slab import Wishes
from medview.inference.engines.tiles import Segmented, TileRecipe, segment
from medview.inference.networks.averaging import FlipAverage
from medview.inference.networks.slices import slice_axis, within_slices


class Engine:
    """A network of volumes, or of slices with a place in the volume, asked window by window.

    The card's `patch` has three sides along its `orientation`; with one side of 1 the network
    looks at slices across that axis, and what channels it has beyond one are their neighbours.
    """

    def __init__(self, card: ModelCard, folder: Path) -> None:
        self.card = card
        self._folder = folder
        self._own: Mapping[str, Any] = {}
        self._asked: Asked | None = None

    def load(self, device: str) -> None:
        """Read the weights, their checksum checked, onto a device."""
        metadata = read_metadata(self._folder)
        network: nn.Module = load_trained(self._folder, device)
        if flips := read_flips(metadata):
            axis = slice_axis(metadata["medview"]["patch"])
            network = _LogChances(network, flips if axis is None else within_slices(flips, axis))
        self._own = metadata["medview"]
        self._asked = Asked(network.eval(), device)

    def unload(self) -> None:
        """Let go of the network."""
        self._asked = None

    def run(
        self, volume: Volume, series: Series | None, study: Study | None, context: Context
    ) -> InferenceResult:
        """Look at all of a grey volume."""
        del series, study
        asked = loaded(self._asked, self.card)
        started = time.perf_counter()
        found = segment(asked, volume, self._recipe(), context, self._wishes(context))
        labels = found.labels
        if self._own.get("keep_largest"):
            context.progress("Finding the largest region", 0.97)
            labels = _largest(labels)
        context.progress("Measuring", 0.98)
        result = _with_probability(labelled_result(self.card, volume, labels, context), found)
        return replace(
            result,
            maps=tuple(self._maps(found, volume)),
            fallbacks=found.fallbacks,
            device=found.device,
            seconds=time.perf_counter() - started,
        )

    def _recipe(self) -> TileRecipe:
        inputs = self.card.inputs
        if len(inputs.patch_shape) != 3:
            raise ModelError(f"{self.card.title} does not say in which patches it looks.")
        x, y, z = inputs.patch_shape
        beside, odd = divmod(inputs.channels - 1, 2)
        if odd or (beside and 1 not in inputs.patch_shape):
            raise ModelError(
                f"{self.card.title} looks at {inputs.channels} images at once; here is one."
            )
        return TileRecipe(
            patch=(x, y, z),
            orientation=inputs.orientation,
            spacing_mm=inputs.spacing_mm,
            normalise=partial(normalise, intensity=inputs.intensity),
            neighbours=beside,
        )

    def _wishes(self, context: Context) -> Wishes:
        """The maps that were asked for: the probability of each output, and uncertainty."""
        wanted = wanted_maps(context)
        numbers = [channel.index for channel in self.card.outputs.channels]
        return Wishes(
            uncertainty=MapKind.UNCERTAINTY in wanted,
            classes=tuple(numbers[: wire.MAX_MAPS - 1]) if MapKind.PROBABILITY in wanted else (),
            temperature=self.card.temperature or 1.0,
        )

    def _maps(self, found: Segmented, volume: Volume) -> Iterator[ScalarMap]:
        names = {channel.index: channel.label for channel in self.card.outputs.channels}
        for key, one in found.maps.items():
            subject = names.get(key, "") if isinstance(key, int) else ""
            kind = MapKind.PROBABILITY if subject else MapKind.UNCERTAINTY
            method = "Softmax" if subject else "Entropy of the class probabilities, by its maximum"
            yield ScalarMap(
                volume.uid, kind, one.geometry, one.values, (0.0, 1.0), subject, method=method
            )


class _LogChances(nn.Module):
    """Logarithms of class probabilities averaged over mirrored inputs: scores, as logits are."""

    def __init__(self, network: nn.Module, flips: tuple[int, ...]) -> None:
        super().__init__()
        self.average = FlipAverage(network, flips)
        self.divisor = self.average.divisor

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Give (N, classes, x, y...) from (N, C, x, y...)."""
        chances: torch.Tensor = self.average(image)
        return chances.clamp(min=1e-7).log()


def _largest(labels: LabelArray) -> LabelArray:
    """All structures together reduced to their largest piece, voxels connected by faces."""
    piece = np.asarray(cc3d.largest_k(labels > 0, k=1, connectivity=6)) > 0
    kept = labels.copy()
    kept[~piece] = 0
    return kept


def _with_probability(result: InferenceResult, found: Segmented) -> InferenceResult:
    """The result, each segment with how sure the network is of it."""
    made = tuple(
        replace(
            one,
            segments=tuple(
                replace(part, probability=found.probability.get(part.number))
                for part in one.segments
            ),
        )
        for one in result.segmentations
    )
    return replace(result, segmentations=made)
