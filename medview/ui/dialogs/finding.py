"""Editing one finding: its name, its side, its words."""

from __future__ import annotations

from collections.abc import Sequence

from PyQt6.QtWidgets import QComboBox, QFormLayout, QLineEdit, QPlainTextEdit, QWidget

from medview.core.findings import Finding, Laterality
from medview.ui.dialogs.frame import Dialog, StandardButton
from medview.ui.text import label, measurement

_SIDES: tuple[tuple[str, str], ...] = (
    ("no side", ""),
    ("left", Laterality.LEFT.value),
    ("right", Laterality.RIGHT.value),
    ("both sides", Laterality.BOTH.value),
)


class FindingDialog(Dialog):
    """After `accept`, `values` holds label, text and laterality ("" for no side).

    `classes` are the names that its model knows; any other may be typed.
    """

    def __init__(
        self, finding: Finding, parent: QWidget | None = None, *, classes: Sequence[str] = ()
    ) -> None:
        buttons = (StandardButton.Ok, StandardButton.Cancel)
        super().__init__("Edit finding", parent, buttons=buttons, size=(480, 360))
        form = QFormLayout()
        self._label = QLineEdit(finding.label, self)
        self._label.setAccessibleName("Name of the finding")
        names = QComboBox(self)
        names.setEditable(True)
        names.setLineEdit(self._label)
        names.setAccessibleName("Class of the finding")
        names.addItems(list(dict.fromkeys((finding.label, *classes))))
        form.addRow("Finding", names)
        self._side = QComboBox(self)
        self._side.setAccessibleName("Side")
        for title, value in _SIDES:
            self._side.addItem(title, value)
        now = finding.laterality.value if finding.laterality is not None else ""
        self._side.setCurrentIndex([value for _, value in _SIDES].index(now))
        form.addRow("Side", self._side)
        self._text = QPlainTextEdit(finding.text, self)
        self._text.setAccessibleName("Description")
        self._text.setTabChangesFocus(True)
        form.addRow("Description", self._text)
        for measured in finding.measurements:
            form.addRow(measured.name or measured.kind.meaning, label(measurement(measured)))
        self.body.addLayout(form, 1)
        self._ok = self.buttons.button(StandardButton.Ok)
        self._label.textChanged.connect(self._check)
        self._label.setFocus()

    @property
    def values(self) -> dict[str, str]:
        """What was entered."""
        return {
            "label": self._label.text().strip(),
            "text": self._text.toPlainText().strip(),
            "laterality": str(self._side.currentData()),
        }

    def _check(self) -> None:
        if self._ok is not None:
            self._ok.setEnabled(bool(self._label.text().strip()))
