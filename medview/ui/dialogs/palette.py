"""Command palette: every command by name, a few letters away."""

from __future__ import annotations

from PyQt6.QtCore import QEvent, QObject, Qt
from PyQt6.QtGui import QKeyEvent
from PyQt6.QtWidgets import QDialog, QLineEdit, QTreeWidget, QTreeWidgetItem, QVBoxLayout, QWidget

from medview.services.commands import Command, Registry
from medview.ui.bridge import Bridge


class PaletteDialog(QDialog):
    """A line to type in and the commands that match; Enter runs the chosen one."""

    def __init__(self, registry: Registry, bridge: Bridge, parent: QWidget | None = None) -> None:
        super().__init__(parent, Qt.WindowType.Popup)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("Commands")
        self._registry = registry
        self._bridge = bridge
        self._line = QLineEdit(self)
        self._line.setPlaceholderText("Type a few letters of a command")
        self._line.setAccessibleName("Search commands")
        self._line.textChanged.connect(self._fill)
        self._line.installEventFilter(self)
        self._tree = QTreeWidget(self)
        self._tree.setHeaderHidden(True)
        self._tree.setColumnCount(2)
        self._tree.setRootIsDecorated(False)
        self._tree.setAccessibleName("Matching commands")
        self._tree.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._tree.itemClicked.connect(self._run)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 8, 8, 8)
        column.addWidget(self._line)
        column.addWidget(self._tree)
        self.resize(520, 400)
        if parent is not None:
            corner = parent.mapToGlobal(parent.rect().topLeft())
            self.move(corner.x() + (parent.width() - self.width()) // 2, corner.y() + 60)
        self._fill("")
        # What pops up is never the active window: it has to say who hears the keys.
        self._line.setFocus()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Arrows move in the list, Enter runs."""
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            if event.key() in (Qt.Key.Key_Down, Qt.Key.Key_Up):
                self._step(1 if event.key() == Qt.Key.Key_Down else -1)
                return True
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                self._run(self._tree.currentItem())
                return True
        return super().eventFilter(watched, event)

    def _step(self, by: int) -> None:
        row = self._tree.indexOfTopLevelItem(self._tree.currentItem()) + by
        item = self._tree.topLevelItem(min(max(row, 0), self._tree.topLevelItemCount() - 1))
        if item is not None:
            self._tree.setCurrentItem(item)

    def _fill(self, text: str) -> None:
        self._tree.clear()
        found = [(_rank(text.casefold(), command), command) for command in self._registry.list()]
        for _, command in sorted(
            ((rank, command) for rank, command in found if rank is not None),
            key=lambda pair: (pair[0], pair[1].title),
        ):
            item = QTreeWidgetItem([command.title, self._registry.shortcut_of(command.id)])
            item.setToolTip(0, command.help)
            item.setData(0, Qt.ItemDataRole.UserRole, command.id)
            item.setDisabled(not command.enabled())
            self._tree.addTopLevelItem(item)
        self._tree.setColumnWidth(0, 370)
        self._tree.setCurrentItem(self._tree.topLevelItem(0))

    def _run(self, item: QTreeWidgetItem | None, _column: int = 0) -> None:
        if item is None or item.isDisabled():
            return
        command_id = str(item.data(0, Qt.ItemDataRole.UserRole))
        self.close()
        self._bridge.start(command_id)


def _rank(text: str, command: Command) -> int | None:
    """How well a command matches what was typed; smaller is better, None not at all."""
    title, everything = command.title.casefold(), f"{command.title} {command.id}".casefold()
    if title.startswith(text):
        return 0
    if text in everything:
        return 1
    return 2 if all(word in everything for word in text.split()) else None
