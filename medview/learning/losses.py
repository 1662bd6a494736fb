"""The losses a configuration can name, all as (logits, target) to one number."""

from collections.abc import Callable, Sequence

import torch
from monai.losses import DiceCELoss, DiceLoss, FocalLoss
from torch import nn

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class MeanSquaredError(nn.Module):
    """Mean squared distance between class probabilities and the one-hot target (Brier score)."""

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Take logits (N, C, ...) and class numbers (N, 1, ...)."""
        truth = nn.functional.one_hot(target[:, 0], logits.shape[1]).movedim(-1, 1)
        return (logits.softmax(dim=1) - truth).square().mean()


class CrossEntropy(nn.Module):
    """Cross-entropy of class numbers (N, 1, ...) under logits (N, C, ...)."""

    def __init__(self, weight: torch.Tensor | None) -> None:
        super().__init__()
        self.loss = nn.CrossEntropyLoss(weight=weight)

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Average over all voxels, weighted by class."""
        result: torch.Tensor = self.loss(logits, target[:, 0])
        return result


def make_loss(name: str, class_weights: Sequence[float] = ()) -> Loss:
    """Build the loss for logits (N, C, ...) and class numbers (N, 1, ...).

    Dice leaves the background out and pools each batch (Milletari et al., arXiv:1606.04797);
    focal is Lin et al., arXiv:1708.02002. `class_weights` starts with the background.
    """
    weight = torch.tensor(class_weights) if class_weights else None
    inner = weight[1:] if weight is not None else None
    match name:
        case "cross_entropy":
            loss: Loss = CrossEntropy(weight)
        case "mse":
            loss = MeanSquaredError()
        case "dice":
            loss = DiceLoss(
                include_background=False, to_onehot_y=True, softmax=True, batch=True, weight=inner
            )
        case "dice_ce":
            loss = DiceCELoss(
                include_background=False, to_onehot_y=True, softmax=True, batch=True, weight=weight
            )
        case "focal":
            loss = FocalLoss(to_onehot_y=True, use_softmax=True, weight=weight)
        case _:
            raise ValueError(f"unknown loss {name!r}")
    return loss


def make_class_loss(
    name: str,
    class_weights: Sequence[float] = (),
    smoothing: float = 0.0,
    *,
    multi_label: bool = False,
) -> Loss:
    """Build the loss for logits (N, C) and probabilities of each class (N, C).

    `smoothing` mixes that share of equal probabilities into the target (Szegedy et al.,
    arXiv:1512.00567). mse is the Brier score; focal weighs each image by how wrong it still is.
    With `multi_label` each class is a question of its own, there or not.
    """
    if name not in {"cross_entropy", "mse", "focal"}:
        raise ValueError(f"unknown loss for classes {name!r}")
    weight = torch.tensor(class_weights) if class_weights else None

    def loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if multi_label:  # each class against its own absence
            pairs = torch.stack([torch.zeros_like(logits), logits], dim=2)
            truth = torch.stack([1 - target, target], dim=2)
        else:
            pairs, truth = logits[:, None], target[:, None]
        truth = (1 - smoothing) * truth + smoothing / truth.shape[2]
        if name == "mse":
            return (pairs.softmax(dim=2) - truth).square().mean()
        log_probability = pairs.log_softmax(dim=2)
        each = -truth * log_probability
        if name == "focal":
            each = each * (1 - log_probability.exp()).square()
        if weight is not None:
            weights = weight.to(each.device)
            each = each * (weights[:, None] if multi_label else weights)
        return each.sum(dim=2).mean()

    return loss


def depth_loss(answer: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Give the loss of logits of foreground and depth (N, 2, ...) under three maps (N, 3, ...).

    Foreground: cross-entropy, ten times as strong where the third map says that two objects
    nearly touch, and Dice. Depth: cross-entropy with the depth as a probability, which is least
    where they agree, and the absolute difference within objects.
    """
    inside, depth, border = target[:, 0], target[:, 1], target[:, 2]
    entropy = nn.functional.binary_cross_entropy_with_logits(
        answer[:, 0], inside, weight=1 + 9 * border
    )
    found = answer[:, 0].sigmoid()
    dice = 1 - (2 * (found * inside).sum() + 1) / (found.sum() + inside.sum() + 1)
    shaped = nn.functional.binary_cross_entropy_with_logits(
        answer[:, 1], depth, weight=1 + 2 * inside
    )
    distance = (answer[:, 1].sigmoid() - depth).abs() * inside
    return entropy + dice + shaped + distance.sum() / inside.sum().clamp(min=1)
