"""Answering prompts in a slice: clicks, scribbles and a box become the mask of what is meant.

What is asked about a slice is looked at through a square window of `SIDE` cells. An `Answerer`
says of each cell how likely it belongs to the object; where the window lies and how large it is
follows from the prompts and from what was answered before.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medview.imaging.agreement import Overlap
from medview.imaging.edit import Mask
from medview.imaging.intensity import percentile_zscore

Floats = npt.NDArray[np.float32]
#: Places (down, across) in pixels of the slice, one after the other: one for a click.
Path = npt.NDArray[np.float64]
#: A box in a slice: first and last pixel down, first and last pixel across.
SliceBox = tuple[float, float, float, float]

#: Cells of a window along each side.
SIDE = 128
#: A mark is drawn this thick into a window, in cells.
MARK_CELLS = 3.0
#: The smallest window, in pixels of the slice; every next one is larger by the factor.
_SMALLEST_PX = 24.0
_WIDER = 1.6
#: A window leaves this room around what it is about.
_ROOM = 1.5
#: Cells so many times as large as pixels see them halved first: what a blur over so many costs.
_COARSE = 8.0
#: A window so many times as wide as one that fits is too coarse to end with.
_MUCH_LARGER = 1.3
#: What is answered reaches the rim of a window if so many of the rim's cells are in it.
_AT_RIM = 0.02


@dataclass(frozen=True)
class Hints:
    """What a reader marked in one slice: what belongs, what does not, and a box around it."""

    adds: tuple[Path, ...] = ()
    takes: tuple[Path, ...] = ()
    box: SliceBox | None = None

    def marked(self, place: tuple[int, int], *, adds: bool) -> Hints:
        """The same, with a click besides."""
        path = (np.array([place], dtype=np.float64),)
        if adds:
            return replace(self, adds=self.adds + path)
        return replace(self, takes=self.takes + path)

    @property
    def paths(self) -> tuple[Path, ...]:
        """All that was marked."""
        return self.adds + self.takes


@dataclass(frozen=True)
class Slice:
    """A slice that is asked about: its values, and the size of a pixel down and across in mm."""

    values: Floats
    pixel_mm: tuple[float, float]

    @property
    def sides_mm(self) -> npt.NDArray[np.float64]:
        """How long and wide it is."""
        return np.asarray(self.values.shape) * self.pixel_mm


@dataclass(frozen=True)
class Window:
    """A square over a slice: its middle in pixels, and its side in mm."""

    middle: tuple[float, float]
    side_mm: float

    def steps(self, pixel_mm: tuple[float, float]) -> npt.NDArray[np.float64]:
        """Pixels of the slice from one cell to the next, down and across."""
        return self.side_mm / SIDE / np.asarray(pixel_mm)

    def to_cells(self, places: Path, pixel_mm: tuple[float, float]) -> Path:
        """Places of the slice in cells."""
        return np.asarray((places - self.middle) / self.steps(pixel_mm) + (SIDE - 1) / 2)


@dataclass(frozen=True)
class View:
    """What is seen through a window, all (SIDE, SIDE): grey values and what was marked.

    `before` is what was answered before, from 0 to 1, `box` what lies within the reader's box.
    """

    image: Floats
    adds: Mask
    takes: Mask
    before: Floats
    box: Mask


@dataclass(frozen=True, eq=False)
class _Part:
    """What is found in a slice: nothing but what `mask` has, whose first pixel is `start`."""

    start: tuple[int, int]
    mask: Mask

    @property
    def slices(self) -> tuple[slice, slice]:
        """Where it lies in the slice."""
        (top, left), (rows, columns) = self.start, self.mask.shape
        return slice(top, top + rows), slice(left, left + columns)

    def whole(self, shape: tuple[int, ...]) -> Mask:
        """The mask of a whole slice."""
        mask = np.zeros(shape, dtype=np.bool_)
        mask[self.slices] = self.mask
        return mask

    def alike(self, other: _Part) -> float:
        """The Dice of two that share a pixel, else 0; counted within the two, not the slice."""
        low = np.maximum(self.start, other.start)
        ends = (np.add(part.start, part.mask.shape) for part in (self, other))
        high = np.maximum(np.minimum(*ends), low)
        mine, theirs = (
            part.mask[tuple(map(slice, low - part.start, high - part.start))]
            for part in (self, other)
        )
        counts = (int(np.count_nonzero(mask)) for mask in (self.mask, other.mask, mine & theirs))
        pair = Overlap(*counts)
        return pair.dice if pair.both else 0.0


class Answerer(Protocol):
    """Says of every cell of a view how likely it belongs to what is meant."""

    def __call__(self, view: View) -> Floats:
        """Probabilities, (SIDE, SIDE)."""


@dataclass(frozen=True)
class Question:
    """A slice, what is marked there, and the mask that it corrects."""

    where: Slice
    hints: Hints
    before: Mask | None = field(default=None)


def view_of(question: Question, window: Window) -> View:
    """What of a question is seen through a window; the slice's edge goes on beyond it."""
    where, hints = question.where, question.hints
    before = np.zeros((SIDE, SIDE), dtype=np.float32)
    if question.before is not None:
        before = sampled(question.before, where.pixel_mm, window, "grid-constant")
    image = percentile_zscore(sampled(where.values, where.pixel_mm, window, "nearest"))
    return View(
        image,
        _drawn(hints.adds, where.pixel_mm, window),
        _drawn(hints.takes, where.pixel_mm, window),
        before,
        _boxed(hints.box, where.pixel_mm, window),
    )


