"""Answers to marks: on shapes of which the mask is known, whatever answers."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from medview.imaging.prompts import (
    SIDE,
    Hints,
    Question,
    Slice,
    View,
    Window,
    answered,
    next_slice,
    view_of,
)
from medview.imaging.walker import walked


def at(*places: tuple[float, float]) -> tuple[npt.NDArray[np.float64], ...]:
    return tuple(np.array([place], dtype=np.float64) for place in places)


def disc(
    shape: tuple[int, int], middle: tuple[float, float], radius: float
) -> npt.NDArray[np.bool_]:
    down, across = np.indices(shape)
    return (down - middle[0]) ** 2 + (across - middle[1]) ** 2 <= radius**2


def picture(mask: npt.NDArray[np.bool_], noise: float = 0.1) -> npt.NDArray[np.float32]:
    grain = np.random.default_rng(0).normal(0, noise, mask.shape)
    return (mask + grain).astype(np.float32)


def dice(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    return float(2 * (one & other).sum() / max(1, one.sum() + other.sum()))


@pytest.mark.parametrize(("radius", "pixel_mm"), [(5, (0.4, 0.4)), (12, (1.0, 2.5)), (80, (1, 1))])
def test_one_click_finds_a_disc_of_any_size(radius: float, pixel_mm: tuple[float, float]) -> None:
    truth = disc((220, 240), (110, 120), radius)
    found = answered(Question(Slice(picture(truth), pixel_mm), Hints(at((108, 121)))), walked)
    assert dice(found, truth) > 0.93


def test_a_click_means_the_object_that_it_is_on_alone() -> None:
    one, other = disc((120, 120), (40, 40), 14), disc((120, 120), (40, 90), 14)
    found = answered(Question(Slice(picture(one | other), (1, 1)), Hints(at((40, 88)))), walked)
    assert dice(found, other) > 0.93
    assert not (found & one).any()


def test_a_mark_against_it_takes_a_part_away() -> None:
    left, right = disc((140, 140), (70, 45), 22), disc((140, 140), (70, 88), 22)  # they touch
    where = Slice(picture(left | right, 0.05), (1, 1))
    first = answered(Question(where, Hints(at((70, 45)))), walked)
    found = answered(Question(where, Hints(at((70, 45)), at((70, 95))), first), walked)
    assert not found[70, 95]
    assert found[70, 45]
    assert dice(found, left) > max(0.85, dice(first, left))


def test_marks_are_always_obeyed() -> None:
    grey = np.random.default_rng(1).normal(0, 1, (60, 60)).astype(np.float32)
    adds, takes = at((10, 10), (50, 20)), at((30, 30), (12, 44))
    found = answered(Question(Slice(grey, (1, 1)), Hints(adds, takes)), walked)
    assert found[10, 10]
    assert found[50, 20]
    assert not found[30, 30]
    assert not found[12, 44]


def test_a_box_alone_finds_what_is_in_it_and_nothing_beyond() -> None:
    truth, other = disc((150, 150), (60, 60), 20), disc((150, 150), (60, 103), 18)
    box = (38.0, 82.0, 38.0, 82.0)
    found = answered(Question(Slice(picture(truth | other), (1, 1)), Hints(box=box)), walked)
    assert dice(found, truth) > 0.93
    assert not found[:, 84:].any()


def test_a_scribble_counts_all_along() -> None:
    path = (np.array([[30.0, 20.0], [30.0, 90.0]]),)
    flat = np.zeros((60, 110), dtype=np.float32)
    found = answered(Question(Slice(flat, (1, 1)), Hints(path)), walked)
    assert found[30, 20:91].all()


def test_the_neighbour_is_followed_where_the_object_moves() -> None:
    before, now = disc((100, 100), (50, 50), 20), disc((100, 100), (53, 52), 18)
    where = Slice(picture(now), (1, 1))
    assert dice(next_slice(Question(where, Hints(), before), walked), now) > 0.93
    nothing = Question(where, Hints(), np.zeros_like(before))
    assert not next_slice(nothing, walked).any()


def test_a_view_shows_places_where_they_are() -> None:
    grey = np.zeros((40, 50), dtype=np.float32)
    grey[18:23, 28:33] = 1
    hints = Hints(at((20, 30)), at((10, 30)), (10.0, 30.0, 25.0, 35.0))
    window = Window((20, 30), 32.0)
    view = view_of(Question(Slice(grey, (1.0, 1.0)), hints, grey > 0), window)
    middle = (SIDE - 1) / 2
    for shown, place in (
        (view.image, (middle, middle)),
        (view.adds, (middle, middle)),
        (view.before, (middle, middle)),
        (view.takes, (middle - 10 * SIDE / 32, middle)),
    ):
        weight = np.maximum(np.asarray(shown, dtype=float) - float(np.asarray(shown).min()), 0)
        down, across = np.indices(weight.shape)
        seen = (down * weight).sum() / weight.sum(), (across * weight).sum() / weight.sum()
        assert seen == pytest.approx(place, abs=0.5)
    assert view.box.sum() == pytest.approx(21 * 11 * (SIDE / 32) ** 2, rel=0.03)


def by_sign(seen: list[View]) -> Callable[[View], npt.NDArray[np.float32]]:
    """Answers what is brighter than the mean of the window; keeps what it was asked."""

    def answer(view: View) -> npt.NDArray[np.float32]:
        seen.append(view)
        return (view.image >= 0).astype(np.float32)

    return answer


def test_of_all_sizes_what_two_agree_on_is_believed() -> None:
    truth, seen = disc((500, 500), (250, 250), 40), list[View]()
    where = Slice(picture(truth, 0.0), (1, 1))
    found = answered(Question(where, Hints(at((250, 250)))), by_sign(seen))
    assert dice(found, truth) > 0.97
    assert len(seen) >= 8  # from 24 pixels to all 500, each 1.6 times as wide as the one before


def test_windows_around_an_answer_stop_growing_where_the_object_lies_inside() -> None:
    truth, seen = disc((500, 500), (250, 250), 40), list[View]()
    before = disc((500, 500), (250, 250), 12)
    question = Question(Slice(picture(truth, 0.0), (1, 1)), Hints(at((250, 265))), before)
    found = answered(question, by_sign(seen))
    assert dice(found, truth) > 0.97
    assert 1 < len(seen) < 7


def test_nothing_comes_of_no_marks_and_of_a_neighbour_that_has_nothing() -> None:
    where = Slice(picture(disc((60, 60), (30, 30), 12)), (1, 1))
    empty = np.zeros((60, 60), dtype=np.bool_)
    assert not answered(Question(where, Hints()), walked).any()
    assert not answered(Question(where, Hints(), empty), walked).any()
    assert not next_slice(Question(where, Hints(), empty), walked).any()
    assert not next_slice(Question(where, Hints(at((30, 30)))), walked).any()


def test_a_click_on_an_even_picture_ends_with_all_of_it_or_a_part_that_holds_the_click() -> None:
    found = answered(
        Question(Slice(np.zeros((50, 70), np.float32), (1, 1)), Hints(at((25, 30)))), walked
    )
    assert found[25, 30]


def test_a_scribble_against_is_kept_out_along_all_of_its_way() -> None:
    truth = disc((120, 120), (60, 60), 30)
    against = np.array([[40.0, 60.0], [80.0, 60.0], [80.0, 70.0]])
    found = answered(
        Question(Slice(picture(truth), (1, 1)), Hints(at((60, 40)), (against,))), walked
    )
    assert found[60, 40]
    assert not found[40:81, 60].any()
    assert not found[80, 60:71].any()


@pytest.mark.parametrize("shape", [(1, 60), (2, 60), (60, 1), (60, 60)])
def test_an_answer_before_is_seen_whole_however_thin_the_slice(shape: tuple[int, int]) -> None:
    before = np.zeros(shape, dtype=np.bool_)
    before[tuple(slice(20, 40) if side == 60 else slice(None) for side in shape)] = True
    grey = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    window = Window(((shape[0] - 1) / 2, (shape[1] - 1) / 2), 30.0)
    view = view_of(Question(Slice(grey, (1.0, 1.0)), Hints(), before), window)
    seen_px = (view.before >= 0.5).sum() * (window.side_mm / SIDE) ** 2
    assert seen_px == pytest.approx(before.sum(), rel=0.1)


def test_a_large_slice_is_seen_where_it_is_and_without_moire() -> None:
    truth = disc((2100, 2050), (700, 1300), 300)
    stripes = np.indices(truth.shape)[0] % 2 * 1.0  # finer than any cell: grey from afar
    where = Slice((truth + stripes).astype(np.float32), (1.0, 1.0))
    window = Window((1000.0, 1010.0), 2600.0)
    view = view_of(Question(where, Hints(), truth), window)
    places = window.to_cells(np.array([[700.0, 1300.0]]), (1.0, 1.0))[0]
    down, across = np.indices((SIDE, SIDE))
    total = view.before.sum()
    seen = (down * view.before).sum() / total, (across * view.before).sum() / total
    assert seen == pytest.approx(places, abs=0.01)
    assert total * window.steps((1.0, 1.0)).prod() == pytest.approx(truth.sum(), rel=1e-3)
    deep = np.hypot(down - places[0], across - places[1]) < 10
    beside = np.hypot(down - places[0], across - places[1]) > 20
    beside &= (down > 20) & (down < 100) & (across > 20) & (across < 100)
    step = view.image[deep].mean() - view.image[beside].mean()
    assert view.image[deep].std() < 0.02 * step
    assert view.image[beside].std() < 0.02 * step


def test_a_click_on_a_large_slice_costs_memory_for_what_is_found_not_for_every_window() -> None:
    truth = disc((1500, 1500), (700, 800), 60)
    where = Slice(picture(truth, 0.0), (1.0, 1.0))
    tracemalloc.start()
    found = answered(Question(where, Hints(at((700, 800)))), by_sign([]))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert dice(found, truth) > 0.95
    assert most < 2.5 * where.values.nbytes


def test_what_was_there_beyond_a_box_and_far_marks_stay() -> None:
    truth, far = disc((300, 300), (60, 60), 20), disc((300, 300), (240, 240), 15)
    box = (38.0, 82.0, 38.0, 82.0)
    question = Question(
        Slice(picture(truth | far), (1, 1)), Hints(at((290, 10)), at((240, 240)), box), truth | far
    )
    found = answered(question, walked)
    assert dice(found[:120, :120], truth[:120, :120]) > 0.93
    assert found[290, 10]
    assert not found[240, 240]
    assert found[200:280, 200:280].sum() == far.sum() - 1
