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
        columns = range(item.columnCount()) if item is not None else range(0)
        texts = [item.text(column) for column in columns] if item is not None else []
        self.setText("\n".join(text for text in texts if text))


class ProblemsDialog(Dialog):
    """What could not be read, why, and what to do about it. The list can be copied."""

    def __init__(self, problems: Sequence[Problem], parent: QWidget | None = None) -> None:
        super().__init__("Reading problems", parent, size=(960, 520))
        self._problems = problems
        refused = sum(problem.severity is Severity.REFUSED for problem in problems)
        tolerated = len(problems) - refused
        text = f"{refused} refused, {tolerated} read with tolerance." if problems else "None."
        self.body.addWidget(label(text, "muted"))
        tree = QTreeWidget(self)
        tree.setHeaderLabels(["File", "What is wrong", "What to do"])
        tree.setRootIsDecorated(False)
        tree.setAccessibleName("Reading problems")
        for problem in problems:
            row = [shown(problem.path.name), shown(problem.reason), shown(problem.hint)]
            item = QTreeWidgetItem(row)
            item.setToolTip(0, tip(shown(str(problem.path))))
            item.setToolTip(1, tip(row[1]))
            scheme = theme.colors()
            color = scheme.bad if problem.severity is Severity.REFUSED else scheme.caution
            item.setForeground(1, QColor(color))
            tree.addTopLevelItem(item)
        header = tree.header()
        if header is not None:
            header.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        tree.setColumnWidth(0, 220)
        tree.setColumnWidth(2, 260)
        self.body.addWidget(tree, 1)
        self.body.addWidget(_Words(tree))
        copy = self.buttons.addButton("Copy", self.buttons.ButtonRole.ActionRole)
        if copy is not None:
            copy.setAutoDefault(False)
            copy.clicked.connect(self._copy)

    def _copy(self) -> None:
        lines = [f"{p.path}\t{p.severity.value}\t{p.reason}\t{p.hint}" for p in self._problems]
        clipboard = QGuiApplication.clipboard()
        if clipboard is not None:
            clipboard.setText("\n".join(lines))


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