def answered(question: Question, answer: Answerer) -> Mask:
    """The mask of what the hints mean, on the slice's own pixels.

    First marks do not say how large the object is: windows of all sizes are looked through, and
    what two neighbours agree on best is believed (as Matas et al. choose regions by their
    stability, Image and Vision Computing 22:761 (2004)). A box or an answer before say it: the
    window around them is widened only until the object lies within. What was found is looked at
    once more through a window that fits it.
    """
    before = question.before
    if _extent(before, question.hints) is None and question.hints.box is None:
        return np.zeros(question.where.values.shape, dtype=np.bool_)
    knows_size = question.hints.box is not None or (before is not None and before.any())
    look = _widened if knows_size else _agreed
    found, window = look(question, answer)
    fitting = _around(question.where, _extent(found, question.hints), _ROOM)
    if not found.any() or fitting is None or fitting.side_mm >= window.side_mm / _MUCH_LARGER:
        return found
    once_more = Question(question.where, question.hints, found)
    return _through(once_more, fitting, answer)[0].whole(found.shape)


def _agreed(question: Question, answer: Answerer) -> tuple[Mask, Window]:
    """What two windows, one a step larger than the other, agree on best; the larger one's."""
    windows = list(_windows(question))
    parts = [_through(question, window, answer)[0] for window in windows]
    alike = [one.alike(other) for one, other in itertools.pairwise(parts)]
    best = int(np.argmax(alike)) + 1 if alike else 0
    return parts[best].whole(question.where.values.shape), windows[best]


def _widened(question: Question, answer: Answerer) -> tuple[Mask, Window]:
    """What is seen through the first window that the object lies within, else the largest."""
    for window in _windows(question):
        found, inside = _through(question, window, answer)
        if inside:
            break
    return found.whole(question.where.values.shape), window


def next_slice(question: Question, answer: Answerer) -> Mask:
    """The mask in a slice of which the neighbour's mask, `question.before`, is known.

    Marks of that slice count as in every other. Nothing where the object has ended.
    """
    where, before = question.where, question.before
    if before is None or not before.any():
        return np.zeros(where.values.shape, dtype=np.bool_)
    window = _around(where, _extent(before, question.hints), _ROOM)
    if window is None:
        return np.zeros(where.values.shape, dtype=np.bool_)
    return _through(question, window, answer)[0].whole(where.values.shape)


def _through(question: Question, window: Window, answer: Answerer) -> tuple[_Part, bool]:
    """What is answered through a window, and whether all of it lies inside."""
    where = question.where
    likely = answer(view_of(question, window))
    found = _joined(_laid(likely, question, window), question)
    rim = np.concatenate([likely[0], likely[-1], likely[:, 0], likely[:, -1]]) >= 0.5
    beyond = np.concatenate(_outside(where, window))
    touches = (rim & ~beyond).mean() > _AT_RIM
    return found, bool(found.mask.any() and not touches)


def _laid(likely: Floats, question: Question, window: Window) -> _Part:
    """What was there before, and within a window what its cells say; with room for all marks."""
    where, before = question.where, question.before
    rows, columns = _pixels(where, window, likely >= 0.5)
    extent = _extent(before, question.hints)
    low, high = np.array([rows.start, columns.start]), np.array([rows.stop, columns.stop])
    if extent is not None:
        corners = np.floor(np.reshape(extent, (2, 2)).T + 0.5).astype(int)
        low, high = np.minimum(low, corners[0]), np.maximum(high, corners[1] + 1)
    low, high = np.clip(low, 0, where.values.shape), np.clip(high, 0, where.values.shape)
    start, crop = (int(low[0]), int(low[1])), tuple(map(slice, low, high))
    mask = np.zeros(tuple(high - low), dtype=np.bool_) if before is None else before[crop].copy()

    def within(pixels: tuple[slice, slice]) -> tuple[slice, ...]:
        first = np.clip([one.start for one in pixels], low, high) - low
        last = np.clip([one.stop for one in pixels], low, high) - low
        return tuple(map(slice, first, last))

    mask[within(_pixels(where, window))] = False
    mask[within((rows, columns))] = _spread(likely, where.pixel_mm, window, rows, columns) >= 0.5
    return _Part(start, mask)


