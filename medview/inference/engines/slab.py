"""Scores of overlapping windows added up, a slab of the grid at a time, and what follows of them.

Windows come in the order of one axis. What lies before the next window gets no more, so its labels
are written and its place is used again: the scores of all classes are held for one window's depth
and never for the whole image, let alone at full resolution. What many classes are made of by a
network's last layer is added up instead of the classes, where that is less.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from medview.imaging.arg_max import Line, Mix, Span, best_class, certainty, label_between

FloatMap = npt.NDArray[np.float32]

#: Voxels whose labels are worked out between two looks at whether the reader wants to stop.
_VOXELS_AT_ONCE = 1 << 24
#: Of every how many voxels along each axis the probability is worked out, for its mean alone.
_SAMPLED = 2


@dataclass(frozen=True)
class Wishes:
    """Maps on the network's grid beside the labels.

    The `probability` of the best class, `uncertainty` as entropy by its maximum (0-1), and the
    probability of each of some `classes`. Softmax of the scores divided by `temperature`.
    """

    probability: bool = False
    uncertainty: bool = False
    classes: tuple[int, ...] = ()
    temperature: float = 1.0

    @property
    def any(self) -> bool:
        """Whether there is a map to make."""
        return self.probability or self.uncertainty or bool(self.classes)


@dataclass(eq=False)
class Outcome:
    """What windows came to, in the network's axes: filled while they are added up.

    `labels` have the image's resolution, `maps` (by word or class number) the network's. `sums`
    and `counts` are probabilities of the best class added up over its voxels, class by class.
    """

    labels: npt.NDArray[Any]
    maps: dict[str | int, FloatMap]
    sums: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]

    @classmethod
    def empty(
        cls, shape: Sequence[int], grid: Sequence[int], classes: int, wishes: Wishes
    ) -> Outcome:
        """Background everywhere, and maps that are sure of it."""
        names: list[str | int] = [
            name for name in ("probability", "uncertainty") if getattr(wishes, name)
        ]
        maps = {name: np.zeros(grid, np.float32) for name in [*names, *wishes.classes]}
        for name in ("probability", 0):
            if name in maps:
                maps[name].fill(1.0)
        kind = np.uint8 if classes <= 256 else np.uint16
        return cls(
            np.zeros(shape, kind), maps, np.zeros(classes), np.zeros(classes, dtype=np.int64)
        )

    def mean_probability(self) -> dict[int, float]:
        """The mean probability of each class but background, over (some of) the voxels it won."""
        return {
            int(number): float(self.sums[number] / self.counts[number])
            for number in np.flatnonzero(self.counts)
            if number
        }


@dataclass(eq=False)
class Slab:
    """Sums of scores (C, a, b, c) over `covered`, a box of the grid, along one axis in turn.

    With a `mix` (classes, C + 1) the scores are of channels that the classes are made of; its last
    column counts the weights, which are the last of the sums. `lines` place the voxels of the
    image among those of the grid. `add` and `finish` are called in the order of windows along
    `axis`; `pause` is called between pieces of work.
    """

    classes: int
    covered: Span
    patch: tuple[int, int, int]
    axis: int
    lines: Sequence[Line]
    wishes: Wishes
    outcome: Outcome
    mix: Mix | None = None
    device: str = "cpu"
    pause: Callable[[], None] = lambda: None
    _sums: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        sides = slab_sides(self.covered, self.patch, self.axis)
        self._origin = [start for start, _ in self.covered]
        self._done = self.covered[self.axis][0]
        self._written = self.lines[self.axis].between(*self.covered[self.axis])[0]
        channels = self.classes if self.mix is None else self.mix.shape[1] - 1
        self._sums = torch.zeros((channels + 1, *sides), device=self.device)
        self._best = np.zeros(sides, np.uint16)

    def move(self, device: str) -> None:
        """Add up somewhere else from now on."""
        self.device = device
        self._sums = self._sums.to(device)

    def add(self, start: Sequence[int], scores: torch.Tensor, weight: torch.Tensor) -> None:
        """Add the scores (C, a, b, c) of the window that begins at `start`, by their weight."""
        place = tuple(
            slice(at - origin, at - origin + side)
            for at, origin, side in zip(start, self._origin, scores.shape[1:], strict=True)
        )
        self._sums[:-1][(slice(None), *place)].addcmul_(scores, weight)
        self._sums[-1][place] += weight

    def finish(self, stop: int) -> None:
        """What lies before `stop` along the axis gets no more: work out what it comes to."""
        while self._done < stop:  # more than a slab where windows were left out
            held = self._origin[self.axis] + self._best.shape[self.axis]
            self._finish_held(min(stop, held))

    def _finish_held(self, stop: int) -> None:
        span = self._span(stop)
        sums = self._sums.cpu().numpy()
        scores = sums[:-1] if self.mix is None else sums
        known = [slice(None)] * 3
        known[self.axis] = slice(0, span[self.axis][1])
        weights = sums[-1][tuple(known)]
        scale = np.divide(1, weights, out=np.zeros_like(weights), where=weights > 0)
        best_class(scores, self._best, span, self.mix)
        self._write_labels(scores, scale, stop)
        self._look_closer(scores, scale, span)
        self._done = stop
        if stop < self.covered[self.axis][1]:
            self._move_on(stop - 1)

    def _span(self, stop: int) -> Span:
        """The voxels of the slab that are complete now and were not before."""
        spans = [(0, side) for side in self._best.shape]
        origin = self._origin[self.axis]
        spans[self.axis] = (self._done - origin, stop - origin)
        return spans[0], spans[1], spans[2]

    def _write_labels(self, scores: FloatMap, scale: FloatMap, stop: int) -> None:
        spans = [
            line.between(*covered) for line, covered in zip(self.lines, self.covered, strict=True)
        ]
        last = self.lines[self.axis].between(self.covered[self.axis][0], stop)[1]
        spans[self.axis] = (self._written, last)
        lines = [
            line.seen_from(origin) for line, origin in zip(self.lines, self._origin, strict=True)
        ]
        rows = max(1, _VOXELS_AT_ONCE // max(1, _count(spans[1:])))
        for first in range(spans[0][0], spans[0][1], rows):
            self.pause()
            here = (first, min(first + rows, spans[0][1]))
            span = (here, spans[1], spans[2])
            label_between(scores, scale, self._best, lines, self.outcome.labels, span, mix=self.mix)
        self._written = max(last, self._written)

    def _look_closer(self, scores: FloatMap, scale: FloatMap, span: Span) -> None:
        """How sure the network is: of some voxels, or of all where a map was wished for."""
        self.pause()
        seen = scale > 0
        scale = scale / np.float32(self.wishes.temperature)
        step = 1 if self.wishes.any else _SAMPLED
        surest, entropy, chances = certainty(
            scores,
            scale,
            self._best,
            span=span,
            step=step,
            mix=self.mix,
            wished=self.wishes.classes,
        )
        fresh = tuple(slice(first, last) for first, last in span)
        found, some = self.outcome, (slice(None, None, step),) * 3
        won, by = self._best[fresh][some].ravel(), surest[fresh][some].ravel()
        found.sums += np.bincount(won, by, minlength=self.classes)
        found.counts += np.bincount(won, minlength=self.classes)
        place = tuple(
            slice(one.start + origin, one.stop + origin)
            for one, origin in zip(fresh, self._origin, strict=True)
        )
        values: dict[str | int, FloatMap] = {"probability": surest, "uncertainty": entropy}
        values.update(zip(self.wishes.classes, chances, strict=True))
        for name, target in found.maps.items():
            np.copyto(target[place], values[name][fresh], where=seen[fresh])

    def _move_on(self, origin: int) -> None:
        """Keep the planes from `origin` on, at the start of the slab; the rest is zero again."""
        axis, step = self.axis, origin - self._origin[self.axis]
        if step == 0:
            return
        self._origin[axis] = origin
        for number in range(self._best.shape[axis]):
            target = self._sums.select(axis + 1, number)
            if number + step < self._best.shape[axis]:
                target.copy_(self._sums.select(axis + 1, number + step))
            else:
                target.zero_()
        first = np.moveaxis(self._best, axis, 0)
        first[0] = first[step]


def slab_sides(covered: Span, patch: Sequence[int], axis: int) -> list[int]:
    """Sides of what is held at once: a window's depth and the plane before it along the axis."""
    sides = [stop - start for start, stop in covered]
    sides[axis] = min(sides[axis], patch[axis] + 1)
    return sides


def _count(spans: Sequence[tuple[int, int]]) -> int:
    return int(np.prod([stop - start for start, stop in spans]))
