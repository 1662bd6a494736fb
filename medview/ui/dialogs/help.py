"""Help: pages of resources/help, and the keys as they are set now."""

from __future__ import annotations

import re
from pathlib import Path

from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import (
    QListWidget,
    QListWidgetItem,
    QSplitter,
    QTextBrowser,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from medview.services.commands import Registry
from medview.ui.dialogs.frame import Dialog

#: Where a shortcut holds, in words.
CONTEXTS = {
    "window": "anywhere",
    "findings": "list of findings",
    "segments": "list of segments",
}


class KeysDialog(Dialog):
    """Every command with its key and what it does, by menu."""

    def __init__(self, registry: Registry, parent: QWidget | None = None) -> None:
        super().__init__("Keys and commands", parent, size=(980, 660))
        tree = QTreeWidget(self)
        tree.setHeaderLabels(["Command", "Key", "Where", "What it does"])
        tree.setAccessibleName("Keys and commands")
        groups: dict[str, QTreeWidgetItem] = {}
        for command in registry.list():
            name = command.menu.split("/")[0] or "Other"
            if name not in groups:
                groups[name] = QTreeWidgetItem([name])
                tree.addTopLevelItem(groups[name])
            where = CONTEXTS.get(command.context, command.context)
            row = [command.title, registry.shortcut_of(command.id), where, command.help]
            item = QTreeWidgetItem(row)
            item.setToolTip(3, command.help)
            groups[name].addChild(item)
        tree.expandAll()
        for column, width in enumerate((250, 130, 130)):
            tree.setColumnWidth(column, width)
        self.body.addWidget(tree, 1)


class HelpDialog(Dialog):
    """The reader's manual: one page for each task, with the keys as they are set now."""

    def __init__(self, registry: Registry, resources: Path, parent: QWidget | None = None) -> None:
        super().__init__("Help", parent, size=(860, 640))
        self._pages = QListWidget(self)
        self._pages.setAccessibleName("Pages")
        self._text = QTextBrowser(self)
        self._text.setOpenLinks(False)
        self._text.setAccessibleName("Page")
        for file in sorted((resources / "help").glob("*.md")):
            text = with_keys(file.read_text(encoding="utf-8"), registry)
            item = QListWidgetItem(text.splitlines()[0].lstrip("# "))
            item.setData(Qt.ItemDataRole.UserRole, text)
            self._pages.addItem(item)
        split = QSplitter(Qt.Orientation.Horizontal, self)
        split.addWidget(self._pages)
        right = QWidget(split)
        column = QVBoxLayout(right)
        column.setContentsMargins(6, 0, 0, 0)
        column.addWidget(self._text)
        split.addWidget(right)
        split.setSizes([220, 620])
        self.body.addWidget(split, 1)
        self._pages.currentItemChanged.connect(self._turn_to)
        self._pages.setCurrentRow(0)

    def _turn_to(self, item: QListWidgetItem | None) -> None:
        if item is not None:
            # Pages are the program's own text; data never comes here.
            self._text.setMarkdown(str(item.data(Qt.ItemDataRole.UserRole)))


def with_keys(text: str, registry: Registry) -> str:
    """A page with `{key:noun.verb}` replaced by that command's key, or its title if it has none.

    CommandError for a command that does not exist.
    """

    def key(found: re.Match[str]) -> str:
        command_id = found.group(1)
        return f"**{registry.shortcut_of(command_id) or registry.get(command_id).title}**"

    return re.sub(r"\{key:([a-z0-9_.]+)\}", key, text)
