"""Overlays, shutters and presentation states out of files, against masks known beforehand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import SecondaryCaptureImageStorage

from medview.core.graphics import Graphics, Mark, MarkKind, Presentation, Shutter
from medview.core.study import SeriesKind
from medview.imaging.masks import DRAWN, HIDDEN, graphics_ink, graphics_labels, on_image
from medview.io.overlays import graphics_of
from medview.io.presentation import read_presentations
from medview.io.reading import load
from medview.io.scan import scan
from tests.helpers.dicom_phantoms import Who, new_dataset, save, set_pixels, uid
from tests.helpers.presentations import add_overlay, graphic, item, presentation_state, words

RNG = np.random.default_rng(4)


def picture(stored: np.ndarray | None = None, bits: int | None = None, **more: Any) -> Dataset:
    ds = new_dataset(Who(), SecondaryCaptureImageStorage, uid("sc"), "OT", uid("sc series"))
    set_pixels(ds, np.zeros((30, 41), np.uint16) if stored is None else stored, bits)
    for keyword, value in more.items():
        setattr(ds, keyword, value)
    return ds


def graphics(path: Path, frame: int = 0) -> Graphics:
    (study,) = scan([path]).studies
    instance = study.series[0].instances[0]
    return graphics_of(instance, frame)


def test_an_overlay_of_the_size_of_its_image(tmp_path: Path) -> None:
    mask = RNG.random((30, 41)) > 0.7
    ds = picture()
    add_overlay(ds, mask, kind="R")
    save(ds, tmp_path / "a")
    (bitmap,) = graphics(tmp_path).bitmaps
    assert bitmap.is_region
    np.testing.assert_array_equal(on_image(bitmap, (30, 41)), mask)
    np.testing.assert_array_equal(bitmap.mask, dcmread(tmp_path / "a").overlay_array(0x6000))


@pytest.mark.parametrize("origin", [(5, 9), (-3, -4), (28, 39), (60, 60)])
def test_an_overlay_somewhere_else_is_clipped(tmp_path: Path, origin: tuple[int, int]) -> None:
    mask = np.ones((7, 11), dtype=bool)
    ds = picture()
    add_overlay(ds, mask, group=0x6004, origin=origin)
    save(ds, tmp_path / "a")
    (bitmap,) = graphics(tmp_path).bitmaps
    expected = np.zeros((30, 41), dtype=bool)
    for row in range(7):
        for column in range(11):
            r, c = origin[0] - 1 + row, origin[1] - 1 + column
            if 0 <= r < 30 and 0 <= c < 41:
                expected[r, c] = True
    np.testing.assert_array_equal(on_image(bitmap, (30, 41)), expected)


def test_overlays_of_several_frames(tmp_path: Path) -> None:
    masks = RNG.random((2, 5, 7)) > 0.5
    ds = picture(np.zeros((4, 5, 7), np.uint8), NumberOfFrames=4)
    add_overlay(ds, masks, first_frame=2)
    save(ds, tmp_path / "a")
    found = [graphics(tmp_path, frame).bitmaps for frame in range(4)]
    assert [len(one) for one in found] == [0, 1, 1, 0]
    np.testing.assert_array_equal(found[1][0].mask, masks[0])
    np.testing.assert_array_equal(found[2][0].mask, masks[1])


def test_an_overlay_in_bits_that_pixels_do_not_use(tmp_path: Path) -> None:
    values = RNG.integers(0, 4096, (20, 24)).astype(np.uint16)
    mask = RNG.random((20, 24)) > 0.5
    ds = picture(values | (mask.astype(np.uint16) << 13), 12)
    elements = ((0x10, "US", 20), (0x11, "US", 24), (0x40, "CS", "G"), (0x50, "SS", [1, 1]),
                (0x100, "US", 16), (0x102, "US", 13))  # fmt: skip
    for element, kind, value in elements:
        ds.add_new((0x6000, element), kind, value)
    save(ds, tmp_path / "a")
    (bitmap,) = graphics(tmp_path).bitmaps
    np.testing.assert_array_equal(bitmap.mask, mask)
    (study,) = scan([tmp_path]).studies
    np.testing.assert_array_equal(load(study.series[0]).volumes[0].voxels[0], values)


def test_an_overlay_without_its_bits_is_left_out(tmp_path: Path) -> None:
    ds = picture()
    add_overlay(ds, np.ones((30, 41), dtype=bool))
    ds[0x6000, 0x3000].value = b"\1\2"
    save(ds, tmp_path / "a")
    assert graphics(tmp_path).is_empty


def test_real_overlays_as_pydicom_reads_them(shared: Path) -> None:
    for name in ("pydicom_core/examples_overlay.dcm", "pydicom/MR-SIEMENS-DICOM-WithOverlays.dcm"):
        path = shared / "data" / "codecs" / name
        ds = dcmread(path)
        found = graphics(path).bitmaps
        groups = [group for group in range(0x6000, 0x6020, 2) if (group, 0x3000) in ds]
        filled = [group for group in groups if ds.overlay_array(group).any()]
        assert len(found) == len(filled)
        for bitmap, group in zip(found, filled, strict=True):
            np.testing.assert_array_equal(bitmap.mask, ds.overlay_array(group))


def test_shutters_hide_what_lies_outside_all_of_their_shapes(tmp_path: Path) -> None:
    corners = [(3, 3), (3, 38), (27, 20)]
    ds = picture(
        ShutterShape=["RECTANGULAR", "CIRCULAR", "POLYGONAL"],
        ShutterLeftVerticalEdge="5", ShutterRightVerticalEdge="36",
        ShutterUpperHorizontalEdge="3", ShutterLowerHorizontalEdge="25",
        CenterOfCircularShutter=["14", "20"], RadiusOfCircularShutter="12",
        VerticesOfThePolygonalShutter=[str(x) for corner in corners for x in corner],
        ShutterPresentationValue=32768,
    )  # fmt: skip
    save(ds, tmp_path / "a")
    found = graphics(tmp_path)
    labels = graphics_labels(found, (30, 41))
    for row in range(30):
        for column in range(41):
            r, c = row + 1, column + 1  # as the file counts
            box = 3 <= r <= 25 and 5 <= c <= 36
            circle = math.hypot(r - 14, c - 20) <= 12
            sides = [
                (c - c0) * (r1 - r0) - (r - r0) * (c1 - c0)
                for (r0, c0), (r1, c1) in zip(corners, corners[1:] + corners[:1], strict=True)
            ]
            if min(abs(side) for side in sides) < 1e-9:
                continue  # on an edge either is right
            inside = all(side < 0 for side in sides) or all(side > 0 for side in sides)
            assert (labels[row, column] == HIDDEN) == (not (box and circle and inside))
    assert graphics_ink(found).colors[HIDDEN].tolist() == [128, 128, 128]


def test_a_shutter_by_bitmap_is_no_overlay(tmp_path: Path) -> None:
    hidden, drawn = RNG.random((2, 30, 41)) > 0.5
    ds = picture(ShutterShape="BITMAP", ShutterOverlayGroup=0x6002)
    add_overlay(ds, drawn)
    add_overlay(ds, hidden, group=0x6002)
    save(ds, tmp_path / "a")
    found = graphics(tmp_path)
    assert len(found.bitmaps) == 1
    labels = graphics_labels(found, (30, 41))
    np.testing.assert_array_equal(labels == DRAWN, drawn)
    np.testing.assert_array_equal(labels == HIDDEN, hidden & ~drawn)
    np.testing.assert_array_equal(graphics_labels(found, (30, 41), overlays=False) > 0, hidden)


@pytest.mark.parametrize(
    "attributes",
    [
        {"ShutterShape": "RECTANGULAR", "ShutterLeftVerticalEdge": "5"},
        {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": ["4", "5"],
         "RadiusOfCircularShutter": "0"},
        {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": ["1", "2", "3"]},
        {"ShutterShape": "BITMAP", "ShutterOverlayGroup": 0x6002},
    ],
)  # fmt: skip
def test_a_shutter_that_says_nothing_hides_nothing(
    tmp_path: Path, attributes: dict[str, Any]
) -> None:
    save(picture(**attributes), tmp_path / "a")
    assert graphics(tmp_path).shutter is None


def states(folder: Path) -> tuple[Presentation, ...]:
    (study,) = scan([folder]).studies
    (series,) = [one for one in study.series if one.kind is SeriesKind.PRESENTATION]
    return read_presentations(series)


def test_a_presentation_state_says_how_an_image_was_shown(tmp_path: Path) -> None:
    image = picture()
    shapes = [
        graphic("POLYLINE", [1, 2, 3, 4, 5, 6], filled="Y"),
        graphic("CIRCLE", [10, 11, 14, 11]),
        graphic("ELLIPSE", [1, 5, 9, 5, 5, 3, 5, 7]),
        graphic("POINT", [0.5, 0.25], units="DISPLAY"),
    ]
    save(image, tmp_path / "image")
    save(
        presentation_state(
            [image], graphics=shapes, texts=[words("Look\nhere", 7.5, 8.5)],
            window={"WindowCenter": "50", "WindowWidth": "80", "VOILUTFunction": "SIGMOID"},
            area=(6, 4, 25, 18), PresentationLUTShape="INVERSE", ImageRotation=180,
            ImageHorizontalFlip="Y", ShutterShape="CIRCULAR", RadiusOfCircularShutter="5",
            CenterOfCircularShutter=["4", "5"],
        ),
        tmp_path / "state",
    )  # fmt: skip
    (state,) = states(tmp_path)
    assert (state.label, state.description, state.notes) == ("MARKED", "For the reader", ())
    assert (state.inverted, state.quarter_turns, state.flipped) == (True, 2, True)
    assert state.look_at("1.2.3") is None
    look = state.look_at(image.SOPInstanceUID)
    assert look is not None
    assert look.window is not None
    assert (look.window.center, look.window.width, look.window.function) == (50, 80, "SIGMOID")
    assert look.area == (3, 5, 17, 24)
    assert look.graphics.shutter == Shutter(circle=(3, 4, 5))
    # Pixel places count from the corner of the first pixel, ours from its middle.
    assert look.graphics.marks == (
        Mark(MarkKind.LINES, ((1.5, 0.5), (3.5, 2.5), (5.5, 4.5)), is_filled=True),
        Mark(MarkKind.CIRCLE, ((10.5, 9.5), (10.5, 13.5))),
        Mark(MarkKind.ELLIPSE, ((4.5, 0.5), (4.5, 8.5), (2.5, 4.5), (6.5, 4.5))),
        Mark(MarkKind.POINT, ((0.25, 0.5),), on_view=True),
        Mark(MarkKind.TEXT, ((8.0, 7.0),), "Look\nhere"),
    )


def test_a_display_curve_of_a_presentation_state(tmp_path: Path) -> None:
    image = picture()
    table = item(LUTDescriptor=[4, 0, 8], LUTExplanation="STEPS")
    table.add_new("LUTData", "OW", bytes([0, 10, 200, 255]))
    state = presentation_state([image])
    state.SoftcopyVOILUTSequence = DicomSequence([item(VOILUTSequence=DicomSequence([table]))])
    save(image, tmp_path / "image")
    save(state, tmp_path / "state")
    (found,) = states(tmp_path)
    look = found.look_at(image.SOPInstanceUID)
    assert look is not None
    assert look.window is not None
    assert look.window.curve is not None
    assert look.window.curve.outputs.tolist() == [0, 10, 200, 255]


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_places_that_are_no_numbers_are_refused_and_told(tmp_path: Path, wrong: float) -> None:
    image = picture()
    shapes = [graphic("POLYLINE", [1, 2, wrong, 4]), graphic("POINT", [5, 6])]
    save(image, tmp_path / "image")
    save(presentation_state([image], graphics=shapes), tmp_path / "state")
    (state,) = states(tmp_path)
    look = state.look_at(image.SOPInstanceUID)
    assert look is not None
    assert [mark.kind for mark in look.graphics.marks] == [MarkKind.POINT]
    assert any("no numbers" in note for note in state.notes)
    with pytest.raises(ValueError, match="numbers"):
        Mark(MarkKind.POINT, ((wrong, 0.0),))


def test_what_is_for_one_image_is_not_drawn_on_another(tmp_path: Path) -> None:
    first, second = picture(), picture()
    second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = uid("second")
    state = presentation_state([first, second], graphics=[graphic("POINT", [3, 4])])
    state.GraphicAnnotationSequence[0].ReferencedImageSequence = DicomSequence(
        [item(ReferencedSOPClassUID=second.SOPClassUID,
              ReferencedSOPInstanceUID=second.SOPInstanceUID)]
    )  # fmt: skip
    for name, ds in (("a", first), ("b", second), ("c", state)):
        save(ds, tmp_path / name)
    (found,) = states(tmp_path)
    marks = [found.look_at(ds.SOPInstanceUID).graphics.marks for ds in (first, second)]  # type: ignore[union-attr]
    assert [len(one) for one in marks] == [0, 1]
