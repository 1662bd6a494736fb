"""What engines of 3D networks that give no labels share: the folder, a volume on their grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from medview.core.errors import ModelError
from medview.core.findings import Finding
from medview.core.geometry import Geometry
from medview.core.maps import ScalarMap
from medview.core.models import ModelCard
from medview.core.volume import Volume
from medview.imaging.crops import axes_of, crop_grid, sample_cubic
from medview.imaging.intensity import normalise
from medview.inference.adapter import Context
from medview.inference.engines.explaining import Subject, attribution, saliency_map
from medview.inference.engines.network import load_trained, read_flips, read_metadata
from medview.inference.engines.planes import channels_of


class SolidModel:
    """A loaded model folder whose network looks at whole volumes, (N, 1, x, y, z).

    The card's `inputs` say how its axes run, how far its voxels are apart, and in `patch_shape`
    how many it takes. ModelError for a card that does not say so.
    """

    def __init__(self, card: ModelCard, folder: Path, device: str) -> None:
        own = read_metadata(folder)["medview"]
        if not (card.inputs.orientation and card.inputs.spacing_mm):
            raise ModelError(f"{card.title} does not say on which grid its network looks.")
        self.card = card
        self.spacing_mm = card.inputs.spacing_mm
        self.patch = card.inputs.patch_shape
        self.flips = read_flips({"medview": own})
        self.temperature = card.temperature or 1.0
        self.multi_label = bool(own.get("multi_label", False))
        self.decoding: dict[str, float] = own.get("decoding") or {}
        classes: Sequence[str] = own.get("classes") or [c.label for c in card.outputs.channels]
        self.channels = channels_of(card, classes)
        self.network: nn.Module = load_trained(folder, device)

    def grid_about(self, volume: Volume) -> Geometry:
        """A grid of exactly the network's patch about the middle of a volume."""
        size = np.array(self.patch) * self.spacing_mm
        return self._grid(volume, size)

    def grid_over(self, volume: Volume) -> Geometry:
        """The network's grid over all of a volume."""
        shape = np.array(volume.geometry.shape) - 0.5
        ends = np.array(np.meshgrid(*((-0.5, end) for end in shape))).reshape(3, -1).T
        axes = axes_of(self.card.inputs.orientation)
        along = volume.geometry.to_lps_mm(ends) @ axes
        return self._grid(volume, along.max(axis=0) - along.min(axis=0))

    def input_on(self, volume: Volume, grid: Geometry) -> torch.Tensor:
        """A volume as the network takes it, (1, x, y, z); beyond it, its edge goes on."""
        values = volume.values()
        known = np.isfinite(values)
        if not known.all():
            values = np.where(known, values, values[known].min() if known.any() else 0.0)
        sampled = sample_cubic(values, volume.geometry, grid)
        return torch.from_numpy(normalise(sampled, self.card.inputs.intensity))[None]

    def saliency(
        self, volume: Volume, grid: Geometry, subject: Subject, finding: Finding, context: Context
    ) -> ScalarMap:
        """Where in a volume the answer about a finding comes from, on the network's grid."""
        found = attribution(self.network, self.input_on(volume, grid), subject, context)
        return saliency_map(found, grid, volume.uid, finding, context)

    def _grid(self, volume: Volume, size_mm: npt.ArrayLike) -> Geometry:
        return crop_grid(
            volume.geometry.center_lps_mm,
            axes_of(self.card.inputs.orientation),
            size_mm,
            self.spacing_mm,
            volume.geometry,
        )
