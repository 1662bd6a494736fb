"""The versions of a report side by side, with what stands in one of them only marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PyQt6.QtGui import QColor, QFontDatabase, QTextCharFormat
from PyQt6.QtWidgets import QComboBox, QHBoxLayout, QPlainTextEdit, QVBoxLayout, QWidget

from medview.core.report import Report
from medview.reporting.difference import Piece, compared
from medview.ui import theme
from medview.ui.dialogs.frame import Dialog
from medview.ui.text import label, shown


class VersionsDialog(Dialog):
    """Two versions chosen above their texts; `text_of` writes a report out."""

    def __init__(
        self,
        versions: Sequence[tuple[str, Report]],
        text_of: Callable[[Report], str],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__("Versions of the report", parent, size=(1180, 760))
        self._versions = tuple(versions)
        self._text_of = text_of
        words = "Words that the other version does not have are marked. Signed versions never go."
        self.body.addWidget(label(words, "muted", wrap=True))
        row = QHBoxLayout()
        self._choices: list[QComboBox] = []
        self._texts: list[QPlainTextEdit] = []
        last = len(self._versions) - 1
        for side, at in (("Left version", max(0, last - 1)), ("Right version", last)):
            column = QVBoxLayout()
            choice = QComboBox(self)
            choice.setAccessibleName(side)
            choice.addItems([shown(title) for title, _ in self._versions])
            choice.setCurrentIndex(at)
            choice.currentIndexChanged.connect(self._show)
            text = QPlainTextEdit(self)
            text.setReadOnly(True)
            text.setAccessibleName(f"Text of the {side.lower()}")
            text.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
            column.addWidget(choice)
            column.addWidget(text, 1)
            row.addLayout(column, 1)
            self._choices.append(choice)
            self._texts.append(text)
        self.body.addLayout(row, 1)
        self._scroll_together()
        self._show()

    def _scroll_together(self) -> None:
        bars = [text.verticalScrollBar() for text in self._texts]
        for one, other in (bars, bars[::-1]):
            if one is not None and other is not None:
                one.valueChanged.connect(other.setValue)

    def _show(self) -> None:
        texts = [
            self._text_of(self._versions[choice.currentIndex()][1]) for choice in self._choices
        ]
        colors = (theme.colors().caution, theme.colors().good)
        for text, pieces, color in zip(self._texts, compared(*texts), colors, strict=True):
            _fill(text, pieces, color)


def _fill(text: QPlainTextEdit, pieces: Sequence[Piece], color: str) -> None:
    text.clear()
    cursor = text.textCursor()
    for piece in pieces:
        look = QTextCharFormat()
        if piece.own:
            ground = QColor(color)
            ground.setAlpha(80)
            look.setBackground(ground)
        cursor.insertText(piece.text, look)
    text.moveCursor(cursor.MoveOperation.Start)
