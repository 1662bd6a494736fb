"""Report panel: the report in the making beside the pictures."""

from __future__ import annotations

from PyQt6.QtCore import QEvent, QSize, Qt, QTimer, pyqtSignal
from PyQt6.QtGui import QFocusEvent, QIcon, QPixmap, QResizeEvent
from PyQt6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QListView,
    QListWidget,
    QListWidgetItem,
    QPlainTextEdit,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from medview.core.events import ReportChanged, StudyClosed, StudyOpened, ViewChanged
from medview.core.report import KeyImage, Report, ReportStatus
from medview.services.bundle import Services
from medview.ui import theme
from medview.ui.bridge import Bridge, Changes
from medview.ui.text import label, shown, tip

#: How long typing rests before the section is taken over: one step of the history.
_REST_MS = 900
_THUMB_PX = 84


class SectionEdit(QPlainTextEdit):
    """The text of one section; as high as its text. `written` carries what was typed."""

    written = pyqtSignal(str)

    def __init__(self, heading: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName(heading)
        self.setTabChangesFocus(True)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._taken = ""
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(_REST_MS)
        self._rest.timeout.connect(self.flush)
        self.textChanged.connect(self._typed)

    def show_text(self, text: str) -> None:
        """Show what the report says, unless the reader is ahead of it."""
        if self._rest.isActive() or text == self.toPlainText():
            self._taken = text if not self._rest.isActive() else self._taken
            return
        self._taken = text
        self.setPlainText(text)
        self._rest.stop()

    def flush(self) -> None:
        """Hand over what was typed, now."""
        self._rest.stop()
        text = self.toPlainText()
        if text != self._taken:
            self._taken = text
            self.written.emit(text)

    def focusOutEvent(self, event: QFocusEvent | None) -> None:
        """Leaving hands over."""
        super().focusOutEvent(event)
        self.flush()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Lines break anew."""
        super().resizeEvent(event)
        self._fit()

    def changeEvent(self, event: QEvent | None) -> None:
        """Another font, another height."""
        super().changeEvent(event)
        self._fit()

    def _typed(self) -> None:
        self._fit()
        if self.toPlainText() != self._taken:
            self._rest.start()

    def _fit(self) -> None:
        document = self.document()
        lines = max(2, round(document.size().height())) if document is not None else 2
        height = lines * self.fontMetrics().lineSpacing() + 20
        if self.height() != height:
            self.setFixedHeight(height)


class ReportPanel(QWidget):
    """Status, sections to edit, what models contributed, key images; sign and export."""

    def __init__(self, services: Services, bridge: Bridge, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._bridge = bridge
        self._report: Report | None = None
        self._study_uid = ""
        self._edits: dict[str, SectionEdit] = {}
        self._status = label("", "heading", wrap=True)
        self._inside = QWidget(self)
        self._sections = QVBoxLayout()
        self._sections.setSpacing(4)
        self._statement = SectionEdit("What models contributed; cannot be changed", self._inside)
        self._statement.setReadOnly(True)
        self._images = _KeyImages(bridge, self._inside)
        self._buttons: dict[str, QPushButton] = {}
        self._lay_out()
        bridge.changed.connect(self._on_changed)
        self._refresh()

    def flush(self) -> None:
        """Hand over what is being typed."""
        for edit in self._edits.values():
            edit.flush()

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 4, 6, 6)
        column.setSpacing(6)
        column.addWidget(self._status)
        inside = QVBoxLayout(self._inside)
        inside.setContentsMargins(0, 0, 8, 0)
        inside.setSpacing(6)
        inside.addLayout(self._sections)
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
        row = QHBoxLayout()
        row.setSpacing(4)
        for command_id, text, role in (
            ("report.begin", "Begin report", "primary"),
            ("report.add_key_image", "Add key image", ""),
            ("report.amend", "Amend", ""),
            ("report.sign", "Sign …", "primary"),
            ("report.export", "Export …", ""),
        ):
            button = QPushButton(text, self)
            theme.set_role(button, role)
            button.clicked.connect(lambda _on, name=command_id: self._run(name))
            self._buttons[command_id] = button
            row.addWidget(button)
        column.addLayout(row)

    def _run(self, command_id: str) -> None:
        self.flush()
        self._bridge.start(command_id)

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
        self._show_buttons(report)
        if report is self._report and report is not None:
            return
        self._report = report
        self._status.setText(_status_words(report, has_study=study is not None))
        signed = report is not None and report.status.is_signed
        theme.set_role(self._status, "good" if signed else "heading" if report else "muted")
        self._show_sections(report)
        for widget in (self._statement, self._statement_title):
            widget.setVisible(report is not None and bool(report.ai_statement))
        for part in (self._images, self._images_title):
            part.setVisible(report is not None and bool(report.key_images))
        if report is not None:
            self._statement.show_text(report.ai_statement)
            self._images.show_images(report.key_images, may_remove=not signed)

    def _show_buttons(self, report: Report | None) -> None:
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

    def _clear_sections(self) -> None:
        self._report = None
        while (item := self._sections.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.deleteLater()
        self._edits = {}

    def _show_sections(self, report: Report | None) -> None:
        sections = report.sections if report is not None else ()
        if [section.heading for section in sections] != list(self._edits):
            self.flush()
            self._clear_sections()
            self._report = report
            for section in sections:
                self._add_section(section.heading)
        for section in sections:
            edit = self._edits[section.heading]
            edit.setReadOnly(report is not None and report.status.is_signed)
            edit.show_text(section.text)

    def _add_section(self, heading: str) -> None:
        self._sections.addWidget(label(shown(heading), "muted"))
        edit = SectionEdit(heading, self._inside)
        edit.written.connect(
            lambda text: self._bridge.run(
                "report.set_section", study_uid=self._study_uid, heading=heading, text=text
            )
        )
        self._sections.addWidget(edit)
        self._edits[heading] = edit


class _KeyImages(QListWidget):
    """A strip of key images; Delete takes one out, a double click goes there."""

    def __init__(self, bridge: Bridge, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._bridge = bridge
        self._may_remove = True
        self.setAccessibleName("Key images")
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setFlow(QListView.Flow.LeftToRight)
        self.setWrapping(False)
        self.setMovement(QListView.Movement.Static)
        self.setIconSize(QSize(_THUMB_PX, _THUMB_PX))
        self.setGridSize(QSize(_THUMB_PX + 26, _THUMB_PX + 30))
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.setFixedHeight(_THUMB_PX + 50)
        self.itemDoubleClicked.connect(
            lambda item: bridge.run(
                "report.show_key_image", uid=item.data(Qt.ItemDataRole.UserRole)
            )
        )

    def show_images(self, images: tuple[KeyImage, ...], *, may_remove: bool) -> None:
        """Show these pictures with their captions."""
        self._may_remove = may_remove
        self.clear()
        for image in images:
            picture = QPixmap()
            picture.loadFromData(image.png)
            item = QListWidgetItem(QIcon(picture), shown(image.caption))
            item.setData(Qt.ItemDataRole.UserRole, image.uid)
            item.setToolTip(tip(shown(image.caption)))
            self.addItem(item)

    def keyPressEvent(self, event: object) -> None:
        """Delete takes the chosen picture out of the report."""
        item = self.currentItem()
        key = event.key() if hasattr(event, "key") else None
        if (
            self._may_remove
            and item is not None
            and key in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace)
        ):
            self._bridge.run("report.remove_key_image", uid=item.data(Qt.ItemDataRole.UserRole))
            return
        super().keyPressEvent(event)  # type: ignore[arg-type]


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
    if not report.signatures or not report.status.is_signed:
        return f"{words}{version}, not signed"
    last = report.signatures[-1]
    when = last.at.astimezone().strftime("%Y-%m-%d %H:%M")
    return f"{words}{version}, signed by {shown(last.by)} on {when}"
