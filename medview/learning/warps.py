"""Pairs of pictures whose motion is known: a frame, and the same frame warped, noisy, dimmed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

from medview.inference.networks.flow import warped

#: No field is steeper than this, pixels a pixel: tissue stretches, and does not fold.
_STEEPEST = 0.6


@dataclass(frozen=True)
class Disturbance:
    """The largest amounts by which the two pictures of a pair differ.

    `motion_px` is the longest displacement; `speckle` the standard deviation of a noise that
    multiplies each picture (Goodman, J. Opt. Soc. Am. 66, 1145 (1976)), as a share; `gain` the
    natural logarithm of a factor on the second one.
    """

    motion_px: float
    speckle: float
    gain: float


#: What every model of motion is measured by.
EXAM = Disturbance(motion_px=15.0, speckle=0.2, gain=0.3)


def _uniform(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * torch.rand((), generator=generator).item()


def random_motion(
    size: tuple[int, int], longest_px: float, generator: torch.Generator
) -> torch.Tensor:
    """Give a smooth random field (2, rows, columns) of displacements to the right and down.

    A shift, a turn and a stretch of the whole, and bumps of two sizes between 40 pixels and the
    whole picture. The longest displacement is drawn below `longest_px`; a field that would be
    steeper than 0.6 is made weaker.
    """
    rows, columns = size
    side = float(max(size))
    down = torch.linspace(-1, 1, rows)[:, None] * (rows / side)
    right = torch.linspace(-1, 1, columns) * (columns / side)
    turn = torch.randn(2, 2, generator=generator) * 0.5
    shift = torch.randn(2, generator=generator)
    field = torch.stack([
        shift[axis] + turn[axis, 0] * right + turn[axis, 1] * down for axis in range(2)
    ])  # fmt: skip
    field = field * _uniform(generator, 0, 1)
    for _ in range(2):
        bump_px = math.exp(_uniform(generator, math.log(40), math.log(max(side, 80))))
        nodes = [max(4, round(length / bump_px) + 3) for length in size]
        knots = torch.randn(1, 2, *nodes, generator=generator)
        bumps = functional.interpolate(knots, size=size, mode="bicubic", align_corners=True)[0]
        field = field + bumps * _uniform(generator, 0, 1)
    return _limited(field, _uniform(generator, 0.1, 1.0) * longest_px)


def _limited(field: torch.Tensor, longest_px: float) -> torch.Tensor:
    """Scale a field to its longest displacement, or to less where it would be too steep."""
    field = field * (longest_px / field.norm(dim=0).max().clamp(min=1e-6))
    steep = max(field.diff(dim=axis).abs().max().item() for axis in (1, 2))
    return field * min(1.0, _STEEPEST / max(steep, 1e-6))


def moved_pair(
    frame: torch.Tensor, motion: torch.Tensor, most: Disturbance, generator: torch.Generator
) -> torch.Tensor:
    """Give two pictures (2, rows, columns) of which the second is `frame` (rows, columns).

    The first shows at x what the second shows at x + motion. Each has a speckle of its own, as
    coarse as a pixel or two, and the second another gain.
    """
    first = warped(frame[None, None], motion[None])[0, 0]
    strength = most.speckle * _uniform(generator, 0, 1)
    gain = math.exp(_uniform(generator, -most.gain, most.gain))
    coarse = _uniform(generator, 0, 1) < 0.5
    return torch.stack([
        _speckled(first, strength, generator, coarse=coarse),
        _speckled(frame, strength, generator, coarse=coarse) * gain,
    ])  # fmt: skip


def _speckled(
    picture: torch.Tensor, strength: float, generator: torch.Generator, *, coarse: bool
) -> torch.Tensor:
    noise = torch.randn(picture.shape, generator=generator)
    if coarse:  # neighbours are alike; twice the mean of 2 x 2 keeps the strength
        noise = 2 * functional.avg_pool2d(functional.pad(noise[None], (0, 1, 0, 1)), 2, 1)[0]
    speckled: torch.Tensor = picture * (1 + strength * noise)
    return speckled


def end_point_error(found: torch.Tensor, motion: torch.Tensor) -> torch.Tensor:
    """Give the mean distance in pixels between two fields (..., 2, rows, columns).

    Over the places that the motion leaves inside the picture: of the others nothing can be known.
    (Baker et al., IJCV 92, 1 (2011).)
    """
    rows, columns = motion.shape[-2:]
    right = torch.arange(columns, device=motion.device) + motion[..., 0, :, :]
    down = torch.arange(rows, device=motion.device)[:, None] + motion[..., 1, :, :]
    inside = (right >= 0) & (right <= columns - 1) & (down >= 0) & (down <= rows - 1)
    distance: torch.Tensor = (found - motion).norm(dim=-3)
    return (distance * inside).sum() / inside.sum().clamp(min=1)
