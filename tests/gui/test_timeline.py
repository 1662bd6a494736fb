"""Tracks and their timeline in the window: placed and corrected with the mouse, drawn, clicked."""

from __future__ import annotations

import numpy as np
from PyQt6.QtCore import QPoint, QPointF, Qt
from PyQt6.QtTest import QTest

from medview.core.codes import Code
from medview.core.findings import ModelAuthor, Provenance, utc_now
from medview.core.jobs import InferenceResult
from medview.core.timeline import (
    FrameClass,
    FrameCurve,
    FrameEvent,
    Timeline,
    Track,
    TrackShape,
)
from medview.services.edits import ChangeTracks, TrackStep
from medview.ui.slice_view import SliceView
from medview.ui.timeline import Timeline as TimelinePanel
from medview.ui.timeline_chart import Chart, Line, TimelineChart, value_at
from medview.ui.track_painting import place_at, place_px
from tests.gui.conftest import Desk
from tests.gui.test_clips import show
from tests.helpers.clips import clip

LEFT = Qt.MouseButton.LeftButton


def stroke(desk: Desk, view: SliceView, places: list[tuple[float, float]]) -> None:
    """Press at the first place (row, column), move through the others, let go at the last."""
    target = view._canvas.viewport()
    view.refresh()
    assert view.port is not None
    points = [place_px(view.port, place).toPoint() for place in places]
    QTest.mousePress(target, LEFT, pos=points[0])
    for point in points[1:]:
        QTest.mouseMove(target, point)
        desk.turn(1)
    QTest.mouseRelease(target, LEFT, pos=points[-1])
    desk.turn()


def ring(radius: float, count: int = 24) -> list[tuple[float, float]]:
    angles = np.linspace(0, 2 * np.pi, count)
    return [(30 + radius * float(np.sin(a)), 40 + radius * float(np.cos(a))) for a in angles]


def timeline(desk: Desk) -> TimelinePanel:
    return desk.window.grid.findChildren(TimelinePanel)[0]


def tracked(desk: Desk) -> Track:
    """A contour as a model leaves it: on every frame, a fifth larger on each."""
    uid = desk.run("track.line", points=ring(6)[:-1], closed=True, name="Chamber")
    work = desk.services.workspace
    old = work.tracks[uid]
    middle, first = np.array([30.0, 40.0]), np.array(old.track.places[0])
    places = tuple(
        tuple((float(r), float(c)) for r, c in middle + (first - middle) * (1 + 0.2 * n))
        for n in range(len(old.track.places))
    )
    track = Track("Chamber", old.track.shape, places, (0,), (255, 0, 0), uid)
    step = TrackStep(old, type(old)(old.clip_uid, track, old.provenance))
    work.apply(ChangeTracks("1", (step,), "Follow"))
    desk.turn()
    return track


def test_places_go_to_the_view_and_back(empty_desk: Desk) -> None:
    view, _ = show(empty_desk, clip(rows_mm=2.0))
    view.refresh()
    assert view.port is not None
    at = place_px(view.port, (12.25, 33.5))
    assert np.allclose(place_at(view.port, at.x(), at.y()), (12.25, 33.5))
    corner = place_px(view.port, (-0.5, -0.5))
    left, top, _, _ = view.port.covered_px()
    assert abs(corner.x() - left) <= 1
    assert abs(corner.y() - top) <= 1


def test_a_click_places_a_point_and_a_stroke_a_contour(empty_desk: Desk) -> None:
    view, _ = show(empty_desk, clip())
    assert timeline(empty_desk).isHidden()
    empty_desk.run("tool.track")
    assert not timeline(empty_desk).isHidden()
    stroke(empty_desk, view, [(20.0, 30.0)])
    (point,) = empty_desk.services.tracking.tracks
    assert point.shape is TrackShape.POINT
    assert np.allclose(point.places[0], [(20.0, 30.0)], atol=0.2)
    stroke(empty_desk, view, ring(14))
    _, contour = empty_desk.services.tracking.tracks
    assert contour.shape is TrackShape.CONTOUR
    apart = np.linalg.norm(np.array(contour.places[0]) - [30, 40], axis=1)
    assert np.abs(apart - 14).max() < 1
    stroke(empty_desk, view, [(50.0, 10.0), (50.0, 30.0), (50.0, 60.0)])
    line = empty_desk.services.tracking.tracks[-1]
    assert line.shape is TrackShape.LINE
    assert np.allclose(line.places[0][0], (50, 10), atol=0.3)
    assert np.allclose(line.places[0][-1], (50, 60), atol=0.3)
    empty_desk.run("edit.undo")
    assert len(empty_desk.services.tracking.tracks) == 2


