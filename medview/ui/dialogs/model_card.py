"""Model card dialog: everything a reader should know of a model before believing it."""

from __future__ import annotations

from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from medview.core.models import Metrics, ModelCard, Scope
from medview.reporting.content import metric_text
from medview.ui.dialogs.frame import Dialog, Sheet
from medview.ui.icons import swatch
from medview.ui.text import label, tip

_SPLITS = {"val": "validation"}


class ModelCardDialog(Dialog):
    """One card, all of it."""

    def __init__(self, card: ModelCard, parent: QWidget | None = None) -> None:
        super().__init__(card.title or card.id, parent, size=(680, 720))
        if not card.clinical_use:
            self.body.addWidget(label("Not for clinical use", "caution"))
        sheet = Sheet(self)
        _add_purpose(sheet, card)
        _add_performance(sheet, card)
        _add_workings(sheet, card)
        _add_origin(sheet, card)
        self.body.addWidget(sheet, 1)


def _add_purpose(sheet: Sheet, card: ModelCard) -> None:
    sheet.add_heading("What it is for")
    sheet.add_text("Intended use", card.intended_use)
    limits = "\n".join(f"•  {limit}" for limit in card.limitations)
    sheet.add_text("Limits", limits, "caution")
    scope = card.scope
    sheet.add_text("Modality", ", ".join(scope.modality) or "any")
    if scope.weighting:
        sheet.add_text("MR contrast", ", ".join(scope.weighting))
    sheet.add_text("Body part", ", ".join(scope.body_part) or "any")
    sheet.add_text("Age", _range(scope.age_years, "years") or "any")
    sheet.add_text("Voxel spacing", _spacing(scope) or "any")


def _add_performance(sheet: Sheet, card: ModelCard) -> None:
    sheet.add_heading("How good it was where it was measured")
    metrics = card.metrics
    if metrics is None or not metrics.values:
        sheet.add_text("Figures", "")
    else:
        sheet.add_text(
            "Measured on",
            f"{metrics.count} cases of the {_SPLITS.get(metrics.split, metrics.split)} split",
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
