"""The text of one section of a report: typed, pasted, with phrases and numbers that are alive."""

from __future__ import annotations

import re
import unicodedata

from PyQt6.QtCore import QEvent, QMimeData, Qt, QTimer, pyqtSignal
from PyQt6.QtGui import (
    QColor,
    QFocusEvent,
    QKeyEvent,
    QKeySequence,
    QResizeEvent,
    QTextBlock,
    QTextCharFormat,
    QTextCursor,
    QTextFormat,
)
from PyQt6.QtWidgets import QMenu, QPlainTextEdit, QWidget

from medview.core.findings import Finding, Measurement
from medview.core.report import Section
from medview.reporting.fields import labelled, measured_text, measurement_text
from medview.reporting.live import mark, parts
from medview.reporting.template import Phrase
from medview.ui import theme
from medview.ui.text import menu_text, shown

#: How long typing rests before the section is taken over: one step of the history.
_REST_MS = 900
#: A piece of text that stands for a measurement carries its UID and the words it was shown with.
_UID, _WORDS = QTextFormat.Property.UserProperty + 1, QTextFormat.Property.UserProperty + 2
_CALLED = re.compile(r"(?:^|(?<=\s))\.(\w+)$")
#: Where a phrase has two spaces something is to be filled in.
_GAP = "  "


