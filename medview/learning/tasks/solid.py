"""Classification of volumes, and detection of objects in them by the boxes around them."""

import csv
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import nn

from medview.core.errors import ReadError
from medview.core.geometry import Geometry
from medview.core.volume import Volume
from medview.inference.engines.solids import SolidReading, box_on, boxes_over
from medview.inference.networks.averaging import FlipMean
from medview.inference.networks.pictures import ask
from medview.inference.networks.readings import FoundBoxes, probabilities_of
from medview.learning.config import AugmentConfig, LossConfig
from medview.learning.data import Case
from medview.learning.scans import load_label, load_volume
from medview.learning.tasks.boxes import Boxes, BoxTask, Prepared
from medview.learning.tasks.classes import Classes, Named
from medview.learning.tasks.classes import Prepared as PreparedClasses
from medview.learning.tasks.task import Recipe, recipe_of_model

log = logging.getLogger(__name__)

#: Edges in mm to the right, the front and the head, as those of a grid in the patient.
_MILLIMETRES = Geometry(
    (1, 1, 1),
    np.array([[-1, 0, 0, -0.5], [0, -1, 0, -0.5], [0, 0, 1, 0.5], [0, 0, 0, 1]], float),
)
#: The columns of a list of boxes: the lower and upper corner, to the right, front and head.
_CORNERS = (
    *("right_low_mm", "front_low_mm", "head_low_mm"),
    *("right_high_mm", "front_high_mm", "head_high_mm"),
)


def _reading(recipe: Recipe) -> SolidReading:
    """Give how volumes come to the network; ReadError where the recipe is not for volumes."""
    if len(recipe.patch) != 3 or len(recipe.spacing_mm) != 3 or recipe.channels != 1:
        raise ReadError(
            "Volumes need data.patch and data.spacing_mm with three numbers, and one channel."
        )
    return SolidReading(recipe.patch, "RAS", recipe.spacing_mm, recipe.intensity)


