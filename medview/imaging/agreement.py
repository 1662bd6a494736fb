"""How far two readings of one image agree: voxels of structures, and boxes of detections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medview.core.errors import GeometryError

#: Two opposite corners of a box, lowest first, in any unit and number of axes.
BoxArray = npt.NDArray[np.float64]

#: Labels of a difference map.
ONLY_FIRST, ONLY_SECOND, BOTH, DIFFERENT = 1, 2, 3, 4


@dataclass(frozen=True)
class Overlap:
    """Voxels that two readings give one structure: each of them, and both."""

    first: int
    second: int
    both: int

    @staticmethod
    def of(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> Overlap:
        """That of two masks of one grid."""
        counts = (int(np.count_nonzero(mask)) for mask in (first, second, first & second))
        return Overlap(*counts)

    @property
    def dice(self) -> float:
        """2 |A and B| / (|A| + |B|) (Dice 1945); 1 where neither has a voxel."""
        total = self.first + self.second
        return 2 * self.both / total if total else 1.0


def joint_counts(
    first: npt.NDArray[Any], second: npt.NDArray[Any]
) -> Mapping[tuple[int, int], int]:
    """How often each pair of labels meets in two label arrays of one grid, in one pass.

    GeometryError if the shapes differ.
    """
    if first.shape != second.shape:
        raise GeometryError(f"Labels {first.shape} and {second.shape} are not on one grid")
    totals: dict[tuple[int, int], int] = {}
    narrow = first.dtype.itemsize == 1 and second.dtype.itemsize == 1
    bits = 8 if narrow else 16
    for one, other in zip(first, second, strict=True):
        pairs = one.astype(np.uint16 if narrow else np.int64) << bits | other
        if narrow:  # a table of all pairs is counted much faster than a list is sorted
            table = np.bincount(pairs.reshape(-1), minlength=1 << 16)
            values = np.flatnonzero(table)
            counts = table[values]
        else:
            values, counts = np.unique(pairs, return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            key = (value >> bits, value & ((1 << bits) - 1))
            totals[key] = totals.get(key, 0) + count
    return totals


def overlap(counts: Mapping[tuple[int, int], int], first: int, second: int) -> Overlap:
    """The overlap of label `first` of the one array with label `second` of the other."""
    return Overlap(
        sum(n for (a, _), n in counts.items() if a == first),
        sum(n for (_, b), n in counts.items() if b == second),
        counts.get((first, second), 0),
    )


def difference(
    first: npt.NDArray[Any], second: npt.NDArray[Any], pairs: Sequence[tuple[int, int]]
) -> npt.NDArray[np.uint8]:
    """A label array of where two readings differ.

    `pairs` are labels that mean the same. ONLY_FIRST and ONLY_SECOND where one alone has a label,
    BOTH where the labels mean the same, DIFFERENT where they do not, 0 where neither has one.
    """
    meaning_first = np.zeros(int(np.iinfo(first.dtype).max) + 1, np.int32)
    meaning_second = np.zeros(int(np.iinfo(second.dtype).max) + 1, np.int32)
    # Labels that mean nothing to the other side have a meaning of their own, below 0.
    meaning_first[1:], meaning_second[1:] = -1, -2
    for number, (a, b) in enumerate(pairs, start=1):
        meaning_first[a], meaning_second[b] = number, number
    out = np.zeros(first.shape, np.uint8)
    for layer, one, other in zip(out, first, second, strict=True):
        a, b = meaning_first[one], meaning_second[other]
        layer[(a != 0) & (b == 0)] = ONLY_FIRST
        layer[(a == 0) & (b != 0)] = ONLY_SECOND
        layer[(a != 0) & (b != 0)] = DIFFERENT
        layer[(a > 0) & (a == b)] = BOTH
    return out


def cohen_kappa(both: int, only_first: int, only_second: int, neither: int) -> float | None:
    """Agreement of two readers on yes and no beyond chance (Cohen 1960), from -1 to 1.

    (p_o - p_e) / (1 - p_e), p_e the agreement expected from how often each says yes. None without
    cases, and where both always say the same one thing: then chance explains all.
    """
    total = both + only_first + only_second + neither
    if total == 0:
        return None
    observed = (both + neither) / total
    first, second = (both + only_first) / total, (both + only_second) / total
    expected = first * second + (1 - first) * (1 - second)
    return None if expected >= 1 else (observed - expected) / (1 - expected)


def intersection_over_union(first: BoxArray, second: BoxArray) -> float:
    """Shared content of two boxes (2, axes) over their joint content; 0 where they are apart."""
    shared = np.minimum(first[1], second[1]) - np.maximum(first[0], second[0])
    if np.any(shared <= 0):
        return 0.0
    both = float(np.prod(shared))
    return both / float(np.prod(first[1] - first[0]) + np.prod(second[1] - second[0]) - both)


def match_boxes(
    first: Sequence[BoxArray], second: Sequence[BoxArray], least: float
) -> tuple[tuple[int, int, float], ...]:
    """Pairs (first, second, overlap) of boxes that overlap by `least` or more, each used once.

    The pairs that overlap most are made first.
    """
    every = [
        (intersection_over_union(a, b), i, j)
        for i, a in enumerate(first)
        for j, b in enumerate(second)
    ]
    every.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    used_first: set[int] = set()
    used_second: set[int] = set()
    pairs = []
    for share, i, j in every:
        if share < least or share <= 0:
            break
        if i not in used_first and j not in used_second:
            used_first.add(i)
            used_second.add(j)
            pairs.append((i, j, share))
    return tuple(pairs)
