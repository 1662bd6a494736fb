"""MeshNet networks of brainchop: whole heads of 256 x 256 x 256 voxels of 1 mm.

The image is conformed as brainchop and FreeSurfer do it: resampled to 1 mm around its middle,
first axis to the left, second to inferior, third to anterior, and its numbers scaled so that the
2nd percentile becomes 0 and the 98th 1, cut off there.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medview.core.errors import ModelError
from medview.core.geometry import Box, Geometry
from medview.core.jobs import InferenceResult
from medview.core.models import ModelCard
from medview.core.study import Series, Study
from medview.core.volume import Volume
from medview.imaging.crops import axes_of, crop_grid
from medview.imaging.resample import resample_labels, resample_values
from medview.inference.adapter import Context, loaded, refuse_other_than_volume
from medview.inference.engines.labelled import labelled_result
from medview.inference.engines.tensors import load_tensors
from medview.inference.formats.described import read_json
from medview.inference.formats.meshnet import SIDE, SPACING_MM
from medview.inference.networks.meshnet import MeshNet

FloatImage = npt.NDArray[np.float32]

_ORIENTATION = "LIA"
_PERCENTS = (2.0, 98.0)


class Engine:
    """A MeshNet with the weights and labels of its folder."""

    def __init__(self, card: ModelCard, folder: Path) -> None:
        self.card = card
        self._folder = folder
        self._network: MeshNet | None = None

    def load(self, device: str) -> None:
        """Read layers and weights; ModelError where they do not belong together."""
        model = read_json(self._folder / "model.json")
        network = MeshNet(model, load_tensors(self._folder / self.card.weights))
        named = max((channel.index for channel in self.card.outputs.channels), default=0)
        if network.classes <= named:
            raise ModelError(
                f"{self.card.title} tells {network.classes} things apart; its folder names"
                f" {named + 1}."
            )
        self._network = network.to(device)

    def unload(self) -> None:
        """Let go of the network."""
        self._network = None

    def run(
        self, volume: Volume, series: Series | None, study: Study | None, context: Context
    ) -> InferenceResult:
        """Conform the head, ask the network, and bring its labels back to the image's grid."""
        del series, study
        network = loaded(self._network, self.card)
        refuse_other_than_volume(volume)
        started = time.perf_counter()
        context.progress("Bringing the head to 1 mm")
        grid = conformed(volume.geometry)
        image = scaled(_values_on(volume, grid))
        labels = network.labels(image, lambda done: context.progress("Segmenting the head", done))
        context.progress("Bringing labels to the image")
        own = resample_labels(labels, grid, volume.geometry)
        result = labelled_result(self.card, volume, own, context, _notes(volume.geometry))
        return replace(result, device=context.device, seconds=time.perf_counter() - started)


def conformed(geometry: Geometry) -> Geometry:
    """The grid of 256 x 256 x 256 voxels of 1 mm around the middle of an image.

    A conformed image has this very grid, whatever the order of its axes.
    """
    size_mm = np.full(3, float(SIDE))
    return crop_grid(geometry.center_lps_mm, axes_of(_ORIENTATION), size_mm, SPACING_MM, geometry)


def scaled(values: FloatImage) -> FloatImage:
    """Numbers so that the 2nd percentile becomes 0 and the 98th 1, cut off there."""
    low, high = np.percentile(values, _PERCENTS)
    if not high > low:
        raise ModelError("The image holds hardly any structure; it was not looked at.")
    result: FloatImage = np.clip((values - low) / (high - low), 0, 1).astype(np.float32)
    return result


def _values_on(volume: Volume, grid: Geometry) -> FloatImage:
    """Values on the grid, and beyond the image the least of them: air."""
    values = resample_values(volume, grid)
    lacking = ~np.isfinite(values)
    if lacking.all():
        raise ModelError("The image holds nothing that could be looked at.")
    values[lacking] = values[~lacking].min()
    return values


def _notes(geometry: Geometry) -> list[str]:
    """What a reader should know of how the image was looked at."""
    notes = []
    if max(geometry.spacing_mm) > 2.5:
        notes.append(
            f"Slices are {max(geometry.spacing_mm):.1f} mm apart; the network was made for 1 mm."
        )
    corners = geometry.to_lps_mm([(0, 0, 0), tuple(n - 1 for n in geometry.shape)])
    whole = Box.whole((SIDE, SIDE, SIDE))
    index = conformed(geometry).to_index(corners)
    if (index < np.array(whole.start) - 0.5).any() or (index > np.array(whole.stop) - 0.5).any():
        notes.append("The image is larger than 256 mm; what lies beyond was not looked at.")
    return notes
