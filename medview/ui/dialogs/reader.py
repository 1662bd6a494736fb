"""Who reads: the name and role that decisions and signatures carry."""

from __future__ import annotations

from PyQt6.QtWidgets import QFormLayout, QLineEdit, QWidget

from medview.ui.dialogs.frame import Dialog, StandardButton
from medview.ui.text import label


class ReaderDialog(Dialog):
    """After `accept`, `name` and `role` are what was entered."""

    def __init__(self, name: str, role: str, parent: QWidget | None = None) -> None:
        buttons = (StandardButton.Ok, StandardButton.Cancel)
        super().__init__("Who reads?", parent, buttons=buttons, size=(440, 240))
        words = "Every decision is recorded under this name, and reports are signed with it."
        self.body.addWidget(label(words, "muted", wrap=True))
        form = QFormLayout()
        self._name = QLineEdit(name, self)
        self._name.setAccessibleName("Name")
        self._role = QLineEdit(role, self)
        self._role.setAccessibleName("Role")
        self._role.setPlaceholderText("Consultant radiologist")
        form.addRow("Name", self._name)
        form.addRow("Role", self._role)
        self.body.addLayout(form)
        self.body.addStretch(1)
        self._name.setFocus()

    @property
    def name(self) -> str:
        """Name."""
        return self._name.text().strip()

    @property
    def role(self) -> str:
        """What stands behind the name."""
        return self._role.text().strip()
