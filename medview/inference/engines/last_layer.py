"""The last layer of a network, done once for each voxel instead of once for each window.

Many networks end in a convolution that looks at one voxel at a time and makes many classes out of
few channels. Adding up windows and interpolating are weighted sums, and so is that layer: it may
as well come last. Then the few channels are added up, and the classes made of their sums.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from medview.imaging.arg_max import Mix

#: How far both ways may be apart, by the largest score: rounding.
_TOLERANCE = 1e-4


def finest(answer: object) -> torch.Tensor:
    """The answer itself; networks with deep supervision give several, the finest first."""
    first = answer[0] if isinstance(answer, list | tuple) else answer
    assert isinstance(first, torch.Tensor)  # noqa: S101  (what networks are asked for)
    return first


def without_last_layer(network: nn.Module, example: torch.Tensor) -> tuple[nn.Module, Mix] | None:
    """A network up to its last layer, and that layer as (classes, channels + 1), the bias last.

    None where the last layer is another one, or makes no more classes than it has channels.
    `example` (1, C, ...) shows what the network does: only what agrees on it is believed. The new
    network shares its weights with the old one.
    """
    if isinstance(network, torch.jit.ScriptModule):
        return None
    answer, layer = _answer_and_layer(network, example)
    if layer is None:
        return None
    body = _with_gap(network, layer)
    weight = layer.weight.detach().flatten(1)
    bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach()
    channels = finest(body(example))
    if channels.shape[1:] != (weight.shape[1], *answer.shape[2:]):
        return None
    made = torch.einsum("cf,nf...->nc...", weight, channels)
    made += bias.reshape(-1, *[1] * (answer.ndim - 2))
    if float((made - answer).abs().max()) > _TOLERANCE * max(1.0, float(answer.abs().max())):
        return None
    mix = torch.cat([weight, bias[:, None]], dim=1).cpu().numpy()
    return body, np.ascontiguousarray(mix, dtype=np.float32)


def _answer_and_layer(
    network: nn.Module, example: torch.Tensor
) -> tuple[torch.Tensor, nn.Conv2d | nn.Conv3d | None]:
    """The answer, and the layer that gave it as it is, if it is one that may come later."""
    gave: list[tuple[nn.Conv2d | nn.Conv3d, torch.Tensor]] = []

    def note(module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        assert isinstance(module, nn.Conv2d | nn.Conv3d)  # noqa: S101  (hooked below)
        gave.append((module, output))

    hooks = [one.register_forward_hook(note) for one in network.modules() if _may_wait(one)]
    try:
        answer = finest(network(example))
    finally:
        for hook in hooks:
            hook.remove()
    layers = [layer for layer, output in gave if output is answer]
    return answer, layers[0] if layers else None


def _may_wait(module: nn.Module) -> bool:
    """Whether a layer makes more classes out of channels, each voxel by itself."""
    return (
        isinstance(module, nn.Conv2d | nn.Conv3d)
        and set(module.kernel_size) == set(module.stride) == {1}
        and (module.padding == "valid" or set(module.padding) == {0})
        and module.groups == 1
        and module.out_channels > module.in_channels
    )


def _with_gap(module: nn.Module, layer: nn.Module) -> nn.Module:
    """The same modules with nothing in the place of one; only what holds it is copied."""
    if module is layer:
        return nn.Identity()
    copied = copy.copy(module)
    children: dict[str, nn.Module | None] = vars(module)["_modules"]
    vars(copied)["_modules"] = {
        name: child
        if child is None or all(one is not layer for one in child.modules())
        else _with_gap(child, layer)
        for name, child in children.items()
    }
    return copied
