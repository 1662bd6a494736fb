"""What classification of pictures and of volumes have in common."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import special
from torch import nn

from medview.core.errors import ReadError
from medview.inference.networks.readings import probabilities_of
from medview.learning.augment import changed, random_grid, sampled
from medview.learning.config import AugmentConfig, LossConfig
from medview.learning.data import Case
from medview.learning.losses import make_class_loss
from medview.learning.metrics import class_figures, class_tables, label_figures, label_tables
from medview.learning.tasks.task import Recipe, Scored, Task

#: An image (C, ...) and which classes it shows (classes,), 0 or 1 each.
Prepared = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Named:
    """An image, and which classes it shows (classes,), 0 or 1 each."""

    image: Any
    shown: npt.NDArray[np.float32]


class Classes(Task):
    """Classes for a whole image.

    As a rule they exclude each other, and of two the second is the one that is looked for. With
    the recipe's `multi_label` each is there or not, whatever the others are.
    """

    losses = frozenset({"cross_entropy", "mse", "focal"})
    watched = "auroc"
    doubt_words = (
        "entropy of the probabilities at the model's temperature, by its largest value: 1 where "
        "all classes are alike (of classes that go together: the mean of theirs)"
    )

    def __init__(self, recipe: Recipe, loss: LossConfig, augment: AugmentConfig) -> None:
        super().__init__(recipe, loss, augment)
        if len(recipe.classes) < 2 and not recipe.multi_label:
            raise ReadError("Telling classes apart needs two of them in the data set.")
        self._loss = make_class_loss(
            loss.name, loss.class_weights, loss.smoothing, multi_label=recipe.multi_label
        )

    @abstractmethod
    def open(self, case: Case) -> Any:
        """Read and check the image of a case."""

    def read(self, case: Case) -> Named:
        """Read one image; its classes must be the recipe's."""
        names = case.answers if self.recipe.multi_label else (case.answer,)
        for name in names:
            if name not in self.recipe.classes:
                raise ReadError(f"{name!r} is not one of {', '.join(self.recipe.classes)}")
        shown = np.array([name in names for name in self.recipe.classes], np.float32)
        return Named(self.open(case), shown)

    def shows(self, example: Named) -> set[str]:
        """Give the classes that an image shows."""
        return {n for n, there in zip(self.recipe.classes, example.shown, strict=True) if there}

    def batch(
        self, prepared: Sequence[Prepared], generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Give images (N, C, ...) and the probability of each class (N, classes).

        With mixup, every image is by chance partly another one, and so are its classes.
        """
        images = []
        for image, _ in prepared:
            grid = random_grid(image.shape[1:], self.recipe.patch, self.augment, generator)
            images.append(changed(sampled(image, grid, generator), self.augment, generator))
        batch = torch.stack(images)
        target = torch.stack([shown for _, shown in prepared])
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

    def unlabelled(self, case: Case) -> Named:
        """Read one image alone."""
        return Named(self.open(case), np.zeros(len(self.recipe.classes), np.float32))

    def doubt(self, network: nn.Module, example: Named) -> float:
        """Give the entropy of the probabilities by its largest value."""
        recipe = self.recipe
        chances = probabilities_of(
            self.answer(network, example), recipe.temperature, multi_label=recipe.multi_label
        )
        if not recipe.multi_label:
            return float(special.entr(chances).sum() / math.log(len(chances)))
        each = special.entr(chances) + special.entr(1 - chances)
        return float(each.mean() / math.log(2))

    def score(
        self, case: Case, example: Named, answer: npt.NDArray[np.float64], *, thorough: bool
    ) -> Scored:
        """Give the true classes and the probabilities at the recipe's temperature."""
        del thorough
        recipe = self.recipe
        probabilities = probabilities_of(answer, recipe.temperature, multi_label=recipe.multi_label)
        numbers: dict[str, float] = {}
        if recipe.multi_label:
            numbers |= {
                f"truth_{n}": float(t) for n, t in zip(recipe.classes, example.shown, strict=True)
            }
        else:
            numbers["truth"] = float(example.shown.argmax())
        if len(probabilities) == 2 and not recipe.multi_label:
            numbers["probability"] = float(probabilities[1])
        else:
            numbers |= {
                f"probability_{n}": float(p)
                for n, p in zip(recipe.classes, probabilities, strict=True)
            }
        return Scored(case, numbers, (probabilities, example.shown))

    def figures(self, scored: Sequence[Scored]) -> dict[str, float]:
        """Give AUROC, AUPRC, accuracy, calibration error, and what else the classes allow."""
        probabilities, shown = self._evidence(scored)
        if self.recipe.multi_label:
            return label_figures(shown, probabilities, self.recipe.keys)
        return class_figures(shown.argmax(axis=1), probabilities)

    def tables(self, scored: Sequence[Scored]) -> dict[str, Any]:
        """Give the confusion matrix, and curves of ROC, precision and recall, and reliability."""
        probabilities, shown = self._evidence(scored)
        if self.recipe.multi_label:
            return label_tables(shown, probabilities, self.recipe.classes)
        return class_tables(shown.argmax(axis=1), probabilities, self.recipe.classes)

    def definitions(self) -> dict[str, str]:
        """Say what is looked for, and how probabilities are held against facts."""
        classes = self.recipe.classes
        if self.recipe.multi_label:
            looked_for = "means over the classes, each there or not"
        elif len(classes) == 2:
            looked_for = f"of {classes[1]}"
        else:
            looked_for = "means over the classes, each against the rest"
        return {
            "auroc": f"AUROC, AUPRC and sensitivity are {looked_for}",
            "sensitivity": "the highest that any threshold with at least 90 % specificity on these "
            "cases has",
            "ece": "10 bins of equal width, weighted by their cases",
        }

    def _evidence(
        self, scored: Sequence[Scored]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
        probabilities, shown = zip(*(one.evidence for one in scored), strict=True)
        return np.stack(probabilities), np.stack(shown)

    def channels_wanted(self) -> int:
        """Give one logit a class."""
        return len(self.recipe.classes)

    def answer_shape(self) -> tuple[int, ...]:
        """Give the shape of the answer to one patch."""
        return (self.channels_wanted(),)
