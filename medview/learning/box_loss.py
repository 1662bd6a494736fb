"""What the cells of a detector should answer, and how far its answers are from that."""

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
    """One picture's target: bumps (classes, r, c), boxes (4, r, c) and their weights (r, c)."""

    heat: torch.Tensor
    boxes: torch.Tensor
    weight: torch.Tensor


def box_target(
    boxes: torch.Tensor,
    numbers: torch.Tensor,
    classes: int,
    shape: tuple[int, int],
    stride: int,
) -> BoxTarget:
    """Give the target of boxes (n, 4: top, left, bottom, right in pixels) on a grid of cells.

    Every box raises a bump of its own size, 1 at the cell of its middle; the cells of the bump
    learn the box, a small box before a large one, weighted by the bump and so that small boxes
    count about as much as large ones (after Liu et al., arXiv:1909.00700).
    """
    heat = torch.zeros(classes, *shape)
    reach, weight = torch.zeros(4, *shape), torch.zeros(shape)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    middles = ((boxes[:, :2] + boxes[:, 2:]) / 2 / stride).floor()
    middles = torch.minimum(middles, torch.tensor([shape[0] - 1.0, shape[1] - 1.0]))
    widths = (_SHARE * (boxes[:, 2:] - boxes[:, :2]) / 2 / stride / 3).clamp(min=0.35)
    for index in areas.argsort(descending=True).tolist():
        sides = zip(middles[index].tolist(), widths[index].tolist(), shape, strict=True)
        (rows, down), (columns, across) = (_profile(*side) for side in sides)
        bump = down[:, None] * across[None]
        bump[bump < _LEAST] = 0
        place = (rows, columns)
        own = heat[int(numbers[index])][place]
        own.copy_(torch.maximum(own, bump))
        inside = bump > 0
        reach[:, rows, columns] = torch.where(
            inside, boxes[index, :, None, None], reach[:, rows, columns]
        )
        strength = bump / bump.sum() * (1 + areas[index].clamp(min=1).log())
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
    """Give the loss of maps (N, classes + 4, r, c): focal for middles, GIoU for boxes.

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
    mine = torch.cat([cells - reach[:, :2], cells + reach[:, 2:]], dim=1)
    share = weight[place] / weight.sum()
    return focal + 5 * ((1 - generalised_overlap(mine, boxes)) * share).sum()


def generalised_overlap(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Give GIoU of pairs of boxes (n, 4), from -1 to 1 (Rezatofighi et al., arXiv:1902.09630)."""
    low = torch.maximum(first[:, :2], second[:, :2])
    high = torch.minimum(first[:, 2:], second[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1) for boxes in (first, second)]
    union = (areas[0] + areas[1] - shared).clamp(min=1e-6)
    around = torch.maximum(first[:, 2:], second[:, 2:]) - torch.minimum(first[:, :2], second[:, :2])
    hull = around.prod(dim=1).clamp(min=1e-6)
    return shared / union - (hull - union) / hull
