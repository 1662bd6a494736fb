"""Boxes corrected by the mouse in the window: moved, resized, added, joined, named anew, undone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PyQt6.QtCore import QPoint, Qt
from PyQt6.QtTest import QTest

from medview.core.codes import LENGTH, Code
from medview.core.findings import (
    ClassProbability,
    Finding,
    Measurement,
    ModelAuthor,
    Person,
    PictureBox,
    Provenance,
    ReviewState,
    utc_now,
)
from medview.core.jobs import InferenceJob, InferenceResult, JobInput, JobState
from medview.core.views import Plane
from medview.imaging.boxes import index_box, patient_box
from medview.services.toolbox import ToolKind
from medview.ui.dialogs.finding import FindingDialog
from medview.ui.dialogs.reader import ReaderDialog
from medview.ui.slice_view import SliceView
from tests.gui.conftest import Desk
from tests.helpers import desk as made

LOW, HIGH = np.array([6.0, 14.0, 16.0]), np.array([10.0, 24.0, 30.0])


def view_of(desk: Desk, plane: Plane) -> SliceView:
    views = desk.window.grid.findChildren(SliceView)
    view = next(one for one in views if one.plane is plane and one.isVisible())
    view.refresh()
    return view


def at(view: SliceView, k: float, j: float, i: float) -> QPoint:
    """Where a place of the grid (voxel n from n to n + 1) is in a view."""
    assert view.port is not None
    point = view.port.frame.geometry.to_lps_mm((k - 0.5, j - 0.5, i - 0.5))
    x, y = view.port.to_px(*view.port.frame.to_plane_mm(point))
    return QPoint(round(x), round(y))


def drag(desk: Desk, view: SliceView, begin: QPoint, end: QPoint) -> None:
    target = view._canvas.viewport()
    QTest.mousePress(target, Qt.MouseButton.LeftButton, pos=begin)
    for part in (0.3, 0.7, 1.0):
        QTest.mouseMove(target, begin + (end - begin) * part)
        desk.turn(2)
    QTest.mouseRelease(target, Qt.MouseButton.LeftButton, pos=end)
    desk.turn()


@pytest.fixture
def boxed(desk: Desk) -> tuple[Desk, str]:
    """A model's box in the volume, its tool in hand, the view going through its middle."""
    volume = desk.services.viewing.volume
    assert volume is not None
    provenance = Provenance(made.MODEL, utc_now(), "job", (volume.uid,))
    corners = patient_box((LOW, HIGH), volume.geometry)
    longest = float(np.ptp(np.array(corners), axis=0).max())
    one = Finding(
        "Nodule",
        Code("1", "99TEST", "Nodule"),
        provenance,
        probability=0.8,
        box_lps_mm=corners,
        location_lps_mm=tuple(float(x) for x in np.mean(corners, axis=0)),  # type: ignore[arg-type]
        measurements=(
            Measurement(LENGTH, longest, "mm", "Longest side of the box", provenance, "Extent"),
        ),
        classes=(ClassProbability("Cyst", Code("2", "99TEST", "Cyst"), 0.2),),
    )
    job = InferenceJob("finder", "1.0", (JobInput(volume.uid),), "1", uid="job")
    result = InferenceResult("job", (), (one,))
    desk.services.jobs.outcomes.put(result)
    desk.services.workspace.put_job(replace(job, state=JobState.DONE))
    (uid,) = desk.services.review.propose(result, job)
    desk.services.settings.set("finding.zoom", value=False)
    desk.run("finding.show", uid=uid)
    desk.run("tool.box")
    assert desk.services.viewing.toolbox.tool() is ToolKind.BOX
    return desk, uid


def test_a_box_is_added_at_the_crosshair_without_the_mouse(boxed: tuple[Desk, str]) -> None:
    desk, _ = boxed
    volume = desk.services.viewing.volume
    assert volume is not None
    place = np.array([5.0, 20.0, 24.0])
    x, y, z = (float(n) for n in volume.geometry.to_lps_mm(place))
    desk.services.viewing.set_crosshair((x, y, z))
    low, high = corners_of(desk, desk.run("finding.add_box", label="Cyst"))
    np.testing.assert_allclose((low + high) / 2, place + 0.5)
    np.testing.assert_allclose(high - low, (1, *(n / 8 for n in volume.geometry.shape[1:])))


