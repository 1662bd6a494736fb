"""A training beside the window: started, watched, stopped, resumed, and ended with the program."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from medview.core.errors import CommandError, ReadError
from medview.core.events import Level
from medview.inference.catalog import Catalog
from medview.services import training as room
from medview.services.settings import Settings
from medview.services.training import RunState, Training, is_begun, read_curves
from medview.services.workspace import Workspace
from tests.helpers import slow_training
from tests.helpers.flat_training import write_flat_config

EPOCHS = 12


@pytest.fixture
def work() -> Workspace:
    return Workspace(Settings(None))


@pytest.fixture
def training(work: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Training]:
    monkeypatch.setattr(room, "own_command", lambda: [sys.executable, slow_training.__file__])
    monkeypatch.setattr(room, "_LOOK_S", 0.01)
    monkeypatch.setenv("EPOCHS", str(EPOCHS))
    made = Training(work, Catalog([]))
    yield made
    made.close()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    more = '[export]\nid = "discs"\ncard = "card.toml"'
    return write_flat_config(
        tmp_path / "r.toml", tmp_path / "data", "classes", epochs=EPOCHS, more=more
    )


def wait(training: Training, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, training.run
        training.pump()
        time.sleep(0.01)


def over(training: Training) -> Callable[[], bool]:
    return lambda: training.run is not None and training.run.state.is_over


def test_a_run_is_watched_to_its_end(
    training: Training, work: Workspace, config: Path, tmp_path: Path
) -> None:
    seen: list[float] = []
    work.events.training_changed.connect(
        lambda _event: seen.append(training.run.fraction if training.run else -1)
    )
    training.start(config, tmp_path / "out")
    assert training.is_running
    wait(training, over(training))
    run = training.run
    assert run is not None
    assert (run.state, run.done, run.fraction) == (RunState.DONE, EPOCHS, 1.0)
    assert seen == sorted(seen)
    assert 0 < next(part for part in seen if part) < 1
    assert run.seconds_left == 0
    assert run.model_folder == tmp_path / "out" / "discs"
    rows = run.curves[""]
    assert [row["train_loss"] for row in rows] == [0.5**epoch for epoch in range(1, EPOCHS + 1)]
    assert ["val_dice" in row for row in rows[:4]] == [False, True, False, True]
    assert work.notices[-1].text == "The training of discs is done."
    assert not training.is_running


def test_a_run_that_is_stopped_goes_on_where_it_was(
    training: Training, work: Workspace, config: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    training.start(config, out)
    wait(training, lambda: training.run is not None and training.run.done >= 2)
    assert training.run is not None
    assert training.run.seconds_left == pytest.approx((EPOCHS - training.run.done) * 0.05)
    training.stop()
    assert training.run.state is RunState.STOPPING
    wait(training, over(training))
    assert training.run.state is RunState.STOPPED
    assert work.notices[-1].hint == "It can be resumed."
    assert 2 <= training.run.done < EPOCHS
    assert training.run.model_folder is None

    with pytest.raises(CommandError, match="holds a training already"):
        training.start(config, out)
    training.start(config, out, resume=True)
    wait(training, over(training))
    assert training.run.state is RunState.DONE
    assert [row["epoch"] for row in training.run.curves[""]] == list(range(1, EPOCHS + 1))


def test_what_a_run_failed_of_is_told(
    training: Training,
    work: Workspace,
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FAIL", "1")
    training.start(config, tmp_path / "out")
    wait(training, over(training))
    assert training.run is not None
    assert training.run.state is RunState.FAILED
    told = work.notices[-1]
    assert (told.level, told.hint) == (Level.ERROR, f"See {tmp_path / 'out' / 'train.log'}")
    assert told.text.endswith("The training diverged: the loss is no longer a number.")


def test_nothing_is_started_that_cannot_go_well(
    training: Training, config: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text(config.read_text().replace("epochs =", "epoks ="))
    with pytest.raises(ReadError, match="epoks"):
        training.start(broken, tmp_path / "out")
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match="could not be started"):
        training.start(config, tmp_path / "file" / "out")
    with pytest.raises(CommandError, match="No training"):
        training.stop()
    assert training.run is None
    training.start(config, tmp_path / "out")
    with pytest.raises(CommandError, match="under way"):
        training.start(config, tmp_path / "other")


def test_a_training_ends_with_the_program(training: Training, config: Path, tmp_path: Path) -> None:
    training.start(config, tmp_path / "out")
    wait(training, lambda: training.run is not None and training.run.done >= 1)
    (child,) = (
        child for child in psutil.Process().children() if slow_training.__file__ in child.cmdline()
    )
    training.close()
    assert not child.is_running()
    assert training.run is not None
    assert training.run.state is RunState.STOPPED
    assert is_begun(tmp_path / "out")
    training.close()


def test_curves_of_folds_are_told_apart_and_damaged_ones_say_nothing(tmp_path: Path) -> None:
    for fold in range(2):
        (tmp_path / f"fold-{fold}").mkdir()
        (tmp_path / f"fold-{fold}" / "curves.csv").write_text(f"epoch,train_loss\n1,{fold}\n")
    found = read_curves(tmp_path)
    assert found == {
        "fold-0": ({"epoch": 1.0, "train_loss": 0.0},),
        "fold-1": ({"epoch": 1.0, "train_loss": 1.0},),
    }
    (tmp_path / "fold-1" / "curves.csv").write_bytes(b"epoch,train_loss\n1,\xff\n")
    assert read_curves(tmp_path)["fold-1"] == ()
