"""What is chosen for a report beside its words: its kind, and the fields of its template."""

from __future__ import annotations

from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QComboBox, QGridLayout, QLabel, QMenu, QToolButton, QWidget

from medview.core.report import Report
from medview.reporting.template import ChoiceField, Template
from medview.services.bundle import Services
from medview.ui import theme
from medview.ui.bridge import Bridge
from medview.ui.text import label, menu_text, shown, tip

_NONE = "–"


class TemplateChoice(QComboBox):
    """The kinds of report there are; the first lets the program choose."""

    def __init__(self, services: Services, bridge: Bridge, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self.setAccessibleName("Kind of report")
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(12)
        self.addItem("Best fit", "")
        for template in services.review.templates:
            self.addItem(shown(template.title), template.id)
        self.activated.connect(lambda _n: bridge.run("report.template", name=self.currentData()))

    def show_report(self, report: Report | None) -> None:
        """Show the kind that was chosen, and which one fits best."""
        chosen = "" if report is None else report.template
        if report is not None:
            fitting = self._services.review.template_of(report.study_uid)
            words = "Best fit" if chosen else f"Best fit: {shown(fitting.title)}"
            self.setItemText(0, words)
        self.setCurrentIndex(max(0, self.findData(chosen)))
        self.setEnabled(report is not None and not report.status.is_signed)


class FieldsForm(QWidget):
    """One row for each field of the template: its title and what was chosen, to be changed."""

    def __init__(self, bridge: Bridge, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._bridge = bridge
        self._form = QGridLayout(self)
        self._form.setContentsMargins(0, 0, 0, 0)
        self._form.setColumnStretch(1, 1)
        self._shown: tuple[object, ...] = ()

    @property
    def by_tab(self) -> tuple[QWidget, ...]:
        """The fields from top to bottom."""
        rows = range(self._form.rowCount())
        items = [self._form.itemAtPosition(row, 1) for row in rows]
        return tuple(w for item in items if item is not None and (w := item.widget()) is not None)

    def show_fields(self, template: Template | None, report: Report | None) -> None:
        """Show the fields of a template with the answers of a report; none without either."""
        signed = report is not None and report.status.is_signed
        now = (template, report.answers if report is not None else (), signed)
        if now == self._shown:
            return
        self._shown = now
        while (item := self._form.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        for row, field in enumerate(() if template is None else template.fields):
            chosen = () if report is None else report.answers
            values = [one.value for one in chosen if one.field == field.id]
            self._form.addWidget(label(shown(field.title), "muted", wrap=True), row, 0)
            make = self._several if field.many else self._single
            self._form.addWidget(make(field, values, enabled=not signed), row, 1)
        self.setVisible(template is not None and bool(template.fields) and report is not None)

    def _single(self, field: ChoiceField, values: list[str], *, enabled: bool) -> QWidget:
        box = QComboBox(self)
        box.setAccessibleName(field.title)
        box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        box.setMinimumContentsLength(8)
        box.addItem(_NONE, "")
        for choice in field.choices:
            words = f"{choice.value}  {choice.meaning}" if choice.meaning else choice.value
            box.addItem(shown(words), choice.value)
        box.setCurrentIndex(max(0, box.findData(values[0] if values else "")))
        box.setEnabled(enabled)
        box.activated.connect(
            lambda _n: self._answer(field, [box.currentData()] if box.currentData() else [])
        )
        return box

    def _several(self, field: ChoiceField, values: list[str], *, enabled: bool) -> QWidget:
        button = QToolButton(self)
        button.setAccessibleName(field.title)
        button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextOnly)
        button.setText(", ".join(values) or _NONE)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        meanings = {choice.value: choice.meaning for choice in field.choices}
        button.setToolTip(tip("\n".join(f"{one}  {meanings.get(one, '')}" for one in values)))
        menu = QMenu(button)
        for choice in field.choices:
            action = menu.addAction(menu_text(shown(f"{choice.value}  {choice.meaning}")))
            if action is not None:
                action.setCheckable(True)
                action.setChecked(choice.value in values)
                action.triggered.connect(
                    lambda on, value=choice.value: self._answer(
                        field, [*values, value] if on else [v for v in values if v != value]
                    )
                )
        button.setMenu(menu)
        button.setEnabled(enabled)
        return button

    def _answer(self, field: ChoiceField, values: list[str]) -> None:
        self._bridge.run("report.answer", field=field.id, values=values)


class CriticalLine(QLabel):
    """The critical result that was passed on: never shortened, it tells who knows of it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setWordWrap(True)
        theme.set_role(self, "caution")

    def show_report(self, report: Report | None) -> None:
        """Show it, or nothing where there is none."""
        told = None if report is None else report.critical
        self.setVisible(told is not None)
        if told is not None:
            when = f"{told.at.astimezone():%Y-%m-%d %H:%M}"
            self.setText(shown(f"Critical: {told.finding}; {told.informed} informed {when}"))
