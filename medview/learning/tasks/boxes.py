"""Detection of objects by the boxes around them: what all of it shares, and flat pictures."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from medview.core.errors import ReadError
from medview.inference.networks.centres import STRIDE
from medview.inference.networks.readings import FoundBoxes, boxes_in
from medview.learning.augment import changed, random_centre, random_matrix, sampled
from medview.learning.box_loss import BoxTarget, box_loss, box_target
from medview.learning.config import AugmentConfig, LossConfig
from medview.learning.data import Case
from medview.learning.detection_metrics import (
    FROC_RATES,
    Match,
    average_precisions,
    froc_curve,
    match_boxes,
    sensitivities,
)
from medview.learning.pictures import read_picture
from medview.learning.tasks.masks import refuse_other_than_flat
from medview.learning.tasks.task import Recipe, Scored, Task

log = logging.getLogger(__name__)

Boxes = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Boxed:
    """A picture with its boxes (n, 4: top, left, bottom, right in pixels) and class numbers."""

    picture: npt.NDArray[Any]
    boxes: Boxes
    numbers: npt.NDArray[np.int64]


def read_boxes(
    path: Path | None, classes: Sequence[str], name: str
) -> tuple[Boxes, npt.NDArray[np.int64]]:
    """Read a Pascal VOC file; boxes without an area are told and left out."""
    if path is None or not path.is_file():
        raise ReadError("label is missing")
    try:
        tree = ElementTree.parse(path)  # noqa: S314 - expat itself limits what entities grow to
        found = [
            (
                (item.findtext("name") or "").strip(),
                [float(item.findtext(f"bndbox/{key}") or "") for key in _EDGES],
            )
            for item in tree.iter("object")
        ]
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise ReadError("label cannot be read", detail=str(error)) from error
    unknown = sorted({kind for kind, _ in found if kind not in classes})
    if unknown:
        raise ReadError(f"label names {', '.join(unknown)}, not one of {', '.join(classes)}")
    whole = [(k, b) for k, b in found if b[2] > b[0] and b[3] > b[1] and np.isfinite(b).all()]
    if len(whole) < len(found):
        log.warning("%s: %d boxes without an area are left out", name, len(found) - len(whole))
    boxes = np.array([box for _, box in whole], np.float32).reshape(-1, 4)
    return boxes, np.array([classes.index(kind) for kind, _ in whole], np.int64)


_EDGES = ("ymin", "xmin", "ymax", "xmax")


#: An image (C, ...), its boxes in pixels or voxels of it, and their class numbers.
Prepared = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


#: Boxes of a lower score are no candidates: nobody would look at them.
_DOUBTED = 0.1


class BoxTask(Task):
    """Boxes by a detector without anchors, in pictures or in volumes.

    Examples have `boxes` and `numbers`, in the pixels or voxels that answers are given in.
    """

    losses = frozenset({"box"})
    watched = "map50"
    doubt_words = f"mean of 2 min(s, 1 - s) over the scores s of boxes from {_DOUBTED:g} on"

    def shows(self, example: Any) -> set[str]:
        """Give the classes that an image has boxes of."""
        return {self.recipe.classes[number] for number in example.numbers}

    def batch(
        self,
        prepared: Sequence[Prepared],
        generator: torch.Generator,
    ) -> tuple[torch.Tensor, list[BoxTarget]]:
        """Give images (N, C, ...) and what their cells should answer."""
        patch, classes = self.recipe.patch, len(self.recipe.classes)
        axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in patch]
        offsets = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
        images, targets = [], []
        for image, boxes, numbers in prepared:
            matrix = random_matrix(self.augment, generator, len(patch))
            centre = random_centre(image.shape[1:], patch, self.augment, generator)
            moved = sampled(image, offsets @ matrix.T + centre, generator)
            images.append(changed(moved, self.augment, generator))
            placed, kept = moved_boxes(boxes, matrix, centre, patch)
            shape = [side // STRIDE for side in patch]
            targets.append(box_target(placed[kept], numbers[kept], classes, shape, STRIDE))
        return torch.stack(images), targets

    def loss(self, answer: torch.Tensor, target: Sequence[BoxTarget]) -> torch.Tensor:
        """Give the loss of the maps of a batch."""
        return box_loss(answer, target, len(self.recipe.classes), STRIDE)

    def doubt(self, network: nn.Module, example: Any) -> float:
        """Give how far the scores of its boxes are from 0 and from 1; 0 without a box."""
        scores = self.answer(network, example).scores
        looked_at = scores[scores >= _DOUBTED]
        return float(np.mean(2 * np.minimum(looked_at, 1 - looked_at))) if len(looked_at) else 0.0

    def score(self, case: Case, example: Any, answer: FoundBoxes, *, thorough: bool) -> Scored:
        """Match boxes of each class with the truth at overlaps from 0.5 to 0.95."""
        matches: list[Match] = []
        numbers: dict[str, float] = {}
        least = float(self.recipe.decoding.get("least_score", 0.3))
        steps = np.arange(0.5, 1.0, 0.05) if thorough else np.array([0.5])
        for number, name in enumerate(self.recipe.classes):
            mine = answer.numbers == number
            truth = example.boxes[example.numbers == number]
            match = match_boxes(answer.boxes[mine], answer.scores[mine], truth, steps)
            matches.append(match)
            numbers[f"true_{name}"] = float(len(truth))
            numbers[f"found_{name}"] = float((match.scores >= least).sum())
            numbers[f"matched_{name}"] = float(match.hits[0][match.scores >= least].sum())
        return Scored(case, numbers, matches)

    def figures(self, scored: Sequence[Scored]) -> dict[str, float]:
        """Give average precision and, where scored thoroughly, sensitivity by false positives.

        Of each class and as means over those that there are; and the mean error of the counts.
        """
        keys = self.recipe.keys
        by_class = [self._matches(scored, number) for number in range(len(keys))]
        table = np.array([average_precisions(matches) for matches in by_class])
        thorough = table.shape[1] > 1
        figures = {"map50": _known_mean(table[:, 0])}
        if thorough:
            figures["map50_95"] = _known_mean(table.mean(axis=1))
        figures |= {
            f"ap50_{key}": float(value) for key, value in zip(keys, table[:, 0], strict=True)
        }
        if thorough:
            read = np.array([sensitivities(matches) for matches in by_class])
            figures["froc"] = _known_mean(read.mean(axis=1))
            figures |= {
                f"froc_{key}": float(row.mean()) for key, row in zip(keys, read, strict=True)
            }
            figures |= {
                name: _known_mean(column) for name, column in zip(FROC_RATES, read.T, strict=True)
            }
        for key, name in zip(keys, self.recipe.classes, strict=True):
            errors = [abs(s.numbers[f"found_{name}"] - s.numbers[f"true_{name}"]) for s in scored]
            figures[f"count_error_{key}"] = float(np.mean(errors))
        return figures

    def tables(self, scored: Sequence[Scored]) -> dict[str, Any]:
        """Give the free-response curve, precision and recall of every class that there is."""
        curves: dict[str, Any] = {"froc": {}, "precision_recall": {}}
        for number, name in enumerate(self.recipe.classes):
            matches = self._matches(scored, number)
            if any(match.truths for match in matches):
                wrong, found = froc_curve(matches)
                right = found * sum(match.truths for match in matches)
                precision = right[1:] / np.maximum(right[1:] + wrong[1:] * len(matches), 1)
                curves["froc"][name] = _points(wrong, found)
                curves["precision_recall"][name] = _points(found[1:], precision)
        return curves

    def definitions(self) -> dict[str, str]:
        """Say what counts as found."""
        return {
            "map50": "boxes of a class are matched as COCO does (arXiv:1405.0312), precision read "
            "at 101 recalls; means over the classes",
            "froc": "the mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives an image "
            "of the class; a box that overlaps a true one by half or more is right",
        }

    def _matches(self, scored: Sequence[Scored], number: int) -> list[Match]:
        return [one.evidence[number] for one in scored]

    def channels_wanted(self) -> int:
        """Give one channel a class and two an axis for how far boxes reach."""
        return len(self.recipe.classes) + 2 * len(self.recipe.patch)

    def answer_shape(self) -> tuple[int, ...]:
        """Give the shape of the answer to one patch."""
        return (self.channels_wanted(), *(side // STRIDE for side in self.recipe.patch))


def _known_mean(values: npt.NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _points(across: npt.NDArray[np.float64], up: npt.NDArray[np.float64]) -> list[list[float]]:
    points: list[list[float]] = np.stack([across, up], axis=1).round(5).tolist()
    return points


class Detection(BoxTask):
    """Boxes in flat pictures."""

    def __init__(self, recipe: Recipe, loss: LossConfig, augment: AugmentConfig) -> None:
        super().__init__(recipe, loss, augment)
        refuse_other_than_flat(recipe)
        self.flat = recipe.flat()

    def read(self, case: Case) -> Boxed:
        """Read one picture with its boxes, which must begin inside of it."""
        picture = read_picture(case)
        boxes, numbers = read_boxes(case.label, self.recipe.classes, case.id)
        edges = np.array([*picture.shape[:2]] * 2)
        if (boxes < -1).any() or (boxes > edges + 1).any():
            raise ReadError("label has boxes outside of the image")
        return Boxed(picture, boxes, numbers)

    def unlabelled(self, case: Case) -> Boxed:
        """Read one picture alone."""
        return Boxed(read_picture(case), np.empty((0, 4), np.float32), np.empty(0, np.int64))

    def prepare(self, example: Boxed) -> Prepared:
        """Give image (C, rows, columns), boxes in its pixels, and class numbers."""
        image = self.flat.to_input(example.picture)
        sides = zip(image.shape[1:], example.picture.shape[:2], strict=True)
        factor = np.array([new / old for new, old in sides] * 2, np.float32)
        return image, torch.from_numpy(example.boxes * factor), torch.from_numpy(example.numbers)

    def answer(self, network: nn.Module, example: Boxed) -> FoundBoxes:
        """Give the boxes in the picture's own pixels."""
        return boxes_in(network, example.picture, self.flat)


