"""Which places of a picture or volume moved a network's answer; importing this loads captum.

It explains the network, not the patient: a network that is wrong explains its mistake as readily.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from captum.attr import IntegratedGradients, LayerGradCam
from torch import nn
from torch.nn import functional

from medview.core.errors import ModelError
from medview.inference.networks.ensemble import Ensemble
from medview.inference.networks.windows import continued

#: Points of the path on which integrated gradients are summed, and how many are asked at a time.
_STEPS = 24
_TOGETHER = 4
_MODES = {2: "bilinear", 3: "trilinear"}


class ClassScore(nn.Module):
    """(N, C, x, y...) to (N,): the logit of a class against the mean of the others.

    With `alone` its own logit: the classes do not exclude each other.
    """

    def __init__(self, network: nn.Module, number: int, *, alone: bool = False) -> None:
        super().__init__()
        self.network = network
        self.number = number
        self.alone = alone

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Give the score."""
        logits = self.network(image)
        score: torch.Tensor = logits[:, self.number]
        if self.alone or logits.shape[1] == 1:
            return score
        others: torch.Tensor = (logits.sum(dim=1) - score) / (logits.shape[1] - 1)
        return score - others


class BoxScore(nn.Module):
    """(N, C, x, y...) to (N,): the highest logit of a class among the cells of a box."""

    def __init__(self, network: nn.Module, number: int, cells: Sequence[slice]) -> None:
        super().__init__()
        self.network = network
        self.number = number
        self.cells = tuple(cells)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Give the score."""
        heat = self.network(image)[(slice(None), self.number, *self.cells)]
        score: torch.Tensor = heat.flatten(1).amax(dim=1)
        return score


def explain(
    network: nn.Module,
    score_of: Callable[[nn.Module], nn.Module],
    image: torch.Tensor,
    method: str = "grad_cam",
) -> torch.Tensor:
    """Give for every place of a network's input how much it moved a score up or down.

    `image` is (C, x, y...), the map (x, y...), on the CPU. `grad_cam` weighs the maps of the last
    layer that has places by their gradients (Selvaraju et al., arXiv:1610.02391), signs kept;
    `integrated_gradients` sums gradients on the way from an input of its mean value
    (Sundararajan et al., arXiv:1703.01365). Members of an ensemble are explained one by one and
    averaged. KeyError for other methods, ModelError for networks without such a layer.
    """
    way = {"grad_cam": _grad_cam, "integrated_gradients": _integrated}[method]
    divisor = int(getattr(network, "divisor", 1))
    sides = [math.ceil(size / divisor) * divisor for size in image.shape[1:]]
    device = next(network.parameters()).device
    whole = continued(image[None].to(device), sides)
    members = list(network.members) if isinstance(network, Ensemble) else [network]
    maps = [way(member, score_of(member), whole) for member in members]
    found = torch.stack(maps).mean(dim=0).float().cpu()
    return found[tuple(slice(0, size) for size in image.shape[1:])]


def _grad_cam(network: nn.Module, score: nn.Module, image: torch.Tensor) -> torch.Tensor:
    layer = _last_layer_with_places(network)
    found = LayerGradCam(score, layer).attribute(image, relu_attributions=False).detach()
    spread: torch.Tensor = functional.interpolate(
        found, size=image.shape[2:], mode=_MODES[image.ndim - 2], align_corners=False
    )
    return spread[0, 0]


def _integrated(network: nn.Module, score: nn.Module, image: torch.Tensor) -> torch.Tensor:
    del network
    found: torch.Tensor = IntegratedGradients(score).attribute(
        image,
        baselines=image.mean(dim=tuple(range(2, image.ndim)), keepdim=True).expand_as(image),
        n_steps=_STEPS,
        internal_batch_size=_TOGETHER,
    )
    return found.detach()[0].sum(dim=0)


def _last_layer_with_places(network: nn.Module) -> nn.Module:
    """What the network itself names as `places`, else its last convolution."""
    named = getattr(network, "places", None)
    if isinstance(named, nn.Module):
        return named
    convolutions = [part for part in network.modules() if isinstance(part, nn.Conv2d | nn.Conv3d)]
    if not convolutions:
        raise ModelError("The network has no layer that Grad-CAM could explain.")
    return convolutions[-1]
