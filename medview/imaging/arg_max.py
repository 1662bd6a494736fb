"""The label between class scores of a coarser grid: the class with the highest interpolated score.

Interpolating every class everywhere costs most of the time and memory of a segmentation. Where
all eight neighbours of a place have the same best class, that class also wins between them: its
score is the highest at each neighbour, and interpolation is a mean with weights that are not
negative. Only the other places, near borders, are interpolated.

Scores may come as sums that the classes are made of (`mix`): a network's last layer that looks at
one voxel at a time commutes with interpolation, so it is done here, where it is needed, and for
the few channels before it instead of for every class. Importing this module loads numba.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

#: A class so far below the best one adds less than float32 can show: exp(-20) = 2e-9.
_NEGLIGIBLE = np.float32(-20.0)

Scores = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint16]

#: (classes, channels): each class's score as a sum of what is in each channel, weighted.
Mix = npt.NDArray[np.float32]

#: A box of voxels: the first and the one after the last along each of three axes.
Span = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Line:
    """Places along one axis: the two neighbours of each, and the share of the upper one (0-1)."""

    lower: npt.NDArray[np.int64]
    upper: npt.NDArray[np.int64]
    share: npt.NDArray[np.float32]

    def seen_from(self, origin: int) -> Line:
        """The same places, their neighbours counted from `origin`."""
        return Line(self.lower - origin, self.upper - origin, self.share)

    def between(self, start: int, stop: int) -> tuple[int, int]:
        """The first place, and the one after the last, with both neighbours in a range."""
        first = int(np.searchsorted(self.lower, start))
        return first, max(first, int(np.searchsorted(self.upper, stop)))


def line(size: int, count: int) -> Line:
    """Where `count` voxels lie among `size` voxels that span the same field of view.

    Voxel centres are half a voxel from the edge in both (`align_corners=False` in torch); places
    beyond the outermost centres take the value there.
    """
    place = (np.arange(count, dtype=np.float64) + 0.5) * (size / count) - 0.5
    place = np.clip(place, 0, size - 1)
    lower = np.floor(place).astype(np.int64)
    share = (place - lower).astype(np.float32)
    return Line(lower, np.where(share > 0, np.minimum(lower + 1, size - 1), lower), share)


@numba.njit(cache=True, nogil=True)
def _classes(rows, mix):  # type: ignore[no-untyped-def]
    """How many classes are in rows of scores (channels, n)."""
    return mix.shape[0] if mix.size else rows.shape[0]


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _score(rows, mix, index, held):  # type: ignore[no-untyped-def]
    """Scores of one class from rows (channels, n): its own row, or what `mix` makes of all."""
    if not mix.size:
        return rows[index]
    factor, row = mix[index, 0], rows[0]
    for n in range(held.size):
        held[n] = factor * row[n]
    for channel in range(1, rows.shape[0]):
        factor, row = mix[index, channel], rows[channel]
        for n in range(held.size):
            held[n] += factor * row[n]
    return held


@numba.njit(cache=True, nogil=True)
def _highest(rows, mix, held, top, best):  # type: ignore[no-untyped-def]
    """The highest score at each place of rows (channels, n), and its class: the first of equals."""
    top[:] = -np.inf
    best[:] = 0
    for index in range(_classes(rows, mix)):
        values = _score(rows, mix, index, held)
        for n in range(top.size):
            if values[n] > top[n]:
                top[n] = values[n]
                best[n] = index


@numba.njit(cache=True, nogil=True, parallel=True)
def _best(scores, mix, span, best):  # type: ignore[no-untyped-def]
    plane0, row0, column0 = span[0, 0], span[1, 0], span[2, 0]
    plane1, row1, column1 = span[0, 1], span[1, 1], span[2, 1]
    rows = row1 - row0
    for number in numba.prange((plane1 - plane0) * rows):
        plane, row = plane0 + number // rows, row0 + number % rows
        seen = scores[:, plane, row, column0:column1].copy()
        held, top = np.empty(seen.shape[1], np.float32), np.empty(seen.shape[1], np.float32)
        here = np.empty(seen.shape[1], np.int32)
        _highest(seen, mix, held, top, here)
        for column in range(here.size):
            best[plane, row, column0 + column] = here[column]


@numba.njit(cache=True, nogil=True)
def _agreed(best, corners, agreed):  # type: ignore[no-untyped-def]
    """The class on which four rows agree, column by column, or -1."""
    a0, a1, b0, b1 = corners
    for column in range(agreed.size):
        label = np.int32(best[a0, b0, column])
        alike = (
            best[a0, b1, column] == label
            and best[a1, b0, column] == label
            and best[a1, b1, column] == label
        )
        agreed[column] = label if alike else -1


@numba.njit(cache=True, nogil=True)
def _split(agreed, line, span, left_over, out):  # type: ignore[no-untyped-def]
    """Fill in what is agreed on; how many places are left over, and the columns they span."""
    lower, upper, _ = line
    count, first, last = 0, agreed.size, -1
    for place in range(span[0], span[1]):
        label = agreed[lower[place]]
        if label >= 0 and label == agreed[upper[place]]:
            out[place] = label
        else:
            left_over[count] = place
            count += 1
            first, last = min(first, lower[place]), max(last, upper[place])
    return count, first, last + 1


@numba.njit(cache=True, nogil=True)
def _factors(scale, corners, shares, columns, factors):  # type: ignore[no-untyped-def]
    """What the scores of four rows count at some columns: their bilinear weight by `scale`."""
    a0, a1, b0, b1 = corners
    s, t = shares
    for n in range(columns[1] - columns[0]):
        column = columns[0] + n
        factors[0, n] = scale[a0, b0, column] * (1 - s) * (1 - t)
        factors[1, n] = scale[a0, b1, column] * (1 - s) * t
        factors[2, n] = scale[a1, b0, column] * s * (1 - t)
        factors[3, n] = scale[a1, b1, column] * s * t


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _mix(scores, corners, columns, factors, mixed):  # type: ignore[no-untyped-def]
    """One class between four rows, at a range of columns: contiguous, for the vector units."""
    a0, a1, b0, b1 = corners
    near0, near1 = scores[a0, b0, columns[0] :], scores[a0, b1, columns[0] :]
    far0, far1 = scores[a1, b0, columns[0] :], scores[a1, b1, columns[0] :]
    for n in range(columns[1] - columns[0]):
        mixed[n] = (
            near0[n] * factors[0, n]
            + near1[n] * factors[1, n]
            + far0[n] * factors[2, n]
            + far1[n] * factors[3, n]
        )


@numba.njit(cache=True, nogil=True)
def _decide(source, corners, columns, factors, places, held, out):  # type: ignore[no-untyped-def]
    """Interpolate at the places of a row where neighbours disagree, and write the best class."""
    scores, mix = source
    left_over, (lower, upper, share) = places
    mixed, between, spare, top, best = held
    count = left_over.size
    seen = between[: scores.shape[0] * count].reshape((scores.shape[0], count))
    for channel in range(scores.shape[0]):
        _mix(scores[channel], corners, columns, factors, mixed)
        row = seen[channel]
        for n in range(count):
            place = left_over[n]
            low = mixed[lower[place] - columns[0]]
            row[n] = low + (mixed[upper[place] - columns[0]] - low) * share[place]
    _highest(seen, mix, spare[:count], top[:count], best[:count])
    for n in range(count):
        out[left_over[n]] = best[n]


@numba.njit(cache=True, nogil=True, parallel=True)
def _between(scores, mix, scale, best, lines, span, out):  # type: ignore[no-untyped-def]
    (a_low, a_high, a_share), (b_low, b_high, b_share), (c_low, c_high, c_share) = lines
    size, rows = scores.shape[3], span[1, 1] - span[1, 0]
    total = (span[0, 1] - span[0, 0]) * rows
    chunks = min(total, 64)
    for chunk in numba.prange(chunks):
        agreed = np.empty(size, np.int32)
        factors = np.empty((4, size), np.float32)
        left_over = np.empty(out.shape[2], np.int64)
        held = (
            np.empty(size, np.float32),
            np.empty(scores.shape[0] * out.shape[2], np.float32),
            np.empty(out.shape[2], np.float32),
            np.empty(out.shape[2], np.float32),
            np.empty(out.shape[2], np.int32),
        )
        for row in range(chunk * total // chunks, (chunk + 1) * total // chunks):
            a, b = span[0, 0] + row // rows, span[1, 0] + row % rows
            corners = (a_low[a], a_high[a], b_low[b], b_high[b])
            _agreed(best, corners, agreed)
            line = (c_low, c_high, c_share)
            count, first, stop = _split(agreed, line, span[2], left_over, out[a, b])
            if count:
                columns = (first, stop)
                _factors(scale, corners, (a_share[a], b_share[b]), columns, factors)
                places = (left_over[:count], line)
                _decide((scores, mix), corners, columns, factors, places, held, out[a, b])


def _box(span: Span | None, shape: Sequence[int]) -> npt.NDArray[np.int64]:
    """The box as an array; of a whole shape where there is none."""
    return np.array(span or [(0, count) for count in shape], dtype=np.int64)


def _mix_of(mix: Mix | None) -> Mix:
    """The sums that classes are made of; an empty table where scores are the classes' own."""
    return np.empty((0, 0), np.float32) if mix is None else mix


