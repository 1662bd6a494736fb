"""Places carried along by motion, and what they measure, against geometry."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from medview.imaging.motion import (
    blended,
    displaced,
    grey,
    scene_changes,
    small,
)
from medview.imaging.tracks import (
    area_of,
    displacement_of,
    extremes,
    length_of,
    strain_percent,
)


def circle(radius: float, count: int = 360) -> np.ndarray:
    angle = np.arange(count) * 2 * np.pi / count
    return np.stack([50 + radius * np.sin(angle), 60 + radius * np.cos(angle)], axis=1)


def speckle(seed: int = 0, shape: tuple[int, int] = (96, 128)) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=shape)
    return ndimage.gaussian_filter(noise, 1.5).astype(np.float32)


def test_places_follow_a_turn_about_the_middle():
    """A field of displacements that turns the plane by 10 degrees turns places by it."""
    angle = np.radians(10)
    rows, columns = np.mgrid[:101, :101] - 50.0
    turned = np.stack([
        columns * np.cos(angle) - rows * np.sin(angle) - columns,
        columns * np.sin(angle) + rows * np.cos(angle) - rows,
    ]).astype(np.float32)  # fmt: skip
    places = np.array([[50.0, 80.0], [20.5, 50.0], [33.25, 61.75]])
    found = displaced(places, turned) - 50
    row, column = places.T - 50
    assert found[:, 0] == pytest.approx(column * np.sin(angle) + row * np.cos(angle), abs=1e-3)
    assert found[:, 1] == pytest.approx(column * np.cos(angle) - row * np.sin(angle), abs=1e-3)


@given(radius=st.floats(5, 40), row_mm=st.floats(0.1, 2), column_mm=st.floats(0.1, 2))
def test_area_and_length_of_a_circle_are_those_of_the_ellipse_it_is_in_millimetres(
    radius, row_mm, column_mm
):
    """Area pi a b; circumference by Ramanujan's second approximation."""
    places = circle(radius)
    a, b = radius * row_mm, radius * column_mm
    h = ((a - b) / (a + b)) ** 2
    around = np.pi * (a + b) * (1 + 3 * h / (10 + np.sqrt(4 - 3 * h)))
    assert area_of(places, (row_mm, column_mm)) == pytest.approx(np.pi * a * b, rel=1e-3)
    length = length_of(places, (row_mm, column_mm), closed=True)
    assert length == pytest.approx(around, rel=2e-3)
    assert length_of(places, (row_mm, column_mm), closed=False) < length


def test_displacement_is_that_of_the_middle_in_the_unit_of_the_spacing():
    places = [circle(10), circle(10) + np.array([3.0, 4.0]), circle(20)]
    away = displacement_of(places, (0.5, 0.5), origin=0)
    assert away == pytest.approx([0, 2.5, 0], abs=1e-9)


def test_strain_is_the_relative_change_of_length():
    assert strain_percent([50.0, 40.0, 60.0], origin=0) == pytest.approx([0, -20, 20])
    assert strain_percent([50.0, 40.0], origin=1) == pytest.approx([25, 0])
    assert strain_percent([0.0, 4.0], origin=0) == [0, 0]


def test_tracking_from_two_sides_meets_both_and_changes_over_between():
    forth = [np.array([[0.0, float(n)]]) for n in range(5)]
    back = [np.array([[10.0, float(n)]]) for n in range(5)]
    mixed = blended(forth, back)
    assert [float(one[0, 0]) for one in mixed] == pytest.approx([0, 2.5, 5, 7.5, 10])
    assert (mixed[0] == forth[0]).all()
    assert (mixed[-1] == back[-1]).all()


def test_turns_of_a_beating_curve_are_its_highest_and_lowest_frames():
    frames = np.arange(100)
    beat = np.sin(frames * 2 * np.pi / 25) + 0.05 * np.sin(frames * 2.3)
    turns = extremes(beat, least_swing=0.8)
    highest = [frame for frame, is_high in turns if is_high]
    lowest = [frame for frame, is_high in turns if not is_high]
    assert highest == pytest.approx([6, 31, 56, 81], abs=2)
    assert lowest == pytest.approx([19, 44, 69, 94], abs=2)
    assert [is_high for _, is_high in turns] == [True, False] * 4
    assert extremes(beat * 0.1, least_swing=0.8) == []


def test_a_cut_is_a_change_of_scene_and_motion_or_noise_is_none():
    moving = [ndimage.shift(speckle(0), (0, n), mode="wrap") for n in range(12)]
    other = [ndimage.shift(speckle(5), (n, 0), mode="wrap") for n in range(12)]
    copies = [small(picture, 48) for picture in (*moving, *other)]
    assert scene_changes(copies) == [12]
    noise = [small(speckle(seed), 48) for seed in range(20)]
    assert scene_changes(noise) == []
    assert scene_changes(copies[:1]) == []


def test_small_copies_keep_the_mean_and_the_way_up():
    picture = np.arange(128 * 256, dtype=np.float32).reshape(128, 256)
    copy = small(picture, 64)
    assert copy.shape == (32, 64)
    assert copy.mean() == pytest.approx(picture.mean(), rel=1e-6)
    assert copy[0, 0] < copy[0, -1] < copy[-1, -1]


def test_grey_is_the_brightness_of_colours():
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    assert grey(colours)[0] == pytest.approx([76.2, 149.7, 29.1, 255], abs=0.1)
    assert grey(colours[..., 0]).dtype == np.float32