def corners_of(desk: Desk, uid: str) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    volume = desk.services.viewing.volume
    assert volume is not None
    box = index_box(desk.services.workspace.findings[uid], volume.geometry)
    assert box is not None
    return box


def near(view: SliceView) -> float:
    """Voxels that a pixel of the view is worth, and rounding to whole pixels."""
    assert view.port is not None
    return 1.5 / (view.port.px_per_mm * 0.7)


def test_a_side_is_dragged_and_the_others_stay(boxed: tuple[Desk, str]) -> None:
    desk, uid = boxed
    view = view_of(desk, Plane.AXIAL)
    drag(desk, view, at(view, 8, 19, 30), at(view, 8, 19, 36))
    low, high = corners_of(desk, uid)
    np.testing.assert_allclose(low, LOW, atol=1e-6)
    np.testing.assert_allclose(high[:2], HIGH[:2], atol=1e-6)
    assert high[2] == pytest.approx(36, abs=near(view))
    finding = desk.services.workspace.findings[uid]
    assert finding.review.state is ReviewState.EDITED
    assert finding.review.by == "Dr Ada"
    assert isinstance(finding.provenance.author, ModelAuthor)
    extent = finding.measurements[0]
    spans = np.ptp(np.array(finding.box_lps_mm), axis=0)
    assert extent.value == pytest.approx(float(spans.max()))
    assert isinstance(extent.provenance.author, Person)
    assert desk.services.history.undo_title == "Resize box: Nodule"
    original = desk.services.detections.original_of(finding)
    assert original is not None
    assert original.box_lps_mm != finding.box_lps_mm
    row = desk.window.findings.view.item(0).data(Qt.ItemDataRole.UserRole)
    assert "Dice" in row.correction
    desk.run("edit.undo")
    np.testing.assert_allclose(corners_of(desk, uid), (LOW, HIGH), atol=1e-6)
    assert desk.services.workspace.findings[uid].review.state is ReviewState.PROPOSED


def test_the_inside_moves_all_of_it_and_other_planes_reach_its_depth(
    boxed: tuple[Desk, str],
) -> None:
    desk, uid = boxed
    view = view_of(desk, Plane.AXIAL)
    drag(desk, view, at(view, 8, 19, 23), at(view, 8, 22, 20))
    low, high = corners_of(desk, uid)
    np.testing.assert_allclose(high - low, HIGH - LOW, atol=1e-6)
    np.testing.assert_allclose(low, LOW + np.array([0, 3, -3]), atol=near(view))
    assert desk.services.history.undo_title == "Move box: Nodule"
    side = view_of(desk, Plane.CORONAL)
    middle = (low[2] + high[2]) / 2
    drag(desk, side, at(side, 10, 20, middle), at(side, 13, 20, middle))
    deeper = corners_of(desk, uid)
    assert deeper[1][0] == pytest.approx(13, abs=near(side))
    np.testing.assert_allclose(deeper[0], low, atol=1e-6)