def best_class(
    scores: Scores, best: Labels, span: Span | None = None, mix: Mix | None = None
) -> None:
    """Write the class with the highest score into `best` (a, b, c), from scores (C, a, b, c).

    The first of equals. `span` is the box of voxels to look at, all of them by default. With `mix`
    (classes, C) the scores of the classes are `mix` times what is in `scores`.
    """
    _best(scores, _mix_of(mix), _box(span, best.shape), best)


def label_between(
    scores: Scores,
    scale: Scores,
    best: Labels,
    lines: Sequence[Line],
    out: npt.NDArray[Any],
    span: Span | None = None,
    mix: Mix | None = None,
) -> None:
    """Write the class with the highest trilinear score at each place of `out`.

    `scores` (C, a, b, c) count by `scale` (a, b, c), which is not negative, as when they are sums
    to be divided by weights; `best` comes from `best_class`. One line for each axis of `out`.
    `span` is the box of places to fill, all of them by default; `mix` as for `best_class`.
    """
    tables = tuple((one.lower, one.upper, one.share) for one in lines)
    _between(scores, _mix_of(mix), scale, best, tables, _box(span, out.shape), out)


@numba.njit(cache=True, nogil=True, parallel=True)
def _certainty(source, scale, best, span, step, wished, found):  # type: ignore[no-untyped-def]
    scores, mix = source
    surest, entropy, chances = found
    classes = mix.shape[0] if mix.size else scores.shape[0]
    most = np.float32(np.log(classes))
    plane0, row0, column0 = span[0, 0], span[1, 0], span[2, 0]
    plane1, row1, column1 = span[0, 1], span[1, 1], span[2, 1]
    rows = (row1 - row0 + step - 1) // step
    planes = (plane1 - plane0 + step - 1) // step
    for number in numba.prange(planes * rows):
        plane, row = plane0 + step * (number // rows), row0 + step * (number % rows)
        seen = scores[:, plane, row, column0:column1:step].copy()
        count = seen.shape[1]
        above, held = np.empty((classes, count), np.float32), np.empty(count, np.float32)
        for index in range(classes):
            above[index] = _score(seen, mix, index, held)
        for n in range(count):
            column = column0 + n * step
            factor = scale[plane, row, column]
            top = above[best[plane, row, column], n]
            total, weighted = np.float32(0), np.float32(0)
            for index in range(classes):
                here = (above[index, n] - top) * factor
                if here > _NEGLIGIBLE:
                    odds = np.exp(here)
                    total += odds
                    weighted += odds * here
            surest[plane, row, column] = 1 / total
            entropy[plane, row, column] = (np.log(total) - weighted / total) / most
            for place in range(wished.size):
                here = (above[wished[place], n] - top) * factor
                chances[place, plane, row, column] = np.exp(here) / total


def certainty(
    scores: Scores,
    scale: Scores,
    best: Labels,
    *,
    span: Span | None = None,
    step: int = 1,
    mix: Mix | None = None,
    wished: Sequence[int] = (),
) -> tuple[Scores, Scores, Scores]:
    """Probability of the best class, entropy by its maximum (0 sure, 1 all classes alike), chances.

    Softmax over the classes of `scores * scale`; Shannon entropy over the logarithm of their
    number; the probabilities (n, a, b, c) of the n classes that are `wished` for. Arguments as for
    `label_between`; needs two classes or more. Voxels outside `span` are 0 in all, and so are
    those between every `step`-th along each axis.
    """
    surest, entropy = np.zeros(best.shape, np.float32), np.zeros(best.shape, np.float32)
    chances = np.zeros((len(wished), *best.shape), np.float32)
    numbers = np.array(wished, dtype=np.int64)
    found = (surest, entropy, chances)
    source = (scores, _mix_of(mix))
    _certainty(source, scale, best, _box(span, best.shape), step, numbers, found)
    return found
