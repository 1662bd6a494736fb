"""AI panel: which models fit the image on show, running them, and how the runs go."""

from __future__ import annotations

from PyQt6.QtCore import QSize, Qt
from PyQt6.QtWidgets import (
    QFrame,
    QGridLayout,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from medview.core.events import (
    ClipLoaded,
    FindingChanged,
    JobChanged,
    ModelsChanged,
    SettingChanged,
    StudyClosed,
    ViewChanged,
    VolumeLoaded,
)
from medview.core.jobs import InferenceJob, JobState
from medview.core.models import ModelCard
from medview.core.study import Severity
from medview.inference.scope import Reason, preference
from medview.services.bundle import Services
from medview.ui import icons, theme
from medview.ui.bridge import Bridge, Changes
from medview.ui.dialogs.frame import confirm, message_box
from medview.ui.panels.run_result import RunResult
from medview.ui.text import duration, label, shown

_STATE_WORDS = {
    JobState.QUEUED: "Waiting for its turn",
    JobState.LOADING: "Loading the model",
    JobState.RUNNING: "Running",
    JobState.DONE: "Done",
    JobState.FAILED: "Failed",
    JobState.CANCELLED: "Cancelled",
    JobState.DIED: "The AI process stopped",
}


class AiPanel(QWidget):
    """One card for each model, those that fit the image on show first."""

    def __init__(self, services: Services, bridge: Bridge, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._bridge = bridge
        self._cards: dict[str, ModelWidget] = {}
        self._order: list[str] = []
        self._fitted_uid: str | None = None
        self._inside = QWidget(self)
        self._column = QVBoxLayout(self._inside)
        self._column.setContentsMargins(0, 0, 6, 0)
        self._column.setSpacing(6)
        scroll = QScrollArea(self)
        scroll.setWidgetResizable(True)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(self._inside)
        self._hint = label("", "muted", wrap=True)
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 4, 2, 6)
        column.setSpacing(6)
        column.addWidget(self._hint)
        column.addWidget(scroll, 1)
        self._make_cards()
        bridge.changed.connect(self._on_changed)
        self._refresh()

    def sizeHint(self) -> QSize:
        """Wide enough for a card."""
        return QSize(330, 300)

    @property
    def cards(self) -> dict[str, ModelWidget]:
        """The card of each model by its id."""
        return self._cards

    def _make_cards(self) -> None:
        """One widget a model; those of an earlier catalogue go."""
        while (item := self._column.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.setParent(None)
                widget.deleteLater()
        self._cards.clear()
        for card in self._services.catalog.cards():
            widget = ModelWidget(card, self._services, self._bridge, self._inside)
            self._cards[card.id] = widget
            self._column.addWidget(widget)
        self._column.addStretch(1)
        self._order = list(self._cards)

    def _on_changed(self, changes: Changes) -> None:
        if changes.any(ModelsChanged):
            self._make_cards()
            self._fitted_uid = None
        if changes.any(ModelsChanged, ViewChanged, VolumeLoaded, ClipLoaded, StudyClosed):
            self._refresh()
        if changes.any(JobChanged, StudyClosed, ViewChanged, FindingChanged, SettingChanged):
            self._show_jobs()

    def _refresh(self) -> None:
        viewing = self._services.viewing
        volume, clip = viewing.volume, viewing.clip
        uid = volume.uid if volume is not None else "" if clip is None else clip.uid
        if uid == self._fitted_uid:
            return
        self._fitted_uid = uid
        if not self._cards:
            self._hint.setText("No models are installed.")
        elif not uid:
            self._hint.setText("Open a series to see which models fit it.")
        self._hint.setVisible(not uid or not self._cards)
        badness = {}
        for model_id, widget in self._cards.items():
            reasons = self._services.jobs.fit(model_id, uid) if uid else ()
            widget.show_fit(uid, reasons)
            badness[model_id] = preference(widget.card, reasons)
        self._sort(sorted(self._cards, key=lambda model_id: badness[model_id]))
        self._show_jobs()

    def _sort(self, order: list[str]) -> None:
        if order == self._order:
            return
        self._order = order
        for place, model_id in enumerate(order):
            self._column.removeWidget(self._cards[model_id])
            self._column.insertWidget(place, self._cards[model_id])

    def _show_jobs(self) -> None:
        newest: dict[str, InferenceJob] = {}
        shown_uid = self._fitted_uid
        for job in self._services.workspace.jobs.values():
            known = newest.get(job.model_id)
            # One that was kept may come back after a new one was asked for.
            later = known is None or job.queued_at >= known.queued_at
            if job.inputs and job.inputs[0].uid == shown_uid and later:
                newest[job.model_id] = job
        for model_id, widget in self._cards.items():
            widget.show_job(newest.get(model_id))


class ModelWidget(QFrame):
    """One model: what it is, whether it fits, its card, its run."""

    def __init__(
        self, card: ModelCard, services: Services, bridge: Bridge, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        theme.set_role(self, "card")
        self.card = card
        self._services = services
        self._bridge = bridge
        self._image_uid = ""
        self._job: InferenceJob | None = None
        self._reasons: tuple[Reason, ...] = ()
        resources = services.paths.resources
        self._title = label(shown(card.title or card.id), "heading", wrap=True)
        self._fit = label("", "muted", wrap=True)
        self.about = QPushButton("Model card", self)
        self.about.setIcon(icons.icon(resources, "card"))
        theme.set_role(self.about, "flat")
        self.about.clicked.connect(lambda: bridge.start("ai.card", model=card.id))
        self.run = QPushButton("Run", self)
        theme.set_role(self.run, "primary")
        self.run.clicked.connect(self._start)
        self.cancel = QPushButton("Cancel", self)
        self.cancel.clicked.connect(self._stop)
        self.first = QPushButton("Run next", self)
        self.first.setToolTip(services.commands.get("ai.first").help)
        self.first.clicked.connect(self._put_first)
        # Every card has these: heard without the card around them they must say whose they are.
        for button in (self.about, self.run, self.cancel, self.first):
            button.setAccessibleName(f"{button.text()}: {shown(card.title or card.id)}")
        self.bar = QProgressBar(self)
        self.bar.setAccessibleName(f"Progress of {card.title}")
        self._state = label("", "muted", wrap=True)
        self.result = RunResult(services, bridge, self)
        self._lay_out()
        self.show_job(None)

    def show_fit(self, image_uid: str, reasons: tuple[Reason, ...]) -> None:
        """Say whether the model is for the volume or clip on show, "" for none."""
        self._image_uid, self._reasons = image_uid, reasons
        refused = [reason for reason in reasons if reason.severity is Severity.REFUSED]
        words = "\n".join(shown(reason.text) for reason in (refused or reasons))
        if not image_uid:
            self._fit.setText(shown(self.card.intended_use))
        elif not reasons:
            self._fit.setText("Fits this image.")
        else:
            self._fit.setText(words)
        role = "bad" if refused else "caution" if reasons else "good" if image_uid else "muted"
        theme.set_role(self._fit, role)
        theme.set_role(self, "true" if image_uid and not refused else "false", "chosen")
        can_insist = bool(refused) and not any(reason.final for reason in refused)
        self.run.setText("Run anyway …" if can_insist else "Run")
        if not self.card.may_run:
            self.run.setText("Trust …")
        theme.set_role(self.run, "" if refused else "primary")
        self._enable()

    def show_job(self, job: InferenceJob | None) -> None:
        """Show how the newest run on this image goes or went."""
        self._job = job
        going = job is not None and not job.state.is_over
        # What only waits does not move.
        self.bar.setVisible(going and job is not None and not job.state.is_waiting)
        self.cancel.setVisible(going)
        self.first.setVisible(job is not None and self._waiting_before(job) > 0)
        self.run.setVisible(not going)
        self._state.setVisible(job is not None)
        if job is not None:
            self._show_progress(job)
        self.result.show_job(job)
        self._enable()

    def _lay_out(self) -> None:
        version = label(f"{self.card.task.value}, version {self.card.version}", "muted")
        row = QGridLayout()
        row.setSpacing(6)
        row.addWidget(self.about, 0, 0)
        row.setColumnStretch(1, 1)
        row.addWidget(self.run, 0, 2)
        row.addWidget(self.cancel, 0, 2)
        row.addWidget(self.first, 0, 1, Qt.AlignmentFlag.AlignRight)
        column = QVBoxLayout(self)
        column.setContentsMargins(10, 8, 8, 8)
        column.setSpacing(5)
        column.addWidget(self._title)
        column.addWidget(version)
        column.addWidget(self._fit)
        column.addWidget(self.bar)
        column.addWidget(self._state)
        column.addWidget(self.result)
        column.addLayout(row)

    def _show_progress(self, job: InferenceJob) -> None:
        words = job.stage or _STATE_WORDS[job.state]
        if job.state is JobState.DONE:
            words = self._result_words(job)
        elif job.state.is_over and job.error:
            words = f"{_STATE_WORDS[job.state]}: {job.error}"
        elif before := self._before(job):
            words = f"{words}, {before} before it"
        elif job.seconds_left is not None and job.state is not JobState.LOADING:
            words = f"{words}, about {duration(max(1, job.seconds_left))} left"
        lines = [words, f"Started by itself: {job.rule}"] if job.rule else [words]
        self._state.setText("\n".join(map(shown, lines)))
        bad = job.state in (JobState.FAILED, JobState.DIED)
        theme.set_role(self._state, "bad" if bad else "muted")
        if job.fraction is None:
            self.bar.setRange(0, 0)
        else:
            self.bar.setRange(0, 100)
            self.bar.setValue(round(100 * job.fraction))
        cancelling = job.stage == "Cancelling"
        self.cancel.setEnabled(not cancelling)
        self.cancel.setText("Cancelling …" if cancelling else "Cancel")

    def _waiting_before(self, job: InferenceJob) -> int:
        """How many jobs wait that run before a waiting one."""
        waiting = list(self._services.jobs.queue)
        return waiting.index(job.uid) if job.uid in waiting else 0

    def _before(self, job: InferenceJob) -> int:
        """How many jobs have to end before a waiting one runs, the running one with them."""
        jobs = self._services.workspace.jobs.values()
        running = sum(not one.state.is_over and not one.state.is_waiting for one in jobs)
        return self._waiting_before(job) + running if job.state.is_waiting else 0

    def _result_words(self, job: InferenceJob) -> str:
        result = self._services.jobs.outcomes.result(job.uid)
        if self._services.first_read.hides(job.study_uid):
            return "Done. What was found is shown after your first read."
        count = sum(
            1
            for finding in self._services.workspace.findings.values()
            if finding.provenance.job_uid == job.uid
        )
        plural = "" if count == 1 else "s"
        found = f": {count} finding{plural}"
        if result.timeline is not None and not count:
            found = ", see the timeline under the clip"
        words = [f"Done in {result.seconds:.0f} s on {result.device}{found}."]
        words += [*result.notes, *result.fallbacks]
        return " ".join(words)

    def _enable(self) -> None:
        final = any(reason.final for reason in self._reasons if reason.severity is Severity.REFUSED)
        self.run.setEnabled(not self.card.may_run or (bool(self._image_uid) and not final))

    def _start(self) -> None:
        if not self.card.may_run:
            self._bridge.start("ai.trust", model=self.card.id)
            return
        if not self._image_uid:
            return
        refused = [r.text for r in self._reasons if r.severity is Severity.REFUSED]
        if not refused:
            self._run_now(override=False)
            return
        text = f"{shown(self.card.title)} is not made for this image."
        more, icon = "\n".join(map(shown, refused)), QMessageBox.Icon.Warning
        confirm(
            message_box(self, "Outside the model's card", text, more, icon),
            "Run all the same",
            lambda: self._run_now(override=True),
        )

    def _run_now(self, *, override: bool) -> None:
        self._bridge.run(
            "ai.run",
            model=self.card.id,
            volume=self._image_uid,
            device=self._services.settings.text("ai.device"),
            override=override,
        )

    def _put_first(self) -> None:
        if self._job is not None:
            self._bridge.run("ai.first", job=self._job.uid)

    def _stop(self) -> None:
        if self._job is not None:
            # The button answers before the process does.
            self.cancel.setEnabled(False)
            self.cancel.setText("Cancelling …")
            self._bridge.run("ai.cancel", job=self._job.uid)
