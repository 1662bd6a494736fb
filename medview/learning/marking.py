"""A reader made up who marks objects: what to learn from, and clicks to be measured by.

The clicks of an examination lie in the middle of the largest area of error, as in the literature
(Xu et al., arXiv:1603.04042; Sofiiuk et al., arXiv:2102.06583).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medview.imaging.agreement import Overlap
from medview.imaging.edit import Mask
from medview.imaging.prompts import (
    SIDE,
    Answerer,
    Floats,
    Hints,
    Path,
    Question,
    Slice,
    View,
    Window,
    view_of,
)
from medview.learning.made_up import made_up, smooth_noise

#: A window over a picture that is itself (SIDE, SIDE), cell by cell.
_WHOLE = Window(((SIDE - 1) / 2, (SIDE - 1) / 2), float(SIDE))
#: A window is from so many to so many times as wide as the object.
_NEAREST, _FARTHEST = 0.2, 8.0
#: No object is smaller than this, in pixels.
LEAST_PX = 12
#: So many of what is answered at first is corrected, of examples that begin with it.
_CORRECTED = 0.45
#: A window is at least this wide, in pixels.
_LEAST_WINDOW_PX = 12.0


@dataclass(frozen=True)
class Subject:
    """A picture or a volume with a map of what is on it.

    Numbers of a map are classes, which are meant alone or together; with `numbered` objects, of
    which one is meant. `pixel_mm` has one size for each axis.
    """

    image: npt.NDArray[np.floating]
    label: npt.NDArray[np.integer]
    pixel_mm: tuple[float, ...]
    numbered: bool = False


@dataclass(frozen=True)
class Meant:
    """A slice, the object on it, and the same object in the next slice where there is one."""

    where: Slice
    truth: Mask
    beside: Mask | None = None


def meant(subject: Subject, rng: np.random.Generator) -> Meant:
    """An object by chance: in a slice along any axis of a volume."""
    label, beside = subject.label, None
    values, sizes = subject.image, subject.pixel_mm
    numbers = np.unique(label)
    numbers = numbers[numbers > 0]
    if not subject.numbered and len(numbers) > 1 and rng.random() < 0.7:
        chosen = label > 0
    else:
        chosen = label == rng.choice(numbers)
    if label.ndim == 3:
        axis = int(rng.integers(3))
        others = tuple(other for other in range(3) if other != axis)
        areas = chosen.sum(axis=others)
        inside = np.flatnonzero(areas >= min(LEAST_PX, areas.max()))
        number = int(rng.choice(inside))
        neighbour = number + int(rng.choice([-1, 1]))
        if 0 <= neighbour < label.shape[axis]:
            beside = np.take(chosen, neighbour, axis=axis)
        chosen = np.take(chosen, number, axis=axis)
        values = np.take(values, number, axis=axis)
        sizes = tuple(size for other, size in enumerate(sizes) if other != axis)
    if not subject.numbered:
        chosen = _one_part(chosen, rng)
    return Meant(Slice(np.asarray(values, np.float32), (sizes[0], sizes[1])), chosen, beside)


def _one_part(mask: Mask, rng: np.random.Generator) -> Mask:
    """One of its parts, the larger the likelier."""
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(parts.ravel())[1:]
    return np.asarray(parts == rng.choice(count, p=sizes / sizes.sum()) + 1)


# Examples to learn from


def example(
    subject: Subject | None, rng: np.random.Generator, answer: Answerer
) -> tuple[View, Mask]:
    """A view with marks in it, and what is meant there, both (SIDE, SIDE).

    Without a subject the picture is made up. The marks of some correct what `answer` gives to
    marks before them (Sofiiuk et al., arXiv:2102.06583).
    """
    if subject is None:
        (image, truth), beside = made_up(rng), None
    else:
        image, truth, beside = _looked_at(meant(subject, rng), rng)
    image = _changed(image, rng)
    hints, before = _marked(image, truth, beside, rng)
    if before is None and rng.random() < _CORRECTED:
        before = answer(_seen(image, hints, None)) >= 0.5
        for _ in range(int(rng.integers(1, 3))):
            hints = _corrected(hints, truth, before, rng)
            if rng.random() < 0.5:
                before = answer(_seen(image, hints, before)) >= 0.5
    return _seen(image, hints, before), truth


def _seen(image: Floats, hints: Hints, before: Mask | None) -> View:
    return view_of(Question(Slice(image, (1.0, 1.0)), hints, before), _WHOLE)


def _corrected(hints: Hints, truth: Mask, before: Mask, rng: np.random.Generator) -> Hints:
    """One mark more, where the answer is wrong."""
    if (truth == before).all():
        return hints
    exact = rng.random() < 0.7
    place, missing = worst_place(truth, before) if exact else _wrong(truth, before, rng)
    return hints.marked(place, adds=missing)


def _looked_at(one: Meant, rng: np.random.Generator) -> tuple[Floats, Mask, Mask | None]:
    """An object through a window of any size, turned by any angle, mirrored or not."""
    pixel_mm = np.asarray(one.where.pixel_mm)
    for _ in range(20):
        places = np.argwhere(one.truth)
        extent = float((np.ptp(places, axis=0) + 1).max(initial=1) * pixel_mm.max())
        share = np.exp(rng.uniform(np.log(_NEAREST), np.log(_FARTHEST)))
        side = max(extent * share, _LEAST_WINDOW_PX * float(pixel_mm.min()))
        side = min(side, 1.6 * float(one.where.sides_mm.max()))
        middle = np.asarray(_inside(one.truth, rng), dtype=float)
        if share > 1 and rng.random() < 0.5:
            middle = places.mean(axis=0) + rng.uniform(-0.2, 0.2, 2) * extent / pixel_mm
        turn = rng.uniform(-np.pi, np.pi) if rng.random() < 0.7 else 0.0
        matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        matrix = matrix @ np.diag(rng.choice([-1.0, 1.0], 2))
        matrix *= (side / SIDE / pixel_mm)[:, None]
        offset = middle - matrix @ np.full(2, (SIDE - 1) / 2)
        truth = _through(one.truth, matrix, offset)
        if truth.sum() >= LEAST_PX:
            break
    steps = side / SIDE / pixel_mm
    values = one.where.values
    if steps.max() > 1:
        values = ndimage.gaussian_filter(values, 0.45 * np.sqrt(np.maximum(steps**2 - 1, 0)))
    shape = (SIDE, SIDE)
    image = ndimage.affine_transform(values, matrix, offset, shape, order=1, mode="nearest")
    beside = None if one.beside is None else _through(one.beside, matrix, offset)
    return np.asarray(image, np.float32), truth, beside


def _through(mask: Mask, matrix: npt.NDArray[np.float64], offset: npt.NDArray[np.float64]) -> Mask:
    seen = ndimage.affine_transform(
        mask.astype(np.float32), matrix, offset, (SIDE, SIDE), order=1, mode="grid-constant"
    )
    return np.asarray(seen >= 0.5)


def _changed(image: Floats, rng: np.random.Generator) -> Floats:
    """Other greys, as other devices and windows give."""
    low, high = float(image.min()), float(image.max())
    scaled = (image - low) / max(high - low, 1e-6)
    if rng.random() < 0.5:
        scaled = scaled ** np.exp(rng.uniform(np.log(0.5), np.log(2.0)))
    if rng.random() < 0.3:
        scaled = 1 - scaled
    if rng.random() < 0.3:
        scaled = scaled + rng.uniform(0, 0.15) * smooth_noise(rng, 3, scaled.shape)
    if rng.random() < 0.4:
        grain = rng.standard_normal(scaled.shape).astype(np.float32)
        coarse = rng.choice([0.0, 0.7, 1.5])
        scaled = scaled + rng.uniform(0, 0.12) * (
            ndimage.gaussian_filter(grain, coarse) * (1 + 2 * coarse)
        )
    return np.asarray(scaled, np.float32)


# What the reader of an example marks


def _marked(
    image: Floats, truth: Mask, beside: Mask | None, rng: np.random.Generator
) -> tuple[Hints, Mask | None]:
    """Marks on an object, and an answer given before; in the ways that they come about."""
    way = rng.random()
    if way < 0.5:  # the first mark
        return Hints((_mark(truth, rng),)), None
    if way < 0.65 and not _at_rim(truth):  # a box, with marks or without
        inside = (_mark(truth, rng),) if rng.random() < 0.3 else ()
        return Hints(inside, (), _box(truth, rng)), None
    if way < 0.78:  # the next slice: what it was in the one before
        before = beside if beside is not None and beside.any() else _wobbled(truth, 0.15, rng)
        return Hints(), before if before.any() else truth
    before = _mistaken(image, truth, rng)
    adds = [_mark(truth, rng) for _ in range(int(rng.integers(0, 3)))]
    takes = [_mark(_near(truth), rng) for _ in range(int(rng.integers(0, 3)))]
    hints = Hints(tuple(adds), tuple(takes))
    for _ in range(int(rng.integers(1, 4))):
        hints = _corrected(hints, truth, before, rng)
    return hints, before


def _at_rim(mask: Mask) -> bool:
    return bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


def _near(truth: Mask) -> Mask:
    """What lies beside an object, not far off."""
    away = ndimage.distance_transform_edt(~truth)
    ring = (away > 2) & (away < 40)
    return np.asarray(ring if ring.any() else ~truth)


def _inside(mask: Mask, rng: np.random.Generator) -> tuple[int, int]:
    """A place in a mask, mostly away from its border."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    least = depth.max() * (rng.choice([0.3, 0.6, 0.9]) if rng.random() < 0.85 else 0)
    down, across = np.nonzero(depth >= max(least, 1e-6))
    one = int(rng.integers(len(down)))
    return int(down[one]), int(across[one])


