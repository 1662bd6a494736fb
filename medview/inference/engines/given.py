"""Networks that come as a file and a card: how they are asked, whatever runs them.

The card's medview block says the rest: `preprocess.size_px` and `channels` for flat pictures,
`orientation`, `spacing_mm` and `patch` for volumes, `activation` (`softmax`, `sigmoid`, or `none`
for a network that gives probabilities) and `threshold`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from medview.core.errors import ModelError
from medview.core.jobs import InferenceResult
from medview.core.models import ModelCard
from medview.core.segmentation import LabelArray
from medview.core.volume import Volume
from medview.inference.adapter import Context, refuse_not_finite
from medview.inference.engines.labelled import classified_result, labelled_result
from medview.inference.networks.pictures import resized, to_input
from medview.inference.networks.windows import continued

#: What a network says of a batch (N, channels, ...), both as float32.
Ask = Callable[[torch.Tensor], torch.Tensor]

_ACTIVATIONS = ("softmax", "sigmoid", "none")


@dataclass(frozen=True)
class Reading:
    """How a card wants its network asked and read."""

    size_px: tuple[int, ...]
    channels: int
    intensity: Mapping[str, Any]
    activation: str
    threshold: float

    @staticmethod
    def of(card: ModelCard, folder: Path) -> Reading:
        """Read the medview block of a folder; ModelError naming what is missing or unknown."""
        try:
            text = (folder / "configs" / "metadata.json").read_text(encoding="utf-8")
            own = json.loads(text)["medview"]
            preprocess = own["preprocess"]
            reading = Reading(
                size_px=tuple(int(n) for n in preprocess.get("size_px") or ()),
                channels=int(preprocess.get("channels", 1)),
                intensity=preprocess["intensity"],
                activation=str(own.get("activation", "softmax")),
                threshold=0.5 if card.threshold is None else card.threshold,
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"The card of {card.title} does not say how its network is asked.",
                detail=repr(error),
            ) from error
        if reading.activation not in _ACTIVATIONS:
            raise ModelError(
                f"The card of {card.title} names the activation {reading.activation};"
                f" known are {', '.join(_ACTIVATIONS)}."
            )
        return reading

    def probabilities(self, answer: torch.Tensor) -> torch.Tensor:
        """The answer (classes, ...) as numbers from 0 to 1."""
        if self.activation == "softmax":
            return answer.softmax(dim=0)
        return answer.sigmoid() if self.activation == "sigmoid" else answer


def run_pictures(
    ask: Ask, card: ModelCard, reading: Reading, volume: Volume, context: Context
) -> InferenceResult:
    """Ask about each slice by itself: labels on the volume's grid, or classes of the only slice."""
    started = time.perf_counter()
    if volume.channels not in (1, reading.channels):
        kind = "in colour" if volume.channels > 1 else "grey"
        raise ModelError(f"The image is {kind}; {card.title} takes {reading.channels} channel(s).")
    if card.outputs.kind == "classes":
        result = _classes(ask, card, reading, volume, context)
    else:
        labels = _labels(ask, card, reading, volume, context)
        result = labelled_result(card, volume, labels, context)
    return replace(result, device=context.device, seconds=time.perf_counter() - started)


def _labels(
    ask: Ask, card: ModelCard, reading: Reading, volume: Volume, context: Context
) -> LabelArray:
    labels: LabelArray = np.zeros(volume.geometry.shape, np.uint8)
    numbers = [channel.index for channel in card.outputs.channels]
    for k in range(len(labels)):
        context.progress("Looking at the picture", k / len(labels) if len(labels) > 1 else None)
        picture = _picture(volume, k)
        image = _input(picture, reading)
        answer = _asked(ask, image, reading, card)
        on_picture = resized(answer[:, : image.shape[1], : image.shape[2]], picture.shape[:2])
        labels[k] = labels_of(on_picture, numbers, reading.threshold)
    return labels


def _classes(
    ask: Ask, card: ModelCard, reading: Reading, volume: Volume, context: Context
) -> InferenceResult:
    if len(volume.voxels) > 1:
        raise ModelError(f"{card.title} looks at single pictures, not at stacks of them.")
    context.progress("Looking at the picture")
    answer = _asked(ask, _input(_picture(volume, 0), reading), reading, card)
    chances = answer.reshape(answer.shape[0], -1).mean(dim=1).tolist()
    return classified_result(card, chances, reading.threshold, context)


def labels_of(
    probabilities: torch.Tensor, numbers: list[int], threshold: float
) -> npt.NDArray[np.uint8]:
    """Label numbers from probabilities (classes, rows, columns).

    One map: its structure where it reaches the threshold. As many as structures: the likeliest
    of those that reach it. One more than structures: the first is the background, the likeliest
    class wins.
    """
    if probabilities.shape[0] == len(numbers) + 1:
        return probabilities.argmax(dim=0).numpy().astype(np.uint8)
    if probabilities.shape[0] != len(numbers):
        raise ModelError(
            f"The network gives {probabilities.shape[0]} maps; its card names {len(numbers)}"
            " structures."
        )
    best, place = probabilities.max(dim=0)
    found = torch.tensor(numbers)[place]
    found[best < threshold] = 0
    return found.numpy().astype(np.uint8)


def _picture(volume: Volume, k: int) -> npt.NDArray[np.float32]:
    values = volume.value_of(volume.voxels[k])
    if volume.inverted:  # what is shown bright is stored low
        values = values.max() + values.min() - values
    return values


def _input(picture: npt.NDArray[np.float32], reading: Reading) -> torch.Tensor:
    """A picture as (channels, rows, columns), scaled to fit; its values are not yet padded."""
    return to_input(picture, reading.channels, reading.size_px, reading.intensity)


def _asked(ask: Ask, image: torch.Tensor, reading: Reading, card: ModelCard) -> torch.Tensor:
    """Probabilities (classes, ...) of an input whose edge is continued to the size it takes."""
    with torch.inference_mode():
        answer = ask(continued(image[None], reading.size_px or image.shape[1:]))
    probabilities = reading.probabilities(answer[0].float().cpu())
    refuse_not_finite(probabilities.numpy(), card)
    return probabilities
