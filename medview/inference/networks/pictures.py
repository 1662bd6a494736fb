"""Flat pictures as networks want them, and what the answers mean on the picture."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from medview.imaging.intensity import normalise
from medview.inference.adapter import not_finite
from medview.inference.networks.centres import STRIDE
from medview.inference.networks.windows import continued

FloatImage = npt.NDArray[np.float32]


def fitted_shape(shape: Sequence[int], size_px: Sequence[int]) -> tuple[int, int]:
    """Give rows and columns of a picture scaled to just fit into `size_px`, its aspect kept.

    An empty `size_px` leaves the picture as it is.
    """
    rows, columns = shape[0], shape[1]
    if not size_px:
        return rows, columns
    factor = min(size_px[0] / rows, size_px[1] / columns)
    return max(1, round(rows * factor)), max(1, round(columns * factor))


def resized(image: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Give (C, rows, columns) on another grid, linearly, fine detail averaged when it shrinks."""
    if tuple(image.shape[1:]) == tuple(shape):
        return image
    return functional.interpolate(
        image[None], size=list(shape), mode="bilinear", align_corners=False, antialias=True
    )[0]


def to_input(
    picture: npt.NDArray[Any],
    channels: int,
    size_px: Sequence[int],
    intensity: Mapping[str, object],
) -> torch.Tensor:
    """Give a picture, (rows, columns) or (rows, columns, 3), as (channels, rows, columns).

    A grey picture for a colour network is repeated; a colour picture for a grey one is averaged.
    """
    values = torch.from_numpy(np.ascontiguousarray(picture, dtype=np.float32))
    image = values.movedim(-1, 0) if values.ndim == 3 else values[None]
    if image.shape[0] != channels:
        image = image.mean(dim=0, keepdim=True).expand(channels, -1, -1)
    image = resized(image, fitted_shape(picture.shape, size_px))
    return torch.from_numpy(normalise(image.numpy(), intensity))


def nuclear_stain(picture: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Give a microscope picture as (rows, columns), bright where nuclei are stained.

    Where light went through (the median is bright: more than half of the 99.8th percentile) it is
    the red light that was taken away: haematoxylin and its like are blue and take it, eosin is red
    and does not (the spectra of Ruifrok and Johnston, Anal Quant Cytol Histol 23:291-299 (2001)).
    Otherwise the light comes from the nuclei, and is the mean of the colours.
    """
    values = np.asarray(picture, np.float32)
    mean = values.mean(axis=-1) if values.ndim == 3 else values
    middle, brightest = np.percentile(mean, [50, 99.8])
    if middle <= brightest / 2:
        return mean
    red = values[..., 0] if values.ndim == 3 else values
    absorbed: npt.NDArray[np.float32] = red.max() - red
    return absorbed


def within_margin(picture: npt.NDArray[Any], margin: float) -> npt.NDArray[Any]:
    """Give a picture without this share of it at each edge, where words and markers stand."""
    rows, columns = (round(side * margin) for side in picture.shape[:2])
    return picture[rows : picture.shape[0] - rows, columns : picture.shape[1] - columns]


def ask(network: torch.nn.Module, image: torch.Tensor) -> torch.Tensor:
    """Give the answer to one picture (C, rows, columns), its edge continued to what is divisible.

    Answers are on the CPU, in float32; maps cover the picture and what was put on. ModelError for
    an answer that is not finite: neither a likeliest class nor a highest cell would show it.
    """
    divisor = int(getattr(network, "divisor", 1))
    sides = [math.ceil(size / divisor) * divisor for size in image.shape[1:]]
    device = next(network.parameters()).device
    with torch.inference_mode():
        answer: torch.Tensor = network(continued(image[None].to(device), sides))
    found = answer[0].float().cpu()
    if not torch.isfinite(found.sum(dtype=torch.float64)):
        raise not_finite()
    return found


def boxes_of(
    answer: torch.Tensor,
    classes: int,
    least_score: float = 0.05,
    most_overlap: float = 0.5,
    most: int = 300,
) -> tuple[FloatImage, FloatImage, npt.NDArray[np.int64]]:
    """Give boxes (n, 4: top, left, bottom, right in input pixels), scores and class numbers.

    `answer` is a CentreDetector's, (classes + 4, rows / 4, columns / 4); of one that looks at
    volumes, boxes are (n, 6: low x, y, z, high x, y, z). A cell that no neighbour surpasses is a
    middle, of equal neighbours the first one; of two boxes of one class that overlap (intersection
    over union above `most_overlap`) the surer one stays. Surest first, at most `most`.
    """
    # Logits, not probabilities, are compared: those of sure cells are all 1 in single precision.
    logits = answer[:classes]
    pool = functional.max_pool2d if answer.ndim == 3 else functional.max_pool3d
    peaks = pool(logits[None], 3, 1, 1)[0] == logits
    found = (peaks & (logits.sigmoid() >= least_score)).nonzero(as_tuple=True)
    order = logits[found].argsort(descending=True, stable=True)[: 4 * most]
    order = order[_first_of_neighbours(torch.stack(found, dim=1)[order])]
    scores = logits[found].sigmoid()
    number, *cell = (axis[order] for axis in found)
    scores = scores[order]
    place: tuple[Any, ...] = (slice(classes, None), *cell)
    reach = answer[place].clamp(max=8.0).exp()
    middle = (torch.stack(cell).float() + 0.5) * STRIDE
    boxes = torch.cat([middle - reach[: len(cell)], middle + reach[len(cell) :]]).T
    kept = surest_boxes(boxes, number, most_overlap)[:most]
    return boxes[kept].numpy(), scores[kept].numpy(), number[kept].numpy()


def _first_of_neighbours(peaks: torch.Tensor) -> torch.Tensor:
    """Tell of peaks (n, class and cell) which have no earlier one of their class beside them."""
    apart = (peaks[:, None] - peaks[None]).abs()
    beside = (apart[..., 0] == 0) & (apart[..., 1:] <= 1).all(dim=-1)
    return ~beside.tril(diagonal=-1).any(dim=1)


def overlaps(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Give intersection over union of boxes (n, 4 or 6) with boxes (m, 4 or 6), as (n, m)."""
    axes = first.shape[1] // 2
    low = torch.maximum(first[:, None, :axes], second[None, :, :axes])
    high = torch.minimum(first[:, None, axes:], second[None, :, axes:])
    shared = (high - low).clamp(min=0).prod(dim=2)
    sizes = [
        (boxes[:, axes:] - boxes[:, :axes]).clamp(min=0).prod(dim=1) for boxes in (first, second)
    ]
    return shared / (sizes[0][:, None] + sizes[1][None] - shared).clamp(min=1e-9)


def surest_boxes(boxes: torch.Tensor, number: torch.Tensor, most_overlap: float) -> list[int]:
    """Give which boxes stay, the surest of them given first: none overlaps a surer of its class."""
    rival = (overlaps(boxes, boxes) > most_overlap) & (number[:, None] == number[None])
    kept: list[int] = []
    gone = torch.zeros(len(boxes), dtype=torch.bool)
    for index in range(len(boxes)):
        if not gone[index]:
            kept.append(index)
            gone |= rival[index]
    return kept
