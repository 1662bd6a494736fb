"""Right and left lung: on drawn lungs, and on pictures whose side markers can be read."""

import numpy as np
import pytest
from PIL import Image

from medview.imaging.lung_sides import split_lungs

#: Pictures in which a person reads an L or R: the mark, and the half of the picture it stands in.
MARKED = {
    "00870a9c": ("R", "first"),
    "19abe1f3": ("L", "second"),
    "2cd63b76": ("L", "second"),
    "c0f74558": ("L", "second"),
    "a2eba651": ("L", "second"),
    "ada8c494": ("L", "second"),
    "8da14fff": ("L", "second"),
    "thnov10p5641g006-c": ("R", "first"),
}


def ellipse(row: float, column: float, height: float, width: float) -> np.ndarray:
    rows, columns = np.mgrid[:200, :240]
    return ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 <= 1


def test_two_lungs_and_their_specks():
    one, two = ellipse(100, 70, 70, 35), ellipse(105, 170, 60, 30)
    speck = ellipse(190, 60, 3, 3)
    right, left = split_lungs(one | two | speck)
    assert np.array_equal(right, one | speck)
    assert np.array_equal(left, two)
    right, left = split_lungs(one | two | speck, right_is_first=False)
    assert np.array_equal(left, one | speck)


def test_lungs_that_touch_are_cut_between_them():
    one, two = ellipse(100, 80, 70, 41), ellipse(100, 160, 70, 41)
    right, left = split_lungs(one | two)
    assert not (right & left).any()
    assert np.array_equal(right | left, one | two)
    assert np.nonzero(right)[1].max() == pytest.approx(120, abs=2)
    assert (right & one).sum() > 0.99 * one.sum()


@pytest.mark.parametrize(("column", "side"), [(70, 0), (170, 1)])
def test_one_lung_alone_leaves_the_other_empty(column, side):
    lung = ellipse(100, column, 70, 35)
    sides = split_lungs(lung)
    assert np.array_equal(sides[side], lung)
    assert not sides[1 - side].any()


def test_nothing_has_no_sides():
    right, left = split_lungs(np.zeros((40, 40), bool))
    assert not right.any()
    assert not left.any()


@pytest.mark.parametrize("name", MARKED)
def test_sides_agree_with_the_marks_in_the_picture(name, shared):
    path = shared / "train" / "cxr_lungseg_covid_v7" / "masks" / f"{name}.png"
    if not path.is_file():
        pytest.skip("needs the lung masks")
    mask = np.asarray(Image.open(path)) > 127
    mark, half = MARKED[name]
    marked_lung = dict(zip("RL", split_lungs(mask), strict=True))[mark]
    middle = np.nonzero(mask)[1].mean()
    mean_column = np.nonzero(marked_lung)[1].mean()
    assert (mean_column < middle) == (half == "first")
    assert 0.2 < marked_lung.sum() / mask.sum() < 0.8
