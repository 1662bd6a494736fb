"""Clips in the window: what is drawn, what the bar does, and what the regions say."""

from __future__ import annotations

import numpy as np
import pytest
from PyQt6.QtCore import QEvent, QPoint, QPointF, Qt
from PyQt6.QtGui import QImage, QKeyEvent, QMouseEvent, QWheelEvent
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import QApplication, QComboBox, QSlider, QToolButton

from medview.core.clip import Clip, Region, RegionFormat
from medview.core.views import Plane
from medview.ui.cine_bar import CineBar
from medview.ui.region_text import region_line
from medview.ui.slice_dressing import dressing_of
from medview.ui.slice_overlay import Dressing
from medview.ui.slice_view import SliceView
from tests.gui.conftest import Desk
from tests.helpers.clips import COLUMNS, ROWS, clip, open_clip

PLANE_REGION = Region((0, 0, 39, 59), (0.05, 0.05), ("cm", "cm"), RegionFormat.PLANE, 1)
DOPPLER = Region(
    (40, 0, 79, 59), (0.01, -2.0), ("s", "cm/s"), RegionFormat.SPECTRUM, 3, (0, 30), (0.0, 0.0)
)


def show(desk: Desk, *clips: Clip, autoplay: bool = False) -> tuple[SliceView, CineBar]:
    desk.services.settings.set("view.autoplay", autoplay)
    one = np.full((4, 4), 90, np.uint8)
    desk.services.loading._thumbnails["1.3"] = one
    open_clip(desk.services.workspace, *clips)
    desk.services.viewing.show_series("1.3")
    desk.turn()
    view = desk.window.grid.active
    assert isinstance(view, SliceView)
    view._canvas.repaint()
    return view, desk.window.grid.findChildren(CineBar)[0]


def dressing(desk: Desk, view: SliceView, pixel: tuple[float, float] | None = None) -> Dressing:
    """What is drawn over the picture while the pointer is at a pixel (x, y) of it."""
    view.refresh()
    assert view.port is not None
    hover = None if pixel is None else view.port.to_px(*pixel)
    return dressing_of(desk.services, view.plane, view.port, hover)


