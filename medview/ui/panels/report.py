"""Report panel: the report in the making beside the pictures."""

from __future__ import annotations

from itertools import pairwise

from PyQt6.QtCore import QPoint, Qt
from PyQt6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QMenu,
    QPushButton,
    QScrollArea,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from medview.core.events import ReportChanged, StudyClosed, StudyOpened, ViewChanged
from medview.core.report import Report, ReportStatus, Section
from medview.reporting.canonical import digest, signature_holds
from medview.services.bundle import Services
from medview.ui import theme
from medview.ui.bridge import Bridge, Changes
from medview.ui.carry import Cargo
from medview.ui.panels.key_images import KeyImages
from medview.ui.panels.report_fields import CriticalLine, FieldsForm, TemplateChoice
from medview.ui.section_edit import SectionEdit
from medview.ui.text import label, menu_text, shown

_BUTTONS = (
    ("report.begin", "Begin report", "primary"),
    ("report.add_key_image", "Key image", ""),
    ("report.amend", "Amend", ""),
    ("report.sign", "Sign …", "primary"),
    ("report.export", "Export …", ""),
)
#: What stands in the menu behind the buttons.
_MORE = (
    "report.release", "report.critical", "report.clear_critical", "", "report.illustrate",
    "view.copy_picture", "report.copy", "report.print", "", "report.versions",
)  # fmt: skip


