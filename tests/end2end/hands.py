"""A reader's hands before the real window: real events at what is seen, and pictures.

Everything goes through the windows of the screen (`QTest` on `QWindow`), so that a dialog in
front, a panel behind another one or a button that is off meet these hands as they meet a reader's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from PyQt6.QtCore import QMimeData, QPoint, QPointF, QRect, Qt, QUrl
from PyQt6.QtGui import (
    QAction,
    QDragEnterEvent,
    QDropEvent,
    QGuiApplication,
    QKeySequence,
    QWheelEvent,
    QWindow,
)
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QApplication,
    QLabel,
    QMainWindow,
    QMenu,
    QMenuBar,
    QScrollArea,
    QTabBar,
    QWidget,
)

_LEFT = Qt.MouseButton.LeftButton
_NONE = Qt.KeyboardModifier.NoModifier


class Hands:
    """What a reader does to a window, one gesture after the other; `gestures` counts them.

    `settle` waits until nothing is at work, `folder` takes the pictures.
    """

    def __init__(
        self, window: QMainWindow, folder: Path, settle: Callable[[], object], prefix: str = ""
    ) -> None:
        self._window = window
        self._folder = folder
        self._settle = settle
        self._prefix = prefix
        self._shots = 0
        self.gestures = 0

    # Waiting and looking

    def rest(self, seconds: float = 0.15) -> None:
        """Let the window live, and come to rest."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(0.005)
        self._settle()
        QApplication.processEvents()

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        """Watch the window until something is seen; AssertionError if it never is."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"never seen: {what}"
            QApplication.processEvents()
            time.sleep(0.01)

    def shot(self, name: str) -> Path:
        """The whole screen as a picture, numbered in the order they were taken."""
        self.rest()
        self._shots += 1
        path = self._folder / f"{self._prefix}{self._shots:02}_{name}.png"
        screen = self._window.screen()
        assert screen is not None
        # Every top window on its place: the screen itself is not grabbed on all platforms.
        picture = screen.grabWindow(0)
        assert picture.save(str(path)), path
        return path

    # The keyboard

    def press(self, keys: str, times: int = 1) -> None:
        """Press a key with its modifiers, as it is written in menus."""
        for _ in range(times):
            chord = QKeySequence(keys)[0]
            QTest.keyClick(self._front(), chord.key(), chord.keyboardModifiers())
            self.gestures += 1
            QApplication.processEvents()

    def write(self, text: str) -> None:
        """Type words into what has the keyboard; one gesture."""
        for letter in text:
            QTest.keyClick(self._front(), letter)
        self.gestures += 1
        QApplication.processEvents()

    def tab_to(self, name: str, *, back: bool = False, most: int = 90) -> None:
        """Press Tab until the thing of this name has the keyboard."""
        for _ in range(most):
            focus = QApplication.focusWidget()
            if focus is not None and _is_called(focus, name):
                return
            self.press("Shift+Tab" if back else "Tab")
        raise AssertionError(f"{name} is not reached by Tab from {QApplication.focusWidget()}")

    def focus(self) -> str:
        """What has the keyboard, by its name."""
        widget = QApplication.focusWidget()
        return "" if widget is None else f"{type(widget).__name__} {widget.accessibleName()}"

    # The mouse

    def click(self, name: str, *, button: Qt.MouseButton = _LEFT) -> None:
        """Click what is seen under a name: a button, a tab, a field, an entry of a list."""
        widget, spot = self.find(name)
        self.click_at(widget, spot, button=button)

    def click_row(self, view: QAbstractItemView, row: int) -> None:
        """Click an entry of a list by its number, turned into view by the wheel if it is not."""
        model = view.model()
        assert model is not None
        port = view.viewport()
        assert port is not None
        for _ in range(100):
            area = view.visualRect(model.index(row, 0))
            if port.rect().contains(area.center()):
                self.click_at(view, port.mapTo(view, area.center()))
                return
            self.wheel(view, 1 if area.center().y() > port.rect().bottom() else -1)
            self.rest()
        raise AssertionError(f"entry {row} of {_called(view)} does not come into view")

    def scroll_to(self, widget: QWidget) -> None:
        """Turn the wheel over what a widget lies in until all of it is seen."""
        inside: QWidget | None = widget
        while inside is not None and not isinstance(inside, QScrollArea):
            inside = inside.parentWidget()
        assert inside is not None, f"{_called(widget)} lies in nothing that turns"
        port = inside.viewport()
        assert port is not None
        bar = inside.verticalScrollBar()
        assert bar is not None
        for _ in range(100):
            area = QRect(widget.mapTo(port, QPoint()), widget.size())
            is_seen = area.bottom() <= port.rect().bottom() or area.height() > port.height()
            if is_seen and area.top() >= 0:
                return
            before = bar.value()
            # Over the bar, where no field or choice below the pointer takes the turn.
            self.wheel(bar, 1 if area.top() >= 0 else -1)
            self.rest()
            if bar.value() == before:
                return
        raise AssertionError(f"{_called(widget)} does not come into view")

    def double_click(self, name: str) -> None:
        """Double click what is seen under a name."""
        widget, spot = self.find(name)
        window, place = self._on_screen(widget, spot)
        QTest.mouseClick(window, _LEFT, _NONE, place)
        QTest.mouseDClick(window, _LEFT, _NONE, place)
        self.gestures += 1
        QApplication.processEvents()

    def click_at(
        self, widget: QWidget, spot: QPoint, *, button: Qt.MouseButton = _LEFT,
        keys: Qt.KeyboardModifier = _NONE,
    ) -> None:  # fmt: skip
        """Click a place of a widget that must be seen there."""
        window, place = self._on_screen(widget, spot)
        QTest.mouseMove(window, place)
        QTest.mouseClick(window, button, keys, place)
        self.gestures += 1
        QApplication.processEvents()

    def drag(
        self, widget: QWidget, path: Sequence[QPoint], *, button: Qt.MouseButton = _LEFT
    ) -> None:
        """Press at the first place, go along the others, let go at the last."""
        window, place = self._on_screen(widget, path[0])
        QTest.mouseMove(window, place)
        QTest.mousePress(window, button, _NONE, place)
        for spot in path[1:]:
            QTest.mouseMove(window, self._in_window(widget, window, spot))
            QApplication.processEvents()
        QTest.mouseRelease(window, button, _NONE, self._in_window(widget, window, path[-1]))
        self.gestures += 1
        QApplication.processEvents()

    def wheel(self, widget: QWidget, notches: int) -> None:
        """Turn the wheel over the middle of a widget; down is positive."""
        window, place = self._on_screen(widget, widget.rect().center())
        for _ in range(abs(notches)):
            event = QWheelEvent(
                QPointF(place), QPointF(window.mapToGlobal(place)), QPoint(),
                QPoint(0, -120 if notches > 0 else 120), Qt.MouseButton.NoButton, _NONE,
                Qt.ScrollPhase.NoScrollPhase, False,
            )  # fmt: skip
            QApplication.sendEvent(window, event)
            QApplication.processEvents()
        self.gestures += 1

    def menu(self, *titles: str) -> None:
        """Open a menu of the bar by the mouse and click through to an entry."""
        bar = self._window.menuBar()
        assert bar is not None
        self._open(bar, titles[0])
        for title in titles[1:]:
            popup = QApplication.activePopupWidget()
            assert isinstance(popup, QMenu), f"no menu is open for {title}"
            action = _entry(popup, title)
            assert action.isEnabled(), f"{title} is off"
            self.click_at(popup, popup.actionGeometry(action).center())

    def _open(self, bar: QMenuBar, title: str) -> None:
        for action in bar.actions():
            if _plain(action.text()) == title:
                self.click_at(bar, bar.actionGeometry(action).center())
                return
        raise AssertionError(f"there is no menu {title}")

    def drop(self, *paths: Path) -> None:
        """Drop files and folders on the middle of the window."""
        mime = QMimeData()
        mime.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
        place = self._window.rect().center()
        actions, buttons = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton
        entered = QDragEnterEvent(place, actions, mime, buttons, _NONE)
        QApplication.sendEvent(self._window, entered)
        assert entered.isAccepted(), "the window takes nothing"
        QApplication.sendEvent(
            self._window, QDropEvent(QPointF(place), actions, mime, buttons, _NONE)
        )
        self.gestures += 1

    # Finding what is seen

    def find(self, name: str) -> tuple[QWidget, QPoint]:
        """The widget seen under a name and the place to click it; AssertionError if none is."""
        for top in self._tops():
            for widget in (top, *top.findChildren(QWidget)):
                if widget.isVisible() and (spot := _spot(widget, name)) is not None:
                    return widget, spot
        raise AssertionError(f"nothing is seen under the name {name}: {self.names()}")

    def sees(self, name: str) -> bool:
        """Whether something of this name, or a label with these words, is seen."""
        for top in self._tops():
            for widget in (top, *top.findChildren(QWidget)):
                if not widget.isVisible() or widget.visibleRegion().isEmpty():
                    continue
                if _spot(widget, name) is not None:
                    return True
                if isinstance(widget, QLabel) and name in widget.text():
                    return True
        return False

    def names(self) -> list[str]:
        """The names of everything that can be clicked now."""
        return sorted({name for top in self._tops() for name in _names(top)})

    def _tops(self) -> list[QWidget]:
        """What is in front first: an open menu, a dialog, the window."""
        popup, modal = QApplication.activePopupWidget(), QApplication.activeModalWidget()
        if popup is not None:
            return [popup]
        if modal is not None:
            return [modal]
        dialogs = [
            one for one in QApplication.topLevelWidgets()
            if one.isVisible() and one is not self._window and one.isWindow()
        ]  # fmt: skip
        return [*dialogs, self._window]

    def _front(self) -> QWindow:
        """The window that has the keyboard; what pops up gets its keys from there."""
        top = QApplication.activeModalWidget() or QApplication.activeWindow() or self._window
        handle = top.windowHandle()
        assert handle is not None
        pops_up = QApplication.activePopupWidget() is not None
        if not pops_up and QGuiApplication.focusWindow() is not handle:

            def has_keys() -> bool:
                # What a window manager does when a window opens or closes, and does again: a
                # window that is not on the screen yet cannot be given the keyboard.
                top.activateWindow()
                QApplication.processEvents()
                return QGuiApplication.focusWindow() is handle

            self.wait(has_keys, f"keys in {_called(top)}")
        return handle

    def _on_screen(self, widget: QWidget, spot: QPoint) -> tuple[QWindow, QPoint]:
        """The window of a widget and the place in it, which must not be covered by another."""
        place = widget.mapToGlobal(spot)
        at = QApplication.widgetAt(place)
        assert at is not None, f"{_called(widget)} is not on the screen at {spot}"
        near = at is widget or widget.isAncestorOf(at) or at.isAncestorOf(widget)
        assert near, f"{_called(widget)} is covered by {_called(at)}"
        handle = widget.window().windowHandle()
        assert handle is not None
        return handle, handle.mapFromGlobal(place)

    @staticmethod
    def _in_window(widget: QWidget, window: QWindow, spot: QPoint) -> QPoint:
        return window.mapFromGlobal(widget.mapToGlobal(spot))


def _plain(text: str) -> str:
    """A title as it is read: no mark for its key, no dots."""
    return text.replace("&", "").removesuffix(" …").strip()


def _entry(menu: QMenu, title: str) -> QAction:
    for action in menu.actions():
        if _plain(action.text()) == title:
            return action
    raise AssertionError(f"{title} is not in {[_plain(a.text()) for a in menu.actions()]}")


def _is_called(widget: QWidget, name: str) -> bool:
    if widget.accessibleName() == name:
        return True
    return isinstance(widget, QAbstractButton) and _plain(widget.text()) == name


def _spot(widget: QWidget, name: str) -> QPoint | None:
    """Where to click a widget to mean this name."""
    if isinstance(widget, QTabBar):
        for number in range(widget.count()):
            if _plain(widget.tabText(number)) == name:
                return widget.tabRect(number).center()
        return None
    if isinstance(widget, QMenu):
        found = [a for a in widget.actions() if _plain(a.text()) == name]
        return widget.actionGeometry(found[0]).center() if found else None
    if isinstance(widget, QAbstractItemView):
        area = _row(widget, name)
        if area is not None:
            return widget.viewport().mapTo(widget, area.center())
    if _is_called(widget, name) and not widget.visibleRegion().isEmpty():
        return _middle(widget)
    return None


def _middle(widget: QWidget) -> QPoint:
    """The middle of what is seen of a widget; a box to tick is ticked at its left."""
    seen = widget.visibleRegion().boundingRect()
    if isinstance(widget, QAbstractButton) and widget.isCheckable() and widget.text():
        return QPoint(min(seen.left() + 8, seen.right()), seen.center().y())
    return seen.center()


def _row(view: QAbstractItemView, name: str) -> QRect | None:
    """The entry of a list or tree whose words are, or begin with, a name."""
    model = view.model()
    if model is None:
        return None
    stack = [model.index(row, 0) for row in range(model.rowCount())]
    while stack:
        index = stack.pop(0)
        words = str(index.data(Qt.ItemDataRole.DisplayRole) or "")
        told = str(index.data(Qt.ItemDataRole.AccessibleTextRole) or "")
        if words == name or told.startswith(name) or words.startswith(name):
            area = view.visualRect(index)
            return area if area.isValid() and view.viewport().rect().intersects(area) else None
        stack += [model.index(row, 0, index) for row in range(model.rowCount(index))]
    return None


def _names(top: QWidget) -> Iterator[str]:
    for widget in top.findChildren(QWidget):
        if not widget.isVisible() or widget.visibleRegion().isEmpty():
            continue
        if widget.accessibleName():
            yield widget.accessibleName()
        elif isinstance(widget, QAbstractButton) and widget.text():
            yield _plain(widget.text())


def _called(widget: QWidget) -> str:
    return widget.accessibleName() or widget.objectName() or type(widget).__name__
