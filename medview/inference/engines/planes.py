"""What engines of flat networks share: the folder, and the pictures of a volume."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from medview.core.errors import ModelError
from medview.core.findings import Finding
from medview.core.geometry import Box, Geometry
from medview.core.maps import ScalarMap
from medview.core.models import ModelCard, OutputChannel
from medview.core.volume import Volume
from medview.inference.adapter import Context
from medview.inference.engines.explaining import Subject, attribution, saliency_map
from medview.inference.engines.network import load_trained, read_metadata
from medview.inference.networks.pictures import resized, within_margin
from medview.inference.networks.readings import FlatRecipe, Picture, flat_recipe, with_margin


class FlatModel:
    """A loaded model folder whose network looks at flat pictures.

    `channels` are the card's outputs in the order of the network's classes. ModelError where the
    card names another number of outputs than the network has classes.
    """

    def __init__(self, card: ModelCard, folder: Path, device: str) -> None:
        self.card = card
        self.recipe: FlatRecipe = flat_recipe(read_metadata(folder))
        self.network: nn.Module = load_trained(folder, device)
        sides = ("right", "left") if card.outputs.sides else ("",)
        named = [f"{side} {name}" for name in self.recipe.classes for side in sides]
        self.channels = channels_of(card, named)

    def pictures(self, volume: Volume, context: Context) -> Iterator[tuple[int, Picture]]:
        """Slice numbers and pictures, saying how far the run is; those without content left out."""
        count = volume.geometry.shape[0]
        for k in range(count):
            context.progress("Looking" if count == 1 else f"Looking at slice {k + 1}", k / count)
            if k in volume.empty_slices:
                continue
            picture = picture_at(volume, k)
            if picture.min() < picture.max():
                yield k, picture

    def saliency(
        self, volume: Volume, k: int, subject: Subject, finding: Finding, context: Context
    ) -> ScalarMap:
        """Where on slice k the answer about a finding comes from; 0 in the margin."""
        picture = picture_at(volume, k)
        inner = within_margin(picture, self.recipe.margin)
        found = attribution(self.network, self.recipe.to_input(picture), subject, context)
        values = with_margin(
            resized(torch.from_numpy(found)[None], inner.shape)[0].numpy(), picture
        )
        grid = slice_grid(volume.geometry, k)
        return saliency_map(values[None], grid, volume.uid, finding, context)


class FlatEngine:
    """What engines of flat networks do alike: the model of the folder, while it is loaded."""

    def __init__(self, card: ModelCard, folder: Path) -> None:
        self.card = card
        self._folder = folder
        self._model: FlatModel | None = None

    def load(self, device: str) -> None:
        """Read the weights, their checksum checked, onto a device."""
        self._model = FlatModel(self.card, self._folder, device)

    def unload(self) -> None:
        """Let go of the network."""
        self._model = None


def channels_of(card: ModelCard, classes: Sequence[str]) -> tuple[OutputChannel, ...]:
    """The card's outputs in the order of a network's classes; ModelError for another number."""
    channels = sorted(card.outputs.channels, key=lambda channel: channel.index)
    if len(channels) != len(classes):
        raise ModelError(
            f"The card of {card.title} names {len(channels)} outputs, its network has"
            f" {len(classes)} classes."
        )
    return tuple(channels)


def slice_grid(geometry: Geometry, k: int) -> Geometry:
    """The grid of one slice alone."""
    _, rows, columns = geometry.shape
    return geometry.cropped(Box((k, 0, 0), (k + 1, rows, columns)))


def picture_at(volume: Volume, k: int) -> Picture:
    """Slice k as it is looked at, (rows, columns) or (rows, columns, 3), bright where bright.

    Real-world values, turned round where small ones are shown bright (MONOCHROME1). Padding and
    what is not finite becomes as dark as the darkest pixel.
    """
    stored = volume.voxels[k]
    if volume.channels > 1:
        return np.asarray(stored)
    values = volume.value_of(stored)
    if volume.inverted:
        values = -values
    hidden = volume.is_padding(stored) | ~np.isfinite(values)
    if hidden.any():
        values[hidden] = 0.0 if hidden.all() else values[~hidden].min()
    return values
