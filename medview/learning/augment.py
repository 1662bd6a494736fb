"""Random changes of training cases: one interpolation for all of geometry, then intensities."""

import math
from collections.abc import Sequence

import torch
from torch.nn import functional

from medview.learning.config import AugmentConfig

_LINEAR = {2: "bilinear", 3: "trilinear"}


def random_patches(
    pairs: Sequence[tuple[torch.Tensor, torch.Tensor]],
    patch: tuple[int, ...],
    config: AugmentConfig,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give a batch of changed patches: (N, C, *patch) float32 and (N, 1, *patch) int64.

    Images (C, *sides), or without the channel, may each have a size of their own, in two or three
    dimensions; labels are (*sides). Outside of it the label is background and the image is, by
    chance, its own edge or its own minimum, as crops of real scans end both ways.
    """
    images, labels = [], []
    for image, label in pairs:
        channels = image if image.ndim > len(patch) else image[None]
        grid = random_grid(label.shape, patch, config, generator)
        images.append(changed(sampled(channels, grid, generator), config, generator))
        labels.append(sampled_labels(label, grid))
    return torch.stack(images), torch.stack(labels)


def _uniform(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * torch.rand((), generator=generator).item()


def _chance(generator: torch.Generator, probability: float) -> bool:
    return torch.rand((), generator=generator).item() < probability


def random_matrix(
    config: AugmentConfig,
    generator: torch.Generator,
    dimensions: int = 3,
    about: Sequence[int] = (0, 1, 2),
) -> torch.Tensor:
    """Give a square matrix, patch offset to image offset: rotation, scale, mirror.

    In three dimensions the rotation is `about` each of these axes in turn.
    """
    matrix = torch.eye(dimensions)
    for axis in about if dimensions == 3 else (0,):
        angle = math.radians(_uniform(generator, -config.rotate_deg, config.rotate_deg))
        first, second = (axis + 1) % dimensions, (axis + 2) % dimensions
        turn = torch.eye(dimensions)
        turn[first, first] = turn[second, second] = math.cos(angle)
        turn[first, second], turn[second, first] = -math.sin(angle), math.sin(angle)
        matrix = turn @ matrix
    common = _uniform(generator, -config.scale, config.scale)
    for axis in range(dimensions):
        own = _uniform(generator, -config.scale, config.scale)
        matrix[:, axis] *= 1.0 + 0.7 * common + 0.3 * own
    for axis in config.flip:
        if _chance(generator, 0.5):
            matrix[:, axis] *= -1.0
    return matrix


def random_centre(
    sides: Sequence[int],
    patch: Sequence[int],
    config: AugmentConfig,
    generator: torch.Generator,
) -> torch.Tensor:
    """Give where in the image the middle of the patch comes to lie, in voxels."""
    centre = torch.tensor([(n - 1) / 2 for n in sides])
    for axis, (side, wanted) in enumerate(zip(sides, patch, strict=True)):
        reach = config.translate_mm + max(0.0, (side - wanted) / 2)
        centre[axis] += _uniform(generator, -reach, reach)
    return centre


def random_grid(
    sides: Sequence[int],
    patch: tuple[int, ...],
    config: AugmentConfig,
    generator: torch.Generator,
    about: Sequence[int] = (0, 1, 2),
) -> torch.Tensor:
    """Give where each voxel of the patch lies in an image of `sides`, in voxels: (*patch, d).

    In three dimensions the patch is turned `about` these axes.
    """
    axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in patch]
    offsets = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    centre = random_centre(sides, patch, config, generator)
    coordinates = offsets @ random_matrix(config, generator, len(patch), about).T + centre
    if config.elastic_mm > 0 and _chance(generator, 0.5):
        knots = [max(3, n // 10) for n in patch]
        if len(patch) == 2:
            knots = [max(3, n // 32) for n in patch]
        coarse = torch.randn((1, len(patch), *knots), generator=generator)
        coarse *= _uniform(generator, 0.0, config.elastic_mm)
        smooth = functional.interpolate(
            coarse, size=list(patch), mode=_LINEAR[len(patch)], align_corners=True
        )
        coordinates = coordinates + smooth[0].movedim(0, -1)
    return coordinates


def sampled(image: torch.Tensor, grid: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Give an image (C, *sides) at the places of a grid: (C, *patch), linearly."""
    floor = image.min()
    edge = "border" if _chance(generator, 0.5) else "zeros"
    return _at(image - floor, grid, edge) + floor


def sampled_maps(maps: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Give maps (C, *sides) at the places of a grid: (C, *patch), linearly, 0 outside."""
    return _at(maps, grid, "zeros")


def sampled_labels(label: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Give a label map (*sides) at the places of a grid: (1, *patch), the largest share."""
    classes = int(label.max().item())
    masks = torch.stack([(label == number).float() for number in range(1, classes + 1)] or [label])
    shares = _at(masks.float(), grid, "zeros")
    background = 1.0 - shares.sum(dim=0, keepdim=True)
    return torch.cat([background, shares]).argmax(dim=0, keepdim=True)


def _at(image: torch.Tensor, grid: torch.Tensor, edge: str) -> torch.Tensor:
    sizes = torch.tensor(image.shape[1:], dtype=torch.float32)
    places = (2.0 * grid / (sizes - 1.0).clamp(min=1.0) - 1.0).flip(-1)[None]
    return functional.grid_sample(image[None], places, padding_mode=edge, align_corners=True)[0]


def changed(image: torch.Tensor, config: AugmentConfig, generator: torch.Generator) -> torch.Tensor:
    """Change the intensities of one normalised patch (C, *patch), and normalise what came out."""
    if config.coarsen > 1.0 and _chance(generator, 0.3):
        image = _coarsen(image, config.coarsen, generator)
    if config.clip > 0 and _chance(generator, 0.3):
        spread = image.max() - image.min()
        low = image.min() + spread * _uniform(generator, 0.0, config.clip)
        high = image.max() - spread * _uniform(generator, 0.0, config.clip)
        image = image.clamp(low.item(), high.item())
    if config.gamma != (1.0, 1.0) and _chance(generator, 0.5):
        low, spread = image.min(), (image.max() - image.min()).clamp(min=1e-6)
        exponent = math.exp(_uniform(generator, *map(math.log, config.gamma)))
        image = ((image - low) / spread) ** exponent
        image = (image - image.mean()) / image.std().clamp(min=1e-6)
    if config.colour > 0 and _chance(generator, 0.5):
        image = _tint(image, config.colour, generator)
    if config.veil > 0 and _chance(generator, 0.3):
        image = _veil(image, config.veil, generator)
    if config.bias > 0 and _chance(generator, 0.5):
        image = _shade(image, config.bias, generator)
    if config.noise > 0 and _chance(generator, 0.5):
        amount = _uniform(generator, 0.0, config.noise)
        image = image + amount * torch.randn(image.shape, generator=generator)
    image = (image - image.mean()) / image.std().clamp(min=1e-6)
    if config.erase > 0 and _chance(generator, 0.5):
        image = _erase(image, config.erase, generator)
    return image


def _coarsen(image: torch.Tensor, largest: float, generator: torch.Generator) -> torch.Tensor:
    small = [max(4, round(n / _uniform(generator, 1.0, largest))) for n in image.shape[1:]]
    mode = _LINEAR[image.ndim - 1]
    coarse = functional.interpolate(image[None], size=small, mode=mode, align_corners=True)
    return functional.interpolate(
        coarse, size=list(image.shape[1:]), mode=mode, align_corners=True
    )[0]


def _veil(image: torch.Tensor, largest: float, generator: torch.Generator) -> torch.Tensor:
    """Lay patches with hard or soft borders over it, even or woven: tissue around the objects."""
    height = (image.max() - image.min()) * _uniform(generator, 0.0, largest)
    border = _uniform(generator, 2.0, 20.0)
    coarse, fine = ([max(2, n // apart) for n in image.shape[1:]] for apart in (24, 3))
    patches = torch.sigmoid(border * _smooth_noise(image, coarse, generator))
    threads = _smooth_noise(image, fine, generator) * _uniform(generator, 0.0, 0.3)
    return image + height * patches * (1.0 + threads)


def _smooth_noise(
    image: torch.Tensor, knots: Sequence[int], generator: torch.Generator
) -> torch.Tensor:
    """Give normal random numbers at so many knots of the image, and what lies between them."""
    return functional.interpolate(
        torch.randn((1, 1, *knots), generator=generator),
        size=list(image.shape[1:]),
        mode=_LINEAR[len(knots)],
        align_corners=True,
    )[0]


def _shade(image: torch.Tensor, largest: float, generator: torch.Generator) -> torch.Tensor:
    field = _smooth_noise(image, (3,) * (image.ndim - 1), generator)
    field = field * _uniform(generator, 0.0, largest)
    low = image.min()
    return (image - low) * field.exp() + low


def _tint(image: torch.Tensor, largest: float, generator: torch.Generator) -> torch.Tensor:
    """Brighten and shift every channel by itself, and mix a little of each into the others."""
    channels = image.shape[0]
    gains = torch.exp(largest * (2 * torch.rand(channels, generator=generator) - 1))
    shifts = largest * (2 * torch.rand(channels, generator=generator) - 1)
    stirred = torch.randn((channels, channels), generator=generator)
    mix = torch.eye(channels) + 0.3 * largest * stirred
    flat = mix @ (gains[:, None] * image.flatten(1) + shifts[:, None])
    return flat.view_as(image)


def _erase(image: torch.Tensor, largest: float, generator: torch.Generator) -> torch.Tensor:
    """Blank a box whose sides are up to this share of the patch (DeVries, arXiv:1708.04552)."""
    place: list[slice] = []
    for side in image.shape[1:]:
        width = max(1, round(side * _uniform(generator, 0.2 * largest, largest)))
        start = int(_uniform(generator, 0, side - width))
        place.append(slice(start, start + width))
    image = image.clone()
    image[(slice(None), *place)] = 0.0
    return image
