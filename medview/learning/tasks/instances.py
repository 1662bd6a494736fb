"""Objects of one kind in flat pictures, each outlined by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import nn

from medview.core.errors import ReadError
from medview.inference.networks.pictures import resized
from medview.inference.networks.readings import object_maps, objects_in
from medview.learning.augment import changed, random_grid, sampled, sampled_maps
from medview.learning.config import AugmentConfig, LossConfig
from medview.learning.data import Case
from medview.learning.instance_metrics import (
    match_instances,
    overlap_curve,
    panoptic_figures,
)
from medview.learning.losses import depth_loss
from medview.learning.pictures import read_map, read_picture
from medview.learning.tasks.label_maps import shape_doubt
from medview.learning.tasks.masks import refuse_other_than_flat
from medview.learning.tasks.task import Recipe, Scored, Task

Numbered = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Counted:
    """A picture and the map of its objects, numbered from 1."""

    picture: npt.NDArray[Any]
    objects: Numbered


def depth_map(objects: Numbered) -> npt.NDArray[np.float32]:
    """Give how deep each pixel lies in its object: 1 in the middle, towards 0 at its border.

    The distance to the border, divided by the largest within the object, so that small and large
    objects have the same middle.
    """
    depth = np.zeros(objects.shape, np.float32)
    for number, place in enumerate(ndimage.find_objects(objects), start=1):
        if place is None:
            continue
        own = np.pad(objects[place] == number, 1)
        distance = ndimage.distance_transform_edt(own)[1:-1, 1:-1]
        depth[place] = np.maximum(depth[place], distance / distance.max())
    return depth


def border_map(objects: Numbered) -> npt.NDArray[np.float32]:
    """Give 1 where two objects nearly touch, towards 0 away from there.

    After the weights of Ronneberger et al., arXiv:1505.04597: the sum of the distances to the
    nearest and the second nearest object, on a scale of 5 pixels.
    """
    nearest = np.full(objects.shape, np.inf, np.float32)
    second = nearest.copy()
    for number, place in enumerate(ndimage.find_objects(objects), start=1):
        if place is None:
            continue
        around = tuple(
            slice(max(0, p.start - 12), min(side, p.stop + 12))
            for p, side in zip(place, objects.shape, strict=True)
        )
        distance = ndimage.distance_transform_edt(objects[around] != number).astype(np.float32)
        closer = distance < nearest[around]
        second[around] = np.where(closer, nearest[around], np.minimum(second[around], distance))
        nearest[around] = np.where(closer, distance, nearest[around])
    weight: npt.NDArray[np.float32] = np.exp(-((nearest + second) ** 2) / (2 * 5.0**2))
    return weight


class Instances(Task):
    """Objects by a map of foreground and a map of depth."""

    losses = frozenset({"depth"})
    watched = "f1_iou50"
    doubt_words = "1 - expected Dice of all objects together (none found: the highest probability)"

    def __init__(self, recipe: Recipe, loss: LossConfig, augment: AugmentConfig) -> None:
        super().__init__(recipe, loss, augment)
        refuse_other_than_flat(recipe)
        self.flat = recipe.flat()

    def read(self, case: Case) -> Counted:
        """Read one picture with the map of its objects."""
        picture, objects = read_picture(case), read_map(case.label)
        if objects.shape != picture.shape[:2]:
            raise ReadError("image and label lie on different grids")
        if not objects.any():
            raise ReadError("label is empty")
        return Counted(picture, objects.astype(np.int32))

    def prepare(self, example: Counted) -> tuple[torch.Tensor, torch.Tensor]:
        """Give image (C, rows, columns) and maps of foreground, depth and near borders."""
        image = self.flat.to_input(example.picture)
        maps = np.stack(
            [example.objects > 0, depth_map(example.objects), border_map(example.objects)]
        )
        return image, resized(torch.from_numpy(maps.astype(np.float32)), image.shape[1:])

    def batch(
        self, prepared: Sequence[tuple[torch.Tensor, torch.Tensor]], generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Give pictures (N, C, rows, columns) and their maps (N, 3, rows, columns)."""
        images, targets = [], []
        for image, maps in prepared:
            grid = random_grid(image.shape[1:], self.recipe.patch, self.augment, generator)
            images.append(changed(sampled(image, grid, generator), self.augment, generator))
            targets.append(sampled_maps(maps, grid))
        return torch.stack(images), torch.stack(targets)

    def loss(self, answer: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Give the loss of logits of foreground and depth (N, 2, rows, columns)."""
        return depth_loss(answer, target)

    def answer(self, network: nn.Module, example: Counted) -> Numbered:
        """Give the numbered objects on the picture's own grid, mirrored views averaged."""
        return objects_in(network, example.picture, self.flat)

    def unlabelled(self, case: Case) -> Counted:
        """Read one picture alone."""
        picture = read_picture(case)
        return Counted(picture, np.zeros(picture.shape[:2], np.int32))

    def doubt(self, network: nn.Module, example: Counted) -> float:
        """Give what is missing of full agreement of the foreground with the truth."""
        chances = object_maps(network, example.picture, self.flat)[0].sigmoid().numpy()
        least = self.flat.decoding.get("foreground", 0.5)
        return shape_doubt(chances >= least, chances)

    def score(self, case: Case, example: Counted, answer: Numbered, *, thorough: bool) -> Scored:
        """Match objects with the truth where they overlap by more than half."""
        del thorough
        match = match_instances(answer, example.objects)
        numbers = {
            "true_objects": float(match.truths),
            "found_objects": float(match.answers),
            "matched_objects": float(len(match.overlaps)),
        }
        return Scored(case, numbers, match)

    def figures(self, scored: Sequence[Scored]) -> dict[str, float]:
        """Give F1 at half overlap and panoptic quality over all objects, and the count's error."""
        return panoptic_figures([one.evidence for one in scored])

    def tables(self, scored: Sequence[Scored]) -> dict[str, Any]:
        """Give the F1 of objects by the overlap that is asked of a match."""
        return {"overlap": {"F1": overlap_curve([one.evidence for one in scored])}}

    def definitions(self) -> dict[str, str]:
        """Say what counts as found."""
        return {
            "f1": "an object is found where one answer overlaps it by more than half",
            "pq": "over all objects of all pictures (Kirillov et al., arXiv:1801.00868)",
        }

    def channels_wanted(self) -> int:
        """Give one channel for the foreground and one for the depth."""
        return 2
