"""Sizes and boxes of segments after many edits, against counting all of the labels."""

from __future__ import annotations

import numpy as np

from medview.core.codes import TISSUE
from medview.core.findings import Person, Provenance, utc_now
from medview.core.geometry import Box, Geometry
from medview.core.segmentation import LabelEdit, Segment, Segmentation
from medview.services.volumes import SegmentSizes

SHAPE = (9, 11, 13)


def test_size_and_box_follow_every_edit() -> None:
    chance, labels = np.random.default_rng(0), np.zeros(SHAPE, np.uint8)
    segment = Segment(1, "A", TISSUE, TISSUE, (9, 9, 9), Provenance(Person("A"), utc_now()))
    source = Segmentation("v", Geometry(SHAPE, np.eye(4)), labels, (segment,))
    sizes = SegmentSizes()
    for _ in range(600):
        low = chance.integers(0, SHAPE)
        high = chance.integers(low + 1, np.array(SHAPE) + 1)
        box = Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))
        after = labels[box.slices].copy()
        after[chance.random(after.shape) < 0.5] = chance.choice([0, 0, 1, 2])
        edit = LabelEdit.between(source, box, after, "Paint")
        if edit is None:
            continue
        labels[edit.box.slices] = edit.labels_after()
        source = source.revised()
        assert sizes.box(source, 1, [edit]) == Box.of(labels == 1)
        assert sizes.of(source, 1, [edit]) == np.count_nonzero(labels == 1)
    labels[:] = 0
    assert sizes.box(source.revised().revised(), 1) is None
