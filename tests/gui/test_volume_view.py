"""The 3D view: where things are, what it says when there is nothing, and that it never blocks."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PyQt6.QtCore import QPoint, Qt
from PyQt6.QtTest import QTest

from medview.core.findings import SegmentRef
from medview.core.geometry import Calibration, Geometry
from medview.core.volume import Volume
from medview.ui.volume import scene as scene_module
from medview.ui.volume import surfaces
from medview.ui.volume.camera import SIDES, Camera
from medview.ui.volume.scene import Scene
from medview.ui.volume.shot import Shot
from medview.ui.volume.transfer import presets
from tests.gui.conftest import JANE, Desk
from tests.helpers.phantoms import AXIAL, CORONAL, SAGITTAL, Phantom, oblique

#: Sides of the body in LPS.
OUTWARD = {
    "L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "H": (0, 0, 1),
    "F": (0, 0, -1),
}  # fmt: skip


# The camera


@pytest.mark.parametrize("side", SIDES)
def test_a_side_looks_at_the_reader(side: str) -> None:
    camera = Camera.at_side(side, (1, 2, 3), 200)
    assert camera.project(OUTWARD[side]) == pytest.approx([0, 0, 1])
    assert np.linalg.det(camera.frame) == pytest.approx(1)


def test_from_the_front_the_left_hand_is_on_the_right_of_the_picture() -> None:
    camera = Camera.at_side("A", (0, 0, 0), 200)
    assert camera.project(OUTWARD["L"]) == pytest.approx([1, 0, 0])
    assert camera.project(OUTWARD["H"]) == pytest.approx([0, 1, 0])


def test_dragging_right_turns_the_near_side_to_the_right() -> None:
    camera = Camera.at_side("A", (0, 0, 0), 200).rotated(20, 0)
    assert camera.project(OUTWARD["A"])[0] > 0.1
    down = Camera.at_side("A", (0, 0, 0), 200).rotated(0, 20)
    assert down.project(OUTWARD["A"])[1] < -0.1


def test_a_thousand_drags_leave_the_frame_square() -> None:
    camera = Camera.at_side("L", (0, 0, 0), 200)
    for n in range(1000):
        camera = camera.rotated(7 * ((n % 3) - 1), 5)
    assert camera.frame @ camera.frame.T == pytest.approx(np.eye(3), abs=1e-9)


def test_pulling_moves_the_patient_with_the_pointer() -> None:
    camera = Camera.at_side("A", (0, 0, 0), 200)
    pulled = camera.panned(10, -20, 400)
    at = camera.frame @ (np.zeros(3) - pulled.focal_lps_mm)
    assert at[:2] == pytest.approx([10 * 0.5, 20 * 0.5])


def test_zoom_is_bounded() -> None:
    camera = Camera.at_side("A", (0, 0, 0), 200)
    assert camera.zoomed(2).height_mm == 100
    assert camera.zoomed(1e9).height_mm == 1
    assert camera.zoomed(1e-9).height_mm == 5000


# Surfaces


def sphere_surface(phantom: Phantom) -> Any:
    labels = np.where(phantom.sphere(), 3, 0).astype(np.uint8)
    return surfaces.build(labels, phantom.geometry, [1, 3], {})[3]


@pytest.mark.parametrize(
    "phantom",
    [
        Phantom(),
        Phantom().turned(SAGITTAL),
        Phantom().turned(CORONAL),
        Phantom().turned(oblique(25, 40)),
        Phantom(tilt_deg=18.5),
        Phantom(row=AXIAL[0], column=(0.0, -1.0, 0.0)),
    ],
    ids=["axial", "sagittal", "coronal", "oblique", "tilted", "other slice order"],
)
def test_surface_lies_where_the_sphere_is(phantom: Phantom) -> None:
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkFiltersCore import vtkMassProperties

    mesh = sphere_surface(phantom).mesh
    points = vtk_to_numpy(mesh.GetPoints().GetData())
    center = (points.max(axis=0) + points.min(axis=0)) / 2
    assert center == pytest.approx(phantom.center_lps_mm, abs=1.3)
    apart = np.linalg.norm(points - phantom.center_lps_mm, axis=1)
    assert apart.mean() == pytest.approx(phantom.radius_mm, rel=0.06)
    mass = vtkMassProperties()
    mass.SetInputData(mesh)
    mass.Update()
    assert mass.GetVolume() / 1000 == pytest.approx(phantom.volume_ml, rel=0.1)
    normals = vtk_to_numpy(mesh.GetPointData().GetNormals())
    outward = ((points - phantom.center_lps_mm) * normals).sum(axis=1)
    assert (outward > 0).mean() > 0.97


def test_only_what_changed_is_built_anew() -> None:
    phantom = Phantom()
    labels = np.where(phantom.sphere(), 1, 0).astype(np.uint8)
    labels[0:2, 0:5, 0:5] = 2
    first = surfaces.build(labels, phantom.geometry, [1, 2, 9], {})
    assert set(first) == {1, 2}
    labels[0:2, 0:6, 0:5] = 2
    second = surfaces.build(labels, phantom.geometry, [1, 2, 9], first)
    assert second[1] is first[1]
    assert second[2] is not first[2]


# The scene


def thinned_truth(volume: Volume, budget: int) -> Any:
    return scene_module._image_of(volume, budget)


def test_thinning_keeps_place_and_mean() -> None:
    from vtkmodules.util.numpy_support import vtk_to_numpy

    rng = np.random.default_rng(3)
    geometry = Phantom(shape=(12, 30, 33)).turned(oblique(10, 20)).geometry
    volume = Volume("v", "s", geometry, rng.normal(100, 5, geometry.shape).astype(np.float32))
    image, matrix, (low, high), _ = thinned_truth(volume, 3000)
    columns, rows, slices = image.GetDimensions()
    assert columns * rows * slices <= 3000
    codes = vtk_to_numpy(image.GetPointData().GetScalars()).astype(float)
    assert (codes / 4095 * (high - low) + low).mean() == pytest.approx(100, abs=0.5)
    place = np.array(matrix.MultiplyPoint((0, 0, 0, 1)))[:3]
    index = geometry.to_index(place)
    assert np.all(index >= 0)
    assert np.all(index <= 3)
    i, j, k = image.GetSpacing()
    far = matrix.MultiplyPoint(((columns - 1) * i, (rows - 1) * j, (slices - 1) * k, 1))[:3]
    assert geometry.to_index(far) == pytest.approx(np.array(geometry.shape) - 1, abs=4)


def test_scene_draws_the_volume_from_each_side() -> None:
    scene = Scene()
    phantom = Phantom(shape=(20, 40, 40), spacing_mm=(1.0, 1.0, 1.0), radius_mm=12.0)
    try:
        scene.show_volume(phantom.volume())
        transfer = presets("CT", (40, 400))[1]
        for side, draft in itertools.product("AH", (True, False)):
            camera = Camera.at_side(side, phantom.center_lps_mm, 60)
            picture = scene.draw(Shot(camera, 160, 120, transfer, draft=draft))
            assert picture is not None
            assert picture.shape == (120, 160, 3)
            assert picture[50:70, 70:90].mean() > picture[:10, :10].mean() + 10
    finally:
        scene.close()


@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
def test_presets_rise_and_start_invisible(modality: str) -> None:
    for preset in presets(modality, (300, 500)):
        for points in (preset.colors, preset.opacities):
            values = [value for value, _ in points]
            assert values == sorted(values)
        assert preset.opacities[0][1] == 0


# The widget


def settled(desk: Desk) -> Any:
    view = desk.window.grid.volume_view
    assert view is not None
    desk.wait(lambda: view.is_settled and view._stage.picture is not None, 90)
    return view


def colored(view: Any) -> int:
    """Pixels that are clearly more red than blue: the segment, not the grey sphere."""
    picture = view._stage.picture.astype(int)
    return int(((picture[..., 0] - picture[..., 2]) > 90).sum())


def test_the_view_shows_volume_and_segments(desk: Desk) -> None:
    desk.run("layout.set", name="four")
    view = settled(desk)
    assert view._canvas.has_picture
    only_marks = view._stage.picture.std()
    view._preset.setCurrentIndex(1)
    settled(desk)
    assert view._stage.picture.std() > only_marks + 2, "soft tissue shows the sphere, bone not"
    desk.propose()
    desk.wait(lambda: view._opacity.value() < 100)
    settled(desk)
    with_segment = colored(view)
    assert with_segment > 50
    for segmentation in desk.services.viewing.overlay.segmentations:
        for segment in segmentation.segments:
            ref = SegmentRef(segmentation.uid, segment.number)
            desk.services.viewing.overlay.set_display(ref, visible=False)
    desk.turn()
    settled(desk)
    assert colored(view) < with_segment / 4


def test_letters_turn_the_body(desk: Desk) -> None:
    desk.run("layout.set", name="volume")
    view = settled(desk)
    canvas = view._canvas
    canvas.setFocus()
    QTest.keyClick(canvas, Qt.Key.Key_L)
    desk.turn()
    assert canvas.camera.project(OUTWARD["L"]) == pytest.approx([0, 0, 1])
    assert desk.services.viewing.series_uid == "1.1"
    before = canvas.camera
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=QPoint(100, 100))
    QTest.mouseMove(canvas, QPoint(140, 110))
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=QPoint(140, 110))
    desk.turn()
    assert canvas.camera is before or canvas.camera.frame.shape == (3, 3)
    settled(desk)


def test_shortcuts_of_the_window_yield_to_the_letters(desk: Desk) -> None:
    """R looks from the right here and does not reset the slices."""
    desk.run("layout.set", name="four")
    view = settled(desk)
    desk.run("view.first")
    crosshair = desk.services.viewing.crosshair_lps_mm
    view._canvas.setFocus()
    desk.turn()
    QTest.keyClick(view._canvas, Qt.Key.Key_R)
    desk.turn()
    assert desk.services.viewing.crosshair_lps_mm == crosshair
    assert view._canvas.camera.project(OUTWARD["R"]) == pytest.approx([0, 0, 1])


def test_images_without_patient_space_get_words(desk: Desk) -> None:
    study = desk.services.workspace.studies["1"]
    flat = Geometry((4, 30, 20), np.eye(4), "", Calibration.NONE)
    series = replace(study.series[0], uid="1.7", modality="OT")
    desk.services.loading._thumbnails["1.7"] = None
    desk.services.workspace.open_studies([replace(study, series=(*study.series, series))])
    desk.services.workspace.add_volume(Volume("x", "1.7", flat, np.zeros((4, 30, 20), np.uint8)))
    desk.run("series.show", series_uid="1.7")
    desk.run("layout.set", name="volume")
    view = desk.window.grid.volume_view
    assert view is not None
    desk.wait(lambda: "no position in the patient" in view._canvas._words)
    assert view.is_settled


def test_where_nothing_can_draw_the_view_says_so(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medview.core.errors import MedviewError
    from medview.ui.volume import stage

    def refuse() -> None:
        raise MedviewError("There is no OpenGL on this machine.", "Install Mesa.")

    monkeypatch.setattr(stage, "_open_scene", refuse)
    desk.run("layout.set", name="four")
    view = desk.window.grid.volume_view
    assert view is not None
    desk.wait(lambda: "no OpenGL" in view._canvas._words)
    assert "Install Mesa" in view._canvas._words
    desk.run("view.scroll")


def test_the_patient_on_show_is_named(desk: Desk) -> None:
    desk.run("layout.set", name="four")
    view = desk.window.grid.volume_view
    assert view is not None
    desk.turn(20)
    assert JANE.id in view._patient.text() or "…" in view._patient.text()
    assert view._patient.textFormat() is Qt.TextFormat.PlainText


def test_vtk_is_not_loaded_before_the_3d_view() -> None:
    """Nothing at start-up imports VTK."""
    import subprocess
    import sys

    code = (
        "import sys, medview.ui.application;"
        "sys.exit(any(name.startswith(('vtkmodules', 'torch', 'pydicom', 'SimpleITK'))"
        " for name in sys.modules))"
    )
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert done.returncode == 0


# Scissors


def test_the_way_to_the_picture_is_that_of_a_parallel_projection() -> None:
    camera = Camera.at_side("A", (10, 20, 30), 200)
    to_view = camera.to_view(400, 300)
    # From the front, left is right in the picture and the head is up; 1.5 pixels a millimetre.
    assert to_view @ (10, 20, 30, 1) == pytest.approx([200, 150, 0, 1])
    assert to_view @ (20, 20, 30, 1) == pytest.approx([215, 150, 0, 1])
    assert to_view @ (10, -20, 50, 1) == pytest.approx([200, 120, 40, 1])


def test_scissors_cut_what_lies_behind_the_outline_drawn_in_3d(desk: Desk) -> None:
    desk.propose()
    desk.run("segment.select", segment=1)
    desk.run("layout.set", name="volume")
    view = settled(desk)
    canvas, ref = view._canvas, desk.services.viewing.overlay.active
    before = desk.services.workspace.segmentations[ref.segmentation_uid].labels.copy()
    desk.run("tool.scissors")
    settled(desk)
    frame = canvas.camera.frame.copy()
    # The half of the picture that shows the patient's left.
    middle, right, low = canvas.width() // 2, canvas.width() - 2, canvas.height() - 2
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=QPoint(middle, 1))
    for place in ((right, 1), (right, low), (middle, low)):
        QTest.mouseMove(canvas, QPoint(*place))
        desk.turn()
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=QPoint(middle, low))
    desk.wait(lambda: not desk.services.effects.busy)
    after = desk.services.workspace.segmentations[ref.segmentation_uid].labels
    x = desk.phantom.points_lps_mm()[..., 0] - desk.phantom.center_lps_mm[0]
    voxel_mm = desk.phantom.spacing_mm[2]
    assert not (after[x > voxel_mm] == 1).any()
    np.testing.assert_array_equal(after[x < -voxel_mm], before[x < -voxel_mm])
    np.testing.assert_array_equal(canvas.camera.frame, frame)
    assert desk.services.history.undo_title == "Scissors in 3D (erase): Structure 1"
    # Esc drops an outline; with another tool the left button turns again.
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=QPoint(5, 5))
    QTest.mouseMove(canvas, QPoint(60, 5))
    QTest.mouseMove(canvas, QPoint(60, 60))
    QTest.keyClick(canvas, Qt.Key.Key_Escape)
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=QPoint(5, 60))
    desk.wait(lambda: not desk.services.effects.busy)
    again = desk.services.workspace.segmentations[ref.segmentation_uid].labels
    np.testing.assert_array_equal(again, after)
