"""A critical result: what it is, who was informed, how and when."""

from __future__ import annotations

from collections.abc import Sequence

from PyQt6.QtCore import QDateTime
from PyQt6.QtWidgets import QComboBox, QDateTimeEdit, QFormLayout, QLineEdit, QWidget

from medview.ui.dialogs.frame import Dialog, StandardButton
from medview.ui.text import label, shown

_WAYS = ("by telephone", "in person", "by secure message", "by pager")


class CriticalDialog(Dialog):
    """After `accept`, `values` holds finding, informed, how and at (ISO 8601)."""

    def __init__(
        self, patient: str, findings: Sequence[str], referrer: str, parent: QWidget | None = None
    ) -> None:
        buttons = (StandardButton.Ok, StandardButton.Cancel)
        super().__init__("Critical result", parent, buttons=buttons, size=(520, 320))
        self.body.addWidget(label(shown(patient), "heading", wrap=True))
        form = QFormLayout()
        self._finding = _editable(findings, "What was found", self)
        form.addRow("Finding", self._finding)
        self._informed = QLineEdit(referrer, self)
        self._informed.setAccessibleName("Who was informed")
        self._informed.setPlaceholderText("Name and role")
        form.addRow("Informed", self._informed)
        self._how = _editable(_WAYS, "How", self)
        form.addRow("How", self._how)
        self._at = QDateTimeEdit(QDateTime.currentDateTime(), self)
        self._at.setDisplayFormat("yyyy-MM-dd HH:mm")
        self._at.setMaximumDateTime(QDateTime.currentDateTime())
        self._at.setAccessibleName("When")
        form.addRow("When", self._at)
        self.body.addLayout(form, 1)
        self._ok = self.buttons.button(StandardButton.Ok)
        self._informed.textChanged.connect(self._check)
        self._finding.editTextChanged.connect(self._check)
        self._check()
        self._finding.setFocus()

    @property
    def values(self) -> dict[str, str]:
        """What was entered."""
        moment = self._at.dateTime().toPyDateTime().astimezone()
        return {
            "finding": self._finding.currentText().strip(),
            "informed": self._informed.text().strip(),
            "how": self._how.currentText().strip(),
            "at": moment.isoformat(),
        }

    def _check(self) -> None:
        if self._ok is not None:
            values = self.values
            self._ok.setEnabled(bool(values["finding"] and values["informed"]))


def _editable(choices: Sequence[str], name: str, parent: QWidget) -> QComboBox:
    box = QComboBox(parent)
    box.setEditable(True)
    box.setAccessibleName(name)
    box.addItems([shown(choice) for choice in choices])
    return box
