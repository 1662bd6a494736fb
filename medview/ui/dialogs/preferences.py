"""Preferences: made from the table of options, so that it can never lack one."""

from __future__ import annotations

from collections.abc import Callable

from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QKeySequenceEdit,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QTabWidget,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from medview.core.errors import MedviewError
from medview.services.bundle import Services
from medview.services.settings import KEY_GROUP, OPTIONS, Option, Value
from medview.ui.dialogs.frame import Dialog, Sheet, StandardButton
from medview.ui.text import label

_GROUPS = {
    "reader": "Reader",
    "view": "Viewing",
    "segment": "Segments",
    "ai": "AI",
    "store": "Saving",
    "loading": "Reading files",
    "export": "Export",
    "window": "Window",
}
_BIG = 1_000_000


class PreferencesDialog(Dialog):
    """One tab for each group of options, and one for keys. A change holds at once."""

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__("Preferences", parent, size=(780, 580))
        self._services = services
        self._loads: list[Callable[[], None]] = []
        self._warning = label("", "bad", wrap=True)
        tabs = QTabWidget(self)
        tabs.setAccessibleName("Groups of preferences")
        groups: dict[str, list[Option]] = {}
        for option in OPTIONS.values():
            groups.setdefault(option.name.partition(".")[0], []).append(option)
        for group, options in groups.items():
            sheet = Sheet(tabs)
            for option in options:
                self._add(sheet, option)
            tabs.addTab(sheet, _GROUPS.get(group, group.capitalize()))
        tabs.addTab(KeysPage(services, self._set, tabs), "Keys")
        self.body.addWidget(tabs, 1)
        self.body.addWidget(self._warning)
        reset = self.buttons.addButton(StandardButton.RestoreDefaults)
        if reset is not None:
            reset.setAutoDefault(False)
            reset.clicked.connect(self._reset)
        for load in self._loads:
            load()

    def _add(self, sheet: Sheet, option: Option) -> None:
        widget, load = _editor(option, self._services.settings.get, self._set)
        widget.setAccessibleName(option.title or option.name)
        widget.setAccessibleDescription(option.help)
        widget.setToolTip(option.help)
        self._loads.append(load)
        sheet.add_widget(widget, option.title or option.name)
        help_text = label(option.help, "muted", wrap=True)
        help_text.setContentsMargins(0, 0, 0, 8)
        sheet.add_widget(help_text, " ")

    def _set(self, name: str, value: Value) -> None:
        try:
            self._services.settings.set(name, value)
        except MedviewError as error:
            self._warning.setText(error.user_text)
        else:
            self._warning.setText("")

    def _reset(self) -> None:
        for name in OPTIONS:
            self._services.settings.reset(name)
        for load in self._loads:
            load()


class KeysPage(QWidget):
    """All commands with their keys; a key is changed in place."""

    def __init__(
        self, services: Services, change: Callable[[str, Value], None], parent: QWidget
    ) -> None:
        super().__init__(parent)
        self._registry = services.commands
        self._change = change
        self._tree = QTreeWidget(self)
        self._tree.setHeaderLabels(["Command", "Key"])
        self._tree.setRootIsDecorated(False)
        self._tree.setColumnWidth(0, 360)
        self._tree.setAccessibleName("Commands and their keys")
        self._tree.currentItemChanged.connect(self._chosen)
        self._edit = QKeySequenceEdit(self)
        self._edit.setMaximumSequenceLength(1)
        self._edit.setClearButtonEnabled(True)
        self._edit.setAccessibleName("New key")
        self._use = QPushButton("Use this key", self)
        self._use.clicked.connect(self._apply)
        self._clash = label("", "bad", wrap=True)
        column = QVBoxLayout(self)
        column.addWidget(self._tree, 1)
        column.addWidget(self._edit)
        column.addWidget(self._use)
        column.addWidget(self._clash)
        self._fill()

    def _fill(self) -> None:
        self._tree.clear()
        for command in self._registry.list():
            item = QTreeWidgetItem([command.title, self._registry.shortcut_of(command.id)])
            item.setData(0, Qt.ItemDataRole.UserRole, command.id)
            item.setToolTip(0, command.help)
            self._tree.addTopLevelItem(item)

    def _chosen(self, item: QTreeWidgetItem | None) -> None:
        if item is not None:
            self._edit.setKeySequence(item.text(1).split(", ")[0])

    def _apply(self) -> None:
        item = self._tree.currentItem()
        if item is None:
            return
        command_id = str(item.data(0, Qt.ItemDataRole.UserRole))
        key = self._edit.keySequence().toString()
        context = self._registry.get(command_id).context
        taken = [
            other.title
            for other in self._registry.for_context(context)
            if other.id != command_id
            and key
            and key.casefold() in self._registry.shortcut_of(other.id).casefold().split(", ")
        ]
        if taken:
            self._clash.setText(f"{key} is the key of “{taken[0]}”")
            return
        self._clash.setText("")
        self._change(KEY_GROUP + command_id, key)
        item.setText(1, key)


def _editor(
    option: Option, get: Callable[[str], Value], change: Callable[[str, Value], None]
) -> tuple[QWidget, Callable[[], None]]:
    """The widget for an option, and what shows the present value in it."""
    name, default = option.name, option.default
    if isinstance(default, bool):
        box = QCheckBox("On")
        box.toggled.connect(lambda on: change(name, on))
        return box, lambda: box.setChecked(bool(get(name)))
    if option.choices:
        combo = QComboBox()
        combo.addItems(option.choices)
        combo.textActivated.connect(lambda text: change(name, text))
        return combo, lambda: combo.setCurrentText(str(get(name)))
    if isinstance(default, int):
        whole = QSpinBox()
        low, high = option.limits or (-_BIG, _BIG)
        whole.setRange(int(low), int(high))
        whole.setSuffix(f" {option.unit}" if option.unit else "")
        whole.valueChanged.connect(lambda value: change(name, value))
        return whole, lambda: whole.setValue(int(get(name)))
    if isinstance(default, float):
        number = QDoubleSpinBox()
        low, high = option.limits or (-_BIG, _BIG)
        number.setRange(low, high)
        number.setSingleStep(0.05 if high - low <= 2 else 0.5)
        number.setSuffix(f" {option.unit}" if option.unit else "")
        number.valueChanged.connect(lambda value: change(name, value))
        return number, lambda: number.setValue(float(get(name)))
    line = QLineEdit()
    line.editingFinished.connect(lambda: change(name, line.text()))
    return line, lambda: line.setText(str(get(name)))
