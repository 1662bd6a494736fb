"""Segmentation of volumes."""

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
from medview.learning.scans import Scan, load_scan, load_unlabelled, resize, to_spacing
from medview.learning.tasks.label_maps import LabelMaps, Labels, Pair
from medview.learning.tasks.task import Recipe, Scored


class VolumeSegmentation(LabelMaps):
    """Label maps of volumes in the frame (right, anterior, superior), at the recipe's spacing."""

    unit, size = "mm", "volume"

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
        found = self.chances(network, example)
        return label_map(found, keep_largest=self.recipe.keep_largest)

    def chances(self, network: nn.Module, example: Scan) -> npt.NDArray[np.float32]:
        """Give the probability of each class on the scan's own grid."""
        found = predict(self.asked(network), self._input(example).numpy(), self.recipe.flips)
        return np.stack([resize(channel, example.image.shape) for channel in found])

    def unlabelled(self, case: Case) -> Scan:
        """Read one scan alone."""
        return load_unlabelled(case)

    def asked(self, network: nn.Module) -> nn.Module:
        """Give the network for a volume of any size."""
        return Windowed(network, self.recipe.patch)

    def score(self, case: Case, example: Scan, answer: Labels, *, thorough: bool) -> Scored:
        """Compare one label map with the truth; distances in mm."""
        compared = self.compare(answer, example.label, example.spacing_mm, thorough=thorough)
        return Scored(case, compared)