class SectionEdit(QPlainTextEdit):
    """The text of one section; as high as its text. `written` carries what was typed.

    What is pasted or dictated comes in as plain text. A dot and the key of a phrase, then a
    space, write the phrase; Ctrl+Space offers all phrases, and the measurements of the findings,
    which then stand in the text as live numbers. In what is written, marks stand for them.
    """

    written = pyqtSignal(str)
    #: "edit.undo" or "edit.redo": there is one undo, and it is the window's.
    undo_asked = pyqtSignal(str)

    def __init__(self, heading: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName(heading)
        self.setTabChangesFocus(True)
        self.setUndoRedoEnabled(False)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.phrases: tuple[Phrase, ...] = ()
        self.findings: tuple[Finding, ...] = ()
        self._taken = ""
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(_REST_MS)
        self._rest.timeout.connect(self.flush)
        self.textChanged.connect(self._typed)

    @property
    def source(self) -> str:
        """The text with marks in the places of live numbers."""
        document = self.document()
        blocks: list[str] = []
        block = document.begin() if document is not None else QTextBlock()
        while block.isValid():
            blocks.append(_source_of(block))
            block = block.next()
        return "\n".join(blocks)

    def show_section(self, section: Section) -> None:
        """Show what the report says, unless the reader is ahead of it."""
        text = section.source or section.text
        if self._rest.isActive():
            return
        if text == self._taken and section.text == self.toPlainText():
            return
        self._rest.stop()
        self.blockSignals(True)
        self.clear()
        cursor = self.textCursor()
        for words, uid in parts(text, self.findings):
            cursor.insertText(words, _live(uid, words) if uid else QTextCharFormat())
        self.blockSignals(False)
        self._taken = self.source
        self._fit()

    def flush(self) -> None:
        """Hand over what was typed, now."""
        self._rest.stop()
        text = self.source
        if text != self._taken:
            self._taken = text
            self.written.emit(text)

    # Phrases and numbers

    def insert_phrase(self, phrase: Phrase) -> None:
        """Write a phrase at the caret; what is to be filled in first is chosen."""
        if self.isReadOnly():
            return
        cursor = self.textCursor()
        begin = cursor.selectionStart()
        cursor.insertText(phrase.text, QTextCharFormat())
        gap = phrase.text.find(_GAP)
        if gap >= 0:
            cursor.setPosition(begin + gap + 1)
        self.setTextCursor(cursor)

    def insert_measurement(self, measurement: Measurement) -> None:
        """Put a live number at the caret: it follows the measurement until the report is signed."""
        if self.isReadOnly():
            return
        cursor = self.textCursor()
        words = measured_text(measurement)
        cursor.insertText(words, _live(measurement.uid, words))
        cursor.setCharFormat(QTextCharFormat())
        self.setTextCursor(cursor)
        self.setCurrentCharFormat(QTextCharFormat())

    def menu(self) -> QMenu:
        """What can be inserted: phrases with their keys, measurements with their values."""
        menu = QMenu(self)
        for phrase in self.phrases:
            words = f".{phrase.key}\t{menu_text(shown(phrase.text)[:70])}"
            action = menu.addAction(words)
            if action is not None:
                action.triggered.connect(lambda _on, one=phrase: self.insert_phrase(one))
        if self.phrases and self.findings:
            menu.addSeparator()
        for finding in self.findings:
            for measured in finding.measurements:
                words = f"{shown(labelled(finding))}: {measurement_text(measured)}"
                action = menu.addAction(menu_text(words))
                if action is not None:
                    action.triggered.connect(lambda _on, m=measured: self.insert_measurement(m))
        if menu.isEmpty():
            nothing = menu.addAction("Nothing to insert: no phrases, no measurements")
            if nothing is not None:
                nothing.setEnabled(False)
        return menu

    def offer(self) -> None:
        """Open the menu at the caret."""
        viewport = self.viewport()
        if viewport is not None and not self.isReadOnly():
            menu = self.menu()
            menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
            menu.popup(viewport.mapToGlobal(self.cursorRect().bottomLeft()))

    def event(self, event: QEvent | None) -> bool:
        """Undo and redo are heard here first: what is being typed is part of the history."""
        is_override = event is not None and event.type() == QEvent.Type.ShortcutOverride
        if is_override and isinstance(event, QKeyEvent) and _turn(event):
            event.accept()
            return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Ctrl+Space offers; a space after the key of a phrase writes it."""
        if event is None:
            return
        turn = _turn(event)
        if turn:
            self.flush()
            self.undo_asked.emit(turn)
            return
        if event.key() == Qt.Key.Key_Space and not self.isReadOnly():
            if event.modifiers() == Qt.KeyboardModifier.ControlModifier:
                self.offer()
                return
            if self._expand():
                return
        super().keyPressEvent(event)

    def _expand(self) -> bool:
        """Write the phrase whose key stands before the caret; False where none does."""
        cursor = self.textCursor()
        before = cursor.block().text()[: cursor.positionInBlock()]
        called = _CALLED.search(before)
        found = [p for p in self.phrases if called is not None and p.key == called.group(1)]
        if called is None or not found or cursor.hasSelection():
            return False
        back = QTextCursor.MoveOperation.PreviousCharacter
        cursor.movePosition(back, QTextCursor.MoveMode.KeepAnchor, len(called.group()))
        self.setTextCursor(cursor)
        self.insert_phrase(found[0])
        if _GAP not in found[0].text:
            self.insertPlainText(" ")
        return True

    def insertFromMimeData(self, source: QMimeData | None) -> None:  # noqa: N802
        """What comes from elsewhere is words alone, without what controls or reverses."""
        if source is not None and source.hasText():
            self.textCursor().insertText(_words(source.text()), QTextCharFormat())

    # Keeping up

    def focusOutEvent(self, event: QFocusEvent | None) -> None:
        """Leaving hands over."""
        super().focusOutEvent(event)
        self.flush()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Lines break anew."""
        super().resizeEvent(event)
        self._fit()

    def changeEvent(self, event: QEvent | None) -> None:
        """Another font, another height."""
        super().changeEvent(event)
        self._fit()

    def _typed(self) -> None:
        self._fit()
        if self.source != self._taken:
            self._rest.start()

    def _fit(self) -> None:
        document = self.document()
        lines = max(2, round(document.size().height())) if document is not None else 2
        height = lines * self.fontMetrics().lineSpacing() + 20
        if self.height() != height:
            self.setFixedHeight(height)
            bar = self.verticalScrollBar()
            if bar is not None:
                # Everything fits now: what was scrolled while it did not comes back.
                bar.setValue(0)


def _turn(event: QKeyEvent) -> str:
    """The command of a key that undoes or does again; "" for others."""
    if event.matches(QKeySequence.StandardKey.Undo):
        return "edit.undo"
    return "edit.redo" if event.matches(QKeySequence.StandardKey.Redo) else ""


def _live(uid: str, words: str) -> QTextCharFormat:
    """How a live number looks, and what it carries."""
    look = QTextCharFormat()
    ground = QColor(theme.colors().accent)
    ground.setAlpha(60)
    look.setBackground(ground)
    look.setToolTip("Follows the measurement until the report is signed")
    look.setProperty(_UID, uid)
    look.setProperty(_WORDS, words)
    return look


def _source_of(block: QTextBlock) -> str:
    """One line with marks; a number that was typed over is words again."""
    told: list[str] = []
    fragments = block.begin()
    while not fragments.atEnd():
        fragment = fragments.fragment()
        look, text = fragment.charFormat(), fragment.text()
        uid, words = look.property(_UID), look.property(_WORDS)
        if isinstance(uid, str) and isinstance(words, str) and words and words in text:
            text = text.replace(words, mark(uid), 1)
        told.append(text)
        fragments += 1
    return "".join(told)


def _words(text: str) -> str:
    """Pasted text in lines, with no sign in it that controls the text or its direction."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2029", "\n")
    return "".join(
        char
        for char in lines.replace("\t", " ").replace("\u2028", "\n")
        if char == "\n" or unicodedata.category(char) not in ("Cc", "Cf", "Co", "Cs")
    )
