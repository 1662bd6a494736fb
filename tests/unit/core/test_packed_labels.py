"""Labels of edits, compressed: there and back exactly, small, and as older releases wrote them."""

from __future__ import annotations

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medview.core.codes import TISSUE
from medview.core.findings import Person, Provenance, utc_now
from medview.core.geometry import Box, Geometry
from medview.core.segmentation import LabelEdit, Segment, Segmentation, packed, unpacked

SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, max_side=11)


def again(labels: np.ndarray, *, at_once: bool) -> np.ndarray:
    k, j, i = labels.shape
    return unpacked(packed(labels, at_once=at_once), labels.dtype.str, (k, j, i))


@settings(max_examples=300)
@given(
    st.sampled_from([np.uint8, np.uint16]),
    SHAPES,
    st.sampled_from([(0,), (7,), (0, 1), (0, 255), (3, 5), (0, 2, 9)]),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_labels_come_back_as_they_were(
    dtype: type, shape: tuple[int, int, int], numbers: tuple[int, ...], at_once: bool, chance
) -> None:
    rough = np.array(chance.choices(numbers, k=int(np.prod(shape))), dtype).reshape(shape)
    smooth = np.sort(rough, axis=None).reshape(shape)
    for labels in (rough, smooth, smooth[::-1]):
        found = again(labels, at_once=at_once)
        assert found.dtype == labels.dtype
        np.testing.assert_array_equal(found, labels)


@pytest.mark.parametrize("number", [1, 200, 255, 256, 65535])
def test_a_painted_ball_takes_less_than_an_eighth_of_a_byte_for_each_voxel(number: int) -> None:
    k, j, i = np.indices((41, 41, 41)) - 20
    ball = (k * k + j * j + i * i <= 400).astype(np.uint16) * number
    assert len(packed(ball, at_once=True)) < 0.12 * ball.size
    np.testing.assert_array_equal(again(ball.astype(np.uint16), at_once=True), ball)


def test_labels_packed_by_older_releases_are_read() -> None:
    labels = np.random.default_rng(0).choice(np.array([3, 9], np.uint8), (3, 5, 7))
    bits = np.packbits(labels.reshape(-1) == 9).tobytes()
    numbers = struct.pack("<HH", 3, 9)
    for data in (
        b"\x04" + numbers + bits,
        b"\x02" + numbers + zlib.compress(bits),
        zlib.compress(labels.tobytes()),
    ):
        np.testing.assert_array_equal(unpacked(data, "|u1", (3, 5, 7)), labels)
    flat = unpacked(b"\x02" + struct.pack("<HH", 9, 9) + zlib.compress(b""), "|u1", (2, 2, 2))
    assert (flat == 9).all()


def test_what_an_edit_keeps_does_not_move_with_the_labels() -> None:
    """The box of whole slices lies in one piece in the labels, and could be taken for a copy."""
    labels = np.zeros((4, 6, 5), np.uint8)
    segment = Segment(1, "A", TISSUE, TISSUE, (9, 9, 9), Provenance(Person("A"), utc_now()))
    source = Segmentation("v", Geometry(labels.shape, np.eye(4)), labels, (segment,))
    after = np.ones((2, 6, 5), np.uint8)
    edit = LabelEdit.between(source, Box((1, 0, 0), (3, 6, 5)), after, "Paint")
    assert edit is not None
    labels[:] = 7
    after[:] = 8
    assert not edit.labels_before().any()
    assert (edit.labels_after() == 1).all()


def test_of_a_large_box_no_more_is_kept_than_what_changed() -> None:
    labels = np.zeros((12, 400, 400), np.uint8)
    segment = Segment(1, "A", TISSUE, TISSUE, (9, 9, 9), Provenance(Person("A"), utc_now()))
    source = Segmentation("v", Geometry(labels.shape, np.eye(4)), labels, (segment,))
    after = labels.copy()
    after[3, 10:20, 10:20] = 1
    tracemalloc.start()
    edit = LabelEdit.between(source, Box.whole(labels.shape), after, "Paint")
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert edit is not None
    assert edit.box.shape == (1, 10, 10)
    assert held < 100_000


def test_a_small_mark_in_whole_slices_is_kept_as_runs() -> None:
    labels = np.zeros((16, 200, 200), np.uint8)
    labels[:, 50:70, 50:70] = 3
    assert len(packed(labels, at_once=True)) < 3000
