"""What a network says of a flat picture, read the same way wherever it is asked.

Training measures with these functions, engines read with them, and `python -m monai.bundle run`
on a model folder calls them.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy import special
from torch import nn

from medview.inference.networks.averaging import FlipAverage, FlipMean, opinions
from medview.inference.networks.centres import STRIDE
from medview.inference.networks.classifiers import Explains
from medview.inference.networks.flow import scaled
from medview.inference.networks.instances import instances_of
from medview.inference.networks.pictures import (
    ask,
    boxes_of,
    nuclear_stain,
    resized,
    to_input,
    within_margin,
)

Picture = npt.NDArray[Any]

#: Unsure boxes are kept for whoever draws a precision-recall curve, down to this.
LEAST_SCORE = 0.01


@dataclass(frozen=True)
class FlatRecipe:
    """How a picture comes to a network and how its answer is read; see the model folder.

    `classes` has no background. `grey` says how colours become one channel: `mean`, or `nuclear`
    (see `nuclear_stain`). `margin` is cut from each edge of a picture to classify, which is scaled
    to fit into `size_px` (empty: as it is). `decoding` holds the thresholds that read the answer,
    by name. Logits are divided by `temperature`. With `multi_label` each class of a classification
    is there or not, whatever the others are.
    """

    classes: tuple[str, ...]
    channels: int = 1
    grey: str = "mean"
    size_px: tuple[int, ...] = ()
    margin: float = 0.0
    intensity: Mapping[str, Any] = field(default_factory=dict)
    flips: tuple[int, ...] = ()
    decoding: Mapping[str, float] = field(default_factory=dict)
    temperature: float = 1.0
    multi_label: bool = False

    def to_input(self, picture: Picture) -> torch.Tensor:
        """Give (channels, rows, columns) as the network was trained on."""
        inner = within_margin(picture, self.margin)
        if self.grey == "nuclear":
            inner = nuclear_stain(inner)
        return to_input(inner, self.channels, self.size_px, self.intensity)


def flat_recipe(metadata: Mapping[str, Any]) -> FlatRecipe:
    """Read the recipe from a model folder's metadata."""
    own = metadata["medview"]
    preprocess = own["preprocess"]
    return FlatRecipe(
        classes=tuple(own["classes"]),
        channels=int(preprocess["channels"]),
        size_px=tuple(preprocess["size_px"]),
        grey=str(preprocess.get("grey", "mean")),
        margin=float(preprocess.get("margin", 0.0)),
        intensity=preprocess["intensity"],
        flips=tuple(int(axis) for axis in own.get("flips", ())),
        decoding=own.get("decoding") or {},
        temperature=float(own.get("temperature") or 1.0),
        multi_label=bool(own.get("multi_label", False)),
    )


@dataclass(frozen=True)
class FoundBoxes:
    """Boxes (n, 4: top, left, bottom, right in pixels), how sure each is, and its class number."""

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    numbers: npt.NDArray[np.int64]


def class_logits(
    network: nn.Module, picture: Picture, recipe: FlatRecipe
) -> npt.NDArray[np.float64]:
    """Give one logit a class, mirrored views averaged, before the temperature."""
    logits = ask(FlipMean(network, recipe.flips), recipe.to_input(picture))
    return logits.double().numpy()


def class_probabilities(
    network: nn.Module, picture: Picture, recipe: FlatRecipe
) -> npt.NDArray[np.float64]:
    """Give the probability of each class at the recipe's temperature."""
    logits = class_logits(network, picture, recipe)
    return probabilities_of(logits, recipe.temperature, multi_label=recipe.multi_label)


def probabilities_of(
    logits: npt.NDArray[np.float64], temperature: float, *, multi_label: bool = False
) -> npt.NDArray[np.float64]:
    """Give the softmax of logits (..., classes) divided by a temperature; sigmoids for many labels.

    Temperature scaling is that of Guo et al., arXiv:1706.04599.
    """
    scaled = logits / temperature
    if multi_label:
        each: npt.NDArray[np.float64] = special.expit(scaled)
        return each
    together: npt.NDArray[np.float64] = special.softmax(scaled, axis=-1)
    return together


