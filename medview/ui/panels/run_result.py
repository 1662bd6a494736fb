"""What a finished run offers under its model: the threshold of its findings, and its maps."""

from __future__ import annotations

from PyQt6.QtCore import Qt, QTimer
from PyQt6.QtWidgets import QHBoxLayout, QPushButton, QSlider, QVBoxLayout, QWidget

from medview.core.jobs import InferenceJob, JobState
from medview.core.maps import MapKind
from medview.services.bundle import Services
from medview.ui.bridge import Bridge
from medview.ui.text import label

#: A line moved by wheel or keys holds when it has stood still for so long.
_SETTLED_MS = 500
_MAPS = ((MapKind.UNCERTAINTY, "Uncertainty"), (MapKind.SALIENCY, "Saliency"))


class RunResult(QWidget):
    """A slider for the threshold with the count that follows it, and switches for maps."""

    def __init__(self, services: Services, bridge: Bridge, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._bridge = bridge
        self._job_uid = ""
        self._filling = False
        self.words = label("", "muted", wrap=True)
        self.slider = QSlider(Qt.Orientation.Horizontal, self)
        self.slider.setRange(0, 100)
        self.slider.setPageStep(5)
        self.slider.setAccessibleName("Threshold")
        self.slider.valueChanged.connect(self._moved)
        self.slider.sliderReleased.connect(self._settle)
        self._settling = QTimer(self)
        self._settling.setSingleShot(True)
        self._settling.setInterval(_SETTLED_MS)
        self._settling.timeout.connect(self._settle)
        self.switches = {kind: self._switch(kind, title) for kind, title in _MAPS}
        row = QHBoxLayout()
        row.setSpacing(6)
        for button in self.switches.values():
            row.addWidget(button)
        row.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 2, 0, 0)
        column.setSpacing(3)
        column.addWidget(self.words)
        column.addWidget(self.slider)
        column.addLayout(row)

    def _switch(self, kind: MapKind, title: str) -> QPushButton:
        command_id = f"ai.{kind.value}"
        command = self._services.commands.get(command_id)
        button = QPushButton(f"{title} ({self._services.commands.shortcut_of(command_id)})", self)
        button.setCheckable(True)
        button.setToolTip(command.help)
        button.clicked.connect(lambda: self._bridge.run(command_id))
        return button

    def show_job(self, job: InferenceJob | None) -> None:
        """Show what the newest run of the model on this image offers, if anything."""
        study_uid = "" if job is None else job.study_uid
        hidden = self._services.first_read.hides(study_uid) if study_uid else False
        done = job is not None and job.state is JobState.DONE and not hidden
        self._job_uid = job.uid if job is not None and done else ""
        movable = bool(self._job_uid) and self._services.thresholds.movable(self._job_uid)
        self.slider.setVisible(movable)
        self.words.setVisible(movable)
        if movable:
            self._show_line()
        kinds = self._kinds()
        for kind, button in self.switches.items():
            button.setVisible(kind in kinds)
            button.setChecked(self._services.results.kind is kind)
        self.setVisible(movable or bool(kinds))

    def _kinds(self) -> set[MapKind]:
        if not self._job_uid:
            return set()
        maps = self._services.jobs.outcomes.result(self._job_uid).maps
        return {one.kind for one in maps}

    def _show_line(self) -> None:
        thresholds = self._services.thresholds
        line = thresholds.shown_line(self._job_uid)
        if not self.slider.isSliderDown():
            self._filling = True
            self.slider.setValue(round(100 * line))
            self._filling = False
        count = thresholds.count(self._job_uid, line)
        plural = "" if count.above == 1 else "s"
        words = f"Threshold {line:.2f}: {count.above} finding{plural}"
        if count.below:
            words += f", {count.below} less probable"
        self.words.setText(words)

    def _moved(self, value: int) -> None:
        """Look while dragging; by wheel and keys the line holds a little later."""
        if self._filling or not self._job_uid:
            return
        self._services.thresholds.preview(self._job_uid, value / 100)
        self._show_line()
        if not self.slider.isSliderDown():
            self._settling.start()

    def _settle(self) -> None:
        self._settling.stop()
        if self._job_uid:
            line = self.slider.value() / 100
            self._bridge.run("ai.threshold", value=line, job=self._job_uid)