def test_a_box_is_added_where_the_model_missed_and_joined(boxed: tuple[Desk, str]) -> None:
    desk, uid = boxed
    view = view_of(desk, Plane.AXIAL)
    drag(desk, view, at(view, 8, 28, 34), at(view, 8, 34, 42))
    findings = desk.services.workspace.findings_of("1")
    assert len(findings) == 2
    mine = findings[1]
    assert mine.provenance.author == Person("Dr Ada")
    assert mine.review.state is ReviewState.ACCEPTED
    low, high = corners_of(desk, mine.uid)
    np.testing.assert_allclose(low[1:], (28, 34), atol=near(view))
    np.testing.assert_allclose(high[1:], (34, 42), atol=near(view))
    # As deep as its shorter side: 6 rows of 0.8 mm are 2 slices of 2.5 mm.
    assert high[0] - low[0] == pytest.approx(2)
    assert desk.services.results.finding_uid == mine.uid
    panel = desk.window.findings
    panel.view.setFocus()
    panel.view.selectAll()
    QTest.keyClick(panel.view, Qt.Key.Key_J, Qt.KeyboardModifier.ControlModifier)
    desk.turn()
    joined = desk.services.workspace.findings_of("1")[2]
    whole = corners_of(desk, joined.uid)
    np.testing.assert_allclose(whole[0], np.minimum(LOW, low), atol=1e-6)
    np.testing.assert_allclose(whole[1], np.maximum(HIGH, high), atol=1e-6)
    assert joined.label == "Nodule"
    assert joined.provenance.author == Person("Dr Ada")
    assert {uid, mine.uid} <= set(joined.provenance.derived_from)
    states = [f.review.state for f in desk.services.workspace.findings_of("1")]
    assert states == [ReviewState.REJECTED, ReviewState.REJECTED, ReviewState.ACCEPTED]
    desk.run("edit.undo")
    assert len(desk.services.workspace.findings_of("1")) == 2


def test_a_drag_of_nobody_asks_who_reads_and_is_not_lost(boxed: tuple[Desk, str]) -> None:
    desk, uid = boxed
    desk.services.workspace.reader = ""
    view = view_of(desk, Plane.AXIAL)
    drag(desk, view, at(view, 8, 28, 34), at(view, 8, 34, 42))
    dialog = desk.dialog(ReaderDialog)
    assert len(desk.services.workspace.findings_of("1")) == 1
    dialog._name.setText("Dr Bea")
    dialog.accept()
    desk.turn()
    _, mine = desk.services.workspace.findings_of("1")
    assert mine.provenance.author == Person("Dr Bea")
    np.testing.assert_allclose(corners_of(desk, mine.uid)[0][1:], (28, 34), atol=near(view))
    drag(desk, view, at(view, 8, 19, 30), at(view, 8, 19, 36))
    assert desk.services.workspace.findings[uid].review.by == "Dr Bea"


def test_another_class_takes_its_code(boxed: tuple[Desk, str]) -> None:
    desk, uid = boxed
    view = desk.window.findings.view
    view.setFocus()
    view.setCurrentRow(0)
    QTest.keyClick(view, Qt.Key.Key_F2)
    dialog = desk.dialog(FindingDialog)
    QTest.keyClick(dialog._label, Qt.Key.Key_Down)
    dialog.accept()
    desk.turn()
    finding = desk.services.workspace.findings[uid]
    assert (finding.label, finding.code.value) == ("Cyst", "2")


def test_a_box_on_a_picture_is_dragged_at_its_corner(desk: Desk) -> None:
    desk.services.workspace.reader = "Dr Ada"
    volume = desk.services.viewing.volume
    assert volume is not None
    flat = replace(desk.phantom, shape=(1, 40, 48)).volume()
    flat = replace(flat, uid="flat", series_uid=volume.series_uid, instance_uids=("9.9",))
    desk.services.workspace.add_volume(flat)
    desk.services.viewing.show_volume("flat")
    provenance = Provenance(made.MODEL, utc_now(), "job", ("flat",))
    box = PictureBox((10, 12, 20, 26), 0, "9.9")
    one = Finding("Mass", Code("1", "99TEST", "Mass"), provenance, picture_box=box)
    job = InferenceJob("finder", "1.0", (JobInput("flat"),), "1", uid="job")
    (uid,) = desk.services.review.propose(InferenceResult("job", (), (one,)), job)
    desk.run("tool.box")
    view = next(v for v in desk.window.grid.findChildren(SliceView) if v.isVisible())
    view.refresh()
    drag(desk, view, at(view, 0.5, 20, 26), at(view, 0.5, 25, 33))
    now = desk.services.workspace.findings[uid].picture_box
    assert now is not None
    assert now.box_px[:2] == (10, 12)
    np.testing.assert_allclose(now.box_px[2:], (25, 33), atol=near(view))
    assert now.sop_instance_uid == "9.9"
