"""Slices to stacks: which planes form one regular grid, from their positions alone.

Slice Thickness and Spacing Between Slices are never asked: only Image Position and Orientation
(Patient) say where a slice lies (PS3.3 C.7.6.2.1.1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

#: How far a slice may lie from its place on the regular grid and still be drawn there.
TOLERANCE_MM = 0.1
#: Two slices closer than this lie at the same place.
SAME_PLACE_MM = 0.005
_LARGEST_SHARE_MISSING = 0.3


@dataclass(frozen=True)
class Stack:
    """Planes on a regular grid: `order` gives for each place the slice there, or None.

    `step` leads from one plane to the next, `origin` is the position of the first, in LPS mm.
    """

    order: tuple[int | None, ...]
    origin: FloatArray
    step: FloatArray
    notes: tuple[str, ...] = ()


def normal_of(orientation: npt.ArrayLike) -> FloatArray:
    """Direction across a plane given by its six direction cosines."""
    cosines = np.asarray(orientation, dtype=np.float64)
    return np.cross(cosines[:3], cosines[3:])


def is_orientation(cosines: Sequence[float]) -> bool:
    """Whether six numbers are two perpendicular unit vectors, to a part in a thousand."""
    if len(cosines) != 6 or not all(map(math.isfinite, cosines)):
        return False
    a, b, c, d, e, f = cosines
    lengths = math.sqrt(a * a + b * b + c * c), math.sqrt(d * d + e * e + f * f)
    return all(abs(one - 1) < 1e-2 for one in lengths) and abs(a * d + b * e + c * f) < 2e-3


def places_of(positions: FloatArray, normal: FloatArray) -> list[list[int]]:
    """Slices (n, 3) gathered by place along the normal, in growing order."""
    along = positions @ normal
    places: list[list[int]] = []
    for index in np.argsort(along, kind="stable"):
        if places and along[index] - along[places[-1][0]] < SAME_PLACE_MM:
            places[-1].append(int(index))
        else:
            places.append([int(index)])
    return places


def stacks_of(positions: FloatArray, normal: FloatArray) -> list[Stack]:
    """Regular stacks of slices (n, 3) that all lie at different places along `normal`.

    One stack if the steps are even, or if a few slices are missing from an even grid: their
    places stay empty. Otherwise the runs of even steps, each a stack of its own. An empty list
    means that the slices follow no grid at all.
    """
    order = np.argsort(positions @ normal, kind="stable")
    ordered = positions[order]
    if len(order) == 1:
        return [Stack((int(order[0]),), ordered[0], np.zeros(3))]
    whole = _regular(ordered, normal)
    if whole is not None:
        return [_renumbered(whole, order)]
    runs = _even_runs(ordered)
    if len(runs) > max(2, len(order) // 3):
        return []
    runs = _without_chance(ordered, runs)
    note = "The slices are unevenly spaced: each evenly spaced part is a volume of its own"
    stacks = []
    for start, stop in runs:
        part = _regular(ordered[start:stop], normal) if stop - start > 1 else None
        if part is None:
            part = Stack((0,), ordered[start], np.zeros(3))
        renumbered = _renumbered(part, order[start:stop])
        stacks.append(Stack(renumbered.order, part.origin, part.step, (*renumbered.notes, note)))
    return stacks


def _renumbered(stack: Stack, order: npt.NDArray[np.intp]) -> Stack:
    numbers = tuple(None if n is None else int(order[n]) for n in stack.order)
    return Stack(numbers, stack.origin, stack.step, stack.notes)


def _regular(ordered: FloatArray, normal: FloatArray) -> Stack | None:
    """The slices (in order) on one grid with at most a few empty places, or None."""
    along = ordered @ normal
    steps = np.diff(along)
    unit = float(np.median(steps))
    # The usual step may be doubled where slices are missing; the smallest is the grid's then.
    for candidate in (unit, float(steps.min())):
        places = np.rint((along - along[0]) / candidate).astype(np.int64)
        stack = _on_places(ordered, places, along)
        if stack is not None:
            return stack
    return None


def _on_places(
    ordered: FloatArray, places: npt.NDArray[np.int64], along: FloatArray
) -> Stack | None:
    count, total = len(places), int(places[-1]) + 1
    gaps = np.diff(places)
    if gaps.min() < 1 or total - count > _LARGEST_SHARE_MISSING * total:
        return None
    if gaps.max() - 1 > max(3, total // 10):
        return None
    step = (ordered[-1] - ordered[0]) / (total - 1)
    apart = np.linalg.norm(ordered - ordered[0] - places[:, None] * step, axis=1)
    spacing = float(along[-1] - along[0]) / (total - 1)
    if apart.max() > min(TOLERANCE_MM, 0.25 * spacing):
        return None
    order: list[int | None] = [None] * total
    for number, place in enumerate(places):
        order[place] = number
    return Stack(tuple(order), ordered[0], step, _notes(order, spacing, float(apart.max())))


def _notes(order: list[int | None], spacing: float, apart: float) -> tuple[str, ...]:
    notes = []
    missing = [place for place, number in enumerate(order) if number is None]
    if missing:
        where = ", ".join(f"{place * spacing:g}" for place in missing[:5])
        more = ", ..." if len(missing) > 5 else ""
        noun = "slice is" if len(missing) == 1 else "slices are"
        notes.append(
            f"Gap: {len(missing)} {noun} missing at {where}{more} mm from the first; "
            "shown empty, the others at their true places"
        )
    if apart > max(0.02, 0.01 * spacing):
        notes.append(f"Slice positions deviate from even steps by up to {apart:.2g} mm")
    return tuple(notes)


def _without_chance(ordered: FloatArray, runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The runs, with two slices that are a stack by their number only taken as two.

    Any two slices are evenly spaced. Those far wider apart than others of the series belong to no
    stack.
    """
    steps = [np.linalg.norm(ordered[a + 1] - ordered[a]) for a, b in runs if b - a > 1]
    widest = 3 * min(steps, default=np.inf)
    parted: list[tuple[int, int]] = []
    for start, stop in runs:
        if stop - start == 2 and np.linalg.norm(ordered[start + 1] - ordered[start]) > widest:
            parted += [(start, start + 1), (start + 1, stop)]
        else:
            parted.append((start, stop))
    return parted


def _even_runs(ordered: FloatArray) -> list[tuple[int, int]]:
    """Runs [start, stop) of slices whose steps agree with the first step of the run."""
    starts, step = [0], None
    for index, (before, after) in enumerate(pairwise(ordered), start=1):
        here = after - before
        if step is None:
            step = here
        elif np.linalg.norm(here - step) > TOLERANCE_MM:
            starts.append(index)
            step = None
    return list(zip(starts, [*starts[1:], len(ordered)], strict=True))
