"""Scores of overlapping windows added up, a slab of the grid at a time, and what follows of them.

Windows come in the order of one axis. What lies before the next window gets no more, so its labels
are written and its place is used again: the scores of all classes are held for one window's depth
and never for the whole image, let alone at full resolution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from medview.imaging.arg_max import Line, Span, best_class, certainty, label_between

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

    `lines` place the voxels of the image among those of the grid. `add` and `finish` are called in
    the order of windows along `axis`; `pause` is called between pieces of work.
    """

    classes: int
    covered: Span
    patch: tuple[int, int, int]
    axis: int
    lines: Sequence[Line]
    wishes: Wishes
    outcome: Outcome
    device: str = "cpu"
    pause: Callable[[], None] = lambda: None
    _sums: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        sides = slab_sides(self.covered, self.patch, self.axis)
        self._origin = [start for start, _ in self.covered]
        self._done = self.covered[self.axis][0]
        self._written = self.lines[self.axis].between(*self.covered[self.axis])[0]
        self._sums = torch.zeros((self.classes, *sides), device=self.device)
        self._weights = torch.zeros(tuple(sides), device=self.device)
        self._inverse = np.zeros(sides, np.float32)
        self._best = np.zeros(sides, np.uint16)

    def move(self, device: str) -> None:
        """Add up somewhere else from now on."""
        self.device = device
        self._sums, self._weights = self._sums.to(device), self._weights.to(device)

    def add(self, start: Sequence[int], scores: torch.Tensor, weight: torch.Tensor) -> None:
        """Add the scores (C, a, b, c) of the window that begins at `start`, by their weight."""
        place = tuple(
            slice(at - origin, at - origin + side)
            for at, origin, side in zip(start, self._origin, scores.shape[1:], strict=True)
        )
        self._sums[(slice(None), *place)].addcmul_(scores, weight)
        self._weights[place] += weight

    def finish(self, stop: int) -> None:
        """What lies before `stop` along the axis gets no more: work out what it comes to."""
        while self._done < stop:  # more than a slab where windows were left out
            held = self._origin[self.axis] + self._best.shape[self.axis]
            self._finish_held(min(stop, held))

    def _finish_held(self, stop: int) -> None:
        span = self._span(stop)
        scores = self._sums.cpu().numpy()
        fresh = tuple(slice(first, last) for first, last in span)
        weights = self._weights[fresh].cpu().numpy()
        self._inverse[fresh] = np.divide(1, weights, out=np.zeros_like(weights), where=weights > 0)
        best_class(scores, self._best, span)
        self._write_labels(scores, stop)
        self._look_closer(scores, span, fresh)
        self._done = stop
        if stop < self.covered[self.axis][1]:
            self._move_on(stop - 1)

    def _span(self, stop: int) -> Span:
        """The voxels of the slab that are complete now and were not before."""
        spans = [(0, side) for side in self._best.shape]
        origin = self._origin[self.axis]
        spans[self.axis] = (self._done - origin, stop - origin)
        return spans[0], spans[1], spans[2]

    def _write_labels(self, scores: FloatMap, stop: int) -> None:
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
            label_between(scores, self._inverse, self._best, lines, self.outcome.labels, span)
        self._written = max(last, self._written)

    def _look_closer(self, scores: FloatMap, span: Span, fresh: tuple[slice, ...]) -> None:
        """How sure the network is: of some voxels, or of all where a map was wished for."""
        self.pause()
        scale = self._inverse / np.float32(self.wishes.temperature)
        step = 1 if self.wishes.any else _SAMPLED
        surest, entropy = certainty(scores, scale, self._best, span=span, step=step)
        best, sure = self._best[fresh], surest[fresh]
        found, some = self.outcome, (slice(None, None, step),) * 3
        won, by = best[some].ravel(), sure[some].ravel()
        found.sums += np.bincount(won, by, minlength=self.classes)
        found.counts += np.bincount(won, minlength=self.classes)
        if not found.maps:
            return
        seen = self._inverse[fresh] > 0
        place = tuple(
            slice(one.start + origin, one.stop + origin)
            for one, origin in zip(fresh, self._origin, strict=True)
        )
        top = np.take_along_axis(scores[(slice(None), *fresh)], best[None].astype(np.int64), 0)[0]
        for name, target in found.maps.items():
            values = {"probability": sure, "uncertainty": entropy[fresh]}.get(str(name))
            if values is None:
                values = sure * np.exp((scores[int(name)][fresh] - top) * scale[fresh])
            np.copyto(target[place], values, where=seen)

    def _move_on(self, origin: int) -> None:
        """Keep the planes from `origin` on, at the start of the slab; the rest is zero again."""
        axis, step = self.axis, origin - self._origin[self.axis]
        if step == 0:
            return
        self._origin[axis] = origin
        for number in range(self._best.shape[axis]):
            for held, where in ((self._sums, axis + 1), (self._weights, axis)):
                target = held.select(where, number)
                if number + step < held.shape[where]:
                    target.copy_(held.select(where, number + step))
                else:
                    target.zero_()
        for known in (self._inverse, self._best):
            first = np.moveaxis(known, axis, 0)
            first[0] = first[step]


def slab_sides(covered: Span, patch: Sequence[int], axis: int) -> list[int]:
    """Sides of what is held at once: a window's depth and the plane before it along the axis."""
    sides = [stop - start for start, stop in covered]
    sides[axis] = min(sides[axis], patch[axis] + 1)
    return sides


def _count(spans: Sequence[tuple[int, int]]) -> int:
    return int(np.prod([stop - start for start, stop in spans]))
