"""Model card dialog: everything a reader should know of a model before believing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PyQt6.QtCore import Qt
from PyQt6.QtGui import QColor
from PyQt6.QtWidgets import (
    QHBoxLayout,
    QHeaderView,
    QListWidget,
    QListWidgetItem,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from medview.core.models import Metrics, ModelCard, Scope
from medview.core.study import Severity
from medview.inference.scope import Reason, preference
from medview.reporting.content import metric_text
from medview.ui import theme
from medview.ui.dialogs.frame import Dialog, Sheet
from medview.ui.icons import swatch
from medview.ui.text import duration, label, shown, tip

_SPLITS = {"val": "validation"}


@dataclass(frozen=True)
class Standing:
    """How a model stands to the image on show: what speaks against it, and how long it may take.

    `expected_s` None: nobody ran it on this machine yet. `image` names the image, "" for none.
    """

    image: str = ""
    reasons: tuple[Reason, ...] = ()
    expected_s: float | None = None

    @property
    def is_refused(self) -> bool:
        """Whether the model is not for this image."""
        return any(reason.severity is Severity.REFUSED for reason in self.reasons)


class ModelCardDialog(Dialog):
    """One card, all of it, and how it stands to the image on show."""

    def __init__(
        self,
        card: ModelCard,
        parent: QWidget | None = None,
        standing: Standing | None = None,
    ) -> None:
        super().__init__(card.title or card.id, parent, size=(680, 720))
        if not card.clinical_use:
            self.body.addWidget(label("Not for clinical use", "caution"))
        self.body.addWidget(card_sheet(card, standing or Standing(), self), 1)


class ModelsDialog(Dialog):
    """Every model that is installed, those that fit the image on show first, each with its card."""

    def __init__(
        self, choices: Sequence[tuple[ModelCard, Standing]], parent: QWidget | None = None
    ) -> None:
        super().__init__("Models", parent, size=(960, 740))
        self._choices = sorted(choices, key=lambda one: preference(one[0], one[1].reasons))
        self.list = QListWidget(self)
        self.list.setAccessibleName("Models")
        self.list.setFixedWidth(250)
        self.list.setWordWrap(True)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        for card, standing in self._choices:
            item = QListWidgetItem(shown(card.title or card.id), self.list)
            item.setToolTip(tip("\n".join(reason.text for reason in standing.reasons)))
            if standing.image:
                good, bad = theme.colors().good, theme.colors().faint
                item.setForeground(QColor(bad if standing.is_refused else good))
        self._sheet = QVBoxLayout()
        row = QHBoxLayout()
        row.setSpacing(12)
        row.addWidget(self.list)
        row.addLayout(self._sheet, 1)
        self.body.addLayout(row, 1)
        self.list.currentRowChanged.connect(self._show)
        self.list.setCurrentRow(0)

    def _show(self, row: int) -> None:
        while (item := self._sheet.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.deleteLater()
        if row >= 0:
            card, standing = self._choices[row]
            title = label(
                f"{shown(card.title or card.id)}, version {shown(card.version)}", "heading"
            )
            self._sheet.addWidget(title)
            if not card.clinical_use:
                self._sheet.addWidget(label("Not for clinical use", "caution"))
            self._sheet.addWidget(card_sheet(card, standing, self), 1)


def card_sheet(card: ModelCard, standing: Standing, parent: QWidget) -> Sheet:
    """All of a card, to be read and copied, the image on show first."""
    sheet = Sheet(parent)
    if standing.image:
        _add_standing(sheet, standing)
    _add_purpose(sheet, card)
    _add_performance(sheet, card)
    _add_workings(sheet, card)
    _add_origin(sheet, card)
    return sheet


def _add_standing(sheet: Sheet, standing: Standing) -> None:
    sheet.add_heading("This image")
    sheet.add_text("Image", shown(standing.image))
    if standing.is_refused:
        final = any(reason.final for reason in standing.reasons)
        verdict = (
            "not for this image" if final else "not for this image; it can be run all the same"
        )
        sheet.add_text("Fit", verdict, "bad")
    else:
        sheet.add_text("Fit", "fits" if not standing.reasons else "fits, with cautions", "good")
    for reason in standing.reasons:
        role = "bad" if reason.severity is Severity.REFUSED else "caution"
        sheet.add_text("Because" if standing.is_refused else "Caution", reason.text, role)
    expected = standing.expected_s
    taken = "" if expected is None else f"about {duration(expected)}, by earlier runs here"
    sheet.add_text("Takes", taken or "not known: it was not run on this machine yet")


def _add_purpose(sheet: Sheet, card: ModelCard) -> None:
    sheet.add_heading("What it is for")
    sheet.add_text("Intended use", card.intended_use)
    limits = "\n".join(f"•  {limit}" for limit in card.limitations)
    sheet.add_text("Limits", limits, "caution")
    scope = card.scope
    sheet.add_text("Modality", ", ".join(scope.modality) or "any")
    if scope.weighting:
        sheet.add_text("MR contrast", ", ".join(scope.weighting))
    if scope.views:
        sheet.add_text("X-ray view", ", ".join(scope.views))
    sheet.add_text("Body part", ", ".join(scope.body_part) or "any")
    sheet.add_text("Age", _range(scope.age_years, "years") or "any")
    sheet.add_text("Voxel spacing", _spacing(scope) or "any")


def _split(name: str) -> str:
    """Which part of the data, where it is not all of it."""
    return "" if name in ("", "all") else f" of the {_SPLITS.get(name, name)} split"


def _add_performance(sheet: Sheet, card: ModelCard) -> None:
    sheet.add_heading("How good it was where it was measured")
    metrics = card.metrics
    if metrics is None or not metrics.values:
        sheet.add_text("Figures", "")
    else:
        sheet.add_text(
            "Measured on",
            f"{metrics.count} case{'' if metrics.count == 1 else 's'}{_split(metrics.split)}",
        )
        sheet.add_widget(_table(metrics))
    threshold = "" if card.threshold is None else f"{card.threshold:g}"
    temperature = "" if card.temperature is None else f"{card.temperature:g}"
    sheet.add_text("Threshold", threshold or "none: the most likely class wins")
    calibrated = f"scaled by temperature {temperature}" if temperature else "uncalibrated"
    sheet.add_text("Confidence", calibrated)


def _add_workings(sheet: Sheet, card: ModelCard) -> None:
    sheet.add_heading("What it takes and gives")
    inputs = card.inputs
    sheet.add_text("Orientation", inputs.orientation or "as stored")
    spacing = inputs.spacing_mm
    sheet.add_text("Spacing", "as stored" if spacing is None else _numbers(spacing, "mm"))
    sheet.add_text("Patch", _numbers(inputs.patch_shape, "voxels") or "whole image")
    sheet.add_text("Channels", str(inputs.channels))
    steps = ", ".join(f"{name} {value}" for name, value in inputs.intensity.items())
    sheet.add_text("Intensities", steps or "as stored")
    sheet.add_text("Finds its place by", inputs.localise or "nothing: the whole image is looked at")
    sheet.add_text("Gives", card.outputs.kind)
    for channel in card.outputs.channels:
        code = channel.code
        text = f"{channel.label}   ({code.meaning}, {code.scheme} {code.value})"
        row = sheet.add_text(f"Output {channel.index}", text)
        row.setToolTip(tip(text))
        mark = label()
        mark.setPixmap(swatch(channel.color_rgb))
        sheet.add_widget(mark, "   colour")
    sheet.add_text("Memory", f"{card.memory_mb} MB" if card.memory_mb else "")


def _add_origin(sheet: Sheet, card: ModelCard) -> None:
    sheet.add_heading("Where it comes from")
    sheet.add_text("Model", f"{card.id}, version {card.version}")
    sheet.add_text("Task", card.task.value)
    sheet.add_text("Authors", card.authors)
    sheet.add_text("Training data", card.data_source)
    sheet.add_text("Licence of the data", card.data_license)
    sheet.add_text("Licence of the model", card.license)
    sheet.add_text("Engine", card.engine)
    arguments = ", ".join(f"{name}={value}" for name, value in card.network_args.items())
    network = f"{card.network_class}({arguments})" if card.network_class else "no network"
    sheet.add_text("Network", network)
    sheet.add_text("Weights", card.weights or "none: rules without weights")
    sheet.add_text("SHA-256", card.sha256 or "none: rules without weights")
    sheet.add_text("Trained by", card.train_command)
    sheet.add_text("Brings a program", card.code or "no")
    if card.code:
        trust = "yes, by its checksum" if card.trusted else "no: it does not run before it is"
        sheet.add_text("Trusted", trust, "" if card.trusted else "caution")
    sheet.add_text("For clinical use", "yes" if card.clinical_use else "no")


def _table(metrics: Metrics) -> QTableWidget:
    table = QTableWidget(len(metrics.values), 3)
    table.setHorizontalHeaderLabels(["Figure", "Value", "95 % interval"])
    table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
    table.setSelectionMode(QTableWidget.SelectionMode.NoSelection)
    table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    table.setAccessibleName("Measured figures")
    for row, metric in enumerate(metrics.values):
        interval = metric.ci95
        span = "not stated" if interval is None else f"{interval[0]:.3g} to {interval[1]:.3g}"
        for column, text in enumerate((metric_text(metric.name), f"{metric.value:.3g}", span)):
            table.setItem(row, column, QTableWidgetItem(text))
    vertical, horizontal = table.verticalHeader(), table.horizontalHeader()
    if vertical is not None and horizontal is not None:
        vertical.setVisible(False)
        horizontal.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        height = horizontal.sizeHint().height() + vertical.defaultSectionSize() * table.rowCount()
        table.setFixedHeight(height + 6)
    return table


def _range(limits: tuple[float, float] | None, unit: str) -> str:
    return "" if limits is None else f"{limits[0]:g} to {limits[1]:g} {unit}"


def _spacing(scope: Scope) -> str:
    return _range(scope.spacing_mm, "mm")


def _numbers(values: tuple[float, ...] | tuple[int, ...], unit: str) -> str:
    return f"{' × '.join(f'{value:g}' for value in values)} {unit}" if values else ""
