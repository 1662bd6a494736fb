"""The training loop: it learns, a resumed run is the same run, and what cannot go on says so."""

import csv
import dataclasses
import json
from pathlib import Path
from typing import BinaryIO

import pytest
import torch

from medview.core.errors import ModelError, ReadError
from medview.learning.config import TrainConfig, load_config
from medview.learning.layouts import open_dataset
from medview.learning.loop import CHECKPOINT, CURVES, Trainer, trained_network
from medview.learning.tasks.choice import make_task
from medview.learning.tasks.task import Task, recipe_of_config
from tests.helpers.training import write_config, write_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("balls"))


def task_of(config: TrainConfig) -> Task:
    recipe = recipe_of_config(config, ("large", "small"), {})
    return make_task("segmentation", recipe, config.loss, config.augment)


def make(folder: Path, where: Path, **changes: object) -> tuple[TrainConfig, Trainer]:
    config = load_config(write_config(where / "train.toml", folder, **changes))
    dataset = open_dataset(folder)
    return config, Trainer(config, task_of(config), dataset.of("train"), dataset.of("val"), "cpu")


def ignore(line: str) -> None:
    assert line


def test_it_learns_and_a_resumed_run_is_the_same_run(folder, tmp_path):
    lines: list[str] = []
    config, whole = make(folder, tmp_path, epochs=6)
    whole.run(tmp_path / "whole", lines.append)
    losses = [row["train_loss"] for row in whole.state.history]
    assert losses[-1] < 0.7 * losses[0]
    told = [line for line in lines if line.startswith("epoch")]
    assert len(told) == 6
    assert "min left" in told[0]

    class Stopped(Exception):
        pass

    def stop_after_three(line: str) -> None:
        if line.startswith("epoch 3/"):
            raise Stopped

    _, first = make(folder, tmp_path, epochs=6)
    with pytest.raises(Stopped):
        first.run(tmp_path / "parts", stop_after_three)
    _, second = make(folder, tmp_path, epochs=6)
    second.resume(tmp_path / "parts")
    assert second.state.epoch == 3
    second.run(tmp_path / "parts", ignore)

    def curve(trainer: Trainer) -> list[dict[str, float]]:
        rows = trainer.state.history
        return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]

    assert curve(second) == curve(whole)
    one = trained_network(config, tmp_path / "whole").state_dict()
    two = trained_network(config, tmp_path / "parts").state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)

    with (tmp_path / "parts" / CURVES).open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["train_loss"]) for row in rows] == losses
    assert 0.0 <= float(rows[-1]["val_dice_large"]) <= 1.0


def test_accumulated_steps_are_fewer(folder, tmp_path):
    _, trainer = make(folder, tmp_path, epochs=1, more="accumulate = 3")
    trainer.run(tmp_path, ignore)
    assert trainer.state.step == 1  # six cases, two a batch, three batches a step


UNCHANGED = (
    "[augment]\nrotate_deg = 0.0\nscale = 0.0\ntranslate_mm = 0.0\nnoise = 0.0\n"
    'gamma = [1.0, 1.0]\n[loss]\nname = "cross_entropy"\n'
)


def without_chance(folder: Path, where: Path, batch: str, epochs: int = 1) -> Trainer:
    """A training of whole images that are never changed, by a loss that is a mean over voxels."""
    path = write_config(where / "train.toml", folder, epochs=epochs)
    before, rest = path.read_text().split("[augment]")
    before = before.replace("[16, 16, 16]", "[20, 20, 20]")
    before = before.replace("warmup = 1", 'warmup = 0\nname = "constant"')
    after = rest[rest.index("[run]") :].replace("batch = 2", batch)
    path.write_text(before + UNCHANGED + after)
    config = load_config(path)
    dataset = open_dataset(folder)
    return Trainer(config, task_of(config), dataset.of("train"), dataset.of("val"), "cpu")


