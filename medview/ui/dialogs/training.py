"""Training a model: which configuration, where to, and how it goes, live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html import escape
from pathlib import Path

from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QWidget,
)

from medview.core.events import TrainingChanged
from medview.reporting.content import metric_text
from medview.reporting.succession import verdict_text
from medview.services.bundle import Services
from medview.services.training import RunState, TrainingRun, is_begun
from medview.ui import theme
from medview.ui.bridge import Bridge, Changes
from medview.ui.dialogs.frame import Dialog
from medview.ui.text import duration, label, shown
from medview.ui.timeline_chart import Chart, Line, TimelineChart, palette, value_at

_WORDS = (
    "Runs in a process of its own, at low priority. What it needs and gives stands in the manual "
    "(Training a model of your own). It ends when medview is closed, and can be resumed."
)
_NOTHING = "Nothing measured yet"
_STATES = {
    RunState.RUNNING: "Training",
    RunState.STOPPING: "Stopping",
    RunState.DONE: "Done",
    RunState.STOPPED: "Stopped",
    RunState.FAILED: "Failed",
}


class TrainingDialog(Dialog):
    """Starts, watches, stops and resumes the one training there is; the window stays usable."""

    def __init__(self, services: Services, bridge: Bridge, parent: QWidget | None = None) -> None:
        super().__init__("Train a model", parent, size=(760, 720))
        self._services = services
        self._bridge = bridge
        self.body.addWidget(label(_WORDS, "muted", wrap=True))
        self.config, self.out = QLineEdit(self), QLineEdit(self)
        self._pick_config = self._path_row("Configuration", self.config, self._choose_config)
        self._pick_out = self._path_row("Folder of the run", self.out, self._choose_out)
        self.state = label("", "heading", wrap=True)
        self.body.addWidget(self.state)
        self.bar = QProgressBar(self)
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName("Progress of the training")
        self.body.addWidget(self.bar)
        self.loss, self.scores = _Curves("Loss", self), _Curves("On the validation cases", self)
        self.body.addWidget(self.loss, 1)
        self.body.addWidget(self.scores, 1)
        self.said = label("", "muted", wrap=True)
        self.body.addWidget(self.said)
        self.compared = label("", wrap=True)
        self.body.addWidget(self.compared)
        self.start = self._button("Start", self._start)
        self.stop = self._button("Stop", lambda: bridge.run("train.stop"))
        self.add = self._button("Add the model", self._add)
        theme.set_role(self.start, "primary")
        self.config.textChanged.connect(self._offer)
        self.out.textChanged.connect(self._offer)
        bridge.changed.connect(self._on_changed)
        self._show()

    def _path_row(self, name: str, line: QLineEdit, choose: Callable[[], None]) -> QPushButton:
        line.setAccessibleName(name)
        button = QPushButton("Choose …", self)
        button.setAccessibleName(f"Choose: {name}")
        button.clicked.connect(choose)
        row = QHBoxLayout()
        words = label(name, "muted")
        words.setMinimumWidth(130)
        row.addWidget(words)
        row.addWidget(line, 1)
        row.addWidget(button)
        self.body.addLayout(row)
        return button

    def _button(self, words: str, act: Callable[[], object]) -> QPushButton:
        button = QPushButton(words, self)
        button.clicked.connect(act)
        self.buttons.addButton(button, self.buttons.ButtonRole.ActionRole)
        return button

    def _choose_config(self) -> None:
        dialog = QFileDialog(self, "Training configuration", self.config.text())
        dialog.setNameFilter("Training configurations (*.toml)")
        self._choose(dialog, self.config)

    def _choose_out(self) -> None:
        dialog = QFileDialog(self, "Folder of the run", self.out.text())
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        self._choose(dialog, self.out)

    def _choose(self, dialog: QFileDialog, line: QLineEdit) -> None:
        dialog.filesSelected.connect(lambda paths: line.setText(paths[0]))
        dialog.open()

    def _start(self) -> None:
        config, out = self.config.text().strip(), self.out.text().strip()
        self._bridge.run("train.start", config=config, out=out, resume=is_begun(Path(out)))

    def _add(self) -> None:
        run = self._services.training.run
        if run is not None and run.model_folder is not None:
            self._bridge.start("ai.add_model", source=str(run.model_folder))

    def _on_changed(self, changes: Changes) -> None:
        if changes.any(TrainingChanged):
            self._show()

    def _show(self) -> None:
        run = self._services.training.run
        if run is not None:
            if not self.config.text() or not run.state.is_over:
                self.config.setText(str(run.config))
                self.out.setText(str(run.out))
            self.bar.setValue(round(1000 * run.fraction))
            self.said.setText(shown(run.said))
            self.loss.show_run(run, ("train_loss",))
            self.scores.show_run(run, _scores(run))
        succession = run.succession if run is not None else None
        self.compared.setVisible(succession is not None)
        self.compared.setText(shown(verdict_text(succession)) if succession else "")
        self.add.setText("Use the model …" if succession else "Add the model")
        self.state.setText(_state_text(run))
        self._offer()

    def _offer(self) -> None:
        """Offer what can be done now."""
        running = self._services.training.is_running
        for widget in (self.config, self.out, self._pick_config, self._pick_out):
            widget.setEnabled(not running)
        out = self.out.text().strip()
        self.start.setText("Resume" if out and is_begun(Path(out)) else "Start")
        self.start.setEnabled(not running and bool(out) and bool(self.config.text().strip()))
        run = self._services.training.run
        self.stop.setEnabled(running and run is not None and run.state is RunState.RUNNING)
        ready = run is not None and run.state is RunState.DONE and run.model_folder is not None
        self.add.setVisible(ready)


class _Curves(QWidget):
    """A heading, a legend with colours and the values at the chosen epoch, and the chart."""

    def __init__(self, title: str, parent: QWidget) -> None:
        super().__init__(parent)
        self._title = title
        self.legend = label(title, "muted", wrap=True)
        self.legend.setTextFormat(Qt.TextFormat.RichText)
        self.chart = TimelineChart(self)
        self.chart.setAccessibleName(title)
        self.chart.wanted.connect(self._go_to)
        self._followed, self._last = True, 0
        column = QHBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self.legend.setMinimumWidth(190)
        self.legend.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Expanding)
        column.addWidget(self.chart, 1)
        column.addWidget(self.legend)

    def show_run(self, run: TrainingRun, names: tuple[str, ...]) -> None:
        """Draw these figures of a run, one line for each network, at the epochs that have any."""
        found = {
            " ".join(part for part in (_words(name), fold) if part): {
                row["epoch"]: row[name] for row in rows if name in row
            }
            for fold, rows in run.curves.items()
            for name in names
        }
        every = [value for values in found.values() for value in values.values()]
        unit = "1" if all(0 <= value <= 1 for value in every) else ""
        measured = sorted({epoch for values in found.values() for epoch in values})
        times = tuple(dict.fromkeys((0.0, *measured, float(run.epochs))))
        lines = tuple(
            Line(shown(words), unit, tuple(map(values.get, times)), palette(number))
            for number, (words, values) in enumerate(found.items())
        )
        self._last = len(measured)
        frame = self._last if self._followed else self.chart.chart.frame
        self._draw(Chart(times, lines if measured else (), frame=frame, along="", note=_NOTHING))

    def _go_to(self, place: int) -> None:
        chart = self.chart.chart
        self._followed = place >= self._last
        self._draw(replace(chart, frame=min(place, self._last)))

    def _draw(self, chart: Chart) -> None:
        self.chart.show_chart(chart)
        epoch = f", epoch {chart.times_s[chart.frame]:.0f}" if chart.lines else ""
        values = [
            '<span style="color: #{:02x}{:02x}{:02x}">■</span> '.format(*line.color_rgb)
            + escape(f"{line.name}: {value_at(line, chart.frame)}")
            for line in chart.lines
        ]
        self.legend.setText("<br>".join([escape(self._title + epoch), *values]))


def _scores(run: TrainingRun) -> tuple[str, ...]:
    names = dict.fromkeys(name for rows in run.curves.values() for row in rows for name in row)
    return tuple(name for name in names if name.startswith("val_"))


def _words(name: str) -> str:
    return metric_text(name.removeprefix("val_").removeprefix("train_"))


def _state_text(run: TrainingRun | None) -> str:
    if run is None:
        return "No training yet"
    parts = [_STATES[run.state], f"epoch {run.done} of {run.epochs * run.networks}"]
    if run.state is RunState.RUNNING and run.seconds_left is not None:
        parts.append(
            f"{duration(run.seconds_left)} left" if run.fraction < 1 else "measuring the model"
        )
    return ", ".join(parts)
