"""Prompts on a volume: marks in its slices become what a segment is there, and in those between."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medview.core.geometry import Box
from medview.core.volume import Volume
from medview.imaging.edit import Mask, Patch
from medview.imaging.prompts import (
    Answerer,
    Floats,
    Hints,
    Path,
    Question,
    Slice,
    SliceBox,
    answered,
    next_slice,
)

Labels = npt.NDArray[Any]
#: A slice: the grid axis across it, and its number.
Key = tuple[int, int]
#: In the next slice the object has ended where less than this is left of it, or more of it is new.
_LEAST, _MOST = 0.12, 2.5
#: How far the values of a slice may lie from those that were marked, in their own deviations.
_ALIKE = 2.0
#: A box drawn in a slice reaches less than this along the axis across it, in voxels.
_FLAT = 0.5


class MarkKind(StrEnum):
    """What a mark says."""

    ADDS = "adds"
    TAKES = "takes"
    BOX = "box"


@dataclass(frozen=True)
class Mark:
    """A click, a scribble or two corners of a box, drawn in a slice across grid axis `axis`.

    `places` are indices (k, j, i), and lie between voxels as they come.
    """

    kind: MarkKind
    axis: int
    places: tuple[tuple[float, float, float], ...]

    def along(self, axis: int) -> npt.NDArray[np.float64]:
        """Its places along an axis."""
        return np.array([place[axis] for place in self.places])

    def numbers(self, axis: int) -> npt.NDArray[np.intp]:
        """The slices across an axis that its places are in."""
        return np.floor(self.along(axis) + 0.5).astype(np.intp)


@dataclass(frozen=True, eq=False)
class Answer:
    """What the marks of a slice were taken to mean, and what the segment is there now."""

    marks: tuple[Mark, ...]
    found: Mask
    whole: Mask


@dataclass(frozen=True, eq=False)
class Canvas:
    """A volume with the labels on it, and the number of the segment that is marked."""

    volume: Volume
    labels: Labels
    number: int

    def plane(self, key: Key) -> Slice:
        """The values of a slice."""
        axis, number = key
        voxels = np.take(self.volume.voxels, number, axis=axis)
        values = np.asarray(self.volume.value_of(voxels), dtype=np.float32)
        values = values.mean(axis=-1) if values.ndim == 3 else values
        steps = np.linalg.norm(self.volume.geometry.affine[:3, :3], axis=0)
        down, across = (float(step) for n, step in enumerate(steps) if n != axis)
        return Slice(np.nan_to_num(values), (down, across))

    def own(self, key: Key) -> Mask:
        """What the segment has of a slice."""
        axis, number = key
        return np.asarray(np.take(self.labels, number, axis=axis) == self.number)


def in_slices(
    canvas: Canvas, marks: Sequence[Mark], known: Mapping[Key, Answer], answer: Answerer
) -> dict[Key, Answer]:
    """Answer the marks of every slice that they were drawn in; what is `known` already is kept."""
    answers = {}
    for key, mine in _by_slice(marks).items():
        before = known.get(key)
        if before is not None and before.marks == mine:
            answers[key] = before
        else:
            answers[key] = _asked(canvas, key, mine, before, answer)
    return answers


def through(
    canvas: Canvas,
    marks: Sequence[Mark],
    known: Mapping[Key, Answer],
    answer: Answerer,
    wanted: Callable[[], bool],
) -> dict[Key, Answer]:
    """Answer marks in all slices across the axis of the first one, as far as the object goes.

    The slices that were marked are answered first, then one after the other beside them, each by
    its neighbour; boxes drawn through several slices end it there. Gives up when no longer wanted.
    """
    axis = marks[0].axis
    box = _joint_box([mark for mark in marks if mark.kind is MarkKind.BOX], axis)
    every = [replace(mark, axis=axis) for mark in marks if mark.kind is not MarkKind.BOX]
    every += box
    first, last = _span(box, axis, canvas.labels.shape[axis])
    grouped = {key: mine for key, mine in _by_slice(every).items() if first <= key[1] <= last}
    anchored = [m for mine in grouped.values() if _places_object(mine) for m in mine]
    answers = in_slices(canvas, anchored, known, answer)
    anchors = sorted(key[1] for key in answers)
    for place, anchor in enumerate(anchors):
        below = anchors[place - 1] if place else None
        above = anchors[place + 1] if place + 1 < len(anchors) else None
        for step, other in ((-1, below), (1, above)):
            end = (first, last)[step > 0] if other is None else (anchor + other) // 2
            end += 1 if other is not None and step < 0 else 0
            ask = _Followed(grouped, tuple(box), answer, wanted)
            _follow(canvas, answers, (axis, anchor), (step, end), ask)
    return answers


def patch_of(canvas: Canvas, answers: Mapping[Key, Answer]) -> Patch | None:
    """What the segment is to be where it was answered; None where nothing was."""
    boxes = [box for key, one in answers.items() if (box := _box(canvas, key, one)) is not None]
    if not boxes:
        return None
    whole = boxes[0]
    for box in boxes[1:]:
        whole = whole.union(box)
    mask: Mask = canvas.labels[whole.slices] == canvas.number
    for (axis, number), one in answers.items():
        if not whole.start[axis] <= number < whole.stop[axis]:
            continue
        part = tuple(slice(a, b) for n, (a, b) in enumerate(_ends(whole)) if n != axis)
        place: list[Any] = [slice(None)] * 3
        place[axis] = number - whole.start[axis]
        changed = (one.whole ^ canvas.own((axis, number)))[part]
        np.copyto(mask[tuple(place)], one.whole[part], where=changed)
    return Patch(whole, mask)


def _ends(box: Box) -> list[tuple[int, int]]:
    return list(zip(box.start, box.stop, strict=True))


def _box(canvas: Canvas, key: Key, one: Answer) -> Box | None:
    """Where an answer changes the segment or leaves it."""
    axis, number = key
    flat = Box.of(np.expand_dims(one.whole | canvas.own(key), axis))
    if flat is None:
        return None
    start, stop = list(flat.start), list(flat.stop)
    start[axis], stop[axis] = number, number + 1
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _by_slice(marks: Sequence[Mark]) -> dict[Key, tuple[Mark, ...]]:
    """Marks by the slice that each was drawn in; the parts of one in several slices by each."""
    found: dict[Key, tuple[Mark, ...]] = {}
    for mark in marks:
        numbers = mark.numbers(mark.axis)
        if mark.kind is MarkKind.BOX:
            numbers = np.array([round(float(mark.along(mark.axis).mean()))])
        for number in np.unique(numbers):
            key = mark.axis, int(number)
            found[key] = (*found.get(key, ()), mark)
    return found


def _joint_box(boxes: Sequence[Mark], axis: int) -> list[Mark]:
    """One box from those drawn in slices along different axes; none from none."""
    if not boxes:
        return []
    low, high = np.zeros(3), np.zeros(3)
    for n in range(3):
        ends = [(one.along(n).min(), one.along(n).max()) for one in boxes]
        wide = [pair for pair in ends if pair[1] - pair[0] > _FLAT] or ends
        low[n], high[n] = max(pair[0] for pair in wide), min(pair[1] for pair in wide)
    corners = (np.minimum(low, high), np.maximum(low, high))
    places = tuple((float(k), float(j), float(i)) for k, j, i in corners)
    return [Mark(MarkKind.BOX, axis, places)]


def _places_object(marks: Sequence[Mark]) -> bool:
    """Whether marks say where the object is, not only where it is not."""
    return any(mark.kind is not MarkKind.TAKES for mark in marks)


def _span(boxes: Sequence[Mark], axis: int, count: int) -> tuple[int, int]:
    """The first and last slice that a box through several slices leaves."""
    first, last = 0, count - 1
    for box in boxes:
        numbers = box.numbers(axis)
        if numbers.min() < numbers.max():
            first, last = max(first, int(numbers.min())), min(last, int(numbers.max()))
    return first, last


def _hints(marks: Sequence[Mark], key: Key) -> Hints:
    """The marks of a slice in its own pixels."""
    axis, number = key
    rest = [n for n in range(3) if n != axis]
    adds, takes = list[Path](), list[Path]()
    box: SliceBox | None = None
    for mark in marks:
        flat = np.array(mark.places)[:, rest]
        if mark.kind is MarkKind.BOX:
            low, high = flat.min(axis=0), flat.max(axis=0)
            box = float(low[0]), float(high[0]), float(low[1]), float(high[1])
            continue
        here = flat[mark.numbers(axis) == number]
        if len(here):
            (adds if mark.kind is MarkKind.ADDS else takes).append(here)
    return Hints(tuple(adds), tuple(takes), box)


def _asked(
    canvas: Canvas, key: Key, marks: tuple[Mark, ...], known: Answer | None, answer: Answerer
) -> Answer:
    """Ask about one slice. What the segment has there already and is marked is corrected."""
    hints, own = _hints(marks, key), canvas.own(key)
    held = _marked_parts(own, hints) if known is None else known.found
    rest = own & ~held if known is None else own & known.whole & ~known.found
    question = Question(canvas.plane(key), hints, held if held.any() else None)
    found = answered(question, answer)
    return Answer(marks, found, rest | found)


def _marked_parts(own: Mask, hints: Hints) -> Mask:
    """The parts of a segment that a mark is in."""
    parts, count = ndimage.label(own)
    if not count:
        return own
    touched = set[int]()
    for path in hints.paths:
        places = np.clip(np.floor(path + 0.5).astype(int), 0, np.array(own.shape) - 1)
        touched |= {int(number) for number in parts[tuple(places.T)]} - {0}
    return np.isin(parts, list(touched))


@dataclass(frozen=True)
class _Followed:
    """How slices beside an answered one are asked: marks by slice, the box, by whom, how long."""

    marks: Mapping[Key, tuple[Mark, ...]]
    box: tuple[Mark, ...]
    answer: Answerer
    wanted: Callable[[], bool]


def _follow(
    canvas: Canvas, answers: dict[Key, Answer], start: Key, way: tuple[int, int], ask: _Followed
) -> None:
    """Answer the slices beside one, step by step up to an end, while the object goes on."""
    axis, (step, end) = start[0], way
    before = answers[start].found
    looks = _looks(canvas.plane(start).values, before)
    size = int(before.sum())
    for number in range(start[1] + step, end + step, step):
        key = axis, number
        if not ask.wanted() or not before.any() or key in answers:
            return
        where, marks = canvas.plane(key), ask.marks.get(key, ())
        if not _goes_on(where.values, before, looks):
            return
        hints = _hints((*marks, *ask.box), key)
        found = next_slice(Question(where, hints, before), ask.answer)
        count = int(found.sum())
        if count < _LEAST * size or count > _MOST * max(int(before.sum()), 1):
            return
        answers[key] = Answer(marks, found, canvas.own(key) | found)
        before = found


def _looks(values: Floats, mask: Mask) -> tuple[float, float]:
    """The middle of the values in a mask, and how far they spread."""
    inside = values[mask]
    if not inside.size:
        return 0.0, 0.0
    low, middle, high = np.percentile(inside, [16, 50, 84])
    return float(middle), max(float(high - low) / 2, 1e-6)


def _goes_on(values: Floats, before: Mask, looks: tuple[float, float]) -> bool:
    """Whether what lies under the neighbour's mask still looks like the object somewhere."""
    middle, spread = looks
    inside = values[before]
    return bool((np.abs(inside - middle) <= _ALIKE * spread).mean() >= 0.25)
