"""Walking the findings: a study is decided by keys alone, and each is shown as it should be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PyQt6.QtCore import Qt
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import QApplication, QInputDialog

from medview.core.codes import HOUNSFIELD, Code
from medview.core.findings import Finding, Provenance, ReviewState, utc_now
from medview.core.jobs import InferenceJob, InferenceResult, JobInput
from medview.core.views import Plane
from medview.ui.dialogs.finding import FindingDialog
from medview.ui.slice_view import SliceView
from tests.gui.conftest import Desk
from tests.helpers import desk as made

Corner = tuple[float, float, float]


def press(
    desk: Desk, key: Qt.Key, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier
) -> None:
    """A key, to whoever has the keyboard; without a window manager it is given back by hand."""
    if QApplication.activeWindow() is None:
        desk.window.activateWindow()
        desk.wait(lambda: QApplication.activeWindow() is not None)
    target = QApplication.focusWidget() or QApplication.activeWindow()
    assert target is not None
    QTest.keyClick(target, key, modifier)
    desk.turn()


def propose_boxes(desk: Desk, labels: list[str]) -> tuple[list[str], list[Corner]]:
    """A box of 3 x 3 x 2 voxels for each label, all at places of their own, and their middles."""
    volume = desk.services.viewing.volume
    assert volume is not None
    geometry = volume.geometry
    rng = np.random.default_rng(7)
    findings, middles = [], []
    for label in labels:
        low = np.array([rng.integers(1, n - 4) for n in geometry.shape], float)
        size = np.array([2.0, 3.0, 3.0])
        corners = [geometry.to_lps_mm(low - 0.5), geometry.to_lps_mm(low + size - 0.5)]
        box = tuple(tuple(float(x) for x in corner) for corner in corners)
        provenance = Provenance(made.MODEL, utc_now(), "job", (volume.uid,))
        findings.append(
            Finding(label, Code("1", "99TEST", "thing"), provenance, box_lps_mm=box)  # type: ignore[arg-type]
        )
        x, y, z = (float(value) for value in np.mean(corners, axis=0))
        middles.append((x, y, z))
    job = InferenceJob("finder", "1.0", (JobInput(volume.uid),), "1", uid="job")
    uids = desk.services.review.propose(InferenceResult("job", (), tuple(findings)), job)
    desk.turn()
    return list(uids), middles


@pytest.fixture
def ct(desk: Desk) -> Desk:
    """The image in Hounsfield units."""
    volume = desk.services.viewing.volume
    assert volume is not None
    desk.services.workspace.add_volume(replace(volume, unit=HOUNSFIELD.value))
    desk.turn()
    return desk


def test_twenty_findings_are_decided_without_the_mouse(ct: Desk) -> None:
    labels = [f"{('Lung', 'Liver')[n % 2]} thing {n + 1}" for n in range(20)]
    uids, _ = propose_boxes(ct, labels)
    workspace = ct.services.workspace
    for number, uid in enumerate(uids):
        press(ct, Qt.Key.Key_N)
        assert ct.window.findings.selected_uid == uid
        if number % 4 == 0:
            press(ct, Qt.Key.Key_Delete)
        elif number == 6:
            press(ct, Qt.Key.Key_F2)
            ct.dialog(FindingDialog)
            press(ct, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
            for letter in "CYST":
                press(ct, Qt.Key[f"Key_{letter}"])
            press(ct, Qt.Key.Key_Return)
            assert not ct.dialogs()
        elif number == 7:
            press(ct, Qt.Key.Key_Delete, Qt.KeyboardModifier.ShiftModifier)
            ct.dialog(QInputDialog)
            press(ct, Qt.Key.Key_Down)
            press(ct, Qt.Key.Key_Return)
            assert not ct.dialogs()
        else:
            press(ct, Qt.Key.Key_Return)
    findings = [workspace.findings[uid] for uid in uids]
    states = [finding.review.state for finding in findings]
    expected = [ReviewState.REJECTED if n % 4 == 0 else ReviewState.ACCEPTED for n in range(20)]
    expected[6], expected[7] = ReviewState.EDITED, ReviewState.REJECTED
    assert states == expected
    assert findings[6].label.casefold() == "cyst"
    assert findings[7].review.reason == "Wrong extent"
    assert findings[0].review.reason == ""
    report = workspace.report_of("1")
    assert report is not None
    assert len(report.findings) == states.count(ReviewState.ACCEPTED) + 1


def sees_all(view: SliceView) -> bool:
    """Whether no edge of the image is cut off."""
    port = view.port
    assert port is not None
    left, top, right, bottom = port.frame.extent_mm
    corners = [port.to_px(x, y) for x in (left, right) for y in (top, bottom)]
    return all(0 <= x <= port.width_px and 0 <= y <= port.height_px for x, y in corners)


def test_the_views_jump_in_the_right_window_and_size(ct: Desk) -> None:
    labels = ["Lung nodule", "Liver cyst", "Rib fracture", "Brain bleed", "Kidney stone"]
    windows = [(1500, -600), (150, 90), (2000, 350), (80, 40), (400, 50)]
    _, middles = propose_boxes(ct, labels)
    viewing = ct.services.viewing
    volume = viewing.volume
    assert volume is not None
    for middle, (width, center) in zip(middles, windows, strict=True):
        press(ct, Qt.Key.Key_N)
        assert (viewing.window.width, viewing.window.center) == (width, center)
        apart = np.abs(
            volume.geometry.to_index(viewing.crosshair_lps_mm) - volume.geometry.to_index(middle)
        )
        assert apart.max() <= 0.5 + 1e-6
        for view in ct.window.grid.findChildren(SliceView):
            view.refresh()
            assert sees_all(view)
    press(ct, Qt.Key.Key_N, Qt.KeyboardModifier.ShiftModifier)
    assert ct.window.findings.view.currentRow() == 3
    assert viewing.window.center == 40


def test_a_large_image_is_zoomed_to_a_small_finding_and_out_again(desk: Desk) -> None:
    volume = desk.services.viewing.volume
    assert volume is not None
    large = replace(desk.phantom, shape=(40, 160, 160)).volume()
    large = replace(large, uid="large", series_uid=volume.series_uid)
    desk.services.workspace.add_volume(large)
    desk.services.viewing.show_volume("large")
    provenance = Provenance(made.MODEL, utc_now(), "job", ("large",))
    ends = [large.geometry.to_lps_mm(at) for at in ((10, 60, 60), (14, 80, 80))]
    far = [large.geometry.to_lps_mm(at) for at in ((0, 0, 0), (39, 159, 159))]
    boxes = [tuple(tuple(float(x) for x in end) for end in pair) for pair in (ends, far)]
    findings = tuple(
        Finding(name, Code("1", "99TEST", "thing"), provenance, box_lps_mm=box)  # type: ignore[arg-type]
        for name, box in zip(("small", "whole"), boxes, strict=True)
    )
    job = InferenceJob("finder", "1.0", (JobInput("large"),), "1", uid="job")
    desk.services.review.propose(InferenceResult("job", (), findings), job)
    desk.turn()
    press(desk, Qt.Key.Key_N)
    viewing = desk.services.viewing
    assert viewing.view(Plane.AXIAL).zoom > 1.5
    views = desk.window.grid.findChildren(SliceView)
    middle = np.mean(ends, axis=0)
    for view in views:
        view.refresh()
        assert view.port is not None
        x, y = view.port.to_px(*view.port.frame.to_plane_mm(tuple(middle)))
        assert abs(x - view.port.width_px / 2) <= view.port.px_per_mm * 3
        assert abs(y - view.port.height_px / 2) <= view.port.px_per_mm * 3
    assert not all(sees_all(view) for view in views)
    press(desk, Qt.Key.Key_N)
    assert viewing.view(Plane.AXIAL).zoom == pytest.approx(1.0)
    for view in views:
        view.refresh()
        assert sees_all(view)


def test_the_reader_may_keep_window_and_zoom_and_go_on_by_itself(ct: Desk) -> None:
    uids, _ = propose_boxes(ct, ["Lung nodule", "Liver cyst", "Spleen"])
    settings = ct.services.settings
    settings.set("finding.window", value=False)
    settings.set("finding.zoom", value=False)
    settings.set("finding.advance", value=True)
    before = ct.services.viewing.window
    press(ct, Qt.Key.Key_N)
    press(ct, Qt.Key.Key_Return)
    assert ct.services.viewing.window == before
    assert ct.services.viewing.view(Plane.AXIAL).zoom == 1.0
    assert ct.window.findings.selected_uid == uids[1]
    press(ct, Qt.Key.Key_Delete)
    assert ct.window.findings.selected_uid == uids[2]
    press(ct, Qt.Key.Key_Return)
    states = [ct.services.workspace.findings[uid].review.state for uid in uids]
    assert states == [ReviewState.ACCEPTED, ReviewState.REJECTED, ReviewState.ACCEPTED]
