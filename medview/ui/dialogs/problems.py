"""Problems of reading, and the notices of this session."""

from __future__ import annotations

from collections.abc import Sequence

from PyQt6.QtCore import Qt
from PyQt6.QtGui import QColor, QGuiApplication
from PyQt6.QtWidgets import QHeaderView, QLabel, QTreeWidget, QTreeWidgetItem, QWidget

from medview.core.events import Level, Notice
from medview.core.study import Problem, Severity
from medview.ui import theme
from medview.ui.dialogs.frame import Dialog
from medview.ui.text import label, shown, tip

#: So many files are listed under one row.
_MOST_FILES = 200


class _Words(QLabel):
    """The whole text of the chosen row, for what the columns cut off; can be copied."""

    def __init__(self, tree: QTreeWidget) -> None:
        super().__init__()
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setWordWrap(True)
        self.setMinimumHeight(3 * self.fontMetrics().lineSpacing())
        self.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        tree.currentItemChanged.connect(self._show)
        tree.setCurrentItem(tree.topLevelItem(0))

    def _show(self, item: QTreeWidgetItem | None) -> None:
        if item is None:
            self.setText("")
            return
        parent = item.parent() or item
        place = item.data(0, Qt.ItemDataRole.UserRole) or item.text(0)
        texts = [place, *(parent.text(column) for column in range(1, parent.columnCount()))]
        self.setText("\n".join(text for text in texts if text))


class ProblemsDialog(Dialog):
    """What could not be read, why, and what to do about it. The list can be copied as text.

    Files with the same trouble stand together under one row; what was refused comes first.
    """

    def __init__(self, problems: Sequence[Problem], parent: QWidget | None = None) -> None:
        super().__init__("Reading problems", parent, size=(1060, 600))
        groups = _grouped(problems)
        self._text = as_text(groups)
        self.body.addWidget(label(_summary(problems), "muted", wrap=True))
        tree = QTreeWidget(self)
        tree.setHeaderLabels(["File", "What is wrong", "What to do"])
        tree.setAccessibleName("Reading problems")
        tree.setWordWrap(True)
        tree.setUniformRowHeights(False)
        for group in groups:
            tree.addTopLevelItem(_row(group))
        header = tree.header()
        if header is not None:
            header.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        tree.setColumnWidth(0, 270)
        tree.setColumnWidth(2, 290)
        if len(groups) == 1:
            tree.expandAll()
        self.body.addWidget(tree, 1)
        self.body.addWidget(_Words(tree))
        copy = self.buttons.addButton("Copy as text", self.buttons.ButtonRole.ActionRole)
        if copy is not None:
            copy.setAutoDefault(False)
            copy.setEnabled(bool(problems))
            copy.clicked.connect(self._copy)

    def _copy(self) -> None:
        clipboard = QGuiApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(self._text)


def _grouped(problems: Sequence[Problem]) -> list[list[Problem]]:
    """Problems that say the same of different files together, refusals first."""
    groups: dict[tuple[str, str, str], list[Problem]] = {}
    for problem in dict.fromkeys(problems):
        groups.setdefault((problem.severity, problem.reason, problem.hint), []).append(problem)
    return sorted(groups.values(), key=lambda group: group[0].severity is not Severity.REFUSED)


def _summary(problems: Sequence[Problem]) -> str:
    if not problems:
        return "All files were read without trouble."
    refused = {one.path for one in problems if one.severity is Severity.REFUSED}
    doubtful = {one.path for one in problems} - refused
    told = []
    if refused:
        told.append(f"{_files(len(refused))} could not be read, wholly or in part.")
    if doubtful:
        verb = "was" if len(doubtful) == 1 else "were"
        told.append(f"{_files(len(doubtful))} {verb} read, but something is odd about them.")
    return " ".join((*told, "All other files are not affected."))


def _files(count: int) -> str:
    return "One file" if count == 1 else f"{count:,} files"


def _row(group: Sequence[Problem]) -> QTreeWidgetItem:
    """A row for a trouble; its files below it where there are several."""
    first = group[0]
    name = shown(first.path.name) if len(group) == 1 else _files(len(group))
    item = QTreeWidgetItem([name, shown(first.reason), shown(first.hint)])
    scheme = theme.colors()
    refused = first.severity is Severity.REFUSED
    item.setForeground(1, QColor(scheme.bad if refused else scheme.caution))
    item.setData(0, Qt.ItemDataRole.UserRole, shown(str(first.path)) if len(group) == 1 else "")
    item.setToolTip(0, tip(shown(str(first.path))))
    item.setToolTip(1, tip(shown(first.reason)))
    item.setToolTip(2, tip(shown(first.hint)))
    if len(group) > 1:
        for problem in group[:_MOST_FILES]:
            child = QTreeWidgetItem([shown(problem.path.name)])
            child.setData(0, Qt.ItemDataRole.UserRole, shown(str(problem.path)))
            child.setToolTip(0, tip(shown(str(problem.path))))
            item.addChild(child)
        if len(group) > _MOST_FILES:
            more = f"and {len(group) - _MOST_FILES:,} more; copy the list to see all"
            item.addChild(QTreeWidgetItem([more]))
    return item


def as_text(groups: Sequence[Sequence[Problem]]) -> str:
    """The report for a mail: each trouble, what to do, and all its files, one line each."""
    lines = []
    for group in groups:
        first = group[0]
        word = "Not read" if first.severity is Severity.REFUSED else "Read with a doubt"
        lines += [f"{word}: {shown(first.reason)}", f"What to do: {shown(first.hint)}"]
        lines += [f"  {shown(str(problem.path))}" for problem in group]
        lines.append("")
    return "\n".join(lines)


class NoticesDialog(Dialog):
    """Everything the reader was told, the newest first."""

    def __init__(self, notices: Sequence[Notice], parent: QWidget | None = None) -> None:
        super().__init__("Notices of this session", parent, size=(860, 480))
        tree = QTreeWidget(self)
        tree.setHeaderLabels(["Notice", "What to do"])
        tree.setRootIsDecorated(False)
        tree.setAccessibleName("Notices")
        scheme = theme.colors()
        colors = {Level.ERROR: scheme.bad, Level.WARNING: scheme.caution, Level.INFO: scheme.text}
        for notice in reversed(notices):
            item = QTreeWidgetItem([shown(notice.text), shown(notice.hint)])
            item.setForeground(0, QColor(colors[notice.level]))
            item.setToolTip(0, tip(shown(notice.text)))
            tree.addTopLevelItem(item)
        tree.setColumnWidth(0, 470)
        if not notices:
            self.body.addWidget(label("Nothing so far.", "muted"))
        self.body.addWidget(tree, 1)
        self.body.addWidget(_Words(tree))