@pytest.mark.parametrize(("small", "large"), [(3, 6), (2, 4)])
def test_accumulated_batches_are_one_large_batch(small, large, folder, tmp_path):
    """Six cases; of batches of two and four the last step has half as many."""
    whole = without_chance(folder, tmp_path, f"batch = {large}", epochs=2)
    parts = without_chance(folder, tmp_path, f"batch = {small}\naccumulate = 2", epochs=2)
    for number, trainer in enumerate((whole, parts)):
        trainer.run(tmp_path / str(number), ignore)
    assert whole.state.step == parts.state.step
    for one, other in zip(whole.state.history, parts.state.history, strict=True):
        assert other["train_loss"] == pytest.approx(one["train_loss"], rel=1e-3)


def test_cases_are_kept_in_memory_or_read_anew_and_learned_alike(folder, tmp_path, monkeypatch):
    curves, reads = {}, {}
    for cache in ("true", "false"):
        path = write_config(tmp_path / "train.toml", folder, epochs=2)
        path.write_text(path.read_text().replace("[data]", f"[data]\ncache = {cache}"))
        config = load_config(path)
        dataset, task = open_dataset(folder), task_of(config)
        read: list[str] = []
        real = task.read
        monkeypatch.setattr(
            task, "read", lambda case, read=read, real=real: (read.append(case.id), real(case))[1]
        )
        trainer = Trainer(config, task, dataset.of("train"), dataset.of("val"), "cpu")
        trainer.run(tmp_path / cache, ignore)
        curves[cache] = [row["train_loss"] for row in trainer.state.history]
        reads[cache] = len(read)
    assert reads == {"true": 10, "false": 20}  # six to learn from and four to validate, two epochs
    assert curves["true"] == curves["false"]


def test_the_seed_decides_the_curve(folder, tmp_path):
    losses = []
    for seed in (1, 1, 2):
        _, trainer = make(folder, tmp_path, epochs=1, more=f"seed = {seed}")
        trainer.run(tmp_path, ignore)
        losses.append(trainer.state.history[0]["train_loss"])
    assert losses[0] == losses[1] != losses[2]


def test_half_precision_is_used_where_it_is_asked_for(folder, tmp_path):
    losses = {}
    for amp in ("off", "auto", "on"):
        _, trainer = make(folder, tmp_path, epochs=1, more=f'amp = "{amp}"')
        assert trainer.half == (amp == "on")  # on a processor it is no faster
        trainer.run(tmp_path, ignore)
        losses[amp] = trainer.state.history[0]["train_loss"]
        assert next(trainer.state.network.parameters()).dtype == torch.float32
    assert losses["off"] == losses["auto"] != losses["on"]
    assert losses["on"] == pytest.approx(losses["off"], rel=0.05)


def test_a_run_that_dies_while_it_writes_leaves_the_checkpoint_before(
    folder, tmp_path, monkeypatch
):
    _, whole = make(folder, tmp_path, epochs=3)
    whole.run(tmp_path / "whole", ignore)
    _, first = make(folder, tmp_path, epochs=3)
    real = torch.save

    def dying(content: dict[str, object], stream: BinaryIO) -> None:
        if content["epoch"] == 2:
            stream.write(b"PK half a checkpoint")
            stream.flush()
            raise KeyboardInterrupt
        real(content, stream)

    monkeypatch.setattr(torch, "save", dying)
    with pytest.raises(KeyboardInterrupt):
        first.run(tmp_path / "parts", ignore)
    monkeypatch.undo()
    _, second = make(folder, tmp_path, epochs=3)
    second.resume(tmp_path / "parts")
    assert second.state.epoch == 1
    second.run(tmp_path / "parts", ignore)

    def curve(where: str) -> list[list[str]]:
        lines = (tmp_path / where / CURVES).read_text().splitlines()
        return [line.split(",")[:-1] for line in lines]  # all but the seconds

    assert curve("parts") == curve("whole")


