"""Menus, toolbar and keys, made from the command registry."""

from __future__ import annotations

from PyQt6.QtCore import QEvent, QObject, QSize, Qt
from PyQt6.QtGui import QAction, QKeyEvent, QKeySequence
from PyQt6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QMainWindow,
    QMenu,
    QTabBar,
    QToolBar,
    QWidget,
)

from medview.core.events import FrameChanged, SettingChanged
from medview.core.maps import MapKind
from medview.services.bundle import Services
from medview.services.commands import Command
from medview.services.settings import KEY_GROUP
from medview.services.toolbox import ToolKind
from medview.ui import icons
from medview.ui.bridge import Bridge, Changes
from medview.ui.menus import ICONS, MENUS, QUESTIONS, TOOLBAR, Entries, listed
from medview.ui.text import menu_text

_ELLIPSIS = " …"

_SIMPLE_KEYS = (
    Qt.Key.Key_Up,
    Qt.Key.Key_Down,
    Qt.Key.Key_Left,
    Qt.Key.Key_Right,
    Qt.Key.Key_Home,
    Qt.Key.Key_End,
    Qt.Key.Key_PageUp,
    Qt.Key.Key_PageDown,
)
_PRESS_KEYS = (Qt.Key.Key_Space, Qt.Key.Key_Return, Qt.Key.Key_Enter)


