"""The segmentation engine: networks of ours that say of each pixel or voxel what it belongs to.

What the card says of its input decides how a network is asked: about a region of the head
(`engines.paired`), about both lungs in a chest picture (`engines.chest_pictures`), about every
slice as a picture (`engines.sliced`), or about the whole volume window by window
(`engines.windowed`). Only what is needed is imported: compiled loops take longer
to come than a small network takes to answer.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from medview.core.jobs import InferenceResult
from medview.core.models import ModelCard
from medview.core.study import Series, Study
from medview.core.volume import Volume
from medview.inference.adapter import Context, ModelAdapter


class Engine:
    """A model folder of ours with the engine word `segmentation`, whatever it looks at."""

    def __init__(self, card: ModelCard, folder: Path) -> None:
        self.card = card
        self._way: ModelAdapter = _way_of(card)(card, folder)

    def load(self, device: str) -> None:
        """Read the weights, their checksum checked, onto a device."""
        self._way.load(device)

    def unload(self) -> None:
        """Let go of the network."""
        self._way.unload()

    def run(
        self, volume: Volume, series: Series | None, study: Study | None, context: Context
    ) -> InferenceResult:
        """One segmentation on the volume's grid; a finding with its volume for each structure."""
        return self._way.run(volume, series, study, context)


def _way_of(card: ModelCard) -> Callable[[ModelCard, Path], ModelAdapter]:
    """What makes the engine that asks as a card says."""
    if card.inputs.localise:
        name = "paired"
    elif card.outputs.sides:
        name = "chest_pictures"
    else:
        name = "sliced" if len(card.inputs.patch_shape) == 2 else "windowed"
    module = importlib.import_module(f"{__package__}.{name}")
    make: Callable[[ModelCard, Path], ModelAdapter] = module.Engine
    return make