def moved_boxes(
    boxes: torch.Tensor, matrix: torch.Tensor, centre: torch.Tensor, patch: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give where boxes of an image come to lie in a patch, and which of them to keep.

    `matrix` and `centre` take offsets from the middle of the patch to the image. Objects are
    taken for ellipses: the new box is the one around the turned ellipse. Boxes are cut at the
    edge; those of which less than 0.4 is left, or less than 3 pixels a side, are not kept.
    """
    back = torch.linalg.inv(matrix)
    axes = len(patch)
    middle = (
        boxes[:, :axes] + boxes[:, axes:]
    ) / 2 - 0.5  # pixel centres, not edges, are at integers
    half = (boxes[:, axes:] - boxes[:, :axes]) / 2
    edge = torch.tensor([float(n) for n in patch])
    place = (middle - centre) @ back.T + edge / 2
    reach = (half[:, None, :] * back[None]).square().sum(dim=2).sqrt()
    whole = torch.cat([place - reach, place + reach], dim=1)
    low, high = (
        torch.minimum(part.clamp(min=0), edge) for part in (whole[:, :axes], whole[:, axes:])
    )
    sides = (high - low).clamp(min=0)
    share = sides.prod(dim=1) / (2 * reach).prod(dim=1).clamp(min=1e-6)
    return torch.cat([low, high], dim=1), (share > 0.4) & (sides.min(dim=1).values >= 3)