def test_it_stops_when_nothing_gets_better(folder, tmp_path):
    config, trainer = make(folder, tmp_path, epochs=50, more="early_stop = 1")
    best = {"epoch": 1, "lr": 0.1, "train_loss": 1.0, "val_dice": 1.1}
    trainer.state.history, trainer.state.epoch = [best], 2
    trainer.run(tmp_path, ignore)
    assert trainer.state.epoch == 2
    assert config.schedule.epochs == 50


def test_a_checkpoint_of_another_run_is_refused(folder, tmp_path):
    _, trainer = make(folder, tmp_path, epochs=1)
    trainer.save(tmp_path)
    _, longer = make(folder, tmp_path, epochs=2)
    longer.resume(tmp_path)
    _, other = make(folder, tmp_path, epochs=1, more="accumulate = 2")
    with pytest.raises(ReadError, match="another training configuration"):
        other.resume(tmp_path)


def test_a_run_from_before_an_entry_existed_goes_on_where_the_entry_is_usual(folder, tmp_path):
    _, trainer = make(folder, tmp_path, epochs=1)
    trainer.save(tmp_path)
    content = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    table = json.loads(content["config"])
    table["data"] |= {"also": ["/elsewhere/one"]}
    for section, entry in (("data", "learn"), ("run", "rounds"), ("augment", "veil")):
        del table[section][entry]
    content["config"] = json.dumps(table)
    torch.save(content, tmp_path / CHECKPOINT)
    with pytest.raises(ReadError, match="another training configuration"):
        trainer.resume(tmp_path)  # it learned from one more data set
    del table["data"]["also"]
    content["config"] = json.dumps(table)
    torch.save(content, tmp_path / CHECKPOINT)
    trainer.resume(tmp_path)
    _, other = make(folder, tmp_path, epochs=1, more="rounds = 2")
    with pytest.raises(ReadError, match="another training configuration"):
        other.resume(tmp_path)


def test_no_path_is_kept_or_compared(folder, tmp_path):
    config, trainer = make(folder, tmp_path, epochs=1)
    for place in ("here", "there"):
        data = dataclasses.replace(config.data, learn="marks", also=(f"/{place}/more",))
        trainer.config = dataclasses.replace(config, data=data)
        if place == "here":
            trainer.save(tmp_path)
    trainer.resume(tmp_path)
    kept = torch.load(tmp_path / CHECKPOINT, weights_only=True)["config"]
    assert "/" not in kept.replace("network/", "")


def test_a_damaged_checkpoint_is_refused(folder, tmp_path):
    _, trainer = make(folder, tmp_path)
    with pytest.raises(ReadError, match="no checkpoint"):
        trainer.resume(tmp_path)
    (tmp_path / CHECKPOINT).write_bytes(b"no checkpoint")
    with pytest.raises(ReadError, match="no checkpoint"):
        trainer.resume(tmp_path)


def test_a_run_that_diverges_stops(folder, tmp_path):
    _, trainer = make(folder, tmp_path)
    with torch.no_grad():
        next(trainer.state.network.parameters()).fill_(float("nan"))
    with pytest.raises(ModelError, match="diverged"):
        trainer.run(tmp_path, ignore)


def test_no_case_to_train_on_is_refused(folder, tmp_path):
    config = load_config(write_config(tmp_path / "a.toml", folder))
    with pytest.raises(ReadError, match="no case"):
        Trainer(config, task_of(config), [], [], "cpu")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("out_channels = 3", "out_channels = 4", "gives 4 channels; the data set needs 3"),
        ("[16, 16, 16]", "[16, 16, 15]", "does not take patches of 16 x 16 x 15"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_before_the_first_step(
    folder, tmp_path, before, after, words
):
    path = write_config(tmp_path / "a.toml", folder)
    path.write_text(path.read_text().replace(before, after))
    cases = open_dataset(folder).of("train")
    config = load_config(path)
    with pytest.raises(ReadError, match=words):
        Trainer(config, task_of(config), cases, [], "cpu")