def greys(view: SliceView) -> set[int]:
    """The greys of the picture on show, its white corner and its last line apart.

    The picture need not end between two lines of the screen.
    """
    view._canvas.repaint()
    placed = view._picture._placed
    assert placed is not None
    middle = placed.pixels[placed.pixels.shape[0] // 2 : -1]
    return {int(value) & 0xFF for value in np.unique(middle)}


def key(view: SliceView, code: Qt.Key) -> None:
    for kind in (QEvent.Type.ShortcutOverride, QEvent.Type.KeyPress):
        event = QKeyEvent(kind, code, Qt.KeyboardModifier.NoModifier)
        QApplication.sendEvent(view, event)


def test_a_clip_stands_alone_with_its_bar(empty_desk: Desk) -> None:
    view, bar = show(empty_desk)
    assert [name for name, one in empty_desk.window.grid.views.items() if one.isVisible()] == [
        view.plane.value
    ]
    assert bar.isVisible()
    assert empty_desk.services.commands.get("clip.toggle").enabled()


def test_a_frame_is_a_key_image_that_leads_back_to_it(empty_desk: Desk) -> None:
    view, _ = show(empty_desk)
    empty_desk.run("clip.step", frames=2)
    view.refresh()
    empty_desk.run("report.add_key_image")
    study_uid = next(iter(empty_desk.services.workspace.studies))
    (image,) = empty_desk.services.workspace.reports[study_uid].key_images
    assert image.caption.startswith("Frame 3")
    picture = QImage.fromData(image.png)
    assert picture.size() == view.grab().toImage().size()
    empty_desk.run("clip.step", frames=-2)
    assert empty_desk.services.viewing.cine.state.frame == 0
    empty_desk.run("report.show_key_image", uid=image.uid)
    assert empty_desk.services.viewing.cine.state.frame == 2


def test_volumes_have_no_bar(desk: Desk) -> None:
    (bar,) = desk.window.grid.findChildren(CineBar)
    assert not bar.isVisible()
    assert not desk.services.commands.get("clip.toggle").enabled()
    assert not desk.window.actions_made.by_id["clip.toggle"].isEnabled()


def test_the_frame_on_show_is_the_one_drawn(empty_desk: Desk) -> None:
    view, _ = show(empty_desk)
    assert greys(view) == {20}
    empty_desk.run("clip.step", frames=2)
    # Window 128/256: a value is shown as the grey of PS3.3 C.11.2.1.2, here itself.
    assert greys(view) == {40}


def test_colour_clips_keep_their_colour(empty_desk: Desk) -> None:
    view, _ = show(empty_desk, clip(channels=3))
    assert greys(view) == {20}
    empty_desk.run("view.full_range")
    assert greys(view) == {20}


def test_a_playing_clip_goes_on_by_itself(empty_desk: Desk) -> None:
    view, bar = show(empty_desk, clip([n / 50 for n in range(10)]), autoplay=True)
    cine = empty_desk.services.viewing.cine
    assert cine.is_playing
    empty_desk.wait(lambda: cine.state.frame >= 3, 10)
    empty_desk.run("clip.pause")
    slider = bar.findChildren(QSlider)[0]
    assert slider.value() == cine.state.frame
    frame = cine.state.frame
    QTest.qWait(60)
    assert cine.state.frame == frame
    assert greys(view) == {frame * 10 + 20}


def test_space_plays_and_pauses_in_the_picture(empty_desk: Desk) -> None:
    view, _ = show(empty_desk)
    text = empty_desk.services.settings.text("view.corner_text")
    key(view, Qt.Key.Key_Space)
    assert empty_desk.services.viewing.cine.is_playing
    key(view, Qt.Key.Key_Space)
    assert not empty_desk.services.viewing.cine.is_playing
    assert empty_desk.services.settings.text("view.corner_text") == text


def test_the_wheel_pauses_and_steps(empty_desk: Desk) -> None:
    view, _ = show(empty_desk)
    empty_desk.run("clip.play")
    place = QPointF(view.rect().center())
    wheel = QWheelEvent(
        place, QPointF(view.mapToGlobal(place.toPoint())), QPoint(), QPoint(0, -120),
        Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase,
        False,
    )  # fmt: skip
    before = empty_desk.services.viewing.cine.state.frame
    QApplication.sendEvent(view._canvas.viewport(), wheel)
    cine = empty_desk.services.viewing.cine
    assert not cine.is_playing
    assert cine.state.frame == before + 1


def test_the_bar_does_what_the_commands_do(empty_desk: Desk) -> None:
    _, bar = show(empty_desk)
    cine = empty_desk.services.viewing.cine
    buttons = {button.accessibleName(): button for button in bar.findChildren(QToolButton)}
    buttons["Next frame"].click()
    assert cine.state.frame == 1
    bar.findChildren(QSlider)[0].setValue(3)
    assert cine.state.frame == 3
    buttons["Play forth and back"].click()
    assert cine.state.sweeps
    speed = bar.findChildren(QComboBox)[0]
    speed.setCurrentIndex(0)
    speed.activated.emit(0)
    assert cine.state.speed == 0.25
    empty_desk.run("clip.faster")
    assert speed.currentText() == "×0.5"
    buttons["Play or pause"].click()
    assert cine.is_playing


def test_words_tell_frame_time_and_rate(empty_desk: Desk) -> None:
    view, _ = show(empty_desk, clip((0.0, 0.1, 0.25, 0.3)))
    empty_desk.run("clip.step", frames=2)
    first = dressing(empty_desk, view).corners.bottom_left[0]
    assert first == "Frame 3/4  0.250 s  10/s"
    empty_desk.run("clip.speed", factor=0.5)
    assert dressing(empty_desk, view).corners.bottom_left[0] == "Frame 3/4  0.250 s  5/s (×0.5)"


def test_clips_of_a_series_follow_each_other(empty_desk: Desk) -> None:
    second = clip(uid="1.3#0", instance_uid="1.3.2")
    view, _ = show(empty_desk, clip(uid="1.3#1", instance_uid="1.3.1"), second)
    assert dressing(empty_desk, view).corners.bottom_left[0].endswith("Clip  1/2")
    empty_desk.run("view.next_volume")
    assert empty_desk.services.viewing.clip is second


def test_without_calibration_lengths_are_pixels(empty_desk: Desk) -> None:
    view, _ = show(empty_desk)
    rulers = dressing(empty_desk, view, (10, 10)).rulers
    assert rulers is not None
    assert (rulers.across.unit, rulers.down) == ("px", None)
    assert rulers.across.note


def test_rulers_follow_the_region_under_the_pointer(empty_desk: Desk) -> None:
    view, _ = show(empty_desk, clip(regions=(PLANE_REGION, DOPPLER)))
    assert view.port is not None
    for pixel in (None, (10, 10)):
        rulers = dressing(empty_desk, view, pixel).rulers
        assert rulers is not None
        assert (rulers.across.unit, rulers.down) == ("mm", None)
        # A pixel is half a millimetre wide.
        assert rulers.across.px_per_unit == pytest.approx(view.port.px_per_mm / 0.5)
    rulers = dressing(empty_desk, view, (60, 10)).rulers
    assert rulers is not None
    assert rulers.down is not None
    assert (rulers.across.unit, rulers.down.unit) == ("s", "cm/s")
    assert rulers.down.px_per_unit == pytest.approx(view.port.px_per_mm / 2)


def test_the_pointer_reads_physical_values(empty_desk: Desk) -> None:
    view, _ = show(empty_desk, clip(regions=(PLANE_REGION, DOPPLER)))
    assert "x 0.20 s   y 40.00 cm/s" in dressing(empty_desk, view, (60, 10)).corners.bottom_left
    # The plane has no origin: the way from its upper left corner.
    assert "→ 0.50 cm   ↓ 1.00 cm" in dressing(empty_desk, view, (10, 20)).corners.bottom_left


def test_regions_of_another_picture_measure_nothing() -> None:
    astray = Region((0, 0, COLUMNS * 2, ROWS * 2), (0.05, 0.05), ("cm", "cm"), RegionFormat.PLANE)
    assert region_line(clip(regions=(astray,)).pictures, 5, 5) == ""
    assert region_line(clip(regions=(PLANE_REGION,)).pictures, 5, 5) != ""


def test_pixels_that_are_not_square_are_drawn_so(empty_desk: Desk) -> None:
    view, _ = show(empty_desk, clip(rows_mm=2.0))
    view.refresh()
    assert view.port is not None
    left, top, right, bottom = view.port.frame.extent_mm
    assert (right - left) / (bottom - top) == pytest.approx(COLUMNS / (2 * ROWS))


def test_dragging_windows_a_grey_clip(empty_desk: Desk) -> None:
    view, _ = show(empty_desk)
    window = empty_desk.services.viewing.window
    viewport = view._canvas.viewport()
    for kind, x in (
        (QEvent.Type.MouseButtonPress, 200.0),
        (QEvent.Type.MouseMove, 260.0),
        (QEvent.Type.MouseButtonRelease, 260.0),
    ):
        place = QPointF(x, 200.0)
        event = QMouseEvent(
            kind, place, place, Qt.MouseButton.LeftButton, Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
        )  # fmt: skip
        QApplication.sendEvent(viewport, event)
    assert empty_desk.services.viewing.window.width > window.width
    assert view.plane is Plane.AXIAL


def test_the_report_of_a_clip_is_one_of_ultrasound(empty_desk: Desk) -> None:
    show(empty_desk, clip())
    empty_desk.run("report.begin")
    [study] = empty_desk.services.workspace.studies.values()
    assert empty_desk.services.review.template_of(study.uid).id == "ultrasound_clip"
    report = empty_desk.services.workspace.report_of(study.uid)
    assert report is not None
    technique = next(one.text for one in report.sections if one.heading == "Technique")
    assert technique.startswith("Ultrasound")


def test_a_box_is_added_on_the_frame_on_show(empty_desk: Desk) -> None:
    show(empty_desk, clip())
    empty_desk.services.viewing.cine.go_to(2)
    uid = empty_desk.run("finding.add_box", label="Jet", by="Dr Ada")
    box = empty_desk.services.workspace.findings[uid].picture_box
    assert box is not None
    assert box.slice_index == 2