class SectionBox(QWidget):
    """A section of the report: its heading, what can be inserted, and its text."""

    def __init__(self, heading: str, bridge: Bridge, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.heading = heading
        self.edit = SectionEdit(heading, self)
        self._insert = _small_button("+", f"Insert a phrase or a number into {heading}", self)
        self._insert.setToolTip("Insert a phrase or a live number (Ctrl+Space)")
        self._insert.clicked.connect(self._open_menu)
        self._again = _small_button("↺", f"Draft {heading} again", self)
        self._again.setToolTip("Give this section back to the draft")
        self._again.clicked.connect(lambda: bridge.run("report.reset_section", heading=heading))
        row = QHBoxLayout()
        row.setSpacing(2)
        row.addWidget(label(shown(heading), "muted"))
        row.addStretch(1)
        row.addWidget(self._again)
        row.addWidget(self._insert)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addLayout(row)
        column.addWidget(self.edit)

    @property
    def by_tab(self) -> tuple[QWidget, ...]:
        """What Tab goes through: the text first, then what can be inserted."""
        return self.edit, self._again, self._insert

    def show_section(self, section: Section, *, signed: bool) -> None:
        """Show it; the text of a signed report cannot be changed."""
        self.edit.setReadOnly(signed)
        self.edit.show_section(section)
        self._insert.setVisible(not signed)
        self._again.setVisible(section.edited and not signed)

    def _open_menu(self) -> None:
        self.edit.setFocus()
        menu = self.edit.menu()
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.popup(self._insert.mapToGlobal(self._insert.rect().bottomLeft()))


class ReportPanel(QWidget):
    """Status, kind, sections to edit, fields, what models contributed, key images; sign, export.

    Pictures are dropped on a section, or between others in the strip.
    """

    def __init__(self, services: Services, bridge: Bridge, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._bridge = bridge
        self._report: Report | None = None
        self._study_uid = ""
        self._boxes: dict[str, SectionBox] = {}
        self._status = label("", "heading", wrap=True)
        self._kind = TemplateChoice(services, bridge, self)
        self._critical = CriticalLine(self)
        self._inside = QWidget(self)
        self._sections = QVBoxLayout()
        self._sections.setSpacing(6)
        self._fields = FieldsForm(bridge, self._inside)
        self._statement = SectionEdit("What models contributed; cannot be changed", self._inside)
        self._statement.setReadOnly(True)
        self._images = KeyImages(bridge, self._inside)
        self._buttons: dict[str, QPushButton] = {}
        self._lay_out()
        bridge.changed.connect(self._on_changed)
        self._refresh()

    def flush(self) -> None:
        """Hand over what is being typed."""
        for box in self._boxes.values():
            box.edit.flush()

    # Pictures that are carried here

    def welcome(self, cargo: Cargo, at: QPoint) -> str:
        """Where a picture would go."""
        report = self._report
        if report is not None and report.status.is_signed:
            return ""
        if self._over_strip(at):
            return "Among the key images" if not cargo.image_uid else "To this place"
        heading = self._heading_at(at)
        return f"Under {shown(heading)}" if heading else "Into the report"

    def take(self, cargo: Cargo, at: QPoint) -> None:
        """Put a picture where it was dropped."""
        self.flush()
        where: dict[str, object] = {}
        if self._over_strip(at):
            where["place"] = self._images.place_at(at)
        else:
            where["section"] = self._heading_at(at)
        if cargo.image_uid:
            self._bridge.run("report.move_key_image", uid=cargo.image_uid, **where)
        else:
            self._bridge.run("report.add_key_image", **where)

    def _over_strip(self, at: QPoint) -> bool:
        strip = self._images
        return strip.isVisible() and strip.rect().contains(strip.mapFromGlobal(at))

    def _heading_at(self, at: QPoint) -> str:
        for heading, box in self._boxes.items():
            if box.isVisible() and box.rect().contains(box.mapFromGlobal(at)):
                return heading
        return ""

    # Building

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 4, 6, 6)
        column.setSpacing(6)
        column.addWidget(self._status)
        column.addWidget(self._kind)
        column.addWidget(self._critical)
        inside = QVBoxLayout(self._inside)
        inside.setContentsMargins(0, 0, 8, 0)
        inside.setSpacing(6)
        inside.addLayout(self._sections)
        inside.addWidget(self._fields)
        self._statement_title = label("AI contribution", "muted")
        inside.addWidget(self._statement_title)
        inside.addWidget(self._statement)
        self._images_title = label("Key images", "muted")
        inside.addWidget(self._images_title)
        inside.addWidget(self._images)
        inside.addStretch(1)
        scroll = QScrollArea(self)
        scroll.setWidgetResizable(True)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(self._inside)
        column.addWidget(scroll, 1)
        column.addLayout(self._button_row())

    def _button_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(4)
        for command_id, text, role in _BUTTONS:
            button = QPushButton(text, self)
            theme.set_role(button, role)
            button.clicked.connect(lambda _on, name=command_id: self._run(name))
            self._buttons[command_id] = button
            row.addWidget(button)
        row.addStretch(1)
        self._more = QToolButton(self)
        self._more.setText("⋯")
        self._more.setAccessibleName("More to do with the report")
        self._more.setToolTip("Preliminary, critical result, copy, print, versions")
        self._more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self._more)
        menu.aboutToShow.connect(self._fill_more)
        self._more.setMenu(menu)
        row.addWidget(self._more)
        return row

    def _fill_more(self) -> None:
        menu = self._more.menu()
        if menu is None:
            return
        menu.clear()
        for command_id in _MORE:
            if not command_id:
                menu.addSeparator()
                continue
            command = self._services.commands.get(command_id)
            action = menu.addAction(menu_text(command.title))
            if action is not None:
                action.setEnabled(command.enabled())
                action.setToolTip(command.help)
                action.triggered.connect(lambda _on, name=command_id: self._run(name))

    def _turn(self, command_id: str) -> None:
        """Undo or redo from within the text: what was typed may be back where it began."""
        self._bridge.run(command_id)
        self._report = None
        self._refresh()

    def _run(self, command_id: str) -> None:
        self.flush()
        self._bridge.start(command_id)

    # Showing

    def _on_changed(self, changes: Changes) -> None:
        if changes.any(ReportChanged, ViewChanged, StudyOpened, StudyClosed):
            self._refresh()

    def _refresh(self) -> None:
        study = self._services.viewing.study
        uid = study.uid if study is not None else ""
        report = self._services.workspace.report_of(uid) if uid else None
        if uid != self._study_uid:
            self.flush()
            self._study_uid = uid
            self._clear_sections()
        self._show_buttons(report, has_study=bool(uid))
        if report is self._report and report is not None:
            return
        self._report = report
        self._status.setText(_status_words(report, has_study=study is not None))
        signed = report is not None and report.status.is_signed
        broken = report is not None and signed and not signature_holds(report)
        role = "bad" if broken else "good" if signed else "heading" if report else "muted"
        theme.set_role(self._status, role)
        self._show_sections(report)
        self._show_parts(report)

    def _show_parts(self, report: Report | None) -> None:
        """Everything but the sections."""
        signed = report is not None and report.status.is_signed
        self._kind.setVisible(report is not None and not signed)
        self._kind.show_report(report)
        self._critical.show_report(report)
        template = None if report is None else self._services.review.template_of(report.study_uid)
        self._fields.show_fields(template, report)
        self._order_keys()
        for widget in (self._statement, self._statement_title):
            widget.setVisible(report is not None and bool(report.ai_statement))
        for part in (self._images, self._images_title):
            part.setVisible(report is not None and bool(report.key_images))
        if report is not None:
            self._statement.show_section(Section("", report.ai_statement))
            self._images.show_images(report.key_images, may_change=not signed)

    def _show_buttons(self, report: Report | None, *, has_study: bool) -> None:
        signed = report is not None and report.status.is_signed
        visible = {
            "report.begin": report is None,
            "report.add_key_image": report is not None and not signed,
            "report.amend": signed,
            "report.sign": report is not None and not signed,
            "report.export": report is not None,
        }
        for command_id, button in self._buttons.items():
            command = self._services.commands.get(command_id)
            button.setVisible(visible[command_id])
            button.setEnabled(command.enabled())
            button.setToolTip(command.help)
        self._more.setVisible(has_study)

    def _clear_sections(self) -> None:
        self._report = None
        while (item := self._sections.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        self._boxes = {}

    def _show_sections(self, report: Report | None) -> None:
        sections = report.sections if report is not None else ()
        if [section.heading for section in sections] != list(self._boxes):
            self.flush()
            self._clear_sections()
            self._report = report
            for section in sections:
                self._add_section(section.heading)
        if report is None:
            return
        template = self._services.review.template_of(report.study_uid)
        for section in sections:
            box = self._boxes[section.heading]
            box.edit.findings = report.findings
            box.edit.phrases = template.phrases_for(section.heading)
            box.show_section(section, signed=report.status.is_signed)

    def _order_keys(self) -> None:
        """Tab goes through the report as it is read; the panel gives the keyboard to its text."""
        edits = [box.edit for box in self._boxes.values()]
        order = [self._kind, *(part for box in self._boxes.values() for part in box.by_tab)]
        for before, after in pairwise([*order, *self._fields.by_tab, self._statement]):
            self.setTabOrder(before, after)
        self.setFocusProxy(edits[0] if edits else self._buttons["report.begin"])

    def _add_section(self, heading: str) -> None:
        box = SectionBox(heading, self._bridge, self._inside)
        box.edit.written.connect(
            lambda text: self._bridge.run(
                "report.set_section", study_uid=self._study_uid, heading=heading, text=text
            )
        )
        box.edit.undo_asked.connect(self._turn)
        self._sections.addWidget(box)
        self._boxes[heading] = box


def _small_button(text: str, name: str, parent: QWidget) -> QToolButton:
    button = QToolButton(parent)
    button.setText(text)
    button.setAccessibleName(name)
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    button.setAutoRaise(True)
    return button


def _status_words(report: Report | None, *, has_study: bool) -> str:
    if report is None:
        if not has_study:
            return "No study is shown."
        return "No report yet. It begins with the first finding you accept."
    words = {
        ReportStatus.DRAFT: "Draft",
        ReportStatus.PRELIMINARY: "Preliminary",
        ReportStatus.FINAL: "Final",
        ReportStatus.AMENDED: "Amended",
    }[report.status]
    version = f", version {report.version}" if report.version > 1 else ""
    released = report.released
    if report.status is ReportStatus.PRELIMINARY and released is not None:
        when = f"{released.at.astimezone():%Y-%m-%d %H:%M}"
        since = "" if digest(report) == released.sha256 else ", changed since"
        return f"{words}{version}, released by {shown(released.by)} on {when}{since}, not signed"
    if not report.signatures or not report.status.is_signed:
        return f"{words}{version}, not signed"
    last = report.signatures[-1]
    when = last.at.astimezone().strftime("%Y-%m-%d %H:%M")
    if not signature_holds(report):
        return f"{words}{version}: the text is not the one {shown(last.by)} signed on {when}"
    return f"{words}{version}, signed by {shown(last.by)} on {when}"
