"""Drawings of presentation states as findings with boxes."""

from __future__ import annotations

import math

from pydicom.dataset import Dataset

from medview.core.findings import Person, Review
from medview.io.presentation import annotations_of

IMAGE = "1.2.3.4"


def shape(kind: str, *values: float, units: str = "PIXEL") -> Dataset:
    item = Dataset()
    item.GraphicAnnotationUnits, item.GraphicDimensions = units, 2
    item.GraphicType, item.GraphicData = kind, list(values)
    item.NumberOfGraphicPoints = len(values) // 2
    return item


def words(text: str) -> Dataset:
    item = Dataset()
    item.AnchorPointAnnotationUnits, item.UnformattedTextValue = "PIXEL", text
    item.AnchorPoint = [1.0, 1.0]
    return item


def state(*parts: tuple[list[Dataset], list[Dataset]]) -> Dataset:
    ds = Dataset()
    ds.SOPInstanceUID, ds.ContentLabel, ds.ContentCreatorName = "1.2.3", "MARKS", "Doe^Jane"
    image = Dataset()
    image.ReferencedSOPInstanceUID = IMAGE
    items = []
    for shapes, texts in parts:
        item = Dataset()
        item.ReferencedImageSequence = [image]
        item.GraphicObjectSequence, item.TextObjectSequence = shapes, texts
        items.append(item)
    ds.GraphicAnnotationSequence = items
    return ds


def test_shapes_and_their_words_become_findings_that_nobody_decided_on() -> None:
    line = shape("POLYLINE", 2, 1, 7, 1, 7, 5, 2, 5, 2, 1)
    circle = shape("CIRCLE", 10, 20, 10, 24)
    brought = annotations_of(state(([line, circle], [words("Node 8 mm"), words("Cyst")])))
    first, second = brought.findings
    assert (first.label, second.label) == ("Node 8 mm", "Cyst")
    # Columns stand first in the file; rows first with us.
    assert first.picture_box is not None
    assert first.picture_box.box_px == (1, 2, 5, 7)
    assert second.picture_box is not None
    assert second.picture_box.box_px == (16, 6, 24, 14)
    assert first.picture_box.sop_instance_uid == IMAGE
    assert first.review == Review()
    assert first.provenance.author == Person("Doe Jane")
    assert annotations_of(state(([line], []))).findings[0].uid == first.uid


def test_a_point_gets_a_pixel_and_words_alone_stand_at_their_anchor() -> None:
    point, text = annotations_of(
        state(([shape("POINT", 3.5, 4.5)], []), ([], [words("here")]))
    ).findings
    assert point.picture_box is not None
    assert point.picture_box.box_px == (4, 3, 5, 4)
    assert text.label == "here"
    assert text.picture_box is not None
    assert text.picture_box.box_px == (0.5, 0.5, 1.5, 1.5)


def test_places_that_are_no_numbers_are_left_out_and_said() -> None:
    brought = annotations_of(state(([shape("POINT", math.nan, 4)], [])))
    assert not brought.findings
    assert brought.notes


def test_what_is_fixed_to_the_screen_marks_no_image() -> None:
    assert not annotations_of(state(([shape("POINT", 0.5, 0.5, units="DISPLAY")], []))).findings