class _Evidence(nn.Module):
    """A classifier asked where its answer comes from."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return cast("Explains", self.network).evidence(image)


def class_opinions(
    network: nn.Module, picture: Picture, recipe: FlatRecipe, seed: int = 0
) -> npt.NDArray[np.float64]:
    """Give the probabilities (n, classes) that single views, members or draws arrive at.

    See `averaging.opinions`; one row where the network offers none of them.
    """
    logits = opinions(network, recipe.to_input(picture), recipe.flips, seed)
    return probabilities_of(
        logits.double().numpy(), recipe.temperature, multi_label=recipe.multi_label
    )


def evidence_map(
    network: nn.Module, picture: Picture, recipe: FlatRecipe, number: int
) -> npt.NDArray[np.float32]:
    """Give for every pixel how much it speaks for class `number` against the mean of the others.

    Above 0 for, below 0 against; 0 in the margin that is not looked at. The mean over the rest is
    the difference of the logits. Needs a network with `evidence`.
    """
    inner = within_margin(picture, recipe.margin)
    shares = ask(FlipMean(_Evidence(network), recipe.flips), recipe.to_input(picture))
    others = torch.cat([shares[:number], shares[number + 1 :]]).mean(dim=0)
    speaking = resized((shares[number] - others)[None], inner.shape[:2])[0].numpy()
    return with_margin(speaking, picture)


def with_margin(values: npt.NDArray[np.float32], picture: Picture) -> npt.NDArray[np.float32]:
    """Give a map of the inner part of a picture on the whole of it, 0 in the margin."""
    whole = np.zeros(picture.shape[:2], np.float32)
    top, left = ((whole.shape[axis] - values.shape[axis]) // 2 for axis in range(2))
    whole[top : top + values.shape[0], left : left + values.shape[1]] = values
    return whole


def class_map(network: nn.Module, picture: Picture, recipe: FlatRecipe) -> npt.NDArray[np.uint8]:
    """Give the most probable class of every pixel, 0 for background, mirrored views averaged."""
    labels = class_chances(network, picture, recipe).argmax(axis=0)
    classes: npt.NDArray[np.uint8] = labels.astype(np.uint8)
    return classes


def class_chances(
    network: nn.Module, picture: Picture, recipe: FlatRecipe
) -> npt.NDArray[np.float32]:
    """Give the probability of each class, background first, for every pixel of the picture."""
    image = recipe.to_input(picture)
    found = ask(FlipAverage(network, recipe.flips), image)
    chances: npt.NDArray[np.float32] = _on_picture(found, image, picture).numpy()
    return chances


def boxes_in(network: nn.Module, picture: Picture, recipe: FlatRecipe) -> FoundBoxes:
    """Give the boxes in the picture's own pixels, cut at its edges, surest first."""
    image = recipe.to_input(picture)
    boxes, scores, numbers = boxes_of(
        ask(network, image),
        len(recipe.classes),
        LEAST_SCORE,
        recipe.decoding.get("most_overlap", 0.5),
    )
    rows, columns = picture.shape[:2]
    scale = np.array([rows / image.shape[1], columns / image.shape[2]] * 2, np.float32)
    edges = np.array([rows, columns] * 2, np.float32)
    return FoundBoxes(np.clip(boxes * scale, 0, edges), scores, numbers)


def heat_in(network: nn.Module, picture: Picture, recipe: FlatRecipe) -> npt.NDArray[np.float32]:
    """Give how probable a middle is at every pixel, (classes, rows, columns)."""
    image = recipe.to_input(picture)
    heat = ask(network, image)[: len(recipe.classes)].sigmoid()
    cells = [math.ceil(side / STRIDE) for side in image.shape[1:]]
    found: npt.NDArray[np.float32] = resized(
        heat[:, : cells[0], : cells[1]], picture.shape[:2]
    ).numpy()
    return found


