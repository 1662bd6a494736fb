"""The slice view: real widgets on a real workspace, driven by mouse events."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PyQt6.QtCore import QEvent, QPoint, QPointF, Qt
from PyQt6.QtGui import QKeyEvent, QMouseEvent, QWheelEvent
from PyQt6.QtWidgets import QApplication

from medview.core.findings import SegmentRef
from medview.core.geometry import Calibration, Geometry
from medview.core.graphics import Bitmap, Graphics, Mark, MarkKind, Shutter
from medview.core.study import Instance, Patient, Series, Study
from medview.core.views import Plane
from medview.core.volume import Volume, Window
from medview.imaging.rendering import Pens
from medview.imaging.reslice import EdgeLetters
from medview.imaging.windowing import lookup_table
from medview.services import commands_draw, commands_effects, commands_view
from medview.services.audit import Audit
from medview.services.commands import Registry
from medview.services.edits import AddSegmentation
from medview.services.effects import Effects
from medview.services.first_read import FirstRead
from medview.services.graphics import ImageGraphics
from medview.services.outcomes import Outcomes
from medview.services.prompting import Prompting
from medview.services.result_overlay import ResultOverlay
from medview.services.settings import Settings
from medview.services.store import Store
from medview.services.thresholds import Thresholds
from medview.services.toolbox import ToolKind
from medview.services.tracking import Tracking
from medview.services.viewing import Viewing
from medview.services.workspace import Workspace
from medview.ui import slice_text
from medview.ui.slice_dressing import ai_notice, dressing_of, shown_in
from medview.ui.slice_overlay import Dressing, Ruler
from medview.ui.slice_view import SliceView, _message
from tests.helpers.desk import segmentation
from tests.helpers.phantoms import Phantom

NO = Qt.KeyboardModifier.NoModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier
CTRL = Qt.KeyboardModifier.ControlModifier
LEFT, MIDDLE, RIGHT = (
    Qt.MouseButton.LeftButton,
    Qt.MouseButton.MiddleButton,
    Qt.MouseButton.RightButton,
)
NONE = Qt.MouseButton.NoButton


class Desk:
    """Services short of files and models, with a CT and a chest film."""

    def __init__(self) -> None:
        self.settings = Settings(None)
        self.workspace = Workspace(self.settings)
        self.workspace.reader = "Dr Ada"
        instances = tuple(
            Instance(f"1.9.{k}", "1.2.840.10008.5.1.4.1.1.2", f"{k}", number=100 + k)
            for k in range(16)
        )
        headers = {"InstitutionName": "St Elsewhere", "SliceThickness": "2.5"}
        film = {"PatientOrientation": "L\\F", "LossyImageCompression": "01"}
        series = (
            Series("ct", "1", "CT", "Thorax", instances, number=4, headers=headers),
            Series("film", "1", "DX", "PA", (), headers=film, laterality="R"),
            Series("plain", "1", "OT", "Photo", ()),
        )
        patient = Patient("0815", "DOE^JANE^M", "19700131", "F")
        self.study = Study("1", patient, "Chest", "20260102", "0930", "A7", series=series)
        self.workspace.open_studies([self.study])
        ct = Phantom().volume()
        uids = tuple(instance.sop_instance_uid for instance in instances)
        window = (Window(40, 400),)
        self.workspace.add_volume(
            replace(ct, series_uid="ct", instance_uids=uids, default_windows=window)
        )
        flat = Geometry((1, 300, 200), np.diag([1, 0.2, 0.2, 1]), "", Calibration.DETECTOR)
        pixels = np.random.default_rng(1).integers(0, 4000, flat.shape).astype(np.uint16)
        self.workspace.add_volume(Volume("f", "film", flat, pixels))
        photo = Geometry((1, 50, 60), np.eye(4), "", Calibration.NONE)
        rgb = np.full((1, 50, 60, 3), (10, 200, 30), dtype=np.uint8)
        self.workspace.add_volume(Volume("p", "plain", photo, rgb))
        self.viewing = Viewing(self.workspace, self.settings)
        self.commands = Registry(self.settings)
        self.loading = SimpleNamespace(
            fraction=lambda _uid: None, scanned=None, load_series=lambda _uid: None
        )
        self.asked: list[Any] = []
        self.tasks = SimpleNamespace(run=self._ask)
        tasks: Any = self.tasks
        self.graphics = ImageGraphics(self.workspace, tasks)
        jobs: Any = SimpleNamespace(outcomes=Outcomes())
        self.tracking = Tracking(self.workspace, self.viewing, jobs, tasks)
        audit = Audit(Store(None))
        thresholds = Thresholds(self.workspace, jobs.outcomes, audit)
        self.first_read = FirstRead(self.workspace, self.settings, audit)
        self.results = ResultOverlay(self.viewing, jobs.outcomes, thresholds, self.first_read)
        self.effects = Effects(self.viewing, tasks)
        self.prompting = Prompting(self.viewing, self.effects, tasks)
        services: Any = self
        commands_view.register(self.commands, services)
        for room in (commands_effects, commands_draw):
            room.register(self.commands, services)

    def _ask(self, _function: Any, *_given: Any, on_done: Any = None, **_more: Any) -> None:
        """Keep what is to be done with an answer; nothing is worked out."""
        if on_done is not None:
            self.asked.append(on_done)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def view(desk: Desk, qtbot: Any) -> SliceView:
    desk.viewing.show_series("ct")
    return shown(desk, qtbot)


def shown(desk: Any, qtbot: Any, plane: Plane = Plane.AXIAL) -> SliceView:
    made = SliceView(desk, plane)
    qtbot.addWidget(made)
    made.resize(500, 420)
    made.show()
    settle(made)
    return made


def settle(view: SliceView) -> None:
    QApplication.processEvents()
    view.grab()


def mouse(
    view: SliceView, kind: QEvent.Type, at: tuple[float, float], button: Any, modifiers: Any = NO
) -> None:
    place = QPointF(*at)
    held = NONE if kind is QEvent.Type.MouseButtonRelease else button
    pressed = NONE if kind is QEvent.Type.MouseMove else button
    target = view._canvas.viewport()
    event = QMouseEvent(kind, place, target.mapToGlobal(place), pressed, held, modifiers)
    QApplication.sendEvent(target, event)


def drag(
    view: SliceView, path: list[tuple[float, float]], button: Any, modifiers: Any = NO
) -> None:
    mouse(view, QEvent.Type.MouseButtonPress, path[0], button, modifiers)
    for place in path[1:]:
        mouse(view, QEvent.Type.MouseMove, place, button, modifiers)
    mouse(view, QEvent.Type.MouseButtonRelease, path[-1], button, modifiers)


def wheel(view: SliceView, delta: int, at: tuple[float, float], modifiers: Any = NO) -> None:
    target = view._canvas.viewport()
    event = QWheelEvent(
        QPointF(*at), target.mapToGlobal(QPointF(*at)), QPoint(), QPoint(0, delta), NONE,
        modifiers, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(target, event)


def under(view: SliceView, at: tuple[float, float]) -> np.ndarray:
    view.refresh()
    assert view.port is not None
    return np.array(view.port.to_lps_mm(*at))


def words_of(desk: Desk, view: SliceView) -> slice_text.Corners:
    view.refresh()
    assert view.port is not None
    hover = (view._hover.x(), view._hover.y()) if view._hover else None
    seen = shown_in(view._services, view.port, hover)
    return slice_text.corners(seen, slice_text.TextAmount.FULL)


def dressing(view: SliceView) -> Dressing:
    view.refresh()
    assert view.port is not None
    hover = (view._hover.x(), view._hover.y()) if view._hover else None
    return dressing_of(view._services, view.plane, view.port, hover)


# The picture


@pytest.mark.parametrize("plane", [Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL])
def test_each_pixel_shows_the_voxel_that_is_there(desk: Desk, qtbot: Any, plane: Plane) -> None:
    desk.settings.set("view.interpolation", "nearest")
    desk.viewing.show_series("ct")
    view = shown(desk, qtbot, plane)
    volume = desk.viewing.volume
    assert volume is not None
    assert view.port is not None
    table = lookup_table(volume, Window(40, 400))
    image = view.grab().toImage()
    # Places without words or lines over them: off the middle, away from corners and edges.
    checked = 0
    for x, y in ((180.5, 150.5), (210.5, 190.5), (290.5, 170.5), (300.5, 260.5), (190.5, 250.5)):
        index = volume.geometry.to_index(view.port.to_lps_mm(x, y))
        nearest = np.floor(index + 0.5).astype(int)
        if (nearest < 0).any() or (nearest >= volume.geometry.shape).any():
            continue
        stored = volume.voxels[tuple(nearest)]
        expected = int(table.colors_of(np.array([stored]))[0])
        assert image.pixel(int(x), int(y)) & 0xFFFFFF == expected & 0xFFFFFF
        checked += 1
    assert checked >= 3


def test_pixels_are_square_in_the_patient(view: SliceView) -> None:
    for step in ((50.0, 0.0), (0.0, 50.0)):
        start, end = under(view, (200, 200)), under(view, (200 + step[0], 200 + step[1]))
        assert view.port is not None
        assert np.linalg.norm(end - start) * view.port.px_per_mm == pytest.approx(50)


def test_the_whole_image_is_seen_at_first(view: SliceView) -> None:
    assert view.port is not None
    left, top, right, bottom = view.port.covered_px()
    assert 0 < left < right < 500
    assert 0 < top < bottom < 420


def test_large_images_are_averaged_when_shown_small(desk: Desk, qtbot: Any) -> None:
    desk.viewing.show_series("film")
    view = shown(desk, qtbot)
    view.resize(200, 130)
    settle(view)
    placed = view._picture._placed
    assert placed is not None
    grey = placed.pixels & 0xFF
    # The mean of at least four independent even values spreads half as far as one of them.
    assert grey.std() < 0.6 * 255 / np.sqrt(12)


def test_colour_is_shown_as_colour(desk: Desk, qtbot: Any) -> None:
    desk.viewing.show_series("plain")
    view = shown(desk, qtbot)
    color = view.grab().toImage().pixel(200, 150) & 0xFFFFFF
    assert color == 10 << 16 | 200 << 8 | 30


def test_the_compiled_pens_are_asked_for_once_after_the_first_paint(
    desk: Desk, view: SliceView
) -> None:
    settle(view)
    assert len(desk.asked) == 1
    pens = Pens()
    desk.asked[0](pens)
    assert view._picture.pens is pens


# Words


def test_an_empty_view_says_what_to_do(desk: Desk, qtbot: Any) -> None:
    view = shown(desk, qtbot)
    assert "Drop a folder, file or zip here" in _message(view._services)
    desk.workspace.close_study("1")
    desk.loading.fraction = lambda _uid: 0.42
    settle(view)
    assert view.port is None


def test_loading_is_told(desk: Desk, qtbot: Any) -> None:
    series = replace(desk.study.series[2], uid="later")
    desk.workspace.open_studies([replace(desk.study, series=(series,))])
    desk.viewing.show_series("later")
    view = shown(desk, qtbot)
    assert _message(view._services) == ("This series has no pictures to show",)
    desk.loading.fraction = lambda _uid: 0.42
    assert _message(view._services) == ("Loading 42 %",)


def test_corners_say_whose_and_what(desk: Desk, view: SliceView) -> None:
    words = words_of(desk, view)
    assert words.top_left == ("DOE, JANE M", "* 1970-01-31  F", "ID 0815")
    assert words.top_right == ("St Elsewhere", "Chest", "2026-01-02 09:30", "Acc A7")
    assert words.bottom_right[:2] == ("Thorax", "CT S4")
    assert words.bottom_left[3].startswith("2.5 mm · H")
    place = desk.viewing.slice_number(Plane.AXIAL)
    counted = f"Axial  {16 - place}/16  Im {100 + place}"
    assert words.bottom_left[:2] == (counted, "W 400  L 40")


def test_words_of_files_cannot_reverse_or_break_a_line(desk: Desk, view: SliceView) -> None:
    hostile = replace(desk.study, description="Che\u202est\nX")
    seen = replace(shown_in(view._services, view.port, None), study=hostile)  # type: ignore[arg-type]
    words = slice_text.corners(seen, slice_text.TextAmount.FULL)
    assert words.top_right[1] == "Che\N{REPLACEMENT CHARACTER}st X"


def test_a_patient_without_a_name_is_still_told_apart(desk: Desk, view: SliceView) -> None:
    nobody = replace(desk.study, patient=Patient("", ""))
    seen = replace(shown_in(view._services, view.port, None), study=nobody)  # type: ignore[arg-type]
    words = slice_text.corners(seen, slice_text.TextAmount.MINIMAL)
    assert words.top_left == ("Name unknown", "* unknown", "ID unknown")
    assert (words.top_right, words.bottom_right, len(words.bottom_left)) == ((), (), 2)


def test_the_value_under_the_pointer_has_its_unit_and_place(desk: Desk, view: SliceView) -> None:
    at = (250.0, 210.0)
    mouse(view, QEvent.Type.MouseMove, at, NONE)
    line = words_of(desk, view).bottom_left[-1]
    assert line.startswith("60 HU   ")
    x, _, z = under(view, at)
    assert f"{'L' if x >= 0 else 'R'} {abs(x):.1f}" in line
    assert f"H {z:.1f}" in line
    QApplication.sendEvent(view, QEvent(QEvent.Type.Leave))
    assert len(words_of(desk, view).bottom_left) == 4


def test_what_must_not_be_hidden_stays(desk: Desk, qtbot: Any) -> None:
    desk.viewing.show_series("film")
    desk.settings.set("view.corner_text", "none")
    view = shown(desk, qtbot)
    worn = dressing(view)
    assert worn.corners == slice_text.Corners()
    assert worn.warnings == ("Right", "Lossy compression", "Not for diagnosis")
    assert worn.letters == EdgeLetters("R", "L", "H", "F")
    desk.viewing.flip(Plane.AXIAL)
    assert dressing(view).letters == EdgeLetters("L", "R", "H", "F")


def test_images_without_a_side_say_so(desk: Desk, qtbot: Any) -> None:
    desk.viewing.show_series("plain")
    view = shown(desk, qtbot)
    worn = dressing(view)
    assert "Orientation unknown" in worn.warnings
    assert worn.rulers is not None
    assert (worn.rulers.across.unit, worn.rulers.across.note) == ("px", "px only")
    mouse(view, QEvent.Type.MouseMove, (200.0, 150.0), NONE)
    assert words_of(desk, view).bottom_left[-1].startswith("RGB 10 200 30   row ")


def test_rulers_are_round_and_true(view: SliceView) -> None:
    ruler = Ruler(3.0, "mm")
    assert ruler.length(200) == 50
    assert [ruler.label(n) for n in (5, 20, 100)] == ["5 mm", "2 cm", "10 cm"]
    worn = dressing(view).rulers
    assert worn is not None
    assert worn.across.px_per_unit == view.port.px_per_mm  # type: ignore[union-attr]


def test_a_proposal_is_announced(desk: Desk, view: SliceView) -> None:
    assert ai_notice(cast(Any, desk)) == ""
    made = segmentation(desk.workspace, (1, 2))
    desk.workspace.apply(AddSegmentation("1", made, "AI"))
    assert ai_notice(cast(Any, desk)) == "AI proposal shown"
    desk.viewing.overlay.toggle()
    assert ai_notice(cast(Any, desk)) == "AI proposal hidden"


def test_the_crosshair_has_the_colours_of_the_other_planes(desk: Desk, view: SliceView) -> None:
    lines = dressing(view).crosshair
    vertical = next(line for line in lines if abs(line.along[1]) > 0.9)
    horizontal = next(line for line in lines if abs(line.along[0]) > 0.9)
    assert vertical.color.red() > 200
    assert vertical.color.green() > 180  # sagittal, yellow
    assert horizontal.color.green() > horizontal.color.red()  # coronal, green
    point = under(view, vertical.through)
    np.testing.assert_allclose(point, desk.viewing.crosshair_lps_mm, atol=1e-6)
    desk.settings.set("view.crosshair", False)
    assert dressing(view).crosshair == ()


# The mouse


def test_the_wheel_scrolls_and_parts_of_a_notch_add_up(desk: Desk, view: SliceView) -> None:
    start = desk.viewing.slice_number(Plane.AXIAL)
    wheel(view, -120, (250, 200))
    assert desk.viewing.slice_number(Plane.AXIAL) == start - 1
    wheel(view, 240, (250, 200))
    assert desk.viewing.slice_number(Plane.AXIAL) == start + 1
    for _ in range(4):
        wheel(view, -30, (250, 200))
    assert desk.viewing.slice_number(Plane.AXIAL) == start


def test_ctrl_and_wheel_zoom_about_the_pointer(desk: Desk, view: SliceView) -> None:
    at = (330.0, 140.0)
    before = under(view, at)
    wheel(view, 240, at, CTRL)
    assert desk.viewing.view(Plane.AXIAL).zoom == pytest.approx(1.15**2)
    np.testing.assert_allclose(under(view, at), before, atol=1e-6)


def test_left_drag_windows(desk: Desk, view: SliceView) -> None:
    drag(view, [(200, 200), (230, 200), (260, 170)], LEFT)
    window = desk.viewing.window
    assert window.width > 400
    assert window.center < 40  # up is brighter


def test_middle_drag_pans_and_the_point_stays_under_the_pointer(
    desk: Desk, view: SliceView
) -> None:
    grabbed = under(view, (200, 200))
    drag(view, [(200, 200), (260, 230), (290, 250)], MIDDLE)
    np.testing.assert_allclose(under(view, (290, 250)), grabbed, atol=1e-6)
    drag(view, [(290, 250), (200, 200)], LEFT, SHIFT)
    np.testing.assert_allclose(under(view, (200, 200)), grabbed, atol=1e-6)


def test_right_drag_zooms_about_the_start(desk: Desk, view: SliceView) -> None:
    start = under(view, (150, 250))
    drag(view, [(150, 250), (150, 180)], RIGHT)
    assert desk.viewing.view(Plane.AXIAL).zoom == pytest.approx(1.01**70)
    np.testing.assert_allclose(under(view, (150, 250)), start, atol=1e-6)


def test_shift_and_moving_takes_the_crosshair_along(desk: Desk, view: SliceView) -> None:
    mouse(view, QEvent.Type.MouseMove, (280.0, 190.0), NONE, SHIFT)
    wanted = under(view, (280, 190))
    np.testing.assert_allclose(desk.viewing.crosshair_lps_mm, wanted, atol=1e-6)


def test_the_crosshair_tool_drags_it(desk: Desk, view: SliceView) -> None:
    desk.viewing.toolbox.choose(ToolKind.CROSSHAIR)
    drag(view, [(200, 200), (220, 240)], LEFT)
    np.testing.assert_allclose(desk.viewing.crosshair_lps_mm, under(view, (220, 240)), atol=1e-6)


def test_double_click_fills_the_window_and_goes_back(desk: Desk, view: SliceView) -> None:
    mouse(view, QEvent.Type.MouseButtonDblClick, (200, 200), LEFT)
    assert desk.viewing.layout.rows == (("axial",),)
    mouse(view, QEvent.Type.MouseButtonDblClick, (200, 200), LEFT)
    assert desk.viewing.layout.name == "mpr"


@pytest.mark.parametrize(
    ("kind", "button"),
    [
        (ToolKind.WINDOW, LEFT), (ToolKind.PAN, LEFT), (ToolKind.ZOOM, LEFT),
        (ToolKind.CROSSHAIR, LEFT),
    ],
)  # fmt: skip
def test_escape_puts_back_what_a_drag_changed(
    desk: Desk, view: SliceView, kind: ToolKind, button: Any
) -> None:
    desk.viewing.toolbox.choose(kind)

    def looks() -> tuple[Any, ...]:
        viewing = desk.viewing
        return viewing.window, viewing.view(Plane.AXIAL), viewing.crosshair_lps_mm

    before = looks()
    mouse(view, QEvent.Type.MouseButtonPress, (200, 200), button)
    mouse(view, QEvent.Type.MouseMove, (240, 260), button)
    assert looks() != before
    escape = QKeyEvent(QEvent.Type.KeyPress, Qt.Key.Key_Escape.value, NO)
    QApplication.sendEvent(view, escape)
    assert looks() == before
    mouse(view, QEvent.Type.MouseButtonRelease, (240, 260), button)
    assert looks() == before


# Painting


def labels_of(desk: Desk, ref: SegmentRef | None) -> np.ndarray:
    assert ref is not None
    return desk.workspace.segmentations[ref.segmentation_uid].labels


def test_a_stroke_is_seen_while_dragging_and_done_at_release(desk: Desk, view: SliceView) -> None:
    desk.commands.run("tool.brush")
    desk.commands.run("segment.add", label="Cyst")
    ref = desk.viewing.overlay.active
    settle(view)
    plain = view.grab().toImage().pixel(225, 205)
    mouse(view, QEvent.Type.MouseButtonPress, (200, 200), LEFT)
    mouse(view, QEvent.Type.MouseMove, (225, 205), LEFT)
    mouse(view, QEvent.Type.MouseMove, (260, 210), LEFT)
    assert not labels_of(desk, ref).any()
    settle(view)
    preview = view.grab().toImage().pixel(225, 205)
    assert preview != plain
    mouse(view, QEvent.Type.MouseButtonRelease, (260, 210), LEFT)
    assert labels_of(desk, ref).any()
    settle(view)
    assert view.grab().toImage().pixel(225, 205) == preview
    assert desk.workspace.history.undo_title == "Paint: Cyst"
    assert view._tools[ToolKind.BRUSH].preview is None
    desk.workspace.history.undo()
    assert not labels_of(desk, ref).any()


def test_painting_begins_a_segment_where_there_is_none(desk: Desk, view: SliceView) -> None:
    desk.commands.run("tool.brush")
    drag(view, [(200, 200), (230, 200)], LEFT)
    assert labels_of(desk, desk.viewing.overlay.active).any()


def test_the_eraser_clears_what_it_passes(desk: Desk, view: SliceView) -> None:
    desk.commands.run("tool.brush")
    drag(view, [(200, 200), (230, 200)], LEFT)
    ref = desk.viewing.overlay.active
    painted = np.count_nonzero(labels_of(desk, ref))
    desk.commands.run("tool.eraser")
    mouse(view, QEvent.Type.MouseButtonPress, (200, 200), LEFT)
    settle(view)
    mouse(view, QEvent.Type.MouseButtonRelease, (200, 200), LEFT)
    assert 0 < np.count_nonzero(labels_of(desk, ref)) < painted


def test_escape_forgets_a_stroke(desk: Desk, view: SliceView) -> None:
    desk.commands.run("tool.brush")
    desk.commands.run("segment.add")
    mouse(view, QEvent.Type.MouseButtonPress, (200, 200), LEFT)
    wheel(view, -120, (200, 200))  # would leave the slice that is being painted
    start = desk.viewing.slice_number(Plane.AXIAL)
    QApplication.sendEvent(view, QKeyEvent(QEvent.Type.KeyPress, Qt.Key.Key_Escape.value, NO))
    mouse(view, QEvent.Type.MouseButtonRelease, (200, 200), LEFT)
    assert desk.viewing.slice_number(Plane.AXIAL) == start
    assert not labels_of(desk, desk.viewing.overlay.active).any()


def test_erasing_without_a_segment_is_refused_in_words(desk: Desk, view: SliceView) -> None:
    desk.commands.run("tool.eraser")
    drag(view, [(200, 200), (230, 200)], LEFT)
    assert [notice.text for notice in desk.workspace.notices] == ["No segment is chosen"]
    assert desk.viewing.overlay.segmentations == ()


def test_labels_elsewhere_do_not_redraw_this_slice(desk: Desk, view: SliceView) -> None:
    desk.commands.run("segment.add")
    settle(view)
    number = desk.viewing.slice_number(Plane.AXIAL)
    geometry = desk.viewing.volume.geometry  # type: ignore[union-attr]
    before = view._picture._placed

    def paint(at: int) -> None:
        point = [float(v) for v in geometry.to_lps_mm((at, 20, 20))]
        desk.commands.run("segment.paint", center_lps_mm=point, radius_mm=3)
        settle(view)

    paint(number + 3)
    assert view._picture._placed is before
    paint(number)
    assert view._picture._placed is not before


def test_the_ring_is_as_large_as_the_brush(desk: Desk, view: SliceView) -> None:
    desk.commands.run("tool.brush")
    desk.commands.run("brush.size", radius_mm=8)
    mouse(view, QEvent.Type.MouseMove, (200.0, 200.0), NONE)
    assert view.port is not None
    assert dressing(view).ring == (200, 200, 8 * view.port.px_per_mm)
    desk.commands.run("tool.window")
    assert dressing(view).ring is None


@pytest.mark.parametrize("kind", list(ToolKind))
def test_a_gesture_ends_where_another_image_begins(
    desk: Desk, view: SliceView, kind: ToolKind
) -> None:
    desk.viewing.toolbox.choose(kind)
    desk.commands.run("segment.add")
    mouse(view, QEvent.Type.MouseButtonPress, (200, 200), LEFT)
    mouse(view, QEvent.Type.MouseMove, (230, 220), LEFT)
    desk.viewing.show_series("film")
    settle(view)
    before = desk.viewing.window, desk.viewing.view(Plane.AXIAL), desk.viewing.crosshair_lps_mm
    mouse(view, QEvent.Type.MouseMove, (280, 260), LEFT)
    mouse(view, QEvent.Type.MouseButtonRelease, (280, 260), LEFT)
    after = desk.viewing.window, desk.viewing.view(Plane.AXIAL), desk.viewing.crosshair_lps_mm
    assert before == after
    assert all(not s.labels.any() for s in desk.workspace.segmentations.values())


@pytest.mark.parametrize("kind", list(ToolKind))
def test_a_gesture_survives_the_end_of_its_study(
    desk: Desk, view: SliceView, kind: ToolKind
) -> None:
    desk.viewing.toolbox.choose(kind)
    desk.commands.run("segment.add")
    mouse(view, QEvent.Type.MouseButtonPress, (200, 200), LEFT)
    desk.workspace.close_study("1")
    mouse(view, QEvent.Type.MouseMove, (230, 220), LEFT)
    mouse(view, QEvent.Type.MouseButtonRelease, (230, 220), LEFT)
    settle(view)
    assert view.port is None


def test_nobody_paints_what_is_hidden(desk: Desk, view: SliceView) -> None:
    desk.commands.run("tool.brush")
    desk.commands.run("segment.add")
    desk.commands.run("segment.show", visible=False)
    desk.commands.run("view.segments")
    drag(view, [(200, 200), (230, 200)], LEFT)
    assert len(desk.viewing.overlay.visible_segments()) == 1


# What files draw over their images


def colour_at(view: SliceView, row: float, column: float) -> int:
    """The colour on the screen in the middle of a pixel of the film on show."""
    view.refresh()
    port = view.port
    assert port is not None
    frame = port.frame
    index = {1: row, 2: column}
    place = frame.index_to_mm @ (index[frame.down_axis], index[frame.right_axis])
    x, y = port.to_px(*place)
    return view.grab().toImage().pixel(round(x), round(y)) & 0xFFFFFF


@pytest.mark.parametrize("turns", [0, 1, 3])
def test_shutters_and_overlays_lie_on_their_pixels(desk: Desk, qtbot: Any, turns: int) -> None:
    """However the picture is turned, what is hidden is black and what is drawn is white."""
    desk.viewing.show_series("film")
    volume = desk.viewing.require_volume()
    mask = np.zeros(volume.geometry.shape[1:], dtype=np.bool_)
    mask[20:24, 10:14] = True
    rows, columns = mask.shape
    over = Graphics(
        (Bitmap.of(mask),),
        Shutter(box=(8, 0, rows - 1, columns - 1)),
        (Mark(MarkKind.LINES, ((30.0, 4.0), (30.0, 18.0))),),
    )
    desk.graphics.of = lambda _volume, _number: over  # type: ignore[method-assign]
    desk.viewing.turn(Plane.ACQUIRED, turns)
    view = shown(desk, qtbot, Plane.ACQUIRED)
    assert colour_at(view, 4, 12) == 0
    assert colour_at(view, 22, 12) == 0xFFFFFF
    plain = colour_at(view, 35, 12)
    assert plain not in (0, 0xFFFFFF)
    assert colour_at(view, 30, 11) > plain
    desk.graphics.toggle_overlays()
    assert colour_at(view, 22, 12) != 0xFFFFFF
    assert colour_at(view, 4, 12) == 0
    assert "Overlays hidden" in dressing(view).warnings


# Drawing around things: the sphere of the phantom is the truth


def around(view: SliceView, times: float, count: int = 60) -> list[tuple[int, int]]:
    """Places in the view on a circle about the sphere, so many times as wide, closed."""
    port, phantom = view.port, Phantom()
    assert port is not None
    turn = np.linspace(0, 2 * np.pi, count)
    ring = np.stack([np.cos(turn), np.sin(turn), np.zeros(count)], axis=1)
    places = phantom.center_lps_mm + times * phantom.radius_mm * ring
    flat = [port.to_px(*port.frame.to_plane_mm(place)) for place in places]
    return [(round(x), round(y)) for x, y in flat]


def dice_with_sphere(desk: Desk) -> float:
    """How well the drawn segment agrees with the sphere in the slice on show; nothing elsewhere."""
    labels = labels_of(desk, desk.viewing.overlay.active) > 0
    number = desk.viewing.slice_number(Plane.AXIAL)
    assert not np.delete(labels, number, axis=0).any()
    mine, truth = labels[number], Phantom().sphere()[number]
    return float(2 * (mine & truth).sum() / (mine.sum() + truth.sum()))


@pytest.fixture
def on_the_sphere(desk: Desk, view: SliceView) -> SliceView:
    x, y, z = (float(value) for value in Phantom().center_lps_mm)
    desk.viewing.set_crosshair((x, y, z))
    settle(view)
    return view


def test_a_wire_drawn_around_the_sphere_lies_on_its_border(
    desk: Desk, on_the_sphere: SliceView
) -> None:
    path = around(on_the_sphere, 1.12)
    desk.commands.run("tool.contour")
    drag(on_the_sphere, path, LEFT)
    by_hand = dice_with_sphere(desk)
    desk.workspace.history.undo()
    desk.commands.run("tool.wire")
    drag(on_the_sphere, path, LEFT)
    assert by_hand < 0.92, "the hand alone takes some air along"
    assert dice_with_sphere(desk) > 0.95
    assert desk.workspace.history.undo_title.startswith("Contour")


def test_a_click_at_the_border_traces_the_line_of_equal_values(
    desk: Desk, on_the_sphere: SliceView
) -> None:
    desk.commands.run("tool.trace")
    [at, *_] = around(on_the_sphere, 0.97)
    mouse(on_the_sphere, QEvent.Type.MouseButtonPress, at, LEFT)
    settle(on_the_sphere)
    assert on_the_sphere._tools[ToolKind.TRACE].preview is not None
    assert not labels_of(desk, desk.viewing.overlay.active).any()
    mouse(on_the_sphere, QEvent.Type.MouseButtonRelease, at, LEFT)
    assert dice_with_sphere(desk) > 0.95
    assert desk.workspace.history.undo_title.startswith("Level trace")
