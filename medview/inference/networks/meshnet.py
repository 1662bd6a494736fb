"""MeshNet: a chain of dilated 3D convolutions (Fedorov et al., arXiv:1612.00940).

Asked layer by layer and slab by slab: every layer sees the whole image, as its normalisation
needs, while no more than two layers' answers are ever held.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from medview.core.errors import ModelError
from medview.inference.adapter import not_finite

#: Called before each slab with the share of the work that is done.
Step = Callable[[float], object]

_SLAB = 32


@dataclass(frozen=True)
class _Layer:
    weight: torch.Tensor
    bias: torch.Tensor | None
    padding: int
    dilation: int


class MeshNet:
    """The network that `model.json` of brainchop describes, with its weights.

    Each layer but the last is followed by a normalisation of each channel over the whole image
    (`bnorm`) and ReLU, ELU (`elu`) or GELU (`gelu`). Counts of channels are those of the weights:
    some published descriptions state others. ModelError where both cannot belong together.
    """

    def __init__(self, model: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        self._layers = _layers_of(model["layers"], tensors)
        self._normalises = bool(model.get("bnorm"))
        self._activation: Callable[[torch.Tensor], torch.Tensor] = torch.relu_
        if model.get("gelu"):
            self._activation = functional.gelu
        elif model.get("elu"):
            self._activation = functional.elu_

    @property
    def classes(self) -> int:
        """How many values it gives for each voxel, the background's among them."""
        return int(self._layers[-1].weight.shape[0])

    @property
    def parameters(self) -> int:
        """How many numbers it has learned."""
        return sum(
            layer.weight.numel() + (0 if layer.bias is None else layer.bias.numel())
            for layer in self._layers
        )

    def to(self, device: str) -> "MeshNet":
        """Move the weights to a device."""
        self._layers = [
            _Layer(
                layer.weight.to(device),
                None if layer.bias is None else layer.bias.to(device),
                layer.padding,
                layer.dilation,
            )
            for layer in self._layers
        ]
        return self

    def labels(self, image: npt.NDArray[np.float32], step: Step) -> npt.NDArray[np.uint8]:
        """The most likely class of each voxel of an image (x, y, z); `step` may raise to stop.

        Beyond the image lies zero, as in training.
        """
        device = self._layers[0].weight.device
        values = torch.from_numpy(np.ascontiguousarray(image))[None, None].to(device)
        work = [layer.weight.numel() for layer in self._layers]
        done = 0
        with torch.inference_mode():
            for layer, cost in zip(self._layers[:-1], work, strict=False):
                values = self._answer(values, layer, step, done / sum(work), cost / sum(work))
                done += cost
            return _classes(values, self._layers[-1], step, done / sum(work))

    def _answer(
        self, values: torch.Tensor, layer: _Layer, step: Step, begun: float, share: float
    ) -> torch.Tensor:
        """One layer's answer to the whole image, normalised and activated."""
        depth = values.shape[2]
        answer = values.new_empty((1, layer.weight.shape[0], *values.shape[2:]))
        for start in range(0, depth, _SLAB):
            step(begun + share * start / depth)
            stop = min(start + _SLAB, depth)
            answer[:, :, start:stop] = _convolved(values, layer, start, stop)
        if self._normalises:
            _normalise_channels(answer)
        for start in range(0, depth, _SLAB):
            slab = answer[:, :, start : start + _SLAB]
            slab.copy_(self._activation(slab))
        return answer


def _layers_of(
    described: Sequence[Mapping[str, Any]], tensors: Mapping[str, torch.Tensor]
) -> list[_Layer]:
    names = sorted(
        (name.removesuffix("weight") for name in tensors if name.endswith("weight")), key=_place
    )
    if len(names) != len(described):
        raise ModelError(
            f"The weights have {len(names)} layers, model.json describes {len(described)}."
        )
    layers, channels = [], 1
    for name, entry in zip(names, described, strict=True):
        weight = tensors[f"{name}weight"].float()
        kernel = int(entry["kernel_size"])
        if weight.ndim != 5 or weight.shape[1:] != (channels, kernel, kernel, kernel):
            raise ModelError(
                "The weights do not fit the layers of model.json.",
                detail=f"{name}: {tuple(weight.shape)}",
            )
        bias = tensors.get(f"{name}bias")
        padding, dilation = int(entry["padding"]), int(entry["dilation"])
        if 2 * padding != dilation * (kernel - 1):
            raise ModelError("A layer of model.json changes the size of the image.")
        layers.append(_Layer(weight, None if bias is None else bias.float(), padding, dilation))
        channels = int(weight.shape[0])
    return layers


def _place(name: str) -> tuple[int, ...]:
    """`model.10.0.` after `model.9.0.`."""
    return tuple(int(part) for part in name.split(".") if part.isdigit())


def _convolved(values: torch.Tensor, layer: _Layer, start: int, stop: int) -> torch.Tensor:
    """What a layer says of the planes from `start` to `stop`, zero beyond the image."""
    low, high = start - layer.padding, stop + layer.padding
    part = values[:, :, max(low, 0) : high]
    missing = (max(-low, 0), max(high - values.shape[2], 0))
    if any(missing):
        part = functional.pad(part, (0, 0, 0, 0, *missing))
    return functional.conv3d(
        part,
        layer.weight,
        layer.bias,
        padding=(0, layer.padding, layer.padding),
        dilation=layer.dilation,
    )


def _normalise_channels(values: torch.Tensor) -> None:
    """Each channel to mean 0 and variance 1 over the image, in place (GroupNorm, one a group)."""
    for channel in values[0]:
        mean = channel.mean(dtype=torch.float64)
        variance = sum(((part.double() - mean) ** 2).sum() for part in channel)
        spread = torch.sqrt(variance / channel.numel() + 1e-5)  # torch's own epsilon
        channel.sub_(mean.to(channel.dtype)).div_(spread.to(channel.dtype))


def _classes(
    values: torch.Tensor, layer: _Layer, step: Step, begun: float
) -> npt.NDArray[np.uint8]:
    """The last layer, of which only the largest answer is kept."""
    depth = values.shape[2]
    labels = np.empty(values.shape[2:], np.uint8)
    for start in range(0, depth, _SLAB):
        step(begun + (1 - begun) * start / depth)
        stop = min(start + _SLAB, depth)
        scores = _convolved(values, layer, start, stop)
        if not bool(torch.isfinite(scores.sum())):
            raise not_finite()
        labels[start:stop] = scores[0].argmax(dim=0).to(torch.uint8).cpu().numpy()
    return labels