class Actions(QObject):
    """One QAction for each command. Undo and redo are worded by the history."""

    def __init__(self, services: Services, bridge: Bridge, window: QMainWindow) -> None:
        super().__init__(window)
        self._services = services
        self._bridge = bridge
        self._window = window
        self.by_id: dict[str, QAction] = {}
        for command in services.commands.list():
            self._add(command)
        self._fill_menus()
        self._fill_toolbar()
        bridge.changed.connect(self._on_changed)
        application = QApplication.instance()
        if isinstance(application, QApplication):
            application.focusChanged.connect(self._watch)
        self.refresh()

    def refresh(self) -> None:
        """Enable what is possible now, tick what is on, word what undo would do."""
        for command_id, action in self.by_id.items():
            action.setEnabled(self._services.commands.get(command_id).enabled())
        history = self._services.history
        for command_id, verb, title in (
            ("edit.undo", "Undo", history.undo_title),
            ("edit.redo", "Redo", history.redo_title),
        ):
            if command_id in self.by_id:
                words = f"{verb} {title}" if title else verb
                self.by_id[command_id].setText(menu_text(words))
                self.by_id[command_id].setToolTip(words)
        self._tick()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Let lists, buttons and fields keep the keys they live by; shortcuts come after."""
        if not isinstance(event, QKeyEvent) or not isinstance(watched, QWidget):
            return False
        if event.type() == QEvent.Type.ShortcutOverride and _keeps(watched, event):
            event.accept()
            return True
        return super().eventFilter(watched, event)

    def _watch(self, old: QWidget | None, new: QWidget | None) -> None:
        """Listen to the widget with the focus alone: a filter for all would slow everything.

        What pops up has every key anyway, and a list takes its entry by Return in a filter of its
        own, which this one would come before.
        """
        if old is not None:
            old.removeEventFilter(self)
        if new is not None and not _pops_up(new):
            new.installEventFilter(self)

    def _add(self, command: Command) -> None:
        action = QAction(menu_text(command.title), self._window)
        action.setObjectName(command.id)
        action.setStatusTip(command.help)
        action.setToolTip(command.help)
        if command.id in QUESTIONS:
            action.setText(menu_text(command.title) + _ELLIPSIS)
        if command.id in ICONS:
            action.setIcon(icons.icon(self._services.paths.resources, ICONS[command.id]))
        action.triggered.connect(lambda _on, name=command.id: self._bridge.start(name))
        self.by_id[command.id] = action
        self._set_key(command)
        self._window.addAction(action)

    def _set_key(self, command: Command) -> None:
        """Keys of panels and views are theirs; here they are only written beside the entry."""
        keys = self._services.commands.shortcut_of(command.id)
        action = self.by_id[command.id]
        action.setToolTip(f"{command.title}: {command.help}" + (f" ({keys})" if keys else ""))
        if command.context == "window":
            action.setShortcuts([QKeySequence(key) for key in keys.split(", ") if key])

    def _fill_menus(self) -> None:
        bar = self._window.menuBar()
        if bar is None:
            return
        known = {command_id for _, entries in MENUS for command_id in listed(entries)}
        keys: set[str] = set()
        for title, entries in MENUS:
            menu = bar.addMenu(_with_key(title, keys))
            if menu is None:
                continue
            menu.setToolTipsVisible(True)
            menu.aboutToShow.connect(self.refresh)
            self._fill_menu(menu, entries)
            more = [c for c in self._services.commands.list() if c.menu == title]
            for command in more:
                if command.id not in known:
                    menu.addAction(self.by_id[command.id])

    def _fill_menu(self, menu: QMenu, entries: Entries) -> None:
        for entry in entries:
            if isinstance(entry, tuple):
                sub = menu.addMenu(entry[0])
                if sub is not None:
                    sub.setToolTipsVisible(True)
                    self._fill_menu(sub, entry[1])
            elif not entry:
                menu.addSeparator()
            elif entry in self.by_id:
                menu.addAction(self.by_id[entry])

    def _fill_toolbar(self) -> None:
        bar = QToolBar("Tools", self._window)
        bar.setObjectName("toolbar")
        bar.setIconSize(QSize(20, 20))
        bar.setMovable(False)
        bar.setContextMenuPolicy(Qt.ContextMenuPolicy.PreventContextMenu)
        for command_id in TOOLBAR:
            if not command_id:
                bar.addSeparator()
            elif command_id in self.by_id:
                bar.addAction(self.by_id[command_id])
                button = bar.widgetForAction(self.by_id[command_id])
                if button is not None:
                    button.setAccessibleName(self._services.commands.get(command_id).title)
                    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._window.addToolBar(bar)
        self.toolbar = bar

    def _on_changed(self, changes: Changes) -> None:
        for event in changes.of(SettingChanged):
            if event.name.startswith(KEY_GROUP):
                command_id = event.name.removeprefix(KEY_GROUP)
                if command_id in self.by_id:
                    self._set_key(self._services.commands.get(command_id))
        if not all(isinstance(event, FrameChanged) for event in changes.events):
            self.refresh()  # frames of a playing clip change nothing that can be done

    def _tick(self) -> None:
        viewing = self._services.viewing
        on = {f"tool.{kind.value}": viewing.toolbox.tool() is kind for kind in ToolKind}
        layout = viewing.layout.name
        on |= {f"layout.{name}": layout == name for name in ("one", "mpr", "four", "volume")}
        on["view.segments"] = viewing.overlay.shown
        on["view.overlays"] = self._services.graphics.overlays_shown
        on["ai.read_first"] = self._services.first_read.is_on
        kind = self._services.results.kind
        on |= {f"ai.{one.value}": kind is one for one in MapKind}
        on["view.invert"] = viewing.volume is not None and viewing.inverted
        brush = viewing.toolbox.brush
        on |= {"brush.sphere": brush.sphere, "brush.erase_all": brush.erase_all}
        on["brush.edges"] = brush.follows_edges
        on["view.crosshair_lines"] = self._services.settings.flag("view.crosshair")
        for command_id, state in on.items():
            action = self.by_id.get(command_id)
            if action is not None:
                action.setCheckable(True)
                action.setChecked(state)


def _pops_up(widget: QWidget) -> bool:
    top = widget.window()
    return top is not None and top.windowType() is Qt.WindowType.Popup


def _keeps(widget: QWidget, event: QKeyEvent) -> bool:
    """Whether a key is the widget's own: it lives by it, and no command of its place has it."""
    plain = event.modifiers() & ~(
        Qt.KeyboardModifier.ShiftModifier | Qt.KeyboardModifier.KeypadModifier
    )
    if plain != Qt.KeyboardModifier.NoModifier or not _lives_by(widget, event.key()):
        return False
    pressed = QKeySequence(event.keyCombination())
    return not any(pressed in action.shortcuts() for action in widget.actions())


def _lives_by(widget: QWidget, key: int) -> bool:
    if isinstance(widget, QAbstractItemView):
        return key in _SIMPLE_KEYS or key in _PRESS_KEYS
    if isinstance(widget, QComboBox):
        # Letters look for an entry: a view must not be flipped by the name of an effect.
        return key in _SIMPLE_KEYS or key == Qt.Key.Key_Space or _is_letter(key)
    if isinstance(widget, QAbstractSpinBox | QAbstractSlider | QTabBar):
        return key in _SIMPLE_KEYS
    return isinstance(widget, QAbstractButton) and key in _PRESS_KEYS


def _is_letter(key: int) -> bool:
    """Whether a key writes a letter, a digit or a sign."""
    return Qt.Key.Key_Space < key <= Qt.Key.Key_ydiaeresis


def _with_key(title: str, taken: set[str]) -> str:
    """A title of the menu bar with the first letter for Alt that no other has."""
    for place, letter in enumerate(title.casefold()):
        if letter not in taken:
            taken.add(letter)
            return f"{title[:place]}&{title[place:]}"
    return title
