"""A training in the window: started, watched by its curves, stopped, resumed, its model added."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PyQt6.QtCore import QPoint, Qt
from PyQt6.QtGui import QTextDocumentFragment
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import QLabel

from medview.services import training as room
from medview.services.training import RunState
from medview.ui.dialogs.training import TrainingDialog
from tests.gui.conftest import Desk
from tests.helpers import slow_training
from tests.helpers.flat_training import write_flat_config


@pytest.fixture
def shown(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> TrainingDialog:
    monkeypatch.setattr(room, "own_command", lambda: [sys.executable, slow_training.__file__])
    monkeypatch.setattr(room, "_LOOK_S", 0.01)
    monkeypatch.setenv("EPOCHS", "8")
    monkeypatch.setenv("PACE", "0.4")
    desk.run("train.watch")
    (dialog,) = desk.window.findChildren(TrainingDialog)
    return dialog


@pytest.fixture
def config(tmp_path: Path) -> Path:
    more = '[export]\nid = "discs"\ncard = "card.toml"'
    return write_flat_config(tmp_path / "r.toml", tmp_path, "classes", epochs=8, more=more)


def plain(legend: QLabel) -> str:
    return QTextDocumentFragment.fromHtml(legend.text()).toPlainText()


def test_start_watch_stop_resume(
    desk: Desk, shown: TrainingDialog, config: Path, tmp_path: Path
) -> None:
    training = desk.services.training
    assert shown.state.text() == "No training yet"
    assert not shown.start.isEnabled()
    shown.config.setText(str(config))
    shown.out.setText(str(tmp_path / "out"))
    assert (shown.start.text(), shown.start.isEnabled()) == ("Start", True)
    shown.start.click()
    desk.wait(lambda: "epoch 4 of 8, 2 s left" in shown.state.text())
    assert not shown.config.isEnabled()
    assert shown.bar.value() == 500
    assert shown.said.text() == "epoch 4"
    assert plain(shown.loss.legend) == "Loss, epoch 4\n■ loss: 0.06"
    assert plain(shown.scores.legend) == "On the validation cases, epoch 4\n■ Dice: 0.94"
    chart = shown.loss.chart
    QTest.mouseClick(chart, Qt.MouseButton.LeftButton, pos=QPoint(round(chart.x_of(1)), 30))
    assert plain(shown.loss.legend) == "Loss, epoch 1\n■ loss: 0.50"

    shown.stop.click()
    desk.turn()
    assert not shown.stop.isEnabled()
    desk.wait(lambda: shown.state.text().startswith("Stopped"))
    assert plain(shown.loss.legend).startswith("Loss, epoch 1\n")  # what the reader looks at stays
    assert (shown.start.text(), shown.start.isEnabled()) == ("Resume", True)
    assert shown.add.isHidden()
    shown.start.click()
    desk.wait(lambda: shown.state.text() == "Done, epoch 8 of 8")
    assert training.run is not None
    assert training.run.state is RunState.DONE
    assert not shown.add.isHidden()


def test_what_is_wrong_with_a_configuration_is_told(
    desk: Desk, shown: TrainingDialog, config: Path, tmp_path: Path
) -> None:
    config.write_text(config.read_text().replace("epochs =", "epoks ="))
    shown.config.setText(str(config))
    shown.out.setText(str(tmp_path / "out"))
    shown.start.click()
    desk.turn()
    assert "epoks" in desk.services.workspace.notices[-1].text
    assert shown.start.isEnabled()
    assert not (tmp_path / "out").exists()
