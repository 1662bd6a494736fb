"""The window as a whole: menus, keys, dropping, patients, faults."""

from __future__ import annotations

import itertools
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PyQt6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PyQt6.QtGui import QDragEnterEvent, QDropEvent, QKeySequence
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import (
    QApplication,
    QGraphicsView,
    QInputDialog,
    QLabel,
    QMenu,
    QMessageBox,
    QTabBar,
    QWidget,
)

from medview.core.events import Level
from medview.core.study import Patient, Problem, ProblemKind
from medview.services.commands import Command
from medview.ui import theme
from medview.ui.application import Run
from medview.ui.dialogs.crash import CrashDialog, crash_report
from medview.ui.dialogs.help import with_keys
from medview.ui.dialogs.palette import PaletteDialog
from medview.ui.menus import ICONS, MENUS, QUESTIONS, TOOLBAR, listed
from medview.ui.panels.notices import Toast
from medview.ui.slice_view import SliceView
from medview.ui.volume_view import VolumeView
from tests.gui.conftest import JANE, JOHN, Desk

HOSTILE = '<img src="file:///etc/passwd"><b>x</b>\u202egnp.exe' + "W" * 3000


def pixels(widget: Any) -> np.ndarray[Any, Any]:
    image = widget.grab().toImage().convertToFormat(widget.grab().toImage().Format.Format_RGB32)
    data = image.constBits()
    data.setsize(image.sizeInBytes())
    return np.frombuffer(data, np.uint8).reshape(image.height(), image.width(), 4)[..., :3].copy()


def menu_actions(menu: QMenu) -> list[Any]:
    found = []
    for action in menu.actions():
        if action.menu() is not None:
            found += menu_actions(action.menu())
        elif not action.isSeparator():
            found.append(action)
    return found


def all_menu_actions(desk: Desk) -> list[Any]:
    bar = desk.window.menuBar()
    return [action for top in bar.actions() for action in menu_actions(top.menu())]


def test_nothing_open_shows_what_to_do(empty_desk: Desk) -> None:
    grid = empty_desk.window.grid
    words = [label.text() for label in grid.findChildren(QLabel) if label.isVisible()]
    assert any("Drop a folder" in text for text in words)
    assert any("Not for clinical use" in text for text in words)
    assert not [view for view in grid.views.values() if view.isVisible()]


def test_an_open_study_fills_the_views(desk: Desk) -> None:
    views = [view for view in desk.window.grid.views.values() if view.isVisible()]
    assert {view.plane.value for view in views} == {"axial", "coronal", "sagittal"}
    for view in views:
        assert pixels(view).std() > 5
    assert "Doe" in desk.window.windowTitle().title()


def test_layouts_show_the_views_they_name(desk: Desk) -> None:
    for name, count in (("one", 1), ("mpr", 3), ("four", 4), ("volume", 1), ("four", 4)):
        desk.run("layout.set", name=name)
        views = [view for view in desk.window.grid.views.values() if view.isVisible()]
        assert len(views) == count, name
        assert all(view.width() > 100 and view.height() > 100 for view in views), name
    assert any(isinstance(view, VolumeView) for view in views)


def test_maximising_the_3d_view_and_back(desk: Desk) -> None:
    desk.run("layout.set", name="four")
    volume_view = desk.window.grid.volume_view
    assert volume_view is not None
    volume_view.maximise.emit()
    desk.turn()
    assert desk.services.viewing.layout.name == "volume"
    volume_view.maximise.emit()
    desk.turn()
    assert desk.services.viewing.layout.name == "four"


def test_every_command_has_help_and_a_place(desk: Desk) -> None:
    commands = desk.services.commands
    assert commands.clashes() == ()
    in_menus = [action.objectName() for action in all_menu_actions(desk)]
    assert len(in_menus) == len(set(in_menus))
    for command in commands.list():
        assert len(command.help) > 8, command.id
        assert bool(command.menu) == (command.id in in_menus), command.id


def test_menus_name_commands_that_exist(desk: Desk) -> None:
    known = {command.id for command in desk.services.commands.list()}
    named = {command_id for _, entries in MENUS for command_id in listed(entries)}
    assert named | {one for one in TOOLBAR if one} | set(ICONS) <= known
    assert set(desk.window.bridge.asks) >= QUESTIONS
    for name in set(ICONS.values()):
        assert (desk.services.paths.resources / "icons" / f"{name}.svg").is_file()