def _middle(volume: Volume) -> npt.NDArray[np.float32]:
    return volume.values()[:, :, volume.geometry.shape[2] // 2]


class VolumeClassification(Classes):
    """Classes for a whole volume: for as much of its middle as the patch takes."""

    def __init__(self, recipe: Recipe, loss: LossConfig, augment: AugmentConfig) -> None:
        super().__init__(recipe, loss, augment)
        self.solid = _reading(recipe)

    def open(self, case: Case) -> Volume:
        """Read one volume."""
        return load_volume(case)

    def picture(self, example: Named) -> npt.NDArray[np.float32]:
        """Give the middle slice."""
        return _middle(example.image)

    def prepare(self, example: Named) -> PreparedClasses:
        """Give image (1, x, y, z) and which classes it shows."""
        return self._input(example.image), torch.from_numpy(example.shown)

    def answer(self, network: nn.Module, example: Named) -> npt.NDArray[np.float64]:
        """Give the logits (classes,), mirrored views averaged."""
        logits = ask(FlipMean(network, self.recipe.flips), self._input(example.image))
        return logits.double().numpy()

    def _input(self, volume: Volume) -> torch.Tensor:
        return self.solid.input_on(volume, self.solid.grid_about(volume))


@dataclass(frozen=True)
class BoxedVolume:
    """A volume, and its boxes (n, 6: low x, y, z, high) in voxels of the network's grid over it."""

    volume: Volume
    boxes: Boxes
    numbers: npt.NDArray[np.int64]


class VolumeDetection(BoxTask):
    """Boxes in volumes, from label maps of single objects or from a list of boxes."""

    def __init__(self, recipe: Recipe, loss: LossConfig, augment: AugmentConfig) -> None:
        super().__init__(recipe, loss, augment)
        self.solid = _reading(recipe)

    def read(self, case: Case) -> BoxedVolume:
        """Read one volume with its boxes, which must lie inside of it."""
        volume = load_volume(case)
        grid = self.solid.grid_over(volume)
        boxes, numbers = _boxes_on(grid, volume, case, self.recipe.classes)
        edges = np.array([*grid.shape] * 2)
        if (boxes < -1).any() or (boxes > edges + 1).any():
            raise ReadError("label has boxes outside of the image")
        return BoxedVolume(volume, boxes, numbers)

    def unlabelled(self, case: Case) -> BoxedVolume:
        """Read one volume alone."""
        nothing = np.empty((0, 6), np.float32), np.empty(0, np.int64)
        return BoxedVolume(load_volume(case), *nothing)

    def picture(self, example: BoxedVolume) -> npt.NDArray[np.float32]:
        """Give the middle slice."""
        return _middle(example.volume)

    def prepare(self, example: BoxedVolume) -> Prepared:
        """Give image (1, x, y, z), boxes in its voxels, and class numbers."""
        image = self._input(example.volume)
        return image, torch.from_numpy(example.boxes), torch.from_numpy(example.numbers)

    def answer(self, network: nn.Module, example: BoxedVolume) -> FoundBoxes:
        """Give the boxes in voxels of the network's grid."""
        return boxes_over(
            network,
            self._input(example.volume),
            self.recipe.patch,
            len(self.recipe.classes),
            most_overlap=float(self.recipe.decoding.get("most_overlap", 0.5)),
        )

    def _input(self, volume: Volume) -> torch.Tensor:
        return self.solid.input_on(volume, self.solid.grid_over(volume))


def _boxes_on(
    grid: Geometry, volume: Volume, case: Case, classes: Sequence[str]
) -> tuple[Boxes, npt.NDArray[np.int64]]:
    """Give the true boxes of a case on a grid over its volume, and their class numbers."""
    if case.label is None or not case.label.is_file():
        raise ReadError("label is missing")
    listed = case.label.suffix.lower() == ".csv"
    found = (
        _listed(case.label, case.id, classes)
        if listed
        else _around_objects(load_label(case, volume, len(classes)), volume.geometry)
    )
    boxes = []
    for source, start, stop, _ in found:
        low, high = box_on(grid, source, start, stop)
        boxes.append([*low, *high])
    numbers = np.array([number for *_, number in found], np.int64)
    return np.array(boxes, np.float32).reshape(-1, 6), numbers


#: A box: the grid that its corners are counted on, its edges there, the number of its class.
_Box = tuple[Geometry, Sequence[float], Sequence[float], int]


def _around_objects(labels: npt.NDArray[np.uint8], geometry: Geometry) -> list[_Box]:
    """Give the box around each connected object of a label map; classes are numbered from 1."""
    found: list[_Box] = []
    for number in range(1, int(labels.max()) + 1):
        pieces, _ = ndimage.label(labels == number)
        found += [
            (geometry, [part.start for part in place], [part.stop for part in place], number - 1)
            for place in ndimage.find_objects(pieces)
        ]
    return found


def _listed(path: Path, case_id: str, classes: Sequence[str]) -> list[_Box]:
    """Give the boxes that a list names for a case; those without an extent are left out.

    A row has `id`, `label`, and the corners in mm of the image file's own frame, which in NIfTI
    counts to the right, to the front and to the head.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = [row for row in csv.DictReader(stream) if row.get("id") == case_id]
        corners = [[float(row[name]) for name in _CORNERS] for row in rows]
        names = [row["label"] for row in rows]
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise ReadError(
            "label cannot be read",
            hint=f"A list of boxes has the columns id, label, {', '.join(_CORNERS)}.",
            detail=f"{path.name}: {error!r}",
        ) from error
    unknown = sorted(set(names) - set(classes))
    if unknown:
        raise ReadError(f"label names {', '.join(unknown)}, not one of {', '.join(classes)}")
    found: list[_Box] = []
    for name, corner in zip(names, corners, strict=True):
        low, high = corner[:3], corner[3:]
        if np.isfinite(corner).all() and (np.array(low) < high).all():
            found.append((_MILLIMETRES, low, high, classes.index(name)))
    if len(found) < len(rows):
        log.warning("%s: %d boxes without an extent are left out", case_id, len(rows) - len(found))
    return found


def write_volume_answers(
    metadata: Mapping[str, Any], network: nn.Module, files: Sequence[str], output: str
) -> None:
    """Ask about volume files and write what is found beside each other, as JSON.

    Classes with their probabilities; boxes in the words of a list of boxes, with a `score` each.
    """
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    recipe = recipe_of_model(metadata, ())
    ask_one = _classes_in if metadata["medview"]["engine"] == "classification" else _boxes_in
    for name in files:
        stem = Path(name).name.split(".")[0]
        answer = ask_one(recipe, network, Case(stem, stem, "test", Path(name)))
        (folder / f"{stem}.json").write_text(json.dumps(answer), encoding="utf-8")


def _classes_in(recipe: Recipe, network: nn.Module, case: Case) -> dict[str, float]:
    task = VolumeClassification(recipe, LossConfig("cross_entropy"), AugmentConfig())
    logits = task.answer(network, task.unlabelled(case))
    chances = probabilities_of(logits, recipe.temperature, multi_label=recipe.multi_label)
    return dict(zip(recipe.classes, chances.tolist(), strict=True))


def _boxes_in(recipe: Recipe, network: nn.Module, case: Case) -> list[dict[str, Any]]:
    task = VolumeDetection(recipe, LossConfig("box"), AugmentConfig())
    example = task.unlabelled(case)
    grid = task.solid.grid_over(example.volume)
    found = task.answer(network, example)
    rows = []
    for box, score, number in zip(found.boxes, found.scores, found.numbers, strict=True):
        low, high = box_on(_MILLIMETRES, grid, box[:3], box[3:])
        corners = dict(zip(_CORNERS, [*low.tolist(), *high.tolist()], strict=True))
        rows.append({"label": recipe.classes[int(number)], "score": float(score), **corners})
    return rows
