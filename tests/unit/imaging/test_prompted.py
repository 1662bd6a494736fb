"""Marks on volumes: in their slices, carried through, combined with what a segment has already."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from medview.core.volume import Volume
from medview.imaging.prompted import (
    Answer,
    Canvas,
    Key,
    Mark,
    MarkKind,
    in_slices,
    patch_of,
    through,
)
from medview.imaging.walker import walked
from tests.helpers.phantoms import Phantom

SHAPE = (24, 64, 60)


def yes() -> bool:
    return True


def ball(
    middle: tuple[float, float, float] = (12, 32, 30), radius: float = 9.0
) -> npt.NDArray[np.bool_]:
    k, j, i = np.indices(SHAPE)
    return (k - middle[0]) ** 2 + (j - middle[1]) ** 2 + (i - middle[2]) ** 2 <= radius**2


def canvas(truth: npt.NDArray[np.bool_], own: npt.NDArray[np.bool_] | None = None) -> Canvas:
    grain = np.random.default_rng(2).normal(0, 8, SHAPE)
    phantom = Phantom(SHAPE).volume()
    volume: Volume = replace(phantom, voxels=(truth * 100 + grain).astype(np.int16))
    labels = np.zeros(SHAPE, dtype=np.uint16)
    if own is not None:
        labels[own] = 3
    return Canvas(volume, labels, 3)


def click(k: float, j: float, i: float, kind: MarkKind = MarkKind.ADDS, axis: int = 0) -> Mark:
    return Mark(kind, axis, ((k, j, i),))


def dice(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    return float(2 * (one & other).sum() / max(1, one.sum() + other.sum()))


def done(board: Canvas, answers: dict[Key, Answer]) -> npt.NDArray[np.bool_]:
    """The segment once the patch is accepted."""
    patch = patch_of(board, answers)
    assert patch is not None
    mask = board.labels == board.number
    mask[patch.box.slices] = patch.mask
    return np.asarray(mask)


def test_a_click_is_answered_in_its_slice_alone() -> None:
    truth = ball()
    for axis in range(3):
        board = canvas(truth)
        mask = done(board, in_slices(board, [click(12, 32, 30, axis=axis)], {}, walked))
        number = (12, 32, 30)[axis]
        assert dice(mask.take(number, axis), truth.take(number, axis)) > 0.93
        assert mask.sum() == mask.take(number, axis).sum()


def test_slices_are_answered_together_and_known_ones_kept() -> None:
    board = canvas(ball())
    first = in_slices(board, [click(12, 32, 30)], {}, walked)
    both = in_slices(board, [click(12, 32, 30), click(8, 32, 30)], first, walked)
    assert both[0, 12] is first[0, 12]
    assert done(board, both)[[8, 12]].any(axis=(1, 2)).all()


def test_one_click_goes_through_a_ball_and_ends_where_it_ends() -> None:
    truth = ball()
    board = canvas(truth)
    mask = done(board, through(board, [click(12, 32, 30)], {}, walked, yes))
    assert dice(mask, truth) > 0.88
    assert not mask[[0, 1, 22, 23]].any()


def test_a_box_through_slices_bounds_the_answer() -> None:
    board = canvas(ball())
    box = Mark(MarkKind.BOX, 0, ((9.0, 20.0, 18.0), (15.0, 44.0, 42.0)))
    mask = done(board, through(board, [box], {}, walked, yes))
    slices = np.flatnonzero(mask.any(axis=(1, 2)))
    assert (slices[0], slices[-1]) == (9, 15)
    assert dice(mask[9:16], ball()[9:16]) > 0.9


def test_boxes_in_two_planes_are_one_box() -> None:
    board = canvas(ball())
    flat = Mark(MarkKind.BOX, 0, ((12.0, 20.0, 18.0), (12.0, 44.0, 42.0)))
    upright = Mark(MarkKind.BOX, 1, ((10.0, 32.0, 18.0), (14.0, 32.0, 42.0)))
    mask = done(board, through(board, [flat, upright], {}, walked, yes))
    slices = np.flatnonzero(mask.any(axis=(1, 2)))
    assert (slices[0], slices[-1]) == (10, 14)


def test_a_mark_on_the_segment_corrects_it_and_leaves_other_parts() -> None:
    truth, apart = ball(), ball((12, 10, 10), 4)
    spill = np.zeros(SHAPE, dtype=np.bool_)
    spill[12, 28:37, 39:50] = True
    board = canvas(truth, (truth & (np.indices(SHAPE)[0] == 12)) | spill | apart)
    marks = [click(12, 32, 30), click(12, 32, 45, MarkKind.TAKES)]
    mask = done(board, in_slices(board, marks, {}, walked))
    assert not mask[12, 32, 45]
    assert mask[12, 32, 30]
    assert (mask & apart).sum() == apart.sum()


def test_nobody_waits_for_what_is_not_wanted() -> None:
    board = canvas(ball())
    found = through(board, [click(12, 32, 30)], {}, walked, lambda: False)
    assert set(found) == {(0, 12)}


def test_nothing_was_answered_means_no_patch() -> None:
    board = canvas(ball())
    assert patch_of(board, {}) is None