def test_keys_of_the_window_do_not_clash_with_those_of_lists(desk: Desk) -> None:
    commands = desk.services.commands
    window_keys = {
        key
        for command in commands.for_context("window")
        for key in commands.shortcut_of(command.id).split(", ")
        if key
    }
    for context in {command.context for command in commands.list()} - {"window"}:
        for command in commands.for_context(context):
            assert commands.shortcut_of(command.id) not in window_keys, command.id


def test_every_key_is_one_qt_knows(desk: Desk) -> None:
    for command in desk.services.commands.list():
        for key in desk.services.commands.shortcut_of(command.id).split(", "):
            assert not key or not QKeySequence(key).isEmpty(), command.id


@pytest.mark.parametrize("with_proposal", [False, True])
def test_every_enabled_menu_entry_does_something(desk: Desk, *, with_proposal: bool) -> None:
    if with_proposal:
        desk.propose()
        desk.services.viewing.overlay.select(None)
    ids = [a.objectName() for a in all_menu_actions(desk) if a.objectName() != "app.quit"]
    ids.sort(key=lambda one: one in ("study.close", "edit.undo", "ai.run"))
    tried = 0
    for command_id in ids:
        desk.window.actions_made.refresh()
        action = desk.window.actions_made.by_id[command_id]
        if not action.isEnabled() or command_id == "ai.run":
            continue
        tried += 1
        action.trigger()
        for dialog in desk.dialogs():
            dialog.close()
    if desk.window.isFullScreen():
        desk.window.showNormal()
    assert tried > 50
    assert not [text for text in desk.told() if "wrong inside" in text]


def test_undo_is_worded_by_what_it_undoes(desk: Desk) -> None:
    actions = desk.window.actions_made
    assert actions.by_id["edit.undo"].text() == "Undo"
    assert not actions.by_id["edit.undo"].isEnabled()
    desk.propose()
    assert actions.by_id["edit.undo"].text() == "Undo AI proposal: finder"
    actions.by_id["edit.undo"].trigger()
    desk.turn()
    assert actions.by_id["edit.redo"].text() == "Redo AI proposal: finder"
    assert not desk.services.workspace.findings


def test_a_key_changed_in_settings_works_at_once(desk: Desk) -> None:
    desk.services.settings.set("key.view.invert", "Ctrl+Shift+I")
    desk.turn()
    assert desk.window.actions_made.by_id["view.invert"].shortcut().toString() == "Ctrl+Shift+I"


def test_lists_and_buttons_keep_their_keys(desk: Desk) -> None:
    before = desk.services.viewing.crosshair_lps_mm
    tree = desk.window.studies.tree
    tree.setFocus()
    desk.turn()
    QTest.keyClick(tree, Qt.Key.Key_Down)
    assert desk.services.viewing.crosshair_lps_mm == before
    view = desk.window.grid.views["axial"]
    view.setFocus()
    desk.turn()
    QTest.keyClick(view, Qt.Key.Key_Down)
    desk.turn()
    assert desk.services.viewing.crosshair_lps_mm != before


def test_palette_finds_and_runs(desk: Desk) -> None:
    desk.run("app.palette")
    palette = desk.dialog(PaletteDialog)
    assert palette.focusWidget() is palette._line, "what pops up hears the keys by this alone"
    QTest.keyClicks(palette._line, "invert")
    QTest.keyClick(palette._line, Qt.Key.Key_Return)
    desk.turn()
    assert desk.services.viewing.inverted


# Dropping


def drop(desk: Desk, mime: QMimeData) -> bool:
    copy, left, none = (
        Qt.DropAction.CopyAction,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    enter = QDragEnterEvent(QPoint(300, 300), copy, mime, left, none)
    QApplication.sendEvent(desk.window, enter)
    if enter.isAccepted():
        QApplication.sendEvent(desk.window, QDropEvent(QPointF(300, 300), copy, mime, left, none))
    desk.turn()
    return enter.isAccepted()


def test_dropped_paths_are_opened(
    empty_desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(
        empty_desk.services.loading, "open_paths", lambda paths, _password="": asked.append(paths)
    )
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(tmp_path)), QUrl.fromLocalFile(str(tmp_path / "a.zip"))])
    assert drop(empty_desk, mime)
    assert asked == [[tmp_path, tmp_path / "a.zip"]]


def test_a_link_from_the_web_is_not_welcome(empty_desk: Desk) -> None:
    mime = QMimeData()
    mime.setUrls([QUrl("https://example.org/study.zip")])
    assert not drop(empty_desk, mime)


def test_a_series_is_dragged_onto_the_views(desk: Desk) -> None:
    desk.open(JANE, uid="2")
    mime = QMimeData()
    mime.setData("application/x-medview-series", b"1.1")
    assert drop(desk, mime)
    assert desk.services.viewing.series_uid == "1.1"


