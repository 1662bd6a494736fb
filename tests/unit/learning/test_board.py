"""Curves for TensorBoard: read back by TensorBoard itself; without it that is said."""

import sys

import pytest

from medview.learning.board import open_board

ROWS = [
    {"epoch": 1, "lr": 0.1, "train_loss": 0.9, "seconds": 2.0},
    {"epoch": 2, "lr": 0.05, "train_loss": 0.7, "val_dice": 0.5, "seconds": 2.0},
]


def say_nothing(line: str) -> None:
    raise AssertionError(line)


def test_tensorboard_reads_the_curves_and_a_resumed_run_replaces_what_came_after(tmp_path):
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "run" / "tensorboard"
    with open_board(folder, 0, say_nothing) as add:
        for row in ROWS:
            add(row)
        add({"epoch": 3, "train_loss": 9.9})  # a checkpoint of it was never written
    with open_board(folder, 2, say_nothing) as add:
        add({"epoch": 3, "train_loss": 0.6})
    found = EventAccumulator(str(folder))
    found.Reload()
    losses = [(event.step, event.value) for event in found.Scalars("training/loss")]
    assert losses == [(1, pytest.approx(0.9)), (2, pytest.approx(0.7)), (3, pytest.approx(0.6))]
    (dice,) = found.Scalars("validation/dice")
    assert (dice.step, dice.value) == (2, 0.5)
    assert {"run/lr", "run/seconds"} <= set(found.Tags()["scalars"])


def test_without_tensorboard_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    said: list[str] = []
    with open_board(tmp_path / "tensorboard", 0, said.append) as add:
        add(ROWS[0])
    assert len(said) == 1
    assert "TensorBoard is not installed" in said[0]
    assert not (tmp_path / "tensorboard").exists()
