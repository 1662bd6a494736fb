"""Segmentation of flat pictures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from medview.core.errors import ReadError
from medview.inference.networks.pictures import resized
from medview.inference.networks.readings import class_chances, class_map
from medview.learning.config import AugmentConfig, LossConfig
from medview.learning.data import Case
from medview.learning.pictures import read_map, read_picture
from medview.learning.tasks.label_maps import LabelMaps, Labels, Pair
from medview.learning.tasks.task import Recipe, Scored


@dataclass(frozen=True)
class Outlined:
    """A picture with its label map, both on the picture's own grid."""

    picture: npt.NDArray[Any]
    label: Labels


def refuse_other_than_flat(recipe: Recipe) -> None:
    """Refuse a recipe for volumes."""
    if len(recipe.patch) != 2:
        raise ReadError("Pictures need data.patch with two numbers, rows and columns.")


class MaskSegmentation(LabelMaps):
    """Label maps of pictures; a mask of two values, whatever they are, is one class."""

    unit, size = "px", "area"

    def __init__(self, recipe: Recipe, loss: LossConfig, augment: AugmentConfig) -> None:
        super().__init__(recipe, loss, augment)
        refuse_other_than_flat(recipe)
        self.flat = recipe.flat()

    def read(self, case: Case) -> Outlined:
        """Read one picture with its label map."""
        picture, label = read_picture(case), read_map(case.label)
        if label.shape != picture.shape[:2]:
            raise ReadError("image and label lie on different grids")
        classes = len(self.recipe.classes)
        if classes == 1:
            label = label > label.max() / 2 if label.max() > 1 else label > 0
        if not np.isin(label, range(classes + 1)).all():
            raise ReadError(f"label holds values other than 0 to {classes}")
        if not label.any():
            raise ReadError("label is empty")
        return Outlined(picture, label.astype(np.uint8))

    def shows(self, example: Outlined) -> set[str]:
        """Give the classes that a picture has pixels of."""
        return {self.recipe.classes[number - 1] for number in np.unique(example.label) if number}

    def prepare(self, example: Outlined) -> Pair:
        """Give image (C, rows, columns) and label (rows, columns) as the network sees them."""
        image = self.flat.to_input(example.picture)
        classes = len(self.recipe.classes)
        each = np.stack([example.label == number for number in range(classes + 1)])
        shares = resized(torch.from_numpy(each.astype(np.float32)), image.shape[1:])
        return image, shares.argmax(dim=0)

    def unlabelled(self, case: Case) -> Outlined:
        """Read one picture alone."""
        picture = read_picture(case)
        return Outlined(picture, np.zeros(picture.shape[:2], np.uint8))

    def chances(self, network: nn.Module, example: Outlined) -> npt.NDArray[np.float32]:
        """Give the probability of each class on the picture's own grid."""
        return class_chances(network, example.picture, self.flat)

    def answer(self, network: nn.Module, example: Outlined) -> Labels:
        """Give the label map on the picture's own grid, mirrored views averaged."""
        return class_map(network, example.picture, self.flat)

    def score(self, case: Case, example: Outlined, answer: Labels, *, thorough: bool) -> Scored:
        """Compare one label map with the truth; distances in pixels."""
        return Scored(case, self.compare(answer, example.label, (1.0, 1.0), thorough=thorough))

    def figures(self, scored: Sequence[Scored]) -> dict[str, float]:
        """Give the figures of all, and again for images under an open licence alone."""
        figures = super().figures(scored)
        if any("licence" in one.case.tags for one in scored):
            opened = _opened(scored)
            few = super().figures(opened) if opened else dict.fromkeys(figures, math.nan)
            figures |= {f"{name}_open": value for name, value in few.items()}
        return figures

    def counts(self, scored: Sequence[Scored]) -> dict[str, int]:
        """Give how many images are under an open licence, for the figures of those."""
        names = [name for name in self.figures(scored) if name.endswith("_open")]
        return dict.fromkeys(names, len(_opened(scored)))


def _opened(scored: Sequence[Scored]) -> list[Scored]:
    return [one for one in scored if one.case.tags.get("licence") == "open"]
