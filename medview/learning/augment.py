"""Random changes of training cases: one interpolation for all of geometry, then intensities."""

import math
from collections.abc import Sequence

import torch
from torch.nn import functional

from medview.learning.config import AugmentConfig


def random_patches(
    pairs: Sequence[tuple[torch.Tensor, torch.Tensor]],
    patch: tuple[int, ...],
    config: AugmentConfig,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give a batch of changed patches: (N, 1, x, y, z) float32 and (N, 1, x, y, z) int64.

    Every image (x, y, z) may have a size of its own; outside of it the label is background and
    the image is, by chance, its own edge or its own minimum, as crops of real scans end both ways.
    """
    moved = [_sample(image, label, patch, config, generator) for image, label in pairs]
    changed = [_change_intensity(image, config, generator) for image, _ in moved]
    return torch.stack(changed), torch.stack([label for _, label in moved])


def _uniform(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * torch.rand((), generator=generator).item()


def _chance(generator: torch.Generator, probability: float) -> bool:
    return torch.rand((), generator=generator).item() < probability


def random_matrix(config: AugmentConfig, generator: torch.Generator) -> torch.Tensor:
    """Give a 3x3 matrix, patch offset to image offset: rotation about each axis, scale, mirror."""
    matrix = torch.eye(3)
    for axis in range(3):
        angle = math.radians(_uniform(generator, -config.rotate_deg, config.rotate_deg))
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn = torch.eye(3)
        turn[first, first] = turn[second, second] = math.cos(angle)
        turn[first, second], turn[second, first] = -math.sin(angle), math.sin(angle)
        matrix = turn @ matrix
    common = _uniform(generator, -config.scale, config.scale)
    for axis in range(3):
        own = _uniform(generator, -config.scale, config.scale)
        matrix[:, axis] *= 1.0 + 0.7 * common + 0.3 * own
    for axis in config.flip:
        if _chance(generator, 0.5):
            matrix[:, axis] *= -1.0
    return matrix


def _coordinates(
    size: Sequence[int],
    patch: tuple[int, ...],
    config: AugmentConfig,
    generator: torch.Generator,
) -> torch.Tensor:
    """Give where each voxel of the patch lies in the image, in voxels: (x, y, z, 3)."""
    axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in patch]
    offsets = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    centre = torch.tensor([(n - 1) / 2 for n in size])
    for axis in range(3):
        reach = config.translate_mm + max(0.0, (size[axis] - patch[axis]) / 2)
        centre[axis] += _uniform(generator, -reach, reach)
    coordinates = offsets @ random_matrix(config, generator).T + centre
    if config.elastic_mm > 0 and _chance(generator, 0.5):
        knots = [max(3, n // 10) for n in patch]
        coarse = torch.randn((1, 3, *knots), generator=generator)
        coarse *= _uniform(generator, 0.0, config.elastic_mm)
        smooth = functional.interpolate(
            coarse, size=list(patch), mode="trilinear", align_corners=True
        )
        coordinates = coordinates + smooth[0].permute(1, 2, 3, 0)
    return coordinates


def _sample(
    image: torch.Tensor,
    label: torch.Tensor,
    patch: tuple[int, ...],
    config: AugmentConfig,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    coordinates = _coordinates(image.shape, patch, config, generator)
    sizes = torch.tensor(image.shape, dtype=torch.float32)
    grid = (2.0 * coordinates / (sizes - 1.0).clamp(min=1.0) - 1.0).flip(-1)[None]
    floor = image.min()
    edge = "border" if _chance(generator, 0.5) else "zeros"
    values = functional.grid_sample(
        (image - floor)[None, None], grid, padding_mode=edge, align_corners=True
    )
    classes = int(label.max().item())
    masks = torch.stack([(label == number).float() for number in range(1, classes + 1)])
    shares = functional.grid_sample(masks[None], grid, padding_mode="zeros", align_corners=True)
    background = 1.0 - shares.sum(dim=1, keepdim=True)
    chosen = torch.cat([background, shares], dim=1).argmax(dim=1)
    return values[0] + floor, chosen


def _change_intensity(
    image: torch.Tensor, config: AugmentConfig, generator: torch.Generator
) -> torch.Tensor:
    """Change one normalised patch (1, x, y, z) and normalise what came out."""
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
    if config.bias > 0 and _chance(generator, 0.5):
        image = _shade(image, config.bias, generator)
    if config.noise > 0 and _chance(generator, 0.5):
        amount = _uniform(generator, 0.0, config.noise)
        image = image + amount * torch.randn(image.shape, generator=generator)
    return (image - image.mean()) / image.std().clamp(min=1e-6)


def _coarsen(image: torch.Tensor, largest: float, generator: torch.Generator) -> torch.Tensor:
    small = [max(4, round(n / _uniform(generator, 1.0, largest))) for n in image.shape[1:]]
    coarse = functional.interpolate(image[None], size=small, mode="trilinear", align_corners=True)
    return functional.interpolate(
        coarse, size=list(image.shape[1:]), mode="trilinear", align_corners=True
    )[0]


def _shade(image: torch.Tensor, largest: float, generator: torch.Generator) -> torch.Tensor:
    knots = torch.randn((1, 1, 3, 3, 3), generator=generator) * _uniform(generator, 0.0, largest)
    field = functional.interpolate(
        knots, size=list(image.shape[1:]), mode="trilinear", align_corners=True
    )[0]
    low = image.min()
    return (image - low) * field.exp() + low
