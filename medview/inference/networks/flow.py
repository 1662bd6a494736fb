"""Motion between two pictures: registration from coarse to fine, unrolled and learned."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional


def warped(image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """Give `image` (N, C, rows, columns) seen through a motion: at x stands what was at x + flow.

    `flow` is (N, 2, rows, columns), the displacement in pixels to the right and down. Bilinear;
    outside of the picture is its own edge.
    """
    rows, columns = image.shape[-2:]
    down = torch.arange(rows, dtype=flow.dtype, device=flow.device)[:, None] + flow[:, 1]
    right = torch.arange(columns, dtype=flow.dtype, device=flow.device) + flow[:, 0]
    grid = torch.stack(
        [right * (2 / max(columns - 1, 1)) - 1, down * (2 / max(rows - 1, 1)) - 1], dim=-1
    )
    return functional.grid_sample(image, grid, padding_mode="border", align_corners=True)


def scaled(flow: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Give a motion on a picture of another size, its displacements in pixels of that size.

    Pixels are areas: their corners lie on each other, not their middles.
    """
    rows, columns = flow.shape[-2:]
    if (rows, columns) == size:
        return flow
    larger = functional.interpolate(flow, size=size, mode="bilinear", align_corners=False)
    factors = torch.tensor([size[1] / columns, size[0] / rows], device=flow.device)
    return larger * factors.view(1, 2, 1, 1)


