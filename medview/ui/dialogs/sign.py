"""Signing: the last look before a report is frozen."""

from __future__ import annotations

from collections.abc import Sequence

from PyQt6.QtGui import QFontDatabase
from PyQt6.QtWidgets import QCheckBox, QLineEdit, QPlainTextEdit, QWidget

from medview.ui.dialogs.frame import Dialog, StandardButton
from medview.ui.text import label, shown


class SignDialog(Dialog):
    """Shows what contradicts itself, the text that will be signed, and asks for the name.

    After `accept`, `name` is who signs; contradictions must have been ticked as seen.
    """

    def __init__(
        self,
        patient: str,
        text: str,
        contradictions: Sequence[str],
        reader: str,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(
            "Sign the report", parent, buttons=(StandardButton.Cancel,), size=(960, 700)
        )
        self.body.addWidget(label(shown(patient), "heading", wrap=True))
        words = "A signed report does not change any more. It can be amended later."
        self.body.addWidget(label(words, "muted", wrap=True))
        preview = QPlainTextEdit(text, self)
        preview.setReadOnly(True)
        preview.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        preview.setAccessibleName("Text to sign")
        self.body.addWidget(preview, 1)
        self._seen = QCheckBox("I have seen this and sign all the same", self)
        self._seen.setVisible(bool(contradictions))
        if contradictions:
            self.body.addWidget(label("The report contradicts itself:", "bad"))
            lines = "\n".join(f"•  {shown(line)}" for line in contradictions)
            self.body.addWidget(label(lines, "caution", wrap=True))
        self.body.addWidget(self._seen)
        self._name = QLineEdit(reader, self)
        self._name.setPlaceholderText("Your name")
        self._name.setAccessibleName("Name to sign with")
        self.body.addWidget(self._name)
        self._sign = self.buttons.addButton("Sign", self.buttons.ButtonRole.AcceptRole)
        self._needs_seen = bool(contradictions)
        self._name.textChanged.connect(self._check)
        self._seen.toggled.connect(self._check)
        self._check()

    @property
    def name(self) -> str:
        """Who signs."""
        return self._name.text().strip()

    def _check(self) -> None:
        if self._sign is not None:
            seen = self._seen.isChecked() or not self._needs_seen
            self._sign.setEnabled(bool(self.name) and seen)
