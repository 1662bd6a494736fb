"""Optimisers, learning-rate schedules and the running average of the weights."""

import copy
import math

import torch
from torch import nn

from medview.learning.config import OptimiserConfig, ScheduleConfig


def make_optimiser(network: nn.Module, config: OptimiserConfig) -> torch.optim.Optimizer:
    """Build the named optimiser; weight decay spares norms and biases, which have one axis."""
    groups = [
        {
            "params": [p for p in network.parameters() if p.ndim > 1],
            "weight_decay": config.weight_decay,
        },
        {"params": [p for p in network.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    match config.name:
        case "sgd":
            return torch.optim.SGD(
                groups, config.lr, momentum=config.momentum, nesterov=config.nesterov
            )
        case "adam":
            return torch.optim.Adam(groups, config.lr)
        case "adamw":
            return torch.optim.AdamW(groups, config.lr)
    raise ValueError(f"unknown optimiser {config.name!r}")


def learning_rate_factor(config: ScheduleConfig, epoch: float) -> float:
    """Give the share of the full learning rate at a fractional epoch.

    A linear warm-up, then: constant; cosine to zero (Loshchilov, arXiv:1608.03983); poly, power
    0.9; or one_cycle, whose warm-up is itself a half cosine (Smith, arXiv:1708.07120).
    """
    if epoch < config.warmup:
        share = epoch / config.warmup
        if config.name == "one_cycle":
            return 0.04 + 0.96 * 0.5 * (1.0 - math.cos(math.pi * share))
        return max(share, 0.01)
    rest = min(1.0, (epoch - config.warmup) / max(config.epochs - config.warmup, 1e-9))
    if config.name == "constant":
        return 1.0
    if config.name == "poly":
        return math.pow(1.0 - rest, 0.9)
    return 0.5 * (1.0 + math.cos(math.pi * rest))


class Average:
    """The exponential moving average of a network's weights and norms; early steps count more."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval()
        self.network.requires_grad_(requires_grad=False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move towards the network after optimiser step number `step`, counted from 1."""
        decay = min(self.decay, (1.0 + step) / (10.0 + step))
        for mean, value in zip(self.network.parameters(), network.parameters(), strict=True):
            mean.lerp_(value, 1.0 - decay)
        for kept, buffer in zip(self.network.buffers(), network.buffers(), strict=True):
            if buffer.dtype.is_floating_point:
                kept.lerp_(buffer, 1.0 - decay)
            else:
                kept.copy_(buffer)
