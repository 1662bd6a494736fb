"""Pointing at things in the window: a click, Ctrl and a click, a box, Enter and Escape."""

from __future__ import annotations

import numpy as np
from PyQt6.QtCore import QPoint, Qt
from PyQt6.QtTest import QTest

from medview.core.views import Plane
from medview.ui.slice_view import SliceView
from tests.gui.conftest import Desk

LEFT, NONE = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier


def view_of(desk: Desk, plane: Plane) -> SliceView:
    views = desk.window.grid.findChildren(SliceView)
    view = next(one for one in views if one.plane is plane and one.isVisible())
    view.refresh()
    return view


def middle(desk: Desk) -> np.ndarray:
    """The brightest region's middle: the voxel that clicks are about."""
    volume = desk.services.viewing.require_volume()
    bright = volume.voxels > (int(volume.voxels.min()) + int(np.median(volume.voxels))) / 2
    bright &= volume.voxels > np.median(volume.voxels)
    return np.argwhere(bright).mean(axis=0).round()


def shown_middle(desk: Desk) -> tuple[SliceView, np.ndarray]:
    """The axial view, on the slice of that voxel, and the voxel."""
    view, index = view_of(desk, Plane.AXIAL), middle(desk)
    place = desk.services.viewing.require_volume().geometry.to_lps_mm(index)
    desk.services.viewing.set_crosshair(tuple(place))
    view.refresh()
    return view, index


def at(view: SliceView, index: np.ndarray) -> QPoint:
    assert view.port is not None
    point = view.port.frame.geometry.to_lps_mm(index)
    x, y = view.port.to_px(*view.port.frame.to_plane_mm(point))
    return QPoint(round(x), round(y))


def held(desk: Desk) -> int:
    """How many voxels the chosen segment has."""
    ref = desk.services.viewing.overlay.active
    assert ref is not None
    labels = desk.services.workspace.segmentations[ref.segmentation_uid].labels
    return int((labels == ref.number).sum())


def click(desk: Desk, view: SliceView, place: QPoint, keys: Qt.KeyboardModifier = NONE) -> None:
    QTest.mouseClick(view._canvas.viewport(), LEFT, keys, place)
    desk.wait(lambda: desk.services.tasks.idle, 120)
    desk.turn()


def test_click_accept_and_undo(desk: Desk) -> None:
    desk.run("tool.include")
    view, index = shown_middle(desk)
    click(desk, view, at(view, index))
    assert [mark.kind for mark in desk.services.prompting.marks] == ["adds"]
    assert desk.services.effects.preview is not None
    assert held(desk) == 0
    QTest.keyClick(view, Qt.Key.Key_Return)
    desk.turn()
    assert held(desk) > 3
    assert desk.services.prompting.marks == ()
    assert desk.services.history.undo_title.startswith("Outline")
    desk.run("edit.undo")
    assert held(desk) == 0


def test_ctrl_means_not_this_and_escape_drops_all(desk: Desk) -> None:
    desk.run("tool.include")
    view, index = shown_middle(desk)
    click(desk, view, at(view, index))
    click(desk, view, at(view, index + np.array((0, 0, 3))), Qt.KeyboardModifier.ControlModifier)
    assert [mark.kind for mark in desk.services.prompting.marks] == ["adds", "takes"]
    QTest.keyClick(view, Qt.Key.Key_Escape)
    desk.turn()
    assert desk.services.prompting.marks == ()
    assert desk.services.effects.preview is None
    assert held(desk) == 0


def test_a_box_is_dragged(desk: Desk) -> None:
    desk.run("tool.frame")
    view, index = shown_middle(desk)
    target = view._canvas.viewport()
    low, high = at(view, index - np.array((0, 5, 5))), at(view, index + np.array((0, 5, 5)))
    QTest.mousePress(target, LEFT, NONE, low)
    QTest.mouseMove(target, high)
    desk.turn(2)
    QTest.mouseRelease(target, LEFT, NONE, high)
    desk.wait(lambda: desk.services.tasks.idle, 120)
    assert [mark.kind for mark in desk.services.prompting.marks] == ["box"]
    assert desk.services.effects.preview is not None
