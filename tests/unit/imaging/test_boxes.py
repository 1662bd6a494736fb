"""Boxes on grids: moved faces stay where they were put, whatever way the grid lies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medview.core.codes import Code
from medview.core.findings import Finding, Person, PictureBox, Provenance, utc_now
from medview.core.geometry import Geometry
from medview.imaging.boxes import (
    box_on,
    index_box,
    joined_box,
    key_boxes,
    overlap_of,
    patient_box,
    with_index_box,
    with_key_box,
    without_key_box,
)
from tests.helpers.phantoms import PLANES, Phantom, oblique

CODE = Code("1", "99TEST", "thing")


def finding(**where: object) -> Finding:
    return Finding("Thing", CODE, Provenance(Person("Dr Ada"), utc_now()), **where)  # type: ignore[arg-type]


@pytest.mark.parametrize("plane", sorted(PLANES))
@given(data=st.data())
def test_a_patient_box_is_the_index_box_it_was_made_of(plane: str, data: st.DataObject) -> None:
    row, column = PLANES[plane]
    geometry = Phantom(row=row, column=column).geometry
    low = np.array([data.draw(st.integers(0, n - 3)) for n in geometry.shape], float)
    size = np.array([data.draw(st.integers(1, 3)) for _ in range(3)], float)
    one = finding(box_lps_mm=patient_box((low, low + size), geometry))
    found = index_box(one, geometry)
    assert found is not None
    np.testing.assert_allclose(found, (low, low + size), atol=1e-9)
    # The true ends: centre of the first voxel minus half a step, of the last plus half a step.
    ends = [geometry.to_lps_mm(low - 0.5), geometry.to_lps_mm(low + size - 0.5)]
    np.testing.assert_allclose(
        np.sort(np.array(one.box_lps_mm), axis=0), np.sort(np.array(ends), axis=0), atol=1e-9
    )
    shift = np.array([data.draw(st.integers(-5, 5)) for _ in range(3)], float)
    moved = with_index_box(one, (low + shift, low + size + shift), geometry)
    back = index_box(moved, geometry)
    assert back is not None
    np.testing.assert_allclose(back, (low + shift, low + size + shift), atol=1e-9)


def test_on_an_oblique_grid_only_the_dragged_face_moves() -> None:
    row, column = oblique(20.0, 15.0)
    geometry = Phantom(row=row, column=column).geometry
    one = finding(box_lps_mm=((0.0, 0.0, 40.0), (8.0, 6.0, 50.0)), location_lps_mm=(4.0, 3.0, 45.0))
    box = index_box(one, geometry)
    assert box is not None
    wider = with_index_box(one, (box[0], box[1] + (0, 0, 3)), geometry)
    before, after = (np.sort(np.array(x.box_lps_mm), axis=0) for x in (one, wider))
    step = abs(float(geometry.affine[0, 2]))
    np.testing.assert_allclose(after[1, 0] - before[1, 0], 3 * step)
    np.testing.assert_allclose(np.delete(after, 3), np.delete(before, 3))
    assert wider.location_lps_mm == pytest.approx(tuple(after.mean(axis=0)))


def test_a_box_on_a_picture_keeps_its_picture() -> None:
    one = finding(picture_box=PictureBox((2, 3, 8, 9), 4, "1.2", 5))
    moved = with_index_box(one, (np.array([4, 1, 1.5]), np.array([5, 7, 7.5])), Geometry(
        (6, 20, 20), np.eye(4)))  # fmt: skip
    assert moved.picture_box == PictureBox((1, 1.5, 7, 7.5), 4, "1.2", 5)


def test_a_box_without_extent_is_refused() -> None:
    one = finding(picture_box=PictureBox((2, 3, 8, 9)))
    flat = np.array([0, 4, 4.0]), np.array([1, 4, 9.0])
    with pytest.raises(ValueError, match="extent"):
        with_index_box(one, flat, Geometry((1, 20, 20), np.eye(4)))
    with pytest.raises(ValueError, match="no box"):
        with_index_box(finding(), flat, Geometry((1, 20, 20), np.eye(4)))


def test_boxes_are_joined_and_compared() -> None:
    low, high = joined_box([(np.zeros(3), np.ones(3)), (np.array([2, -1, 0.5]), np.full(3, 4.0))])
    assert (low.tolist(), high.tolist()) == ([0, -1, 0], [4, 4, 4])
    first = finding(box_lps_mm=((0, 0, 0), (2, 2, 2)))
    half = finding(box_lps_mm=((1, 0, 0), (3, 2, 2)))
    assert overlap_of(first, half) == pytest.approx(0.5)  # 2 * 4 / (8 + 8)
    one, other = (finding(picture_box=PictureBox((0, 0, 2, 2), at)) for at in (0, 1))
    assert overlap_of(one, one) == 1
    assert overlap_of(one, other) == 0
    assert overlap_of(first, one) is None


# Key frames


def test_between_key_frames_a_box_runs_evenly_and_beyond_them_it_is_nowhere() -> None:
    one = finding(picture_box=PictureBox((10.0, 20.0, 30.0, 50.0), 4, "1.2", 5))
    one = with_key_box(one, PictureBox((18.0, 12.0, 34.0, 66.0), 8, "1.2", 9))
    middle = box_on(one, 5)
    assert middle is not None
    # A quarter of the way: 10 + 8/4, 20 - 8/4, 30 + 4/4, 50 + 16/4.
    assert middle == PictureBox((12.0, 18.0, 31.0, 54.0), 5, "1.2", 6)
    assert [box_on(one, frame) is None for frame in (3, 4, 8, 9)] == [True, False, False, True]


@given(data=st.data())
def test_key_frames_stand_where_they_were_put(data: st.DataObject) -> None:
    frames = data.draw(st.lists(st.integers(0, 40), min_size=1, max_size=8))
    one = finding(picture_box=PictureBox((0.0, 0.0, 1.0, 1.0), frames[0], "1.2", frames[0] + 1))
    placed: dict[int, PictureBox] = {frames[0]: one.picture_box}
    for frame in frames:
        top, left = (data.draw(st.floats(0, 50)) for _ in range(2))
        placed[frame] = PictureBox((top, left, top + 3, left + 4), frame, "1.2", frame + 1)
        one = with_key_box(one, placed[frame])
    assert {box.slice_index: box for box in key_boxes(one)} == placed
    assert one.picture_box == placed[frames[0]], "what was the first box stays it"
    for frame in range(42):
        box = box_on(one, frame)
        assert (box is not None) == (min(placed) <= frame <= max(placed))
        if box is not None:
            top, left, bottom, right = box.box_px
            assert frame in placed or (bottom - top, right - left) == pytest.approx((3, 4))
    for frame in sorted(placed)[1:]:
        one = without_key_box(one, frame)
    with pytest.raises(ValueError, match="key frame"):
        without_key_box(one, min(placed))
    assert key_boxes(one) == (placed[min(placed)],)


def test_no_boxes_cannot_be_joined() -> None:
    with pytest.raises(ValueError, match="No boxes"):
        joined_box([])
