"""First read: what the reader sees before a model is heard."""

from __future__ import annotations

from PyQt6.QtWidgets import QPlainTextEdit, QWidget

from medview.ui.dialogs.frame import Dialog, StandardButton
from medview.ui.text import label


class FirstReadDialog(Dialog):
    """After `accept`, `text` holds what the reader wrote; it may be nothing where they marked."""

    def __init__(self, patient: str, parent: QWidget | None = None) -> None:
        buttons = (StandardButton.Ok, StandardButton.Cancel)
        super().__init__("First read", parent, buttons=buttons, size=(520, 340))
        self.body.addWidget(label(patient, "muted", wrap=True))
        words = (
            "Write what you see, also if it is nothing abnormal. It is recorded with your name and "
            "the time; then what the models propose is shown. Findings and segments you made "
            "yourself are recorded with it."
        )
        self.body.addWidget(label(words, wrap=True))
        self._text = QPlainTextEdit(self)
        self._text.setAccessibleName("What you see")
        self._text.setPlaceholderText("For example: no focal lesion, no effusion.")
        self._text.setTabChangesFocus(True)
        self.body.addWidget(self._text, 1)
        go = self.buttons.button(StandardButton.Ok)
        if go is not None:
            go.setText("Commit and reveal")
        self._text.setFocus()

    @property
    def text(self) -> str:
        """What was written."""
        return self._text.toPlainText().strip()