def object_maps(network: nn.Module, picture: Picture, recipe: FlatRecipe) -> torch.Tensor:
    """Give logits of foreground and depth (2, rows, columns) in the picture's own pixels."""
    image = recipe.to_input(picture)
    return _on_picture(ask(FlipMean(network, recipe.flips), image), image, picture)


def objects_in(network: nn.Module, picture: Picture, recipe: FlatRecipe) -> npt.NDArray[np.int32]:
    """Give the map of objects, numbered from 1, mirrored views averaged."""
    return objects_of(object_maps(network, picture, recipe), recipe)


def objects_of(maps: torch.Tensor, recipe: FlatRecipe) -> npt.NDArray[np.int32]:
    """Give the map of objects, numbered from 1, that `object_maps` says."""
    decoding = recipe.decoding
    return instances_of(
        maps,
        decoding.get("foreground", 0.5),
        decoding.get("prominence", 0.1),
        decoding.get("least_px", 12),
    )


def _on_picture(maps: torch.Tensor, image: torch.Tensor, picture: Picture) -> torch.Tensor:
    """Give maps of the network's grid, cut to what was the picture, in the picture's pixels."""
    return resized(maps[:, : image.shape[1], : image.shape[2]], picture.shape[:2])


def motion_between(
    network: nn.Module, first: Picture, second: Picture, recipe: FlatRecipe
) -> npt.NDArray[np.float32]:
    """Give the motion from one picture to the next of the same size: (2, rows, columns).

    The displacement of each pixel to the right and down, in pixels of the pictures.
    """
    pair = torch.cat([recipe.to_input(first), recipe.to_input(second)])
    motion = ask(network, pair)[:, : pair.shape[1], : pair.shape[2]]
    return scaled(motion[None], (first.shape[0], first.shape[1]))[0].numpy()


def write_answers(
    engine: str,
    network: nn.Module,
    metadata: Mapping[str, Any],
    pictures: Sequence[str],
    output: str,
) -> None:
    """Ask about picture files and write what is found beside each other, as the engine does.

    Label maps and numbered objects as PNG, classes and boxes as JSON; for motion the pictures are
    the frames of a clip, and each but the last gets its motion to the next as an array.
    """
    recipe = flat_recipe(metadata)
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    if engine == "motion":
        _write_motions(network, recipe, pictures, folder)
        return
    for name in pictures:
        picture = _opened(name, recipe)
        target = folder / Path(name).stem
        if engine == "segmentation":
            labels = class_map(network, picture, recipe)
            Image.fromarray(labels).save(target.with_suffix(".png"))
        elif engine == "instances":
            objects = objects_in(network, picture, recipe).astype(np.uint16)
            Image.fromarray(objects).save(target.with_suffix(".png"))
        else:
            answer = _named(engine, network, picture, recipe)
            target.with_suffix(".json").write_text(json.dumps(answer), encoding="utf-8")


def _opened(name: str, recipe: FlatRecipe) -> Picture:
    with Image.open(name) as image:
        return np.asarray(image.convert("L" if recipe.channels == 1 else "RGB"))


def _write_motions(
    network: nn.Module, recipe: FlatRecipe, pictures: Sequence[str], folder: Path
) -> None:
    for name, following in pairwise(pictures):
        motion = motion_between(network, _opened(name, recipe), _opened(following, recipe), recipe)
        np.save(folder / f"{Path(name).stem}.npy", motion)


def _named(engine: str, network: nn.Module, picture: Picture, recipe: FlatRecipe) -> dict[str, Any]:
    if engine == "classification":
        chances = class_probabilities(network, picture, recipe).tolist()
        return dict(zip(recipe.classes, chances, strict=True))
    found = asdict(boxes_in(network, picture, recipe))
    return {name: part.tolist() for name, part in found.items()}
