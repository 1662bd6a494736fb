"""What 3D networks that give no labels share: the folder, a volume on their grid, its boxes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from medview.core.errors import ModelError
from medview.core.findings import Finding
from medview.core.geometry import FloatArray, Geometry
from medview.core.maps import ScalarMap
from medview.core.models import ModelCard
from medview.core.volume import Volume
from medview.imaging.crops import axes_of, crop_grid, sample_cubic
from medview.imaging.intensity import normalise
from medview.inference.adapter import Context
from medview.inference.engines.explaining import Subject, attribution, saliency_map
from medview.inference.engines.network import load_trained, read_flips, read_metadata
from medview.inference.engines.planes import channels_of
from medview.inference.networks.centres import STRIDE
from medview.inference.networks.pictures import ask, boxes_of, surest_boxes
from medview.inference.networks.readings import LEAST_SCORE, FoundBoxes
from medview.inference.networks.windows import windows_over

#: What neighbouring windows of a large volume share.
_SHARED = 0.34


@dataclass(frozen=True)
class SolidReading:
    """How a volume comes to a network that looks at whole volumes; alike in training and after.

    `orientation` and `spacing_mm` are those of the network's axes; `patch` counts its voxels along
    them, and is empty where it takes any number.
    """

    patch: tuple[int, ...]
    orientation: str
    spacing_mm: tuple[float, ...]
    intensity: Mapping[str, Any]

    def grid_about(self, volume: Volume) -> Geometry:
        """A grid of exactly the network's patch about the middle of a volume."""
        size = np.array(self.patch) * self.spacing_mm
        return self._grid(volume, size)

    def grid_over(self, volume: Volume) -> Geometry:
        """The network's grid over all of a volume."""
        shape = np.array(volume.geometry.shape) - 0.5
        ends = np.array(np.meshgrid(*((-0.5, end) for end in shape))).reshape(3, -1).T
        axes = axes_of(self.orientation)
        along = volume.geometry.to_lps_mm(ends) @ axes
        return self._grid(volume, along.max(axis=0) - along.min(axis=0))

    def input_on(self, volume: Volume, grid: Geometry) -> torch.Tensor:
        """A volume as the network takes it, (1, x, y, z); beyond it, its edge goes on."""
        values = volume.values()
        known = np.isfinite(values)
        if not known.all():
            values = np.where(known, values, values[known].min() if known.any() else 0.0)
        sampled = sample_cubic(values, volume.geometry, grid)
        return torch.from_numpy(normalise(sampled, self.intensity))[None]

    def _grid(self, volume: Volume, size_mm: npt.ArrayLike) -> Geometry:
        return crop_grid(
            volume.geometry.center_lps_mm,
            axes_of(self.orientation),
            size_mm,
            self.spacing_mm,
            volume.geometry,
        )


class SolidModel:
    """A loaded model folder whose network looks at whole volumes, (N, 1, x, y, z).

    The card's `inputs` say how its axes run, how far its voxels are apart, and in `patch_shape`
    how many it takes. ModelError for a card that does not say so.
    """

    def __init__(self, card: ModelCard, folder: Path, device: str) -> None:
        own = read_metadata(folder)["medview"]
        inputs = card.inputs
        if not (inputs.orientation and inputs.spacing_mm):
            raise ModelError(f"{card.title} does not say on which grid its network looks.")
        self.card = card
        self.reading = SolidReading(
            inputs.patch_shape, inputs.orientation, inputs.spacing_mm, inputs.intensity
        )
        self.flips = read_flips({"medview": own})
        self.temperature = card.temperature or 1.0
        self.multi_label = bool(own.get("multi_label", False))
        self.decoding: dict[str, float] = own.get("decoding") or {}
        classes: Sequence[str] = own.get("classes") or [c.label for c in card.outputs.channels]
        self.channels = channels_of(card, classes)
        self.network: nn.Module = load_trained(folder, device)

    def saliency(
        self, volume: Volume, grid: Geometry, subject: Subject, finding: Finding, context: Context
    ) -> ScalarMap:
        """Where in a volume the answer about a finding comes from, on the network's grid."""
        found = attribution(self.network, self.reading.input_on(volume, grid), subject, context)
        return saliency_map(found, grid, volume.uid, finding, context)


def boxes_over(
    network: nn.Module,
    image: torch.Tensor,
    patch: Sequence[int],
    classes: int,
    *,
    most_overlap: float = 0.5,
    progress: Callable[[float], None] = lambda _: None,
) -> FoundBoxes:
    """Boxes (n, 6: low x, y, z, high x, y, z) in voxels of an image (1, x, y, z), surest first.

    A large image is looked at in windows of the network's patch that share a part of each other;
    of boxes that several of them saw the surest stays. `progress` hears the share that is done.
    """
    sizes = image.shape[1:]
    windows = windows_over(sizes, patch or sizes, _SHARED, STRIDE)
    boxes, scores, numbers = [], [], []
    for done, window in enumerate(windows):
        progress(done / len(windows))
        answer = ask(network, image[(slice(None), *window.place)])
        found = boxes_of(answer, classes, LEAST_SCORE)
        own = found[0] + np.array([part.start for part in window.place] * 2, np.float32)
        middle = (own[:, :3] + own[:, 3:]) / 2
        kept = np.all(
            [
                (middle[:, axis] >= part.start) & (middle[:, axis] < part.stop)
                for axis, part in enumerate(window.core)
            ],
            axis=0,
        )
        boxes.append(own[kept])
        scores.append(found[1][kept])
        numbers.append(found[2][kept])
    all_boxes, all_scores = np.concatenate(boxes), np.concatenate(scores)
    all_numbers = np.concatenate(numbers)
    order = np.argsort(-all_scores, kind="stable")
    places, kinds = torch.from_numpy(all_boxes[order]), torch.from_numpy(all_numbers[order])
    stay = order[surest_boxes(places, kinds, most_overlap)]
    return FoundBoxes(all_boxes[stay], all_scores[stay], all_numbers[stay])


def box_on(
    target: Geometry, source: Geometry, start: npt.ArrayLike, stop: npt.ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """The edges of a box of one grid on another one; around it where that is turned."""
    edges = np.stack([np.asarray(start, float), np.asarray(stop, float)], axis=1)
    ends = np.array(np.meshgrid(*edges)).reshape(3, -1).T
    index = target.to_index(source.to_lps_mm(ends - 0.5)) + 0.5
    return index.min(axis=0), index.max(axis=0)
