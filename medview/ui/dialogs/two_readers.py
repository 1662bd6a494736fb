"""How two readers agree, and what a third has to settle."""

from __future__ import annotations

from collections.abc import Sequence

from PyQt6.QtCore import Qt
from PyQt6.QtGui import QKeyEvent
from PyQt6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from medview.core.events import FindingChanged, ViewChanged
from medview.core.findings import Opinion
from medview.services.bundle import Services
from medview.services.two_readers import NEITHER, Agreement, Shared
from medview.ui import theme
from medview.ui.bridge import Bridge, Changes
from medview.ui.dialogs.frame import Dialog
from medview.ui.text import label, menu_text, shown, side

_UID = Qt.ItemDataRole.UserRole


class TwoReadersDialog(Dialog):
    """Who has finished; then agreement in figures, and the findings to settle, one by one.

    In the list the keys 1 and 2 take the reading of that reader, 0 neither.
    """

    def __init__(
        self, services: Services, bridge: Bridge, study_uid: str, parent: QWidget | None = None
    ) -> None:
        super().__init__("Two readers", parent, size=(760, 560))
        self._services = services
        self._bridge = bridge
        self._study_uid = study_uid
        self._summary = label("", "", wrap=True)
        self._figures = label("", "muted", wrap=True)
        self._table = _Table(0, 3, self)
        self._table.setAccessibleName("Findings the readers differ in")
        self._table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self._table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self._table.setWordWrap(True)
        self._table.itemSelectionChanged.connect(self._go_there)
        header, rows = self._table.horizontalHeader(), self._table.verticalHeader()
        if header is not None and rows is not None:
            header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
            rows.hide()
        self._buttons: list[QPushButton] = []
        row = QHBoxLayout()
        for _ in range(3):
            button = QPushButton("", self)
            button.setAutoDefault(False)
            row.addWidget(button)
            self._buttons.append(button)
        for part in (self._summary, self._figures):
            self.body.addWidget(part)
        self.body.addWidget(self._table, 1)
        self.body.addLayout(row)
        for place, button in enumerate(self._buttons):
            button.clicked.connect(lambda _on, at=place: self._settle(at))
        bridge.changed.connect(self._on_changed)
        self._show()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """1 and 2 take what that reader made of the finding, 0 neither."""
        text = event.text() if event is not None else ""
        place = {"1": 0, "2": 1, "0": 2}.get(text)
        if place is not None and self._buttons[place].isEnabled():
            self._settle(place)
            return
        super().keyPressEvent(event)

    def _choices(self) -> tuple[str, ...]:
        readers = self._services.two_readers.finished(self._study_uid)[:2]
        return (*readers, NEITHER)

    def _on_changed(self, changes: Changes) -> None:
        if changes.any(FindingChanged, ViewChanged):
            self._show()

    def _show(self) -> None:
        two = self._services.two_readers
        finished = two.finished(self._study_uid)
        known = self._study_uid in self._services.workspace.studies
        if len(finished) < 2 or not known:
            names = ", ".join(shown(name) for name in finished) or "nobody"
            self._summary.setText(f"Finished so far: {names}. Agreement is shown when two have.")
            for part in (self._figures, self._table, *self._buttons):
                part.setVisible(False)
            return
        agreement = two.agreement(self._study_uid)
        self._summary.setText(_summary(agreement))
        self._figures.setText(_figures(agreement))
        self._figures.setVisible(bool(agreement.boxes or agreement.structures))
        self._fill(agreement)
        can_settle = self._services.workspace.reader not in agreement.readers
        for place, (button, name) in enumerate(zip(self._buttons, self._choices(), strict=True)):
            number = 0 if name == NEITHER else place + 1
            words = "Neither" if name == NEITHER else f"As {menu_text(shown(name))}"
            button.setText(words)
            button.setEnabled(can_settle and bool(agreement.disputed))
            button.setToolTip(f"{words} ({number})")
            theme.set_role(button, "" if name == NEITHER else "primary")
            button.setVisible(True)

    def _fill(self, agreement: Agreement) -> None:
        at = max(0, self._table.currentRow())
        first, second = agreement.readers
        self._table.blockSignals(True)
        self._table.setHorizontalHeaderLabels(["Finding", shown(first), shown(second)])
        self._table.setRowCount(len(agreement.disputed))
        for row, finding in enumerate(agreement.disputed):
            said = [finding.opinion_of(reader) for reader in agreement.readers]
            for column, words in enumerate((shown(finding.label), *map(_said, said))):
                item = QTableWidgetItem(words)
                item.setData(_UID, finding.uid)
                self._table.setItem(row, column, item)
        self._table.resizeRowsToContents()
        self._table.setVisible(bool(agreement.disputed))
        if agreement.disputed:
            self._table.setCurrentCell(min(at, len(agreement.disputed) - 1), 0)
        self._table.blockSignals(False)

    def _chosen(self) -> str:
        item = self._table.item(self._table.currentRow(), 0)
        return str(item.data(_UID)) if item is not None else ""

    def _go_there(self) -> None:
        if self._chosen():
            self._bridge.run("finding.show", uid=self._chosen())

    def _settle(self, place: int) -> None:
        if self._chosen():
            reader = self._choices()[place]
            self._bridge.run("reading.settle", uid=self._chosen(), reader=reader)


class _Table(QTableWidget):
    """A list that leaves digits to its dialog."""

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Digits settle; other keys are the list's own."""
        if event is not None and event.text() in ("0", "1", "2"):
            event.ignore()
            return
        super().keyPressEvent(event)


def _summary(agreement: Agreement) -> str:
    first, second = (shown(reader) for reader in agreement.readers)
    kappa = agreement.kappa
    told = "not defined" if kappa is None else f"{kappa:.2f}"
    left = len(agreement.disputed)
    open_ = f"{left} findings are to be settled." if left else "Nothing is left to settle."
    return (
        f"{first} and {second}: both accepted {agreement.both}, only {first} "
        f"{agreement.only_first}, only {second} {agreement.only_second}, both rejected "
        f"{agreement.neither}. Cohen's kappa {told}. {open_}"
    )


def _figures(agreement: Agreement) -> str:
    lines = []
    for name, found in (("Boxes", agreement.boxes), ("Structures", agreement.structures)):
        if found:
            lines.append(f"{name}: mean Dice {_mean(found):.3f}. {_each(found)}")
    return "\n".join(lines)


def _mean(found: Sequence[Shared]) -> float:
    return sum(one.dice for one in found) / len(found)


def _each(found: Sequence[Shared]) -> str:
    return ", ".join(f"{shown(one.label)} {one.dice:.3f}" for one in found[:8])


def _said(opinion: Opinion | None) -> str:
    """What a reader made of a finding, in a cell."""
    if opinion is None:
        return "not found"
    parts = [opinion.review.state.value, shown(opinion.label), side(opinion.laterality)]
    parts.append(shown(opinion.review.reason))
    return ", ".join(part for part in parts if part)
