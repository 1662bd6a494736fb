"""What an object that is no picture says, to be read and copied."""

from __future__ import annotations

from PyQt6.QtCore import Qt
from PyQt6.QtGui import QGuiApplication
from PyQt6.QtWidgets import QHeaderView, QTreeWidget, QTreeWidgetItem, QWidget

from medview.core.outline import Line, Outline
from medview.core.study import Series
from medview.ui.dialogs.frame import Dialog
from medview.ui.text import label, shown, tip

_OPEN_LEVELS = 2


class OutlineDialog(Dialog):
    """The lines of an outline as a tree of plain text."""

    def __init__(self, series: Series, outline: Outline, parent: QWidget | None = None) -> None:
        super().__init__(shown(series.description) or outline.title, parent, size=(820, 640))
        self._outline = outline
        words = outline.title if series.kind.is_shown else f"Not an image: {outline.title.lower()}"
        self.body.addWidget(label(words, "muted"))
        tree = QTreeWidget(self)
        tree.setHeaderLabels(["What", "Content"])
        tree.setAccessibleName(outline.title)
        tree.setWordWrap(True)
        tree.setUniformRowHeights(False)
        _fill(tree, outline.lines)
        tree.expandToDepth(_OPEN_LEVELS)
        header = tree.header()
        if header is not None:
            header.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        tree.setColumnWidth(0, 360)
        self.body.addWidget(tree, 1)
        copy = self.buttons.addButton("Copy", self.buttons.ButtonRole.ActionRole)
        if copy is not None:
            copy.setAutoDefault(False)
            copy.clicked.connect(self._copy)

    def _copy(self) -> None:
        clipboard = QGuiApplication.clipboard()
        if clipboard is not None:
            clipboard.setText("\n".join(_plain(line) for line in self._outline.lines))


def _fill(tree: QTreeWidget, lines: tuple[Line, ...]) -> None:
    """Each line below the last one that stands less deep."""
    above: list[tuple[int, QTreeWidgetItem]] = []
    for line in lines:
        while above and above[-1][0] >= line.depth:
            above.pop()
        item = QTreeWidgetItem([shown(line.name), shown(line.text)])
        item.setTextAlignment(0, Qt.AlignmentFlag.AlignTop)
        item.setTextAlignment(1, Qt.AlignmentFlag.AlignTop)
        if line.text:
            item.setToolTip(1, tip(shown(line.text)))
        if above:
            above[-1][1].addChild(item)
        else:
            tree.addTopLevelItem(item)
        above.append((line.depth, item))


def _plain(line: Line) -> str:
    return "  " * line.depth + (f"{line.name}: {line.text}" if line.text else line.name)