def _outside(where: Slice, window: Window) -> list[Mask]:
    """Which cells of the rim lie beyond the slice: above, below, left, right."""
    steps = window.steps(where.pixel_mm)
    cells = np.arange(SIDE) - (SIDE - 1) / 2
    down, across = window.middle[0] + cells * steps[0], window.middle[1] + cells * steps[1]
    off_down = (down < 0) | (down > where.values.shape[0] - 1)
    off_across = (across < 0) | (across > where.values.shape[1] - 1)
    return [
        off_across | off_down[0], off_across | off_down[-1],
        off_down | off_across[0], off_down | off_across[-1],
    ]  # fmt: skip


def _windows(question: Question) -> Iterator[Window]:
    """The windows to look through, one after the other until the object lies inside."""
    where, hints = question.where, question.hints
    box, largest = hints.box, float(where.sides_mm.max()) * 1.05
    if box is not None:
        fitting = _around(where, box, _ROOM)
        if fitting is not None:
            yield fitting
        return
    before = question.before if question.before is not None and question.before.any() else None
    fitting = _around(where, _extent(before, hints), _ROOM)
    if fitting is None:
        return
    side = max(fitting.side_mm, _SMALLEST_PX * min(where.pixel_mm))
    while side < largest:
        yield Window(fitting.middle, side)
        side *= _WIDER
    yield Window(fitting.middle, max(side, largest))


def _extent(mask: Mask | None, hints: Hints) -> SliceBox | None:
    """The box around a mask and all marks; None where there is nothing."""
    corners = [*hints.paths]
    if mask is not None and mask.any():
        down, across = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        corners.append(np.array([[down[0], across[0]], [down[-1], across[-1]]], dtype=float))
    if not corners:
        return None
    places = np.concatenate(corners)
    (top, left), (bottom, right) = places.min(axis=0), places.max(axis=0)
    return float(top), float(bottom), float(left), float(right)


def _around(where: Slice, box: SliceBox | None, room: float) -> Window | None:
    """A window with some room around a box."""
    if box is None:
        return None
    top, bottom, left, right = box
    down, across = where.pixel_mm
    side = room * max((bottom - top + 1) * down, (right - left + 1) * across)
    side = max(side, _SMALLEST_PX / 2 * min(where.pixel_mm))
    return Window(((top + bottom) / 2, (left + right) / 2), side)


def sampled(
    values: npt.NDArray[Any], pixel_mm: tuple[float, float], window: Window, edge: str
) -> Floats:
    """Values at the cells of a window, smoothed where cells are larger than pixels.

    Beyond the slice it goes on as `ndimage` names that: `nearest`, or with zeros `grid-constant`.
    """
    steps = window.steps(pixel_mm)
    low = np.asarray(window.middle) - (SIDE - 1) / 2 * steps
    high = np.asarray(window.middle) + (SIDE - 1) / 2 * steps
    reach = np.ceil(2 * np.maximum(steps, 1)).astype(int)
    start = np.clip(np.floor(low).astype(int) - reach, 0, np.array(values.shape) - 1)
    stop = np.clip(np.ceil(high).astype(int) + reach + 1, start + 1, values.shape)
    piece = np.asarray(values[start[0] : stop[0], start[1] : stop[1]], dtype=np.float32)
    first = low - start
    for axis in (0, 1):
        while steps[axis] >= _COARSE:
            piece = _halved(piece, axis, "edge" if edge == "nearest" else "constant")
            steps[axis] /= 2
            first[axis] = (first[axis] + 0.5) / 2 - 0.5
    if steps.max() > 1:
        piece = ndimage.gaussian_filter(piece, 0.45 * np.sqrt(np.maximum(steps**2 - 1, 0)))
    cells: Floats = ndimage.affine_transform(
        piece, steps, first, output_shape=(SIDE, SIDE), order=1, mode=edge
    )
    return cells