def _mark(mask: Mask, rng: np.random.Generator) -> Path:
    """A click in a mask, or now and then a scribble that stays in it."""
    if not mask.any():
        return np.zeros((0, 2))
    start = _inside(mask, rng)
    path = [start]
    if rng.random() < 0.2:
        way = rng.uniform(0, 2 * np.pi)
        for _ in range(int(rng.integers(5, 40))):
            way += rng.normal() * 0.3
            place = np.round(np.array(path[-1]) + 2 * np.array([np.cos(way), np.sin(way)]))
            down, across = (int(n) for n in place)
            if not (0 <= down < SIDE and 0 <= across < SIDE and mask[down, across]):
                break
            path.append((down, across))
    return np.array(path, dtype=np.float64)


def _box(truth: Mask, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """A box drawn around an object by hand."""
    places = np.argwhere(truth)
    low, high = places.min(axis=0), places.max(axis=0)
    slack = rng.normal(0.02, 0.04, 4) * (high - low).max()
    top, left = np.maximum(low - slack[:2], 0)
    bottom, right = np.minimum(high + slack[2:], SIDE - 1)
    return float(top), float(max(bottom, top + 1)), float(left), float(max(right, left + 1))


# Answers that are wrong


def _mistaken(image: Floats, truth: Mask, rng: np.random.Generator) -> Mask:
    """An answer that is wrong as answers are: worn at the border, flown over, or too small."""
    kind = rng.random()
    if kind < 0.4:
        wrong = _wobbled(truth, 0.6, rng)
    elif kind < 0.75:
        wrong = _flooded(image, truth, rng)
    else:
        wrong = truth & _disc(_inside(truth, rng), _radius(truth) * rng.uniform(0.3, 1.3))
    if rng.random() < 0.5 and not truth.all():
        blob = _disc(_inside(_near(truth), rng), _radius(truth) * rng.uniform(0.2, 1.0))
        wrong = wrong | blob
    return np.asarray(wrong)


def _radius(mask: Mask) -> float:
    return float(np.sqrt(mask.sum() / np.pi))


def _disc(middle: tuple[int, int], radius: float) -> Mask:
    rows, columns = np.ogrid[:SIDE, :SIDE]
    return np.asarray(np.hypot(rows - middle[0], columns - middle[1]) <= radius)


def _wobbled(truth: Mask, most: float, rng: np.random.Generator) -> Mask:
    """A mask whose border has moved in and out, by up to a share of its radius."""
    inward = ndimage.distance_transform_edt(truth) - ndimage.distance_transform_edt(~truth)
    size, amount = _radius(truth), rng.uniform(0.2, 1) * most
    field = smooth_noise(rng, int(rng.integers(3, 10)), (SIDE, SIDE)) + rng.normal() * 0.5
    return np.asarray(inward + amount * size * field > 0)


def _flooded(image: Floats, truth: Mask, rng: np.random.Generator) -> Mask:
    """All that is joined to a place of the object and looks like it."""
    place = _inside(truth, rng)
    smooth = ndimage.gaussian_filter(image, 1.0)
    alike = np.abs(smooth - smooth[place]) <= rng.uniform(0.3, 2.0) * max(
        float(smooth[truth].std()), 1e-3
    )
    parts, _ = ndimage.label(alike)
    return np.asarray(parts == parts[place]) if parts[place] else truth


def _wrong(truth: Mask, answer: Mask, rng: np.random.Generator) -> tuple[tuple[int, int], bool]:
    places = np.argwhere(truth ^ answer)
    down, across = (int(n) for n in places[rng.integers(len(places))])
    return (down, across), bool(truth[down, across])


# Examination


def worst_place(truth: Mask, answer: Mask) -> tuple[tuple[int, int], bool]:
    """The middle of the largest area of error, and whether what is there is missing."""
    found: list[tuple[int, Mask, bool]] = []
    for wrong, missing in ((truth & ~answer, True), (answer & ~truth, False)):
        parts, count = ndimage.label(wrong)
        if count:
            sizes = np.bincount(parts.ravel())[1:]
            found.append((int(sizes.max()), parts == sizes.argmax() + 1, missing))
    _, part, missing = max(found, key=lambda one: one[0])
    depth = ndimage.distance_transform_edt(np.pad(part, 1))[1:-1, 1:-1]
    down, across = np.unravel_index(int(depth.argmax()), depth.shape)
    return (int(down), int(across)), missing


def clicked(one: Meant, answer: Callable[[Question], Mask], good: float, most: int) -> list[float]:
    """The Dice after each click, until it is `good`, or after the `most` clicks."""
    found: Mask | None = None
    hints, reached = Hints(), list[float]()
    while len(reached) < most and (not reached or reached[-1] < good):
        seen = np.zeros_like(one.truth) if found is None else found
        place, missing = worst_place(one.truth, seen)
        hints = hints.marked(place, adds=missing)
        found = answer(Question(one.where, hints, found))
        reached.append(Overlap.of(found, one.truth).dice)
    return reached
