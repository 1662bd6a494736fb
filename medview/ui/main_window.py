"""The main window: views in the middle, panels around them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PyQt6.QtCore import QEvent, QMimeData, QSize, Qt, QTimer
from PyQt6.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent, QShowEvent
from PyQt6.QtWidgets import QApplication, QDockWidget, QMainWindow, QTabWidget, QWidget

from medview.core.events import JobChanged, Level, SettingChanged, ViewChanged
from medview.core.jobs import JobState
from medview.core.study import Patient
from medview.services.bundle import Services
from medview.ui import icons, theme
from medview.ui.actions import Actions
from medview.ui.bridge import Bridge, Changes
from medview.ui.dialogs.frame import warn
from medview.ui.model_questions import ModelQuestions
from medview.ui.panels.ai import AiPanel
from medview.ui.panels.findings import FindingsPanel
from medview.ui.panels.notices import Toasts
from medview.ui.panels.report import ReportPanel
from medview.ui.panels.segments import SegmentsPanel
from medview.ui.panels.status import StatusLine
from medview.ui.panels.studies import SERIES_MIME, StudiesPanel
from medview.ui.questions import Questions
from medview.ui.report_commands import register as register_report_commands
from medview.ui.report_questions import ReportQuestions
from medview.ui.startup import offer_restore
from medview.ui.text import patient_line
from medview.ui.view_grid import ViewGrid
from medview.ui.window_commands import register

_LEFT, _RIGHT = Qt.DockWidgetArea.LeftDockWidgetArea, Qt.DockWidgetArea.RightDockWidgetArea


class MainWindow(QMainWindow):
    """Everything a reader sees. Studies may be dropped anywhere on it."""

    def __init__(self, services: Services) -> None:
        super().__init__()
        self.services = services
        self.bridge = Bridge(services, self)
        self._docks: dict[str, QDockWidget] = {}
        self._patient: Patient | None = None
        self._proposed: set[str] = set()
        self._known_patients: set[tuple[str, str, str, str]] = set()
        self._was_shown = False
        self.setWindowTitle("medview")
        self.setObjectName("main-window")
        self.setWindowIcon(icons.icon(services.paths.resources, "medview"))
        self.setAcceptDrops(True)
        self.setDockOptions(
            QMainWindow.DockOption.AllowTabbedDocks | QMainWindow.DockOption.AnimatedDocks
        )
        self.questions = Questions(services, self.bridge, self, lambda: self.findings.selected_uid)
        ModelQuestions(services, self.bridge, self, self.questions.with_reader)
        ReportQuestions(services, self.bridge, self, self.questions.with_reader)
        register(services.commands, services, self)
        register_report_commands(services.commands, services, self)
        self._make_panels()
        self.actions_made = Actions(services, self.bridge, self)
        self.setStatusBar(StatusLine(services, self.bridge, self))
        self.toasts = Toasts(services.paths.resources, self.grid)
        self.toasts.asked.connect(self.bridge.start)
        self.bridge.noticed.connect(self.toasts.show_notice)
        self.bridge.changed.connect(self._on_changed)
        self.resize(self._first_size())

    def sizeHint(self) -> QSize:
        """As large as a report and four views like it."""
        return QSize(1500, 940)

    @property
    def docks(self) -> dict[str, QDockWidget]:
        """The panels by name: studies, ai, segments, findings, report."""
        return self._docks

    # Building

    def _make_panels(self) -> None:
        services, bridge = self.services, self.bridge
        self.grid = ViewGrid(services, bridge, self)
        self.setCentralWidget(self.grid)
        self.studies = StudiesPanel(services, bridge, self)
        self.ai = AiPanel(services, bridge, self)
        self.segments = SegmentsPanel(services, bridge, self)
        self.findings = FindingsPanel(services, bridge, self)
        self.report = ReportPanel(services, bridge, self)
        self._dock("studies", "Studies", self.studies, _LEFT)
        self._dock("ai", "AI", self.ai, _RIGHT)
        self._dock("findings", "Findings", self.findings, _RIGHT)
        self._dock("segments", "Segments", self.segments, _RIGHT)
        self._dock("report", "Report", self.report, _RIGHT)
        self.tabifyDockWidget(self._docks["ai"], self._docks["segments"])
        self.tabifyDockWidget(self._docks["findings"], self._docks["report"])
        self._docks["ai"].raise_()
        self._docks["findings"].raise_()
        self.setTabPosition(_LEFT | _RIGHT, QTabWidget.TabPosition.North)
        self.setCorner(Qt.Corner.BottomRightCorner, _RIGHT)
        self.setCorner(Qt.Corner.BottomLeftCorner, _LEFT)

    def _dock(self, name: str, title: str, widget: QWidget, area: Qt.DockWidgetArea) -> None:
        dock = QDockWidget(title, self)
        dock.setObjectName(f"dock-{name}")
        dock.setAccessibleName(f"{title} panel")
        dock.setWidget(widget)
        # The tab above says what it is; a second title would only take room from the content.
        dock.setTitleBarWidget(QWidget(dock))
        self.addDockWidget(area, dock)
        self._docks[name] = dock

    def _first_size(self) -> QSize:
        screen = self.screen()
        if screen is None or QApplication.platformName() == "offscreen":
            # What is drawn off the screen has no screen to fit on.
            return self.sizeHint()
        room = screen.availableGeometry().size()
        return (room * 0.94).expandedTo(self.sizeHint()).boundedTo(room)

    # What happens

    def showEvent(self, event: QShowEvent | None) -> None:
        """After the first picture: what takes long, and what an earlier run left."""
        first = not self._was_shown
        self._was_shown = True
        super().showEvent(event)
        if first:
            left = max(250, min(320, self.width() * 16 // 100))
            right_px = max(340, min(460, self.width() * 21 // 100))
            across = Qt.Orientation.Horizontal
            self.resizeDocks([self._docks["studies"], self._docks["ai"]], [left, right_px], across)
            right = [self._docks["ai"], self._docks["findings"]]
            self.resizeDocks(right, [1, 1], Qt.Orientation.Vertical)
            QTimer.singleShot(0, self._started)

    def _started(self) -> None:
        for notice in self.services.workspace.notices:
            self.bridge.noticed.emit(notice)
        offer_restore(self.services, self.bridge, self)

    def changeEvent(self, event: QEvent | None) -> None:
        """Back at the window: files may have changed meanwhile."""
        super().changeEvent(event)
        activation = event is not None and event.type() == QEvent.Type.ActivationChange
        if activation and self.isActiveWindow():
            self.services.watch.check()

    def _on_changed(self, changes: Changes) -> None:
        if changes.any(ViewChanged):
            self._name_patient()
        for changed in changes.of(JobChanged):
            job = self.services.workspace.jobs.get(changed.uid)
            proposes = job is not None and "tracks" not in job.parameters
            done = job is not None and job.state is JobState.DONE
            if proposes and done and changed.uid not in self._proposed:
                # What was just proposed waits for a decision: bring it to the front.
                self._proposed.add(changed.uid)
                self._docks["findings"].raise_()
        for event in changes.of(SettingChanged):
            application = QApplication.instance()
            if event.name == "window.theme" and isinstance(application, QApplication):
                scheme = self.services.settings.text("window.theme")
                theme.apply(application, self.services.paths.resources, scheme)

    def _name_patient(self) -> None:
        """The patient on show stands in the title; another one is announced."""
        study = self.services.viewing.study
        patient = study.patient if study is not None else None
        if patient == self._patient:
            return
        before, self._patient = self._patient, patient
        self.setWindowTitle(f"{patient_line(patient)} — medview" if patient else "medview")
        if patient is None:
            return
        is_new = _key(patient) not in self._known_patients
        self._known_patients.add(_key(patient))
        if before is None or _key(before) == _key(patient):
            return
        if before in [one.patient for one in self.services.workspace.studies.values()]:
            self._announce(before, patient, is_new=is_new)

    def _announce(self, before: Patient, patient: Patient, *, is_new: bool) -> None:
        """Two patients are open: of one who comes into view first, the reader has to say so."""
        if not is_new:
            self.services.tasks.post(
                lambda: self.services.workspace.notify(
                    Level.WARNING, f"Now showing {patient_line(patient)}"
                )
            )
            return
        text = f"The views now show another patient:\n{patient_line(patient)}"
        more = "Both stay in the list; the views show one at a time."
        warn(self, "Another patient", text, f"Before: {patient_line(before)}\n{more}")

    # Dropping

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        """Files and folders are welcome anywhere, series from the list too."""
        mime = event.mimeData() if event is not None else None
        if event is None or mime is None:
            return
        if _local_paths(mime) or mime.hasFormat(SERIES_MIME):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        """Open what was dropped."""
        mime = event.mimeData() if event is not None else None
        if event is None or mime is None:
            return
        event.acceptProposedAction()
        if mime.hasFormat(SERIES_MIME):
            uid = bytes(mime.data(SERIES_MIME).data()).decode()
            self.bridge.run("series.show", series_uid=uid)
        else:
            self.open_paths(_local_paths(mime))

    def open_paths(self, paths: Sequence[Path]) -> None:
        """Open files and folders."""
        if paths:
            self.bridge.run("study.open", paths=[str(path) for path in paths])

    # The end

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """Hand over what is being typed and stop drawing; saving is the services' own."""
        self.report.flush()
        self.grid.close_views()
        self.bridge.close()
        super().closeEvent(event)


def _key(patient: Patient) -> tuple[str, str, str, str]:
    return patient.id, patient.issuer, patient.name, patient.birth_date


def _local_paths(mime: QMimeData) -> list[Path]:
    return [Path(url.toLocalFile()) for url in mime.urls() if url.isLocalFile()]