def blurred(image: torch.Tensor, sigma: torch.Tensor, reach: int) -> torch.Tensor:
    """Give an image (N, C, rows, columns) convolved with a Gaussian cut off after `reach` pixels.

    Its edge is continued. `sigma` in pixels is a tensor, so that it can be learned.
    """
    steps = torch.arange(-reach, reach + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(image.shape[1], 1, -1)
    groups = image.shape[1]
    for axis in (2, 3):
        sides = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        shape = (groups, 1, -1, 1) if axis == 2 else (groups, 1, 1, -1)
        padded = functional.pad(image, sides, mode="replicate")
        image = functional.conv2d(padded, kernel.reshape(shape), groups=groups)
    return image


def slopes(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Give the central differences of an image to the right and down, 0 at its edges."""
    right = functional.pad((image[..., 2:] - image[..., :-2]) / 2, (1, 1))
    down = functional.pad((image[..., 2:, :] - image[..., :-2, :]) / 2, (0, 0, 1, 1))
    return right, down


class Smoother(nn.Module):
    """A motion field made smooth, more so where the pictures say less.

    Of the field smoothed by its confidence over three widths (normalised convolution, Knutsson
    and Westin, CVPR 1993) each place takes a mixture; which one is learned from the confidence.
    """

    reaches = (3, 10, 10)
    _COARSER = 4

    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.sigmas = nn.Parameter(torch.tensor([1.5, 4.0, 3.0]).log())
        self.trust = nn.Parameter(torch.tensor(1.0))
        self.floor = nn.Parameter(torch.tensor(-4.0))
        self.choose = nn.Sequential(
            nn.Conv2d(4, hidden, 3, 1, 1),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(hidden, hidden, 3, 1, 2, 2),
            nn.LeakyReLU(0.1, inplace=True),
        )
        last = nn.Conv2d(hidden, 3, 1)
        nn.init.zeros_(last.weight)
        last.bias = nn.Parameter(torch.tensor([0.5, 1.0, -1.5]))
        self.choose.append(last)

    def forward(
        self, flow: torch.Tensor, evidence: torch.Tensor, misfit: torch.Tensor
    ) -> torch.Tensor:
        """Smooth a field (N, 2, ...) by its evidence and misfit (N, 1, ...)."""
        share = evidence / evidence.mean(dim=(2, 3), keepdim=True).clamp(min=1e-8)
        weight = share**self.trust + self.floor.exp()
        fields = [
            self._averaged(flow, weight, number, self._COARSER if number == 2 else 1)
            for number in range(3)
        ]
        rough = (fields[0] - fields[1]).norm(dim=1, keepdim=True)
        log = torch.log(share + 1e-3)
        hints = torch.cat([log, misfit, rough, torch.log1p(evidence)], dim=1)
        chances = self.choose(hints).softmax(dim=1)
        return sum(
            (chances[:, n : n + 1] * field for n, field in enumerate(fields)),
            start=torch.zeros_like(flow),
        )

    def _averaged(
        self, flow: torch.Tensor, weight: torch.Tensor, number: int, coarser: int
    ) -> torch.Tensor:
        """The mean of a field by weight over one width, worked out on a coarser grid."""
        both = torch.cat([flow * weight, weight], dim=1)
        size = (flow.shape[-2], flow.shape[-1])
        if coarser > 1:
            both = functional.avg_pool2d(both, coarser, ceil_mode=True, count_include_pad=False)
        both = blurred(both, self.sigmas[number].exp(), self.reaches[number])
        if coarser > 1:
            both = functional.interpolate(both, size=size, mode="bilinear", align_corners=False)
        return both[:, :2] / both[:, 2:].clamp(min=1e-8)


class Matcher(nn.Module):
    """One level: the motion between two pictures of features, improved step by step.

    A step is that of Lucas and Kanade (IJCAI 1981), the change that least squares over a Gaussian
    window ask for, each pixel weighted down the less it fits (Black and Anandan 1996), then
    smoothed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.window = nn.Parameter(torch.tensor(5.0).log())
        self.scale = nn.Parameter(torch.tensor(0.0))
        self.damping = nn.Parameter(torch.tensor(0.02).log())
        self.smoother = Smoother()

    def forward(
        self, first: torch.Tensor, second: torch.Tensor, flow: torch.Tensor
    ) -> torch.Tensor:
        """Give the better motion; features (N, C, ...), flow (N, 2, ...)."""
        seen = warped(second, flow)
        right, down = slopes((first + seen) / 2)
        off = seen - first
        fit = 1 / (1 + (off.square().mean(dim=1, keepdim=True) / self.scale.exp() ** 2))
        products = [right * right, right * down, down * down, right * off, down * off]
        sums = [(fit * one.mean(dim=1, keepdim=True)) for one in products]
        window = blurred(torch.cat([*sums, 1 - fit], dim=1), self.window.exp(), 12)
        xx, xy, yy, xd, yd, misfit = torch.split(window, 1, dim=1)
        evidence = (xx + yy) / 2
        damp = self.damping.exp() * evidence.mean(dim=(2, 3), keepdim=True) + 1e-8
        xx, yy = xx + damp, yy + damp
        determinant = xx * yy - xy * xy
        step = torch.cat([xy * yd - yy * xd, xy * xd - xx * yd], dim=1) / determinant
        longest = step.norm(dim=1, keepdim=True).clamp(min=2)
        least = determinant / (xx + yy)  # about the smaller of both eigenvalues
        smooth: torch.Tensor = self.smoother(flow + step * (2 / longest), least, misfit)
        return smooth


class FlowNet(nn.Module):
    """Dense motion by registration from coarse to fine whose every step was learned.

    Each picture is normalised to its surroundings and joined by a few learned features. On every
    level of a pyramid a `Matcher` improves the motion found on the coarser one; all levels but
    the coarsest share one. The finest level has half the pixels of the picture a side: motion is
    smooth. What is learned are features, window, robustness, damping and how much to smooth
    where: untrained it already is a registration. (Unrolled optimisation: Gregor and LeCun, ICML
    2010; learned Lucas-Kanade: Lv et al., arXiv:1812.06861.)

    Takes pairs (N, 2, rows, columns), the two pictures as channels, each normalised by itself, of
    any size above 32; gives the displacement from the first to the second (N, 2, rows, columns) in
    pixels, to the right and down. In training it answers with those of all levels, the finest last:
    (N, levels, 2, rows, columns).
    """

    divisor = 1

    def __init__(
        self, levels: int = 4, steps: tuple[int, ...] = (2, 3, 4, 4), features: int = 6
    ) -> None:
        super().__init__()
        self.levels, self.steps = levels, tuple(steps)
        self.surroundings = nn.Parameter(torch.tensor(6.0).log())
        self.features = nn.Sequential(
            nn.Conv2d(1, 12, 5, padding=2, padding_mode="replicate"),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(12, features, 3, padding=1, padding_mode="replicate"),
            nn.Tanh(),
        )
        self.share = nn.Parameter(torch.full((features,), 0.1))
        self.coarse, self.fine = Matcher(), Matcher()

    def forward(self, pair: torch.Tensor) -> torch.Tensor:
        """Give the motion from the first picture of each pair to the second."""
        size = (pair.shape[-2], pair.shape[-1])
        count = self._levels_for(size)
        pyramid = self._pyramid(pair, count)
        flow = torch.zeros_like(pyramid[-1][:, :2])
        found = []
        for level in reversed(range(count)):
            flow = scaled(flow, (pyramid[level].shape[-2], pyramid[level].shape[-1]))
            first, second = (self._described(one) for one in torch.split(pyramid[level], 1, dim=1))
            matcher = self.coarse if level == count - 1 else self.fine
            for _ in range(self.steps[min(level, len(self.steps) - 1)]):
                flow = matcher(first, second, flow)
            found.append(flow)
        if self.training:
            return torch.stack([scaled(one, size) for one in found], dim=1)
        return scaled(flow, size)

    def _levels_for(self, size: tuple[int, int]) -> int:
        """As many levels as leave 8 pixels a side."""
        return max(1, min(self.levels, int(math.log2(min(size) / 8))))

    def _pyramid(self, pair: torch.Tensor, count: int) -> list[torch.Tensor]:
        """The pair with a half, a quarter, ... of its pixels a side."""
        levels, sigma = [], torch.tensor(0.8, device=pair.device)
        for _ in range(count):
            pair = functional.avg_pool2d(
                blurred(pair, sigma, 2), 2, ceil_mode=True, count_include_pad=False
            )
            levels.append(pair)
        return levels

    def _described(self, picture: torch.Tensor) -> torch.Tensor:
        """A picture (N, 1, ...) normalised to its surroundings, and its features: (N, C, ...)."""
        around = self.surroundings.exp()
        mean = blurred(picture, around, 15)
        spread = blurred(picture.square(), around, 15) - mean.square()
        whole = picture.var(dim=(2, 3), keepdim=True)
        local = (picture - mean) / (spread.clamp(min=0) + 0.01 * whole + 1e-6).sqrt()
        learned = self.features(local) * self.share.view(1, -1, 1, 1)
        # The mean over channels is taken of squares: one channel of many counts as if alone.
        return torch.cat([local, learned], dim=1) * math.sqrt(1 + learned.shape[1])