# Patients


def patient_words(desk: Desk) -> list[str]:
    desk.run("layout.set", name="four")
    volume_view = desk.window.grid.volume_view
    assert volume_view is not None
    desk.turn(20)
    return [volume_view._patient.toolTip(), desk.window.windowTitle()]


def test_name_id_and_birth_date_stand_in_3d_and_title(desk: Desk) -> None:
    for words in patient_words(desk):
        assert "DOE, JANE" in words
        assert "0815" in words
        assert "1970-01-31" in words


def test_a_second_patient_stops_the_reader_once(desk: Desk) -> None:
    desk.open(JOHN, uid="2")
    box = desk.dialog(QMessageBox)
    assert "ROE, JOHN" in box.text()
    assert "DOE, JANE" in box.informativeText()
    assert box.isModal()
    box.button(QMessageBox.StandardButton.Ok).click()
    desk.turn()
    desk.run("series.show", series_uid="1.1")
    desk.wait(lambda: any("Now showing DOE, JANE" in text for text in desk.told()))
    assert not desk.dialogs()
    # A third patient is news again.
    desk.open(replace(JOHN, id="4712"), uid="3")
    assert "4712" in desk.dialog(QMessageBox).text()


def test_another_study_of_the_same_patient_is_no_news(desk: Desk) -> None:
    desk.open(JANE, uid="2")
    assert not desk.dialogs()


def test_hostile_text_is_shown_as_it_is(empty_desk: Desk) -> None:
    empty_desk.open(Patient(HOSTILE, HOSTILE, "19700131"), uid="1")
    empty_desk.services.workspace.notify(Level.WARNING, HOSTILE)
    empty_desk.turn()
    for label in empty_desk.window.findChildren(QLabel):
        if "img" in label.text():
            assert label.textFormat() is Qt.TextFormat.PlainText
            assert "\u202e" not in label.text()
        assert label.width() <= 1280
    assert empty_desk.window.width() == 1280
    tree = empty_desk.window.studies.tree
    tip = tree.topLevelItem(0).toolTip(0)
    assert "<img" not in tip
    assert "&lt;img" in tip


# Pictures, looks, faults


def test_a_screenshot_shows_the_window(desk: Desk, tmp_path: Path) -> None:
    target = tmp_path / "window.png"
    assert desk.run("view.screenshot", path=str(target)) == str(target)
    assert target.stat().st_size > 20_000
    assert pixels(desk.window).std() > 10


def test_key_image_is_the_view_as_it_looks(desk: Desk) -> None:
    desk.run("report.add_key_image", caption="The sphere")
    report = desk.services.workspace.report_of("1")
    assert report is not None
    (image,) = report.key_images
    assert image.caption == "The sphere"
    assert image.png.startswith(b"\x89PNG")
    assert image.sop_instance_uid.startswith("1.9.")
    desk.run("view.first")
    desk.run("report.show_key_image", uid=image.uid)
    assert desk.services.viewing.crosshair_lps_mm == image.point_lps_mm
    desk.run("report.remove_key_image", uid=image.uid)
    assert desk.services.workspace.reports["1"].key_images == ()


def test_the_light_look_reaches_everything(desk: Desk) -> None:
    dark = pixels(desk.window.menuBar()).mean()
    desk.services.settings.set("window.theme", "light")
    desk.turn(20)
    assert pixels(desk.window.menuBar()).mean() > dark + 100
    assert theme.colors() is theme.LIGHT


def test_panels_come_and_go_by_command(desk: Desk) -> None:
    dock = desk.window.docks["segments"]
    desk.run("window.segments")
    assert not dock.visibleRegion().isEmpty()
    desk.run("window.segments")
    assert not dock.isVisible()


