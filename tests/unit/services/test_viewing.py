"""What is looked at: crosshair, windows, layout, tools, strokes; without any window."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from medview.core.errors import CommandError
from medview.core.findings import Review, ReviewState, SegmentRef, utc_now
from medview.core.geometry import Calibration, Geometry
from medview.core.study import Patient, Series, SeriesKind, Study
from medview.core.views import HangingProtocol, Plane, SegmentDisplay
from medview.core.volume import Volume, Window
from medview.imaging.windowing import SUV_WINDOW
from medview.services import commands_view, painting
from medview.services.commands import Registry
from medview.services.edits import AddSegmentation
from medview.services.rules import Overlap
from medview.services.settings import Settings
from medview.services.toolbox import MouseButton, ToolKind
from medview.services.viewing import Viewing
from medview.services.workspace import Workspace
from tests.helpers.desk import segmentation
from tests.helpers.phantoms import Phantom

SHAPE = (16, 40, 48)


class Desk:
    """A workspace with a CT of the phantom, a second series of its space, and a chest film."""

    def __init__(self) -> None:
        self.settings = Settings(None)
        self.workspace = Workspace(self.settings)
        self.workspace.reader = "Dr Ada"
        series = [
            Series(uid, "1", modality, uid, (), kind=kind)
            for uid, modality, kind in (
                ("ct", "CT", SeriesKind.VOLUME),
                ("report", "SR", SeriesKind.REPORT),
                ("pet", "PT", SeriesKind.VOLUME),
                ("film", "DX", SeriesKind.IMAGES),
                ("empty", "MR", SeriesKind.VOLUME),
            )
        ]
        self.workspace.open_studies([Study("1", Patient("7", "DOE^J"), series=tuple(series))])
        ct = replace(Phantom().volume(), uid="ct.1", series_uid="ct")
        self.add(replace(ct, geometry=in_space(ct.geometry)))
        other = Phantom((20, 30, 30), (2.0, 1.0, 1.0))
        pet = other.volume()
        self.add(
            replace(
                pet, uid="pet.1", series_uid="pet", unit="g/ml{SUVbw}",
                geometry=in_space(pet.geometry),
            )
        )  # fmt: skip
        flat = Geometry((1, 30, 20), np.diag([1, 0.2, 0.2, 1]), "", Calibration.DETECTOR)
        pixels = np.arange(600, dtype=np.uint16).reshape(1, 30, 20)
        own = (Window(100, 50), Window(300, 400))
        self.add(Volume("film.1", "film", flat, pixels, default_windows=own))
        self.viewing = Viewing(self.workspace, self.settings)
        self.viewing.show_series("ct")
        self.changes = 0
        self.workspace.events.view_changed.connect(self._count)
        self.commands = Registry(self.settings)
        self.asked: list[str] = []
        services: Any = SimpleNamespace(
            viewing=self.viewing,
            workspace=self.workspace,
            settings=self.settings,
            loading=SimpleNamespace(load_series=self.asked.append),
            objects=SimpleNamespace(
                describe=lambda _uid: None, open=lambda _uid: None, bring_in=lambda _found: None
            ),
        )
        commands_view.register(self.commands, services)

    def add(self, volume: Volume) -> None:
        self.workspace.add_volume(volume)

    def _count(self, _event: object) -> None:
        self.changes += 1

    def labels(self, ref: SegmentRef) -> np.ndarray:
        return self.workspace.segmentations[ref.segmentation_uid].labels == ref.number


def in_space(geometry: Geometry) -> Geometry:
    return Geometry(geometry.shape, geometry.affine, "1.2.frame")


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_nothing_is_shown_before_a_series_is() -> None:
    viewing = Viewing(Workspace())
    assert viewing.volume is None
    assert viewing.series_uid == ""
    assert viewing.study is None
    assert viewing.overlay.segmentations == ()
    assert viewing.shown_plane(Plane.CORONAL) is Plane.CORONAL
    with pytest.raises(CommandError, match="No image"):
        viewing.scroll(Plane.AXIAL, 1)
    with pytest.raises(KeyError):
        viewing.show_series("nowhere")


def test_a_volume_starts_in_the_middle_fitting_in_its_own_window(desk: Desk) -> None:
    geometry = desk.viewing.volume.geometry  # type: ignore[union-attr]
    index = geometry.to_index(desk.viewing.crosshair_lps_mm)
    np.testing.assert_allclose(index, np.round(index), atol=1e-9)
    assert np.abs(index - (np.array(SHAPE) - 1) / 2).max() <= 0.5
    state = desk.viewing.view(Plane.CORONAL)
    assert (state.zoom, state.inverted) == (1.0, False)
    np.testing.assert_allclose(state.center_lps_mm, geometry.center_lps_mm)


def test_scrolling_moves_the_crosshair_of_all_planes_and_stops_at_the_ends(desk: Desk) -> None:
    viewing = desk.viewing
    start, sagittal = viewing.slice_number(Plane.AXIAL), viewing.slice_number(Plane.SAGITTAL)
    viewing.scroll(Plane.AXIAL, 2)
    assert viewing.slice_number(Plane.AXIAL) == start - 2  # to the feet, against the grid
    assert viewing.slice_number(Plane.SAGITTAL) == sagittal
    assert desk.changes == 1
    viewing.scroll(Plane.AXIAL, 1000)
    assert viewing.slice_number(Plane.AXIAL) == 0
    viewing.scroll(Plane.AXIAL, 1)
    assert desk.changes == 2
    viewing.scroll_to_end(Plane.AXIAL, last=False)
    assert viewing.slice_number(Plane.AXIAL) == SHAPE[0] - 1
    viewing.scroll_to_end(Plane.CORONAL, last=True)
    assert viewing.slice_number(Plane.CORONAL) == SHAPE[1] - 1


def test_the_crosshair_is_held_to_the_volume_and_shared_in_one_space(desk: Desk) -> None:
    viewing = desk.viewing
    viewing.set_crosshair((1e6, 1e6, 1e6))
    assert viewing.volume is not None
    assert viewing.volume.geometry.contains(viewing.crosshair_lps_mm)
    point = tuple(float(v) for v in viewing.volume.geometry.to_lps_mm((5, 12.3, 20)))
    viewing.set_crosshair(point)  # type: ignore[arg-type]
    viewing.show_series("pet")
    assert viewing.crosshair_lps_mm == pytest.approx(point)
    viewing.show_series("film")
    assert viewing.crosshair_lps_mm[0] == 0  # its one slice


def test_each_series_keeps_its_window_zoom_and_place(desk: Desk) -> None:
    viewing = desk.viewing
    viewing.set_window(Window(1, 2, "mine"))
    viewing.set_view(Plane.AXIAL, zoom=3.0, center_lps_mm=(1.0, 2.0, 3.0))
    viewing.toggle_inverted()
    viewing.show_series("pet")
    assert viewing.window is SUV_WINDOW
    assert viewing.inverted
    assert viewing.view(Plane.AXIAL).zoom == 1
    viewing.show_series("ct")
    assert viewing.window.explanation == "mine"
    state = viewing.view(Plane.AXIAL)
    assert (state.zoom, state.center_lps_mm, state.inverted) == (3.0, (1.0, 2.0, 3.0), True)
    assert (state.window_center, state.window_width) == (1, 2)
    viewing.fit(Plane.AXIAL)
    assert viewing.view(Plane.AXIAL).zoom == 1
    viewing.reset()
    assert viewing.window.explanation == "Soft tissue"
    assert not viewing.inverted


def test_zoom_is_held_and_a_change_that_changes_nothing_is_silent(desk: Desk) -> None:
    viewing = desk.viewing
    viewing.set_view(Plane.AXIAL, zoom=1e9)
    assert viewing.view(Plane.AXIAL).zoom == 60
    viewing.set_view(Plane.AXIAL, zoom=1e-9)
    assert viewing.view(Plane.AXIAL).zoom == 0.1
    before = desk.changes
    viewing.set_view(Plane.AXIAL)
    viewing.set_window(viewing.window)
    viewing.set_crosshair(viewing.crosshair_lps_mm)
    viewing.show_series("ct")
    viewing.set_active_plane(Plane.AXIAL)
    viewing.set_active_plane(Plane.AXIAL)
    viewing.toolbox.choose(ToolKind.WINDOW)
    viewing.toolbox.set_brush()
    viewing.overlay.select(None)
    assert desk.changes == before + 1  # the active plane, once


def test_flips_are_one_plane_s_own(desk: Desk) -> None:
    viewing = desk.viewing
    viewing.flip(Plane.AXIAL)
    assert viewing.frame(Plane.AXIAL).letters.left == "L"
    assert viewing.frame(Plane.CORONAL).letters.left == "R"
    viewing.flip(Plane.AXIAL, vertically=True)
    assert viewing.frame(Plane.AXIAL).letters.top == "P"
    viewing.flip(Plane.AXIAL)
    assert viewing.frame(Plane.AXIAL).letters.left == "R"


def test_number_keys_are_presets_on_ct_and_own_windows_elsewhere(desk: Desk) -> None:
    viewing = desk.viewing
    viewing.preset(2)
    assert (viewing.window.center, viewing.window.width) == (-600, 1500)
    viewing.preset(0)
    assert viewing.window.explanation == "Soft tissue"
    viewing.show_series("film")
    assert viewing.window == Window(100, 50)
    viewing.preset(2)
    assert viewing.window == Window(300, 400)
    with pytest.raises(CommandError, match="no window 3"):
        viewing.preset(3)
    viewing.full_range()
    assert (viewing.window.center, viewing.window.width) == (299.5, 599)


def test_dragging_steps_by_the_dynamic_range(desk: Desk) -> None:
    viewing = desk.viewing
    values = viewing.volume.voxels[SHAPE[0] // 2]  # type: ignore[union-attr]
    step = (int(values.max()) - int(values.min())) / 1024
    viewing.set_window(Window(40, 400))
    viewing.drag_window(10, 20)
    assert viewing.window.width == pytest.approx(400 + 10 * step)
    assert viewing.window.center == pytest.approx(40 - 20 * step)
    desk.settings.set("view.window_drag_up", "darker")
    viewing.drag_window(0, 20)
    assert viewing.window.center == pytest.approx(40)
    desk.settings.set("view.window_drag_up", "brighter")
    viewing.show_series("pet")
    viewing.drag_window(50, 1)
    low = viewing.window.center - viewing.window.width / 2
    assert low == pytest.approx(0)
    assert viewing.window.width < 5


def test_layouts_suit_the_image_until_the_reader_chooses(desk: Desk) -> None:
    viewing = desk.viewing
    assert viewing.layout.name == "mpr"
    viewing.set_layout("four")
    assert viewing.layout.name == "four"
    viewing.show_series("film")
    assert viewing.layout.rows == (("axial",),)
    assert viewing.shown_plane(Plane.AXIAL) is Plane.ACQUIRED
    assert viewing.frame(Plane.AXIAL).plane is Plane.ACQUIRED
    viewing.show_series("ct")
    assert viewing.layout.name == "four"
    viewing.toggle_maximised(Plane.CORONAL)
    assert viewing.layout.rows == (("coronal",),)
    assert viewing.shown_plane(Plane.CORONAL) is Plane.CORONAL
    assert viewing.active_plane is Plane.CORONAL
    viewing.toggle_maximised(Plane.CORONAL)
    assert viewing.layout.name == "four"
    viewing.set_layout("volume")
    assert viewing.active_plane is Plane.AXIAL
    with pytest.raises(CommandError, match="no layout"):
        viewing.set_layout("heap")


def test_a_single_view_shows_the_plane_that_was_acquired(desk: Desk) -> None:
    sagittal = Phantom(row=(0, 1, 0), column=(0, 0, -1)).volume()
    desk.workspace.add_volume(replace(sagittal, uid="mr.1", series_uid="empty"))
    desk.viewing.show_series("empty")
    desk.viewing.set_layout("one")
    assert desk.viewing.shown_plane(Plane.AXIAL) is Plane.SAGITTAL


def test_a_protocol_lays_out_unless_the_settings_do(desk: Desk) -> None:
    film = desk.workspace.series("ct")
    protocol = HangingProtocol("Any", "four", ())
    desk.viewing.hang(film, protocol)
    assert desk.viewing.layout.name == "four"
    desk.settings.set("view.layout", "one")
    other = Desk()
    other.settings.set("view.layout", "one")
    other.viewing.hang(other.workspace.series("pet"), protocol)
    assert other.viewing.layout.name == "one"
    assert other.viewing.series_uid == "pet"
    other.viewing.hang(other.workspace.series("ct"), None)
    assert other.viewing.series_uid == "ct"


def test_several_volumes_of_a_series_share_how_they_are_looked_at(desk: Desk) -> None:
    first = desk.viewing.volume
    assert first is not None
    desk.viewing.set_window(Window(7, 8))
    desk.add(replace(first, uid="ct.2"))
    desk.viewing.step_volume(1)
    assert desk.viewing.volume is not None
    assert desk.viewing.volume.uid == "ct.2"
    assert desk.viewing.window == Window(7, 8)
    before = desk.changes
    desk.viewing.step_volume(1)
    assert desk.changes == before
    desk.viewing.show_volume("ct.1")
    assert desk.viewing.volume is first


def test_closing_a_study_leaves_nothing_on_show(desk: Desk) -> None:
    seen = weakref.ref(desk.viewing.volume)  # type: ignore[arg-type]
    desk.viewing.scroll(Plane.AXIAL, 1)
    desk.workspace.close_study("1")
    assert desk.viewing.volume is None
    assert desk.viewing.series_uid == ""
    gc.collect()
    assert seen() is None  # its memory is free


# The overlay


def proposal(desk: Desk) -> SegmentRef:
    made = segmentation(desk.workspace, (1, 2))
    desk.workspace.apply(AddSegmentation("1", made, "AI"))
    return SegmentRef(made.uid, 1)


def test_segments_are_drawn_unless_rejected_or_hidden(desk: Desk) -> None:
    ref = proposal(desk)
    overlay = desk.viewing.overlay
    assert overlay.display(ref) == SegmentDisplay(visible=True, opacity=0.4)
    assert len(overlay.visible_segments()) == 2
    overlay.set_display(ref, opacity=0.7, visible=False)
    assert [s.number for s in overlay.visible_segments()] == [2]
    overlay.toggle()
    assert overlay.visible_segments() == ()
    overlay.toggle()
    assert [s.number for s in overlay.visible_segments()] == [2]
    source = overlay.segmentations[0]
    rejected = Review(ReviewState.REJECTED, "Dr Ada", utc_now(), "no")
    segments = (source.segments[0], replace(source.segments[1], review=rejected))
    other = replace(source, segments=segments, uid="other")
    desk.workspace.apply(AddSegmentation("1", other, "AI"))
    assert not overlay.display(SegmentRef("other", 2)).visible


def test_the_active_segment_is_one_of_the_volume_on_show(desk: Desk) -> None:
    ref = proposal(desk)
    overlay = desk.viewing.overlay
    assert overlay.active is None
    overlay.select(ref)
    assert overlay.active == ref
    desk.viewing.show_series("pet")
    assert overlay.active is None
    desk.viewing.show_series("ct")
    assert overlay.active == ref
    desk.workspace.history.undo()
    assert overlay.active is None
    with pytest.raises(KeyError):
        overlay.select(SegmentRef("none", 1))


# Strokes


def test_a_stroke_is_one_step_that_undo_takes_back(desk: Desk) -> None:
    ref = painting.add_segment(desk.viewing, "Cyst")
    assert desk.viewing.overlay.active == ref
    before = desk.labels(ref).copy()
    points = [(0.0, 0.0, 40.0), (5.0, 4.0, 40.0)]
    brush = desk.viewing.toolbox.brush
    done = painting.apply_stroke(desk.viewing, points, Plane.AXIAL, ref, brush, erases=False)
    assert done
    painted = desk.labels(ref)
    assert painted.any()
    assert len(set(np.nonzero(painted)[0])) == 1
    assert desk.workspace.history.undo_title == "Paint: Cyst"
    desk.workspace.history.undo()
    np.testing.assert_array_equal(desk.labels(ref), before)
    again = painting.apply_stroke(desk.viewing, [(1e5, 0, 0)], Plane.AXIAL, ref, brush, erases=True)
    assert not again


def test_painting_keeps_to_the_range_and_spares_others(desk: Desk) -> None:
    viewing = desk.viewing
    volume = viewing.volume
    assert volume is not None
    center = Phantom().center_lps_mm
    at = [(float(center[0]), float(center[1]), float(center[2]))]
    first = painting.add_segment(viewing)
    viewing.toolbox.set_brush(radius_mm=20.0, sphere=True)
    viewing.toolbox.set_rules(within=(0.0, 100.0))
    painting.apply_stroke(viewing, at, Plane.AXIAL, first, viewing.toolbox.brush, erases=False)
    np.testing.assert_array_equal(desk.labels(first), Phantom().sphere())
    second = painting.add_segment(viewing)
    assert second.segmentation_uid == first.segmentation_uid
    viewing.toolbox.set_rules(within=None, overlap=Overlap.SPARE)
    painting.apply_stroke(viewing, at, Plane.AXIAL, second, viewing.toolbox.brush, erases=False)
    np.testing.assert_array_equal(desk.labels(first), Phantom().sphere())
    assert desk.labels(second).any()
    viewing.toolbox.set_brush(erase_all=True)
    painting.apply_stroke(viewing, at, Plane.AXIAL, second, viewing.toolbox.brush, erases=True)
    assert not desk.labels(first).any()


def test_new_segments_leave_a_model_s_alone(desk: Desk) -> None:
    ref = proposal(desk)
    desk.viewing.overlay.select(ref)
    own = painting.add_segment(desk.viewing)
    assert own.segmentation_uid != ref.segmentation_uid
    segment = desk.workspace.segmentations[own.segmentation_uid].find_segment(own.number)
    assert segment.review.state is ReviewState.EDITED
    assert segment.review.by == "Dr Ada"


# Commands


def test_every_command_has_words_and_no_key_is_used_twice(desk: Desk) -> None:
    commands = desk.commands.list()
    assert all(command.title and command.help for command in commands)
    assert desk.commands.clashes() == ()
    named = {command.id for command in commands}
    assert {
        "series.show", "layout.set", "view.scroll", "view.window", "segment.paint", "segment.erase",
    } <= named  # fmt: skip


def test_every_command_runs_bare_or_says_what_it_needs(desk: Desk) -> None:
    for command in desk.commands.list():
        if command.enabled() and command.id != "segment.import":
            desk.commands.run(command.id)
    with pytest.raises(CommandError, match="No label map was given"):
        desk.commands.run("segment.import")


def test_keys_do_what_their_titles_say(desk: Desk) -> None:
    viewing, run = desk.viewing, desk.commands.run
    start = viewing.slice_number(Plane.AXIAL)
    run("view.scroll", steps=3, plane="axial")
    run("view.previous")
    assert viewing.slice_number(Plane.AXIAL) == start - 2
    run("view.first")
    run("view.forward")
    assert viewing.slice_number(Plane.AXIAL) == SHAPE[0] - 11
    run("view.back")
    run("view.last")
    assert viewing.slice_number(Plane.AXIAL) == 0
    run("view.crosshair", point_lps_mm=[0, 0, 40])
    assert viewing.crosshair_lps_mm == (0, 0, 40)
    run("view.zoom")
    run("view.zoom")
    run("view.zoom_out")
    assert viewing.view(Plane.AXIAL).zoom == pytest.approx(1.25)
    run("view.fit")
    assert viewing.view(Plane.AXIAL).zoom == 1
    run("view.flip")
    run("view.flip_vertical")
    assert viewing.frame(Plane.AXIAL).letters.left == "L"
    run("view.maximise")
    assert viewing.layout.rows == (("axial",),)
    run("layout.set", name="four")
    assert viewing.layout.name == "four"
    run("layout.mpr")
    assert viewing.layout.name == "mpr"
    with pytest.raises(CommandError, match="no plane"):
        run("view.scroll", plane="diagonal")


def test_windows_by_command(desk: Desk) -> None:
    viewing, run = desk.viewing, desk.commands.run
    run("view.window", center=50, width=350)
    assert (viewing.window.center, viewing.window.width) == (50, 350)
    run("view.window_3")
    assert viewing.window.explanation == "Bone"
    run("view.preset", name="brain")
    assert viewing.window.width == 80
    run("view.preset", number=2)
    assert viewing.window.explanation == "Lung"
    run("view.full_range")
    assert viewing.window.explanation == "Full range"
    run("view.invert")
    assert viewing.inverted
    run("view.reset")
    assert not viewing.inverted
    with pytest.raises(CommandError, match="Not a window"):
        run("view.window", center=50, width=-1)
    with pytest.raises(CommandError, match="Spleen"):
        run("view.preset", name="Spleen")
    viewing.show_series("film")
    with pytest.raises(CommandError, match="not possible"):
        run("view.window_3")


def test_corner_text_and_lines_are_settings(desk: Desk) -> None:
    seen = []
    for _ in range(3):
        desk.commands.run("view.text")
        seen.append(desk.settings.text("view.corner_text"))
    assert seen == ["minimal", "none", "full"]
    desk.commands.run("view.crosshair_lines")
    assert not desk.settings.flag("view.crosshair")
    desk.commands.run("view.segments")
    assert not desk.viewing.overlay.shown


def test_series_are_shown_and_loaded_when_they_must_be(desk: Desk) -> None:
    run, viewing = desk.commands.run, desk.viewing
    run("series.next")
    assert viewing.series_uid == "pet"
    run("series.next")
    run("series.next")
    assert (viewing.series_uid, desk.asked) == ("empty", ["empty"])
    run("series.next")
    assert viewing.series_uid == "empty"
    run("series.previous")
    assert viewing.series_uid == "film"
    run("series.show", series_uid="ct")
    assert viewing.series_uid == "ct"
    with pytest.raises(CommandError, match="no such series"):
        run("series.show", series_uid="nowhere")


def test_tools_and_brush_by_command(desk: Desk) -> None:
    run, toolbox = desk.commands.run, desk.viewing.toolbox
    run("tool.brush")
    assert toolbox.tool() is ToolKind.BRUSH
    run("tool.choose", tool="pan", button="right")
    assert toolbox.tool(MouseButton.RIGHT) is ToolKind.PAN
    with pytest.raises(CommandError, match="No such tool"):
        run("tool.choose", tool="hammer")
    run("brush.size", radius_mm=10)
    run("brush.larger")
    assert toolbox.brush.radius_mm == pytest.approx(12)
    run("brush.smaller")
    run("brush.sphere")
    run("brush.edges")
    run("brush.erase_all")
    brush = toolbox.brush
    assert brush.radius_mm == pytest.approx(10)
    assert (brush.sphere, brush.follows_edges, brush.erase_all) == (True, True, True)
    with pytest.raises(CommandError, match="brush radius"):
        run("brush.size", radius_mm=0)


def test_segments_by_command(desk: Desk) -> None:
    run, viewing = desk.commands.run, desk.viewing
    with pytest.raises(CommandError, match="No segment is chosen"):
        run("segment.erase")
    assert run("segment.paint", center_lps_mm=[0, 0, 40], radius_mm=4, sphere=True)
    ref = viewing.overlay.active
    assert ref is not None
    grid = viewing.volume.geometry  # type: ignore[union-attr]
    volume_ml = np.count_nonzero(desk.labels(ref)) * grid.voxel_volume_ml
    assert volume_ml == pytest.approx(4 / 3 * np.pi * 4**3 / 1000, rel=0.1)
    assert run("segment.add", label="Second") == 2
    run("segment.select", segment=1)
    assert viewing.overlay.active == ref
    run("segment.show", opacity=0.9, outline=False)
    assert viewing.overlay.display(ref) == SegmentDisplay(opacity=0.9, outline=False)
    run("segment.show")
    assert not viewing.overlay.display(ref).visible
    assert run("segment.erase", points_lps_mm=[[0, 0, 40]], radius_mm=9, segment=1, sphere=True)
    assert not desk.labels(ref).any()
    for wrong, words in (
        ({"segment": 9}, "no segment 9"),
        ({"radius_mm": -1}, "radius"),
        ({"points_lps_mm": [[1, 2]]}, "three numbers"),
    ):
        with pytest.raises(CommandError, match=words):
            run("segment.paint", **wrong)


def test_turning_goes_the_way_it_looks_also_when_mirrored(desk: Desk) -> None:
    viewing = desk.viewing
    plane = Plane.AXIAL
    straight = viewing.frame(plane).letters
    desk.commands.run("view.turn")
    assert viewing.frame(plane).letters == straight.turned(1)
    desk.commands.run("view.turn_left")
    desk.commands.run("view.flip")
    mirrored = viewing.frame(plane).letters
    desk.commands.run("view.turn")
    assert viewing.frame(plane).letters == mirrored.turned(1)
    for _ in range(3):
        desk.commands.run("view.turn")
    assert viewing.frame(plane).letters == mirrored
    desk.commands.run("view.reset")
    assert viewing.frame(plane).letters == straight
