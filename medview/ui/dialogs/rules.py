"""Rules on arrival: which models run by themselves on which images, one rule after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import (
    QComboBox,
    QDialogButtonBox,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from medview.core.errors import MedviewError
from medview.core.models import ModelCard, Task
from medview.core.study import Series, Severity, Study
from medview.inference import scope
from medview.services.arrival_rules import ArrivalRule
from medview.services.bundle import Services
from medview.ui.dialogs.frame import Dialog, StandardButton
from medview.ui.text import label, shown

_INTRO = (
    "A model named here starts by itself when an image that its rule describes is opened. It waits "
    "behind what you start yourself, and its results wait for your decision like all others."
)
_NONE = "No rules yet: no model starts by itself. Add one to begin."
_CHECKED, _UNCHECKED = Qt.CheckState.Checked, Qt.CheckState.Unchecked


class RulesDialog(Dialog):
    """The rules on the left, the one at hand on the right, and which open series it is for.

    Nothing holds before it is saved.
    """

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        buttons = (StandardButton.Save, StandardButton.Cancel)
        super().__init__("Rules on arrival", parent, buttons=buttons, size=(860, 560))
        self._services = services
        # Models of motion follow what a reader placed on a clip: they never start by themselves.
        cards = services.catalog.cards()
        self._cards = {card.id: card for card in cards if card.task is not Task.MOTION}
        self._rules = list(services.jobs.rules.rules)
        self._filling = False
        self.list = QListWidget(self)
        self.list.setAccessibleName("Rules")
        self.list.setWordWrap(True)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.add = QPushButton("Add rule", self)
        self.remove = QPushButton("Remove rule", self)
        self.model = QComboBox(self)
        self.modality = _line("any; for example CT, PT", "Modalities")
        self.body_part = _line("any; for example CHEST, THORAX", "Body parts")
        self.description = _line("any; for example lung", "Words in the description")
        self.matches = label("", "muted", wrap=True)
        self.error = label(services.jobs.rules.error, "bad", wrap=True)
        self.error.setVisible(bool(services.jobs.rules.error))
        self._empty = label(_NONE, "muted", wrap=True)
        self._form = QWidget(self)
        self._lay_out()
        self._connect()
        self._fill(0)

    def accept(self) -> None:
        """Save; what cannot be saved is said here, and the dialog stays."""
        try:
            self._services.jobs.rules.save(self._rules)
        except MedviewError as error:
            self.error.setText(shown(f"{error.user_text}. {error.hint}"))
            self.error.setVisible(True)
            return
        super().accept()

    def _lay_out(self) -> None:
        self.body.addWidget(label(_INTRO, "muted", wrap=True))
        left = QVBoxLayout()
        left.addWidget(self.list, 1)
        row = QHBoxLayout()
        row.addWidget(self.add)
        row.addWidget(self.remove)
        row.addStretch(1)
        left.addLayout(row)
        form = QFormLayout(self._form)
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.setVerticalSpacing(8)
        self.model.setAccessibleName("Model")
        self.model.setMinimumWidth(120)
        form.addRow("Model", self.model)
        form.addRow("Modality", self.modality)
        form.addRow("Body part", self.body_part)
        form.addRow("Description has", self.description)
        heading = label("Open series it is for", "heading")
        heading.setContentsMargins(0, 10, 0, 0)
        form.addRow(heading)
        form.addRow(self.matches)
        right = QVBoxLayout()
        right.addWidget(self._form)
        right.addWidget(self._empty)
        right.addStretch(1)
        columns = QHBoxLayout()
        columns.setSpacing(18)
        columns.addLayout(left, 5)
        columns.addLayout(right, 6)
        self.body.addLayout(columns, 1)
        self.body.addWidget(self.error)
        save = self.buttons.button(QDialogButtonBox.StandardButton.Save)
        if save is not None:
            save.setText("Save rules")

    def _connect(self) -> None:
        for model_id in dict.fromkeys((*self._cards, *(rule.model_id for rule in self._rules))):
            card = self._cards.get(model_id)
            title = shown(card.title) if card is not None else f"{shown(model_id)} (not installed)"
            self.model.addItem(title, model_id)
        self.list.currentRowChanged.connect(lambda _row: self._show())
        self.list.itemChanged.connect(self._switched)
        self.add.clicked.connect(self._add)
        self.remove.clicked.connect(self._remove)
        self.model.currentIndexChanged.connect(self._changed)
        for line in (self.modality, self.body_part, self.description):
            line.textEdited.connect(self._changed)

    def _add(self) -> None:
        """A new rule: the best model for the image on show, for images of its modality."""
        volume = self._services.viewing.volume
        fitting = () if volume is None else self._services.jobs.fitting(volume.uid)
        card = next(iter((*fitting, *self._cards.values())), None)
        if card is None:
            self.error.setText("No models are installed: there is nothing that could run.")
            self.error.setVisible(True)
            return
        self._rules.append(ArrivalRule(card.id, modality=tuple(card.scope.modality)))
        self._fill(len(self._rules) - 1)

    def _remove(self) -> None:
        row = self.list.currentRow()
        if row >= 0:
            del self._rules[row]
            self._fill(min(row, len(self._rules) - 1))

    def _fill(self, row: int) -> None:
        self._filling = True
        self.list.clear()
        for rule in self._rules:
            item = QListWidgetItem(self._title(rule), self.list)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(_CHECKED if rule.is_on else _UNCHECKED)
        self._filling = False
        self.list.setCurrentRow(row)
        self._show()

    def _title(self, rule: ArrivalRule) -> str:
        card = self._cards.get(rule.model_id)
        return f"{shown(rule.model_id if card is None else card.title)}\n{shown(rule.words)}"

    def _show(self) -> None:
        """The rule at hand in the form."""
        if self._filling:
            return
        row = self.list.currentRow()
        there = 0 <= row < len(self._rules)
        self._form.setVisible(there)
        self._empty.setVisible(not there)
        self.remove.setEnabled(there)
        if not there:
            return
        rule = self._rules[row]
        self._filling = True
        self.model.setCurrentIndex(self.model.findData(rule.model_id))
        self.modality.setText(", ".join(rule.modality))
        self.body_part.setText(", ".join(rule.body_part))
        self.description.setText(rule.description)
        self._filling = False
        self.matches.setText(self._told(rule))

    def _changed(self) -> None:
        """The form into the rule at hand."""
        row = self.list.currentRow()
        if self._filling or not 0 <= row < len(self._rules):
            return
        rule = ArrivalRule(
            str(self.model.currentData()),
            _words(self.modality.text()),
            _words(self.body_part.text()),
            shown(self.description.text()).strip(),
            self._rules[row].is_on,
        )
        self._put(row, rule)

    def _switched(self, item: QListWidgetItem) -> None:
        if not self._filling:
            row = self.list.row(item)
            self._put(row, replace(self._rules[row], is_on=item.checkState() == _CHECKED))

    def _put(self, row: int, rule: ArrivalRule) -> None:
        self._rules[row] = rule
        item = self.list.item(row)
        self._filling = True
        if item is not None:
            item.setText(self._title(rule))
        self._filling = False
        self.matches.setText(self._told(rule))

    def _told(self, rule: ArrivalRule) -> str:
        """Which of the open series a rule is for, and what the model says to each."""
        card = self._cards.get(rule.model_id)
        if card is None:
            return "This model is not installed here: the rule does nothing."
        studies = self._services.workspace.studies.values()
        series = [(study, one) for study in studies for one in study.series]
        if not series:
            return "No study is open to try it on."
        lines = [self._line(card, study, one) for study, one in series if rule.matches(one)]
        if not lines:
            return f"None of the {len(series)} open series." if len(series) > 1 else "None."
        off = [] if rule.is_on else ["The rule is switched off."]
        return "\n".join((*off, *lines))

    def _line(self, card: ModelCard, study: Study, series: Series) -> str:
        name = shown(series.description) or series.modality
        images = self._services.workspace.volumes_of(series.uid)
        reasons: Sequence[scope.Reason] = (
            self._services.jobs.fit(card.id, images[0].uid)
            if images
            else scope.fit(card, study, series)
        )
        refused = [one.text for one in reasons if one.severity is Severity.REFUSED]
        if refused:
            return f"✗  {name}: the model refuses it. {shown(refused[0])}"
        return f"✓  {name}"


def _line(hint: str, name: str) -> QLineEdit:
    line = QLineEdit()
    line.setPlaceholderText(hint)
    line.setAccessibleName(name)
    return line


def _words(text: str) -> tuple[str, ...]:
    """Words between commas, in upper case as DICOM has them."""
    parts = (shown(part).strip().upper() for part in text.split(","))
    return tuple(dict.fromkeys(part for part in parts if part))
