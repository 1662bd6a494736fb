"""A training in the window: started, watched by its curves, stopped, resumed, its model added."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from PyQt6.QtCore import QPoint, Qt
from PyQt6.QtGui import QTextDocumentFragment
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import QLabel, QMessageBox

from medview.core.succession import Difference, Rival, Succession, plain_succession
from medview.services import training as room
from medview.services.training import RunState
from medview.ui.dialogs.training import TrainingDialog
from tests.gui.conftest import Desk
from tests.helpers import slow_training
from tests.helpers.fake_engine import write_fake_model
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


def test_a_finished_model_says_how_it_did_and_asks_before_it_replaces(
    desk: Desk, shown: TrainingDialog, config: Path, tmp_path: Path
) -> None:
    added = write_fake_model(tmp_path / "old", "discs")
    catalog = desk.services.catalog
    catalog._folders += (desk.services.paths.own_models,)  # where the desk's models are not
    old = desk.services.shelf.add(str(added))
    out = tmp_path / "out"
    new = write_fake_model(out, "discs", steps=7)
    sha256 = json.loads((new / "configs" / "metadata.json").read_text())["medview"]["weights"]
    figures = Difference(0.9, 0.7, -0.2, (-0.3, -0.1), more_is_better=True, headline=True)
    rivals = [Rival("discs", "1.2.3", one) for one in (sha256["sha256"], old.sha256)]
    found = Succession(rivals[0], rivals[1], "segmentation", "val", 9, 9, {"dice_a": figures})
    (new / "docs").mkdir()
    told = json.dumps(plain_succession(found, "words"))
    (new / "docs" / "comparison.json").write_text(told)
    shown.config.setText(str(config))
    shown.out.setText(str(out))
    shown.start.click()
    desk.wait(lambda: shown.state.text() == "Done, epoch 8 of 8")
    assert shown.compared.text().startswith("The new model is worse than discs 1.2.3 on the same 9")
    assert "worse than discs" in desk.services.workspace.notices[-1].hint
    assert shown.add.text() == "Use the model …"
    shown.add.click()
    desk.turn()
    (box,) = desk.window.findChildren(QMessageBox)
    assert box.text() == shown.compared.text()
    words = {button.text(): button for button in box.buttons()}
    assert "Use both" not in words  # they share an id
    assert box.defaultButton() is words["Cancel"]
    assert "discs is deleted" in box.informativeText()
    words["Replace discs"].click()
    desk.wait(lambda: catalog.card("discs").sha256 == rivals[0].weights_sha256)
    assert desk.services.workspace.notices[-1].text.endswith("is in the place of discs.")
