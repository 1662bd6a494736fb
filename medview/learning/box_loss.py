"""What the cells of a detector should answer, and how far its answers are from that."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

#: The bump around a middle reaches over this share of the box (Liu et al., arXiv:1909.00700).
_SHARE = 0.54
#: Where a bump is lower it counts as nothing.
_LEAST = 0.01


@dataclass(frozen=True)
class BoxTarget:
    """One image's target: bumps (classes, ...), boxes (4 or 6, ...) and their weights (...)."""

    heat: torch.Tensor
    boxes: torch.Tensor
    weight: torch.Tensor


def box_target(
    boxes: torch.Tensor,
    numbers: torch.Tensor,
    classes: int,
    shape: Sequence[int],
    stride: int,
) -> BoxTarget:
    """Give the target of boxes (n, 4: top, left, bottom, right in pixels) on a grid of cells.

    In volumes boxes are (n, 6: low x, y, z, high x, y, z).

    Every box raises a bump of its own size, 1 at the cell of its middle; the cells of the bump
    learn the box, a small box before a large one, weighted by the bump and so that small boxes
    count about as much as large ones (after Liu et al., arXiv:1909.00700).
    """
    axes = len(shape)
    heat = torch.zeros(classes, *shape)
    reach, weight = torch.zeros(2 * axes, *shape), torch.zeros(*shape)
    sides = boxes[:, axes:] - boxes[:, :axes]
    sizes = sides.prod(dim=1)
    middles = ((boxes[:, :axes] + boxes[:, axes:]) / 2 / stride).floor()
    middles = torch.minimum(middles, torch.tensor([n - 1.0 for n in shape]))
    widths = (_SHARE * sides / 2 / stride / 3).clamp(min=0.35)
    for index in sizes.argsort(descending=True).tolist():
        along = zip(middles[index].tolist(), widths[index].tolist(), shape, strict=True)
        profiles = [_profile(*one) for one in along]
        bump = functools.reduce(
            lambda bump, heights: bump[..., None] * heights, (heights for _, heights in profiles)
        )
        bump[bump < _LEAST] = 0
        place = tuple(cells for cells, _ in profiles)
        own = heat[int(numbers[index])][place]
        own.copy_(torch.maximum(own, bump))
        inside = bump > 0
        around = reach[(slice(None), *place)]
        around.copy_(torch.where(inside, boxes[index].reshape(-1, *[1] * axes), around))
        strength = bump / bump.sum() * (1 + sizes[index].clamp(min=1).log())
        weight[place] = torch.where(inside, strength, weight[place])
    return BoxTarget(heat, reach, weight)


def _profile(middle: float, width: float, length: int) -> tuple[slice, torch.Tensor]:
    """Give the cells along an axis that a bump reaches, and how high it is there."""
    far = width * math.sqrt(-2 * math.log(_LEAST))
    cells = slice(max(0, math.ceil(middle - far)), min(length, math.floor(middle + far) + 1))
    away = torch.arange(cells.start, cells.stop, dtype=torch.float32) - middle
    return cells, torch.exp(-((away / width) ** 2) / 2)


def box_loss(
    answer: torch.Tensor, target: Sequence[BoxTarget], classes: int, stride: int
) -> torch.Tensor:
    """Give the loss of maps (N, classes + 4 or 6, ...): focal for middles, GIoU for boxes.

    The focal loss of Zhou et al., arXiv:1904.07850, by the number of middles, and five times the
    generalised intersection over union of Rezatofighi et al., arXiv:1902.09630.
    """
    device = answer.device
    heat = torch.stack([one.heat for one in target]).to(device)
    logits = answer[:, :classes]
    sure = functional.logsigmoid(logits)
    unsure = functional.logsigmoid(-logits)
    middles = heat >= 1.0
    near = (1 - heat) ** 4 * logits.sigmoid() ** 2 * unsure
    each = torch.where(middles, logits.neg().sigmoid() ** 2 * sure, near)
    focal = -each.sum() / middles.sum().clamp(min=1)

    weight = torch.stack([one.weight for one in target]).to(device)
    place = weight > 0
    if not place.any():
        return focal
    boxes = torch.stack([one.boxes for one in target]).to(device).movedim(1, -1)[place]
    reach = answer[:, classes:].clamp(max=8.0).exp().movedim(1, -1)[place]
    cells = place.nonzero()[:, 1:].float().add(0.5).mul(stride)
    axes = cells.shape[1]
    mine = torch.cat([cells - reach[:, :axes], cells + reach[:, axes:]], dim=1)
    share = weight[place] / weight.sum()
    return focal + 5 * ((1 - generalised_overlap(mine, boxes)) * share).sum()


def generalised_overlap(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Give GIoU of pairs of boxes (n, 4 or 6), -1 to 1 (Rezatofighi et al., arXiv:1902.09630)."""
    axes = first.shape[1] // 2
    low = torch.maximum(first[:, :axes], second[:, :axes])
    high = torch.minimum(first[:, axes:], second[:, axes:])
    shared = (high - low).clamp(min=0).prod(dim=1)
    sizes = [
        (boxes[:, axes:] - boxes[:, :axes]).clamp(min=0).prod(dim=1) for boxes in (first, second)
    ]
    union = (sizes[0] + sizes[1] - shared).clamp(min=1e-6)
    around = torch.maximum(first[:, axes:], second[:, axes:])
    around = around - torch.minimum(first[:, :axes], second[:, :axes])
    hull = around.prod(dim=1).clamp(min=1e-6)
    return shared / union - (hull - union) / hull
