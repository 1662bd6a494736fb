"""Comparing two readings of the image on show: side by side, where they differ, and how much."""

from __future__ import annotations

from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import (
    QComboBox,
    QGridLayout,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from medview.core.events import FindingChanged, SegmentationChanged, StudyClosed, ViewChanged
from medview.core.views import SegmentDisplay
from medview.imaging.agreement import BOTH, DIFFERENT, ONLY_FIRST, ONLY_SECOND
from medview.services.bundle import Services
from medview.services.comparison import Comparison, Reading, compare, readings
from medview.services.tasks import Task
from medview.ui.bridge import Bridge, Changes
from medview.ui.compare_pane import ComparePane
from medview.ui.dialogs.frame import Dialog
from medview.ui.text import label, millilitres, shown

_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
_HEADINGS = ("Structure or finding", "First", "Second", "Difference", "Agreement")
_DIFFERENCE = {
    ONLY_FIRST: SegmentDisplay(opacity=0.65),
    ONLY_SECOND: SegmentDisplay(opacity=0.65),
    BOTH: SegmentDisplay(opacity=0.12),
    DIFFERENT: SegmentDisplay(opacity=0.65),
}
_LEGEND = (
    "Orange: only the first.  Blue: only the second.  Green: both.  Pink: both, other names.  "
    "What was rejected does not count."
)


class CompareDialog(Dialog):
    """Two lists to choose readings from, three slices that scroll together, a table of figures.

    The window stays usable beside it: the slices follow the view last touched.
    """

    def __init__(
        self,
        services: Services,
        bridge: Bridge,
        parent: QWidget | None = None,
        chosen: tuple[str, str] = ("", ""),
    ) -> None:
        super().__init__("Compare readings", parent, size=(1080, 760))
        self._services = services
        self._volume_uid = ""
        self._readings: tuple[Reading, ...] = ()
        self.comparison: Comparison | None = None
        self._task: Task | None = None
        self.choices = (QComboBox(self), QComboBox(self))
        self.panes = tuple(ComparePane(services, self) for _ in range(3))
        self.words = label("", "muted", wrap=True)
        self.table = _empty_table()
        grid = QGridLayout()
        grid.setSpacing(6)
        for column, (choice, name) in enumerate(
            zip(self.choices, ("First", "Second"), strict=True)
        ):
            choice.setAccessibleName(f"{name} reading")
            choice.setMinimumWidth(120)
            choice.currentIndexChanged.connect(self._compare)
            grid.addWidget(choice, 0, column)
        grid.addWidget(label("Where they differ", "heading"), 0, 2)
        for column, pane in enumerate(self.panes):
            grid.addWidget(pane, 1, column)
            grid.setColumnStretch(column, 1)
        grid.setRowStretch(1, 1)
        self.body.addLayout(grid, 3)
        self.body.addWidget(label(_LEGEND, "muted", wrap=True))
        self.body.addWidget(self.words)
        self.body.addWidget(self.table, 1)
        bridge.changed.connect(self._on_changed)
        self._fill(chosen)

    def _on_changed(self, changes: Changes) -> None:
        if changes.any(SegmentationChanged, FindingChanged, StudyClosed):
            self._fill(tuple(one.currentData() or "" for one in self.choices))  # type: ignore[arg-type]
        elif changes.any(ViewChanged):
            volume = self._services.viewing.volume
            if (volume.uid if volume is not None else "") != self._volume_uid:
                self._fill(("", ""))
            for pane in self.panes:
                pane.update()

    def _fill(self, chosen: tuple[str, str]) -> None:
        """Offer what there is on the image on show; the first two where nothing was chosen."""
        volume = self._services.viewing.volume
        self._volume_uid = volume.uid if volume is not None else ""
        services = self._services
        self._readings = (
            ()
            if volume is None
            else readings(services.workspace, services.first_read, volume, services.output)
        )
        keys = [reading.key for reading in self._readings]
        for place, (choice, wanted) in enumerate(zip(self.choices, chosen, strict=True)):
            choice.blockSignals(True)
            choice.clear()
            for reading in self._readings:
                choice.addItem(shown(reading.title), reading.key)
            default = min(place, len(keys) - 1)
            choice.setCurrentIndex(keys.index(wanted) if wanted in keys else default)
            choice.blockSignals(False)
        self._compare()

    def _compare(self) -> None:
        """Show both, and count what they share beside the window's thread."""
        volume = self._services.viewing.volume
        pair = [self._readings[n] for one in self.choices if (n := one.currentIndex()) >= 0]
        self.comparison = None
        if self._task is not None:
            self._task.cancel()
        for pane, reading in zip(self.panes, pair, strict=False):
            # What was proposed at first is put together beside the window's thread.
            pane.show_labels(() if reading.originals else reading.segmentations, reading.findings)
        self.panes[2].show_labels(())
        if volume is None or len(pair) < 2 or pair[0] is pair[1]:
            self.table.setRowCount(0)
            self.words.setText(
                "There are not two readings of this image yet: run another model, or mark it "
                "yourself."
            )
            return
        self.words.setText("Comparing …")
        self._task = self._services.tasks.run(compare, pair[0], pair[1], volume, on_done=self._show)
        self.destroyed.connect(self._task.cancel)

    def _show(self, comparison: Comparison) -> None:
        self.comparison = comparison
        for pane, reading in zip(self.panes, (comparison.first, comparison.second), strict=False):
            pane.show_labels(reading.segmentations, reading.findings)
        if comparison.map is not None:
            self.panes[2].show_labels((comparison.map,), shown=_DIFFERENCE)
        found = comparison.detections
        words = []
        if found.f1 is not None:
            words.append(
                f"Detections: {found.both} in both, {found.only_first} only in the first, "
                f"{found.only_second} only in the second; F1 {found.f1:.2f}."
            )
        if not comparison.structures and not comparison.statements and found.f1 is None:
            words.append("Neither reading marks anything.")
        self.words.setText(" ".join(words))
        rows = [*_structure_rows(comparison), *_statement_rows(comparison)]
        self.table.setRowCount(len(rows))
        for place, row in enumerate(rows):
            for column, text in enumerate(row):
                item = QTableWidgetItem(text)
                if column:
                    item.setTextAlignment(
                        Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    )
                self.table.setItem(place, column, item)


def _apart(first_ml: float, second_ml: float) -> str:
    """How much larger or smaller the second volume is, with a sign, and in percent."""
    if first_ml == second_ml:
        return "none"
    sign = "+" if second_ml > first_ml else "\N{MINUS SIGN}"
    words = f"{sign}{millilitres(abs(second_ml - first_ml))}"
    share = f" ({sign}{100 * abs(second_ml / first_ml - 1):.1f} %)" if first_ml else ""
    return words + share


def _structure_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for one in comparison.structures:
        first = "none" if one.first_ml is None else millilitres(one.first_ml)
        second = "none" if one.second_ml is None else millilitres(one.second_ml)
        apart = ""
        if one.first_ml is not None and one.second_ml is not None:
            apart = _apart(one.first_ml, one.second_ml)
        agreement = "only in one" if one.dice is None else f"Dice {one.dice:.3f}"
        rows.append((shown(one.label), first, second, apart, agreement))
    return rows


def _statement_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    def said(there: bool, probability: float | None) -> str:
        return "not said" if not there else "said" if probability is None else f"{probability:.2f}"

    rows: list[tuple[str, ...]] = []
    for one in comparison.statements:
        apart = ""
        if one.first is not None and one.second is not None:
            apart = f"{one.second - one.first:+.2f}"
        agreement = "both" if one.said_by_first and one.said_by_second else "only in one"
        first = said(one.said_by_first, one.first)
        rows.append(
            (shown(one.label), first, said(one.said_by_second, one.second), apart, agreement)
        )
    return rows


def _empty_table() -> QTableWidget:
    table = QTableWidget(0, len(_HEADINGS))
    table.setHorizontalHeaderLabels(list(_HEADINGS))
    table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
    table.setSelectionMode(QTableWidget.SelectionMode.NoSelection)
    table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    table.setAccessibleName("Figures of the comparison")
    vertical, horizontal = table.verticalHeader(), table.horizontalHeader()
    if vertical is not None and horizontal is not None:
        vertical.setVisible(False)
        horizontal.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
    return table