def _halved(values: Floats, axis: int, edge: Literal["edge", "constant"]) -> Floats:
    """The mean of every two along an axis; what is odd is filled up."""
    if values.shape[axis] % 2:
        values = np.pad(values, [(0, int(n == axis)) for n in (0, 1)], mode=edge)
    pairs = (slice(None),) * axis
    halves: Floats = values[*pairs, ::2] + values[*pairs, 1::2]
    halves *= np.float32(0.5)
    return halves


def _pixels(where: Slice, window: Window, cells: Mask | None = None) -> tuple[slice, slice]:
    """The pixels of a slice within a window; with `cells` those between these and the next."""
    steps = window.steps(where.pixel_mm)
    low = np.asarray(window.middle) - SIDE / 2 * steps
    high = np.asarray(window.middle) + SIDE / 2 * steps
    if cells is not None:
        lines = [np.flatnonzero(cells.any(axis=axis)) for axis in (1, 0)]
        ends = np.array([(one[0] - 1, one[-1] + 1) if len(one) else (0, -SIDE) for one in lines])
        places = np.asarray(window.middle) + (ends.T - (SIDE - 1) / 2) * steps
        low, high = np.maximum(low, places[0]), np.minimum(high, places[1])
    start = np.clip(np.ceil(low).astype(int), 0, where.values.shape)
    stop = np.clip(np.floor(high).astype(int) + 1, start, where.values.shape)
    return slice(int(start[0]), int(stop[0])), slice(int(start[1]), int(stop[1]))


def _spread(
    likely: Floats, pixel_mm: tuple[float, float], window: Window, rows: slice, columns: slice
) -> Floats:
    """What the cells of a window say of pixels of the slice."""
    steps = window.steps(pixel_mm)
    first = (np.array([rows.start, columns.start]) - window.middle) / steps + (SIDE - 1) / 2
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    if 0 in shape:
        return np.zeros(shape, dtype=np.float32)
    pixels: Floats = ndimage.affine_transform(
        likely, 1 / steps, first, output_shape=shape, order=1, mode="nearest"
    )
    return pixels


def _drawn(paths: tuple[Path, ...], pixel_mm: tuple[float, float], window: Window) -> Mask:
    """Marks as cells: all within `MARK_CELLS` of a path."""
    cells = tuple(window.to_cells(path, pixel_mm) for path in paths)
    under = _touched(cells, (SIDE, SIDE))
    if not under.any():
        return under
    return np.asarray(ndimage.distance_transform_edt(~under) <= MARK_CELLS)


def _dense(path: Path) -> Path:
    """A path with places no more than a cell apart."""
    if len(path) < 2:
        return path
    pieces = [path[:1]]
    for start, stop in itertools.pairwise(path):
        count = max(1, int(np.ceil(np.abs(stop - start).max())))
        shares = np.arange(1, count + 1)[:, None] / count
        pieces.append(start + shares * (stop - start))
    return np.concatenate(pieces)


def _boxed(box: SliceBox | None, pixel_mm: tuple[float, float], window: Window) -> Mask:
    """The cells within a box; none without one."""
    if box is None:
        return np.zeros((SIDE, SIDE), dtype=np.bool_)
    top, bottom, left, right = box
    corners = np.array([[top - 0.5, left - 0.5], [bottom + 0.5, right + 0.5]])
    low, high = window.to_cells(corners, pixel_mm)
    cells = np.arange(SIDE)
    rows, columns = (
        (cells >= low[0]) & (cells <= high[0]),
        (cells >= low[1]) & (cells <= high[1]),
    )
    return np.asarray(rows[:, None] & columns)


def _joined(part: _Part, question: Question) -> _Part:
    """The areas of an answer that were marked or were there before; marks themselves always."""
    hints, before, shape = question.hints, question.before, part.mask.shape
    adds, takes = (
        _touched(tuple(path - part.start for path in paths), shape)
        for paths in (hints.adds, hints.takes)
    )
    found = (part.mask | adds) & ~takes
    areas, count = ndimage.label(found)
    if count > 1 and (adds.any() or before is not None):
        kept = np.zeros(count + 1, dtype=np.bool_)
        kept[areas[adds]] = True
        if before is not None:
            kept[areas[before[part.slices] & found]] = True
        kept[0] = False
        found = kept[areas]
    return _Part(part.start, found)


def _touched(paths: tuple[Path, ...], shape: tuple[int, ...]) -> Mask:
    """The pixels under marks."""
    mask = np.zeros(shape, dtype=np.bool_)
    for path in paths:
        places = np.floor(_dense(path) + 0.5).astype(int)
        inside = ((places >= 0) & (places < shape)).all(axis=1)
        mask[tuple(places[inside].T)] = True
    return mask