def test_dragging_a_contour_on_another_frame_corrects_it_there(empty_desk: Desk) -> None:
    view, _ = show(empty_desk, clip())
    track = tracked(empty_desk)
    empty_desk.run("tool.track")
    empty_desk.run("clip.step", frames=2)
    before = np.array(track.places[2])
    held = int(before[:, 1].argmax())
    stroke(empty_desk, view, [tuple(before[held]), tuple(before[held] + [0, 5])])
    (corrected,) = empty_desk.services.tracking.tracks
    assert corrected.key_frames == (0, 2)
    moved = np.array(corrected.places[2]) - before
    assert np.allclose(moved[held], (0, 5), atol=0.4)
    assert np.abs(moved[held - len(before) // 2]).max() < 0.1  # the far side stays
    assert corrected.places[1] == track.places[1]
    assert empty_desk.services.workspace.history.undo_title == "Correct Chamber"


def test_escape_leaves_everything_as_it_was(empty_desk: Desk) -> None:
    view, _ = show(empty_desk, clip())
    empty_desk.run("tool.track")
    view.refresh()
    assert view.port is not None
    target = view._canvas.viewport()
    QTest.mousePress(target, LEFT, pos=place_px(view.port, (20.0, 20.0)).toPoint())
    QTest.keyClick(view, Qt.Key.Key_Escape)
    QTest.mouseRelease(target, LEFT, pos=QPoint(5, 5))
    empty_desk.turn()
    assert empty_desk.services.tracking.tracks == ()


def test_a_track_is_drawn_where_it_is_on_the_frame_on_show(empty_desk: Desk) -> None:
    view, _ = show(empty_desk, clip())
    tracked(empty_desk)

    def is_red(place: tuple[float, float]) -> bool:
        view.mark_stale()
        image = view.grab().toImage()
        assert view.port is not None
        at = (place_px(view.port, place) * view.devicePixelRatioF()).toPoint()
        around = [image.pixelColor(at.x() + x, at.y() + y) for x in (-1, 0, 1) for y in (-1, 0, 1)]
        return any(color.red() > 150 and color.green() < 90 for color in around)

    on_first, on_last = (30.0, 40.0 + 6), (30.0, 40.0 + 6 * 1.6)
    assert is_red(on_first)
    assert not is_red(on_last)
    empty_desk.run("clip.step", frames=3)
    assert is_red(on_last)
    assert not is_red(on_first)


def test_the_curve_shows_the_area_and_a_click_goes_to_its_frame(empty_desk: Desk) -> None:
    show(empty_desk, clip((0.0, 0.1, 0.3, 0.4)))
    tracked(empty_desk)
    under = timeline(empty_desk)
    names = [under.measures.itemText(n) for n in range(under.measures.count())]
    assert names == ["Area", "Strain", "Displacement"]
    (line,) = under.chart.chart.lines
    values = np.array(line.values, float)
    assert np.allclose(values / values[0], [1, 1.2**2, 1.4**2, 1.6**2])
    assert under.value.text() == f"{values[0]:.0f} px²"
    assert under.chart.chart.key_frames == (0,)
    assert under.list.count() == 1
    place = QPoint(round(under.chart.x_of(2)), under.chart.height() // 2)
    QTest.mouseClick(under.chart, LEFT, pos=place)
    empty_desk.turn()
    assert empty_desk.services.viewing.cine.state.frame == 2
    assert under.value.text() == f"{values[2]:.0f} px²"
    under.measures.setCurrentText("Strain")
    under.measures.activated.emit(1)
    assert under.value.text() == "40.0 %"
    empty_desk.run("track.delete")
    assert under.isHidden()


def test_frames_stand_where_their_times_are(qtbot) -> None:  # type: ignore[no-untyped-def]
    chart = TimelineChart()
    qtbot.addWidget(chart)
    chart.resize(400, 120)
    line = Line("Area", "mm2", (1.0, None, 3.0, 2.0), (255, 0, 0))
    chart.show_chart(Chart((0.0, 0.1, 0.5, 1.0), (line,), ((2, "largest area"),), (0,), 1))
    chart.grab()
    first, second, third, last = (chart.x_of(n) for n in range(4))
    assert np.isclose((second - first) / (last - first), 0.1)
    assert np.isclose((third - first) / (last - first), 0.5)
    assert [chart.frame_at(x) for x in (first - 50, second, third + 5, last + 50)] == [0, 1, 2, 3]
    assert value_at(line, 1) == "–"
    assert value_at(line, 2) == "3.00 mm²"
    assert [len(piece) for piece in chart._pieces(line)] == [1, 2]
    assert chart._pieces(line)[1][0].y() < chart._pieces(line)[1][1].y()
    with qtbot.waitSignal(chart.wanted) as told:
        QTest.mouseClick(chart, LEFT, pos=QPointF(third, 60).toPoint())
    assert told.args == [2]
    with qtbot.waitSignal(chart.wanted) as told:
        QTest.keyClick(chart, Qt.Key.Key_End)
    assert told.args == [3]


def test_what_a_model_says_of_the_whole_clip_stands_beside_the_tracks(empty_desk: Desk) -> None:
    show(empty_desk, clip())
    shown = empty_desk.services.viewing.clip
    assert shown is not None
    said = Timeline(
        shown.uid,
        shown.frame_times_s,
        Provenance(ModelAuthor("m", "1", "ab"), utc_now(), "job"),
        curves=(FrameCurve("Motion", "{px}/s", (1.0, 2.0, 3.0, None)),),
        classes=(
            FrameClass("Open", Code("1", "99T", "open"), (0.1, 0.9, 0.8, 0.2)),
            FrameClass("Shut", Code("2", "99T", "shut"), (0.9, 0.1, 0.2, 0.8)),
        ),
        events=(FrameEvent(2, "Scene change"),),
    )
    empty_desk.services.jobs.outcomes.put(InferenceResult("job", timeline=said))
    under = timeline(empty_desk)
    under.refresh()
    assert not under.isHidden()
    names = [under.measures.itemText(n) for n in range(under.measures.count())]
    assert names == ["Motion", "Probabilities"]
    assert under.value.text() == "1.00 px/s"
    assert under.chart.chart.events == ((2, "Scene change"),)
    under.measures.setCurrentText("Probabilities")
    under.measures.activated.emit(1)
    empty_desk.run("clip.step")
    assert under.value.text() == "Open 0.90   Shut 0.10"
    assert under.chart.chart.span == (0.0, 1.0)
    empty_desk.run("clip.step_back")
    tracked(empty_desk)
    under.refresh()
    assert [under.list.item(n).text() for n in range(2)] == ["Chamber", "Whole clip"]
    assert under.measures.itemText(0) == "Area"
    under.list.setCurrentRow(1)
    assert under.measures.currentText() == "Probabilities"


def test_a_point_is_placed_by_keys_at_the_crosshair(empty_desk: Desk) -> None:
    view, _ = show(empty_desk, clip())
    viewing = empty_desk.services.viewing
    empty_desk.run("tool.track")
    grid = viewing.require_picture().geometry
    before = grid.to_index(viewing.crosshair_lps_mm)
    view.setFocus()
    empty_desk.turn()
    QTest.keyClick(view, Qt.Key.Key_Right, Qt.KeyboardModifier.ControlModifier)
    QTest.keyClick(view, Qt.Key.Key_Right, Qt.KeyboardModifier.ControlModifier)
    QTest.keyClick(view, Qt.Key.Key_Down, Qt.KeyboardModifier.ControlModifier)
    empty_desk.turn()
    empty_desk.run("track.point")
    (point,) = empty_desk.services.tracking.tracks
    [(row, column)] = point.places[viewing.cine.state.frame]
    step = max(grid.shape[1:]) / 100
    assert np.allclose((row - before[1], column - before[2]), (step, 2 * step), atol=1e-6)
