"""What all dialogs share: size, scrolling, plain text that can be copied; and short questions."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QFrame,
    QLabel,
    QMessageBox,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from medview.ui.text import label

StandardButton = QDialogButtonBox.StandardButton


class Dialog(QDialog):
    """A dialog with a title line, a body and a row of buttons; shown without blocking.

    `body` is the layout to fill; `buttons` the row below it.
    """

    def __init__(
        self,
        title: str,
        parent: QWidget | None,
        *,
        buttons: Iterable[StandardButton] = (StandardButton.Close,),
        size: tuple[int, int] = (560, 480),
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        screen = self.screen()
        room = screen.availableGeometry() if screen is not None else None
        width = min(size[0], room.width() - 60) if room is not None else size[0]
        height = min(size[1], room.height() - 80) if room is not None else size[1]
        self.resize(width, height)
        column = QVBoxLayout(self)
        column.setContentsMargins(18, 16, 18, 14)
        column.setSpacing(12)
        column.addWidget(label(title, "title", wrap=True))
        self.body = QVBoxLayout()
        self.body.setSpacing(10)
        column.addLayout(self.body, 1)
        self.buttons = QDialogButtonBox(self)
        for button in buttons:
            self.buttons.addButton(button)
        for made in self.buttons.buttons():
            role = self.buttons.buttonRole(made)
            if isinstance(made, QPushButton):
                made.setAutoDefault(role is QDialogButtonBox.ButtonRole.AcceptRole)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        column.addWidget(self.buttons)


class Sheet(QScrollArea):
    """A scrolling form of headed plain-text entries."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        inside = QWidget(self)
        self._form = QFormLayout(inside)
        self._form.setContentsMargins(8, 8, 10, 8)
        self._form.setHorizontalSpacing(16)
        self._form.setVerticalSpacing(7)
        self._form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
        self.setWidget(inside)

    def add_heading(self, text: str) -> None:
        """Start a part."""
        heading = label(text, "heading")
        heading.setContentsMargins(0, 8, 0, 0)
        self._form.addRow(heading)

    def add_text(self, name: str, text: str, role: str = "") -> QLabel:
        """One entry; "not stated" where there is no text."""
        value = label(text or "not stated", role if text else "muted", wrap=True)
        value.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
            | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        value.setMinimumWidth(80)
        self._form.addRow(label(name, "muted"), value)
        return value

    def add_widget(self, widget: QWidget, name: str = "") -> None:
        """A widget of its own, over the whole width unless it has a name."""
        if name:
            self._form.addRow(label(name, "muted"), widget)
        else:
            self._form.addRow(widget)


def message_box(
    parent: QWidget,
    title: str,
    text: str,
    more: str = "",
    icon: QMessageBox.Icon = QMessageBox.Icon.Question,
) -> QMessageBox:
    """A box of plain words, without buttons yet; `open` shows it and blocks nothing.

    Words of files in it are to be cleaned before (`text.shown`): a line here is a line there.
    """
    box = QMessageBox(parent)
    box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    box.setIcon(icon)
    box.setWindowTitle(title)
    box.setTextFormat(Qt.TextFormat.PlainText)
    box.setText(text)
    box.setInformativeText(more)
    return box


def confirm(box: QMessageBox, verb: str, then: Callable[[], object]) -> None:
    """Ask by a message box whether to go on; what the Enter key presses is Cancel."""
    go = box.addButton(verb, QMessageBox.ButtonRole.AcceptRole)
    cancel = box.addButton(QMessageBox.StandardButton.Cancel)
    if go is not None and cancel is not None:
        box.setDefaultButton(cancel)
        box.accepted.connect(then)
    box.open()


def warn(parent: QWidget, title: str, text: str, more: str) -> None:
    """Say by a message box what the reader has to know."""
    box = message_box(parent, title, text, more, QMessageBox.Icon.Warning)
    box.setStandardButtons(QMessageBox.StandardButton.Ok)
    box.open()
