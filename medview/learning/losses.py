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
