"""Segmentation of volumes."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from medview.core.errors import ReadError
from medview.imaging.intensity import normalise
from medview.inference.engines.network import label_map, predict
from medview.inference.networks.windows import Windowed
from medview.learning.config import AugmentConfig, LossConfig
from medview.learning.data import Case
from medview.learning.metrics import dice_score, hausdorff95_mm, relative_volume_error
from medview.learning.scans import Scan, load_scan, resize, to_spacing
from medview.learning.tasks.label_maps import LabelMaps, Pair
from medview.learning.tasks.task import Recipe, Scored, means

Labels = npt.NDArray[np.uint8]


class VolumeSegmentation(LabelMaps):
    """Label maps of volumes in the frame (right, anterior, superior), at the recipe's spacing."""

    def __init__(self, recipe: Recipe, loss: LossConfig, augment: AugmentConfig) -> None:
        super().__init__(recipe, loss, augment)
        if len(recipe.patch) != 3 or len(recipe.spacing_mm) != 3:
            raise ReadError("Volumes need data.patch and data.spacing_mm with three numbers.")

    def read(self, case: Case) -> Scan:
        """Read one scan with its label map."""
        return load_scan(case, len(self.recipe.classes))

    def picture(self, example: Scan) -> npt.NDArray[np.float32]:
        """Give the middle slice."""
        middle: npt.NDArray[np.float32] = example.image[:, :, example.image.shape[2] // 2]
        return middle

    def prepare(self, example: Scan) -> Pair:
        """Give image and label at the spacing of the training, normalised."""
        recipe = self.recipe
        label = to_spacing(example.label, example.spacing_mm, recipe.spacing_mm, nearest=True)
        return self._input(example), torch.from_numpy(label.astype(np.int64))

    def _input(self, example: Scan) -> torch.Tensor:
        image = to_spacing(example.image, example.spacing_mm, self.recipe.spacing_mm)
        return torch.from_numpy(normalise(image, self.recipe.intensity))

    def answer(self, network: nn.Module, example: Scan) -> Labels:
        """Give the label map on the scan's own grid, asked as a whole, mirrored views averaged."""
        windowed = Windowed(network, self.recipe.patch)
        found = predict(windowed, self._input(example).numpy(), self.recipe.flips)
        on_grid = np.stack([resize(channel, example.image.shape) for channel in found])
        return label_map(on_grid, keep_largest=self.recipe.keep_largest)

    def score(self, case: Case, example: Scan, answer: Labels, *, thorough: bool) -> Scored:
        """Compare one label map with the truth; distances in mm, the volume error as a share.

        A structure that was missed altogether is as far off as the field of view is wide.
        """
        farthest = math.dist((0.0, 0.0, 0.0), np.multiply(example.label.shape, example.spacing_mm))
        numbers: dict[str, float] = {}
        for number, name in enumerate(self.recipe.classes, start=1):
            mine, truth = answer == number, example.label == number
            numbers[f"dice_{name}"] = dice_score(mine, truth)
            if thorough:
                distance = hausdorff95_mm(mine, truth, example.spacing_mm)
                numbers[f"hd95_mm_{name}"] = min(distance, farthest)
        if thorough:
            numbers["volume_error"] = relative_volume_error(answer > 0, example.label > 0)
        return Scored(case, numbers)

    def figures(self, scored: Sequence[Scored]) -> dict[str, float]:
        """Give the mean of every score, and the median of the volume error."""
        names = [name for name in scored[0].numbers if name != "volume_error"]
        figures = means(scored, names)
        if "volume_error" in scored[0].numbers:
            errors = [one.numbers["volume_error"] for one in scored]
            figures["volume_error_median"] = float(np.median(errors))
        return figures

    def headline(self, figures: Mapping[str, float]) -> float:
        """Give the mean Dice over the classes."""
        return mean_dice(figures, self.recipe.classes)

    def channels_wanted(self) -> int:
        """Give one channel a class and one for the background."""
        return len(self.recipe.classes) + 1


def mean_dice(figures: Mapping[str, float], classes: Sequence[str]) -> float:
    """Give the mean Dice over the classes."""
    return sum(figures[f"dice_{name}"] for name in classes) / len(classes)
