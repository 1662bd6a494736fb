"""Classification of flat pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from medview.core.errors import ReadError
from medview.inference.networks.readings import class_logits, probabilities_of
from medview.learning.augment import changed, random_grid, sampled
from medview.learning.config import AugmentConfig, LossConfig
from medview.learning.data import Case
from medview.learning.losses import make_class_loss
from medview.learning.metrics import class_figures, class_tables
from medview.learning.pictures import read_picture
from medview.learning.tasks.masks import refuse_other_than_flat
from medview.learning.tasks.task import Recipe, Scored, Task

Prepared = tuple[torch.Tensor, int]


@dataclass(frozen=True)
class Named:
    """A picture with the number of its class."""

    picture: npt.NDArray[Any]
    number: int


class Classification(Task):
    """One class for a whole picture; of two classes the second is the one that is looked for."""

    losses = frozenset({"cross_entropy", "mse", "focal"})
    watched = "auroc"

    def __init__(self, recipe: Recipe, loss: LossConfig, augment: AugmentConfig) -> None:
        super().__init__(recipe, loss, augment)
        refuse_other_than_flat(recipe)
        self.flat = recipe.flat()
        if len(recipe.classes) < 2:
            raise ReadError("Telling classes apart needs two of them in the data set.")
        self._loss = make_class_loss(loss.name, loss.class_weights, loss.smoothing)

    def read(self, case: Case) -> Named:
        """Read one picture; its class must be one of the recipe's."""
        if case.answer not in self.recipe.classes:
            raise ReadError(f"{case.answer!r} is not one of {', '.join(self.recipe.classes)}")
        return Named(read_picture(case), self.recipe.classes.index(case.answer))

    def prepare(self, example: Named) -> Prepared:
        """Give image (C, rows, columns) and class number."""
        return self.flat.to_input(example.picture), example.number

    def batch(
        self, prepared: Sequence[Prepared], generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Give pictures (N, C, rows, columns) and the probability of each class (N, classes).

        With mixup, every picture is by chance partly another one, and so is its class.
        """
        images = []
        for image, _ in prepared:
            grid = random_grid(image.shape[1:], self.recipe.patch, self.augment, generator)
            images.append(changed(sampled(image, grid, generator), self.augment, generator))
        batch = torch.stack(images)
        numbers = torch.tensor([number for _, number in prepared])
        target = nn.functional.one_hot(numbers, len(self.recipe.classes)).float()
        if self.augment.mixup > 0:
            seed = int(torch.randint(2**31, (), generator=generator))
            drawn = np.random.default_rng(seed).beta(self.augment.mixup, self.augment.mixup)
            other = torch.randperm(len(batch), generator=generator)
            share = float(max(drawn, 1 - drawn))
            batch = share * batch + (1 - share) * batch[other]
            target = share * target + (1 - share) * target[other]
        return batch, target

    def loss(self, answer: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Give the loss of logits (N, classes)."""
        return self._loss(answer, target)

    def answer(self, network: nn.Module, example: Named) -> npt.NDArray[np.float64]:
        """Give the logits (classes,), mirrored views averaged."""
        return class_logits(network, example.picture, self.flat)

    def score(
        self, case: Case, example: Named, answer: npt.NDArray[np.float64], *, thorough: bool
    ) -> Scored:
        """Give the true class and the probabilities at the recipe's temperature."""
        del thorough
        probabilities = probabilities_of(answer, self.recipe.temperature)
        numbers = {"truth": float(example.number)}
        if len(probabilities) == 2:
            numbers["probability"] = float(probabilities[1])
        else:
            names = self.recipe.classes
            numbers |= {
                f"probability_{n}": float(p) for n, p in zip(names, probabilities, strict=True)
            }
        return Scored(case, numbers, (probabilities, answer))

    def figures(self, scored: Sequence[Scored]) -> dict[str, float]:
        """Give AUROC, AUPRC, accuracy, sensitivity at 90 % specificity and calibration error."""
        truth = np.array([one.numbers["truth"] for one in scored]).astype(int)
        return class_figures(truth, np.stack([one.evidence[0] for one in scored]))

    def tables(self, scored: Sequence[Scored]) -> dict[str, Any]:
        """Give the confusion matrix, the ROC curve and the reliability curve."""
        truth = np.array([one.numbers["truth"] for one in scored]).astype(int)
        return class_tables(truth, np.stack([one.evidence[0] for one in scored]))

    def channels_wanted(self) -> int:
        """Give one logit a class."""
        return len(self.recipe.classes)

    def answer_shape(self) -> tuple[int, ...]:
        """Give the shape of the answer to one patch."""
        return (self.channels_wanted(),)
