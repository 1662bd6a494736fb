"""Classification of flat pictures."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from medview.inference.networks.readings import class_logits
from medview.learning.config import AugmentConfig, LossConfig
from medview.learning.data import Case
from medview.learning.pictures import read_picture
from medview.learning.tasks.classes import Classes, Named, Prepared
from medview.learning.tasks.masks import refuse_other_than_flat
from medview.learning.tasks.task import Recipe


class Classification(Classes):
    """Classes for a whole picture."""

    def __init__(self, recipe: Recipe, loss: LossConfig, augment: AugmentConfig) -> None:
        super().__init__(recipe, loss, augment)
        refuse_other_than_flat(recipe)
        self.flat = recipe.flat()

    def open(self, case: Case) -> npt.NDArray[Any]:
        """Read one picture."""
        return read_picture(case)

    def picture(self, example: Named) -> npt.NDArray[Any]:
        """Give the picture itself."""
        picture: npt.NDArray[Any] = example.image
        return picture

    def prepare(self, example: Named) -> Prepared:
        """Give image (C, rows, columns) and which classes it shows."""
        return self.flat.to_input(example.image), torch.from_numpy(example.shown)

    def answer(self, network: nn.Module, example: Named) -> npt.NDArray[np.float64]:
        """Give the logits (classes,), mirrored views averaged."""
        return class_logits(network, example.image, self.flat)
