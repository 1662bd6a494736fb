"""What segmentation of pictures and of volumes have in common."""

from collections.abc import Sequence

import torch
from torch import nn

from medview.learning.augment import random_patches
from medview.learning.config import AugmentConfig, LossConfig
from medview.learning.losses import make_loss
from medview.learning.tasks.task import Recipe, Task

#: An image (channels first) and class numbers, for one case or a batch.
Pair = tuple[torch.Tensor, torch.Tensor]


class LabelMaps(Task):
    """A class number for each pixel or voxel, learnt from random patches."""

    losses = frozenset({"cross_entropy", "mse", "focal", "dice", "dice_ce"})
    watched = "dice"

    def __init__(self, recipe: Recipe, loss: LossConfig, augment: AugmentConfig) -> None:
        super().__init__(recipe, loss, augment)
        self._loss = make_loss(loss.name, loss.class_weights)

    def batch(self, prepared: Sequence[Pair], generator: torch.Generator) -> Pair:
        """Give patches (N, C, ...) and class numbers (N, 1, ...) of the recipe's patch shape."""
        return random_patches(prepared, self.recipe.patch, self.augment, generator)

    def loss(self, answer: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Give the loss of logits (N, classes, ...)."""
        if isinstance(self._loss, nn.Module):
            self._loss.to(answer.device)
        return self._loss(answer, target)