@pytest.mark.expects_warnings
def test_a_fault_saves_the_work_and_names_nobody(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[bool] = []
    monkeypatch.setattr(desk.services.store, "save_now", lambda: saved.append(True))
    application = QApplication.instance()
    assert isinstance(application, QApplication)
    run = Run(desk.services, application, desk.window)
    try:
        int(JANE.name)
    except ValueError:
        run._on_fault(*sys.exc_info())  # type: ignore[arg-type]
    dialog = desk.dialog(CrashDialog)
    words = dialog._text.toPlainText()
    assert saved == [True]
    assert "ValueError" in words
    assert "test_main_window.py" in words
    assert JANE.name not in words
    assert str(Path.home()) not in words


def test_crash_report_hides_folders() -> None:
    try:
        Path("/nonexistent/DOE^JANE").read_text(encoding="utf-8")
    except OSError as error:
        words = crash_report(type(error), error, error.__traceback__)
    assert "DOE" not in words
    assert "FileNotFoundError" in words


def test_help_pages_name_real_commands(desk: Desk) -> None:
    pages = sorted((desk.services.paths.resources / "help").glob("*.md"))
    assert len(pages) >= 5
    known = {command.id for command in desk.services.commands.list()}
    nouns = {command_id.partition(".")[0] for command_id in known}
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert "{key:" not in with_keys(text, desk.services.commands)
        for noun, verb in re.findall(r"[`\"]([a-z]+)\.([a-z_0-9]+)[`\"]", text):
            assert noun not in nouns - {"window"} or f"{noun}.{verb}" in known, (
                f"{page.name}: {noun}.{verb}"
            )


def test_a_command_with_a_menu_of_its_own_is_found(empty_desk: Desk) -> None:
    """A guest's command lands at the end of the menu it names."""
    command = Command("guest.wave", "Wave", lambda: None, menu="Tools", help="Waves at you.")
    empty_desk.services.commands.add(command)
    actions = empty_desk.window.actions_made
    actions._add(command)
    assert actions.by_id["guest.wave"].text() == "Wave"


def test_slice_views_are_reused(desk: Desk) -> None:
    first = desk.window.grid.views["axial"]
    desk.run("layout.set", name="one")
    desk.run("layout.set", name="mpr")
    assert desk.window.grid.views["axial"] is first
    assert isinstance(first, SliceView)


def test_everything_that_takes_the_keyboard_has_a_name(desk: Desk) -> None:
    """A screen reader has something to say for each."""
    desk.propose()
    desk.run("layout.set", name="four")
    nameless = [
        type(widget).__name__
        for widget in desk.window.findChildren(QWidget)
        if widget.focusPolicy() & Qt.FocusPolicy.TabFocus
        and widget.isVisible()
        and not (widget.accessibleName() or getattr(widget, "text", str)())
        and not isinstance(widget, QTabBar)
        and widget.objectName() != "qt_spinbox_lineedit"
        and not widget.objectName().startswith("qt_")
        and not isinstance(widget.parent(), SliceView | QGraphicsView)
    ]
    assert not nameless


def test_reading_is_shown_while_it_lasts(empty_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    line = empty_desk.window.statusBar()._reading  # type: ignore[union-attr]
    monkeypatch.setattr(type(empty_desk.services.loading), "idle", property(lambda _: False))
    empty_desk.wait(line.isVisible)
    assert empty_desk.window.grid._welcome._busy.isVisible()
    monkeypatch.undo()
    empty_desk.wait(lambda: not line.isVisible())


def test_an_archive_with_a_password_is_asked_for(
    empty_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []
    monkeypatch.setattr(
        empty_desk.services.loading,
        "open_paths",
        lambda paths, word="": opened.append((paths, word)),
    )
    locked = Problem(Path("/cd/study.zip"), "It is locked", kind=ProblemKind.PASSWORD)
    # A word in a reason is no question.
    listed = Problem(Path("/cd/list.txt"), "This password list is no image")
    empty_desk.services.workspace.open_studies([], [listed, locked])
    empty_desk.services.workspace.notify(Level.ERROR, "Nothing readable in study.zip")
    dialog = empty_desk.dialog(QInputDialog)
    assert "study.zip" in dialog.labelText()
    dialog.setTextValue("open sesame")
    dialog.accept()
    empty_desk.turn()
    assert opened == [([Path("/cd/study.zip")], "open sesame")]


def test_notices_lie_one_above_the_other_with_all_their_words(desk: Desk) -> None:
    for n in range(6):
        desk.services.workspace.notify(
            Level.WARNING, f"Notice {n}: " + "long words " * 12, "Do it."
        )
        desk.turn()
    toasts = desk.window.toasts.findChildren(Toast)
    assert len(toasts) == 4
    boxes = [toast.geometry() for toast in toasts]
    for upper, lower in itertools.pairwise(boxes):
        assert upper.bottom() < lower.top()
    for toast in toasts:
        for words in toast.findChildren(QLabel):
            assert words.height() >= words.heightForWidth(words.width())
    toasts[0].leave()
    desk.turn()
    assert len(desk.window.toasts.findChildren(Toast)) == 3
    assert len(desk.services.workspace.notices) >= 6


def test_every_menu_of_the_bar_has_a_key_of_its_own(desk: Desk) -> None:
    bar = desk.window.menuBar()
    assert bar is not None
    keys = [action.text().partition("&")[2][:1].casefold() for action in bar.actions()]
    assert all(keys)
    assert len(set(keys)) == len(keys), keys
