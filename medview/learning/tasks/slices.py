"""Segmentation of volumes slice by slice, neighbours as channels: flat networks, some depth."""

from collections.abc import Sequence

import torch
from torch import nn

from medview.core.errors import ReadError
from medview.inference.networks.slices import Slicewise, slice_axis
from medview.inference.networks.windows import Windowed
from medview.learning.augment import changed, random_grid, sampled, sampled_labels
from medview.learning.config import AugmentConfig, LossConfig
from medview.learning.tasks.label_maps import Pair
from medview.learning.tasks.task import Recipe
from medview.learning.tasks.volumes import VolumeSegmentation

#: How often a slice is drawn from those that show something, not from all.
_SHOWING = 0.5


class SliceSegmentation(VolumeSegmentation):
    """Label maps of volumes by a flat network that sees a slice and its neighbours (2.5D).

    The recipe's patch is 1 thick across the slices. In training slices are turned, scaled and
    bent within themselves and never mixed with others, as thick ones cannot be.
    """

    def __init__(self, recipe: Recipe, loss: LossConfig, augment: AugmentConfig) -> None:
        super().__init__(recipe, loss, augment)
        axis = slice_axis(recipe.patch)
        if axis is None:
            raise ReadError("Slices need data.patch with three numbers, one of them 1.")
        self.axis = axis
        self.flat = tuple(n for number, n in enumerate(recipe.patch) if number != axis)

    def asked(self, network: nn.Module) -> nn.Module:
        """Give the network for a volume of any size."""
        return Slicewise(Windowed(network, self.flat), self.axis, self.recipe.neighbours)

    def batch(self, prepared: Sequence[Pair], generator: torch.Generator) -> Pair:
        """Give stacks of slices (N, 1 + 2 * neighbours, a, b) and class numbers (N, 1, a, b)."""
        images, labels = [], []
        for image, label in prepared:
            stack, truth = self._stack(image, label, generator)
            level, spread = stack.mean(), stack.std()
            # Kept at the level it has in its volume: where little is seen it is dark in a reading.
            images.append(changed(stack, self.augment, generator) * spread + level)
            labels.append(truth)
        return torch.stack(images), torch.stack(labels)

    def _stack(
        self, image: torch.Tensor, label: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw a slice of a volume, and give it in the middle of its neighbours."""
        axis, count = self.axis, label.shape[self.axis]
        others = [other for other in range(3) if other != axis]
        showing = (label > 0).any(dim=others[1]).any(dim=others[0]).nonzero()[:, 0]
        chance = torch.rand((), generator=generator).item()
        drawn = showing if len(showing) and chance < _SHOWING else torch.arange(count)
        middle = drawn[int(torch.randint(len(drawn), (), generator=generator))]
        around = torch.arange(-self.recipe.neighbours, self.recipe.neighbours + 1)
        if axis in self.augment.flip and torch.rand((), generator=generator).item() < 0.5:
            around = -around
        sides = list(self.recipe.patch)
        sides[axis] = len(around)
        grid = random_grid(label.shape, tuple(sides), self.augment, generator, about=(axis,))
        shape = [-1 if other == axis else 1 for other in range(3)]
        grid[..., axis] = (middle + around).clamp(0, count - 1).view(shape).float()
        stack = sampled(image[None], grid, generator)[0].movedim(axis, 0)
        own = grid.narrow(axis, self.recipe.neighbours, 1)
        return stack, sampled_labels(label, own).squeeze(axis + 1)

    def input_shape(self) -> tuple[int, ...]:
        """Give the shape of one stack of slices."""
        return (1 + 2 * self.recipe.neighbours, *self.flat)

    def answer_shape(self) -> tuple[int, ...]:
        """Give the shape of the answer to one stack."""
        return (self.channels_wanted(), *self.flat)
