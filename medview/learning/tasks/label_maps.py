"""What segmentation of pictures and of volumes have in common."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from medview.imaging.measure import expected_dice
from medview.learning.augment import random_patches
from medview.learning.config import AugmentConfig, LossConfig
from medview.learning.losses import make_loss
from medview.learning.metrics import (
    dice_score,
    hausdorff95_mm,
    relative_volume_error,
    surface_dice,
)
from medview.learning.tasks.task import Recipe, Scored, Task, means

#: An image (channels first) and class numbers, for one case or a batch.
Pair = tuple[torch.Tensor, torch.Tensor]
Labels = npt.NDArray[np.uint8]


def shape_doubt(mask: npt.NDArray[np.bool_], chances: npt.NDArray[np.floating[Any]]) -> float:
    """Give 1 - expected Dice of a mask; where it is empty the highest probability there is."""
    return 1 - expected_dice(mask, chances) if mask.any() else float(chances.max())


class LabelMaps(Task):
    """A class number for each pixel or voxel, learnt from random patches."""

    losses = frozenset({"cross_entropy", "mse", "focal", "dice", "dice_ce"})
    watched = "dice"
    doubt_words = (
        "1 - expected Dice, mean over the structures (of one that is not found: the highest "
        "probability of it)"
    )
    #: The unit of distances, and what the size of a structure is called.
    unit: ClassVar[str]
    size: ClassVar[str]

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

    @abstractmethod
    def chances(self, network: nn.Module, example: Any) -> npt.NDArray[np.float32]:
        """Give the probability of each class, background first, on the image's own grid."""

    def doubt(self, network: nn.Module, example: Any) -> float:
        """Give what is missing of full agreement with the truth, as far as probabilities tell."""
        chances = self.chances(network, example)
        found = chances.argmax(axis=0)
        return float(np.mean([shape_doubt(found == n, chances[n]) for n in range(1, len(chances))]))

    def compare(
        self, answer: Labels, truth: Labels, spacing: Sequence[float], *, thorough: bool
    ) -> dict[str, float]:
        """Compare two label maps; distances in the unit of `spacing`, the size as a share.

        A structure that was missed altogether is as far off as the field of view is wide.
        """
        farthest = math.dist([0.0] * len(spacing), np.multiply(truth.shape, spacing))
        tolerance = self.recipe.surface_tolerance or min(spacing)
        numbers: dict[str, float] = {}
        for number, name in enumerate(self.recipe.keys, start=1):
            mine, own = answer == number, truth == number
            numbers[f"dice_{name}"] = dice_score(mine, own)
            if thorough:
                distance = hausdorff95_mm(mine, own, spacing)
                numbers[f"hd95_{self.unit}_{name}"] = min(distance, farthest)
                numbers[f"surface_dice_{name}"] = surface_dice(mine, own, spacing, tolerance)
        if thorough:
            numbers[f"{self.size}_error"] = relative_volume_error(answer > 0, truth > 0)
        return numbers

    def figures(self, scored: Sequence[Scored]) -> dict[str, float]:
        """Give the mean of every score, and the median of the error of the size."""
        error = f"{self.size}_error"
        figures = means(scored, [name for name in scored[0].numbers if name != error])
        if error in scored[0].numbers:
            figures[f"{error}_median"] = float(np.median([one.numbers[error] for one in scored]))
        return figures

    def tables(self, scored: Sequence[Scored]) -> dict[str, Any]:
        """Give how many cases have at most which Dice: (Dice, share of the cases)."""
        shares = (np.arange(len(scored)) + 1) / len(scored)
        wanted = {
            title: sorted(one.numbers[name] for one in scored)
            for key, called in zip(self.recipe.keys, self.recipe.classes, strict=True)
            for name, title in (
                (f"dice_{key}", f"Dice {called}"),
                (f"surface_dice_{key}", f"surface Dice {called}"),
            )
            if name in scored[0].numbers
        }
        return {
            "cases": {
                title: [[float(v), float(s)] for v, s in zip(values, shares, strict=True)]
                for title, values in wanted.items()
            }
        }

    def definitions(self) -> dict[str, str]:
        """Say what counts as agreement of surfaces, and what an absent structure scores."""
        unit = {"mm": "mm", "px": "pixels"}[self.unit]
        tolerance = self.recipe.surface_tolerance
        apart = f"{tolerance:g} {unit}" if tolerance else "1 voxel (its shortest edge)"
        if not tolerance and self.unit == "px":
            apart = "1 pixel"
        return {
            "dice": "a structure that is in neither map scores 1, one that is in one of them 0",
            "hd95": "a structure that is in one map only is as far off as the image is wide",
            "surface_dice": f"the share of both surfaces at most {apart} from the other "
            "(Nikolov et al., arXiv:1809.04430)",
        }

    def headline(self, figures: Mapping[str, float]) -> float:
        """Give the mean Dice over the classes."""
        return float(np.mean([figures[name] for name in self.headlines()]))

    def headlines(self) -> tuple[str, ...]:
        """Give the Dice of each class."""
        return tuple(f"dice_{name}" for name in self.recipe.keys)

    def channels_wanted(self) -> int:
        """Give one channel a class and one for the background."""
        return len(self.recipe.classes) + 1
