"""The training loop: epochs, validation, atomic checkpoints, and a resume that changes nothing."""

import csv
import dataclasses
import json
import math
import os
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medview.core.errors import ModelError, ReadError
from medview.inference.engines.network import load_weights
from medview.inference.networks.building import build_network
from medview.learning import parallel
from medview.learning.board import open_board
from medview.learning.config import DataConfig, NetworkConfig, TrainConfig
from medview.learning.data import Case
from medview.learning.optimise import Average, learning_rate_factor, make_optimiser
from medview.learning.plots import write_lines
from medview.learning.tasks.task import Scored, Task

CHECKPOINT = "checkpoint.pt"
CURVES = "curves.csv"
BOARD = "tensorboard"

Row = dict[str, float]


@dataclass
class TrainingState:
    """All that a checkpoint keeps; `epoch` counts finished epochs."""

    network: nn.Module
    average: Average
    optimiser: torch.optim.Optimizer
    epoch: int = 0
    step: int = 0
    history: list[Row] = field(default_factory=list)


class Trainer:
    """Trains one network for one task; `device` and mixed precision come from outside.

    Every epoch draws its random numbers from (seed, epoch), so a run that was stopped and resumed
    gives the same curve as one that was not.
    """

    def __init__(
        self,
        config: TrainConfig,
        task: Task,
        train: Sequence[Case],
        val: Sequence[Case],
        device: str,
    ) -> None:
        if not train:
            raise ReadError("There is no case to train on.")
        self.config = config
        self.task = task
        self.device = torch.device(device)
        self.train = train
        self.val = val
        self._kept: dict[str, Any] = {}
        torch.manual_seed(config.run.seed)
        network = build_network(config.network.class_name, config.network.args)
        if config.network.weights:
            load_weights(_part_of(network, config.network.part), Path(config.network.weights))
        task.check_network(network)
        self._form = picture_form(network)
        nn.utils.convert_conv2d_weight_memory_format(network.to(self.device), self._form)
        self.state = TrainingState(
            network, Average(network, config.run.ema), make_optimiser(network, config.optimiser)
        )
        task.watch(self.state.average.network)
        self.half = config.run.amp == "on" or (
            config.run.amp == "auto" and self.device.type == "cuda"
        )

    def run(self, folder: Path, report: Callable[[str], None]) -> None:
        """Train until the last epoch or the early stop.

        After every epoch `folder` holds a checkpoint and the curves of what is done, which the
        first of several processes writes.
        """
        if parallel.rank() > 0:
            for _ in self._rows():
                pass
            return
        state, epochs = self.state, self.config.schedule.epochs
        started, first = time.monotonic(), state.epoch
        with open_board(folder / BOARD, first, report) as add_to_board:
            for row in self._rows():
                self.save(folder)
                add_to_board(row)
                pace = (time.monotonic() - started) / (state.epoch - first)
                report(_progress_line(row, epochs, (epochs - state.epoch) * pace))

    def _rows(self) -> Iterator[Row]:
        """Do epoch after epoch, and give what each has reached."""
        state = self.state
        while state.epoch < self.config.schedule.epochs and not self._exhausted():
            began = time.monotonic()
            row = self._epoch()
            state.epoch += 1
            if self._due(state.epoch):
                row |= self._validate()
            row["seconds"] = round(time.monotonic() - began, 2)
            state.history.append(row)
            yield row

    def _due(self, epoch: int) -> bool:
        last = epoch == self.config.schedule.epochs
        return bool(self.val) and (last or epoch % self.config.run.validate_every == 0)

    def _exhausted(self) -> bool:
        """Tell whether the validation has not improved for `early_stop` epochs (0: never)."""
        patience, watched = self.config.run.early_stop, f"val_{self.task.watched}"
        scored = [row for row in self.state.history if watched in row]
        if not patience or not scored:
            return False
        best = max(scored, key=lambda row: row[watched])
        return self.state.epoch - best["epoch"] >= patience

    def _epoch(self) -> Row:
        config, state = self.config, self.state
        seed = config.run.seed * 100_003 + state.epoch
        torch.manual_seed(seed)
        rounds = [torch.randperm(len(self.train)) for _ in range(config.run.rounds)]
        order = torch.cat(rounds).tolist()
        generator = torch.Generator().manual_seed(seed * 101 + parallel.rank())
        order += order[: -len(order) % parallel.count()]
        batch = config.run.batch
        chunks = [order[i : i + batch] for i in range(0, len(order), batch)]
        state.network.train()
        state.optimiser.zero_grad(set_to_none=True)
        summed, rate, done = 0.0, 0.0, 0
        for number, chunk in enumerate(chunks, start=1):
            own = chunk[parallel.rank() :: parallel.count()]
            prepared = [self._prepared(self.train[i]) for i in own]
            images, target = self.task.batch(prepared, generator)
            together = min(config.run.accumulate, len(chunks) - done)
            summed += self._backward(images, target, together) * len(own)
            if number % config.run.accumulate == 0 or number == len(chunks):
                rate, done = self._step(state.epoch + number / len(chunks)), number
        loss = parallel.total(torch.tensor(summed, dtype=torch.float64)).item() / len(order)
        return {"epoch": state.epoch + 1, "lr": rate, "train_loss": loss}

    def _backward(self, images: torch.Tensor, target: Any, together: int) -> float:
        """Add the gradient of a batch that is one of so many `together`; give its loss."""
        form = self._form if images.ndim == 4 else torch.preserve_format
        images = images.to(self.device, memory_format=form)
        if isinstance(target, torch.Tensor):
            target = target.to(self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.half):
            answer = self.state.network(images)
        loss = self.task.loss(answer.float(), target)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ModelError(
                "The training diverged: the loss is no longer a number.",
                hint="Start again with a lower learning rate.",
            )
        (loss / together).backward()  # type: ignore[no-untyped-call]
        return value

    def _step(self, position: float) -> float:
        state, config = self.state, self.config
        rate = config.optimiser.lr * learning_rate_factor(config.schedule, position)
        for group in state.optimiser.param_groups:
            group["lr"] = rate
        parallel.average_gradients(state.network)
        if config.optimiser.clip_norm > 0:
            nn.utils.clip_grad_norm_(state.network.parameters(), config.optimiser.clip_norm)
        state.optimiser.step()
        state.optimiser.zero_grad(set_to_none=True)
        state.step += 1
        state.average.update(state.network, state.step)
        return rate

    def _validate(self) -> Row:
        network, task = self.state.average.network, self.task
        own: list[Scored] = []
        for case in self.val[parallel.rank() :: parallel.count()]:
            example = self._read(case)
            answer = task.answer(network, example)
            own.append(task.score(case, example, answer, thorough=False))
        figures = task.figures(parallel.gathered(own))
        named = {f"val_{name}": value for name, value in figures.items()}
        return {f"val_{task.watched}": task.headline(figures), **named}

    def _read(self, case: Case) -> Any:
        """Give a case as it was read, once if they are kept."""
        return self._keep(f"read {case.id}", lambda: self.task.read(case))

    def _prepared(self, case: Case) -> Any:
        """Give a case as batches are made of it, once if they are kept."""
        return self._keep(f"made {case.id}", lambda: self.task.prepare(self.task.read(case)))

    def _keep(self, name: str, make: Callable[[], Any]) -> Any:
        if name in self._kept:
            return self._kept[name]
        made = make()
        if self.config.data.cache:
            self._kept[name] = made
        return made

    def save(self, folder: Path) -> None:
        """Write checkpoint and curves so that a kill at any moment leaves the old or the new."""
        state = self.state
        content = {
            "config": _fingerprint(dataclasses.asdict(self.config)),
            "epoch": state.epoch,
            "step": state.step,
            "history": state.history,
            "network": state.network.state_dict(),
            "average": state.average.network.state_dict(),
            "optimiser": state.optimiser.state_dict(),
        }
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / (CHECKPOINT + ".partial")
        with partial.open("wb") as stream:
            torch.save(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(folder / CHECKPOINT)
        write_curves(state.history, folder / CURVES)
        draw_curves(state.history, folder / CURVES.replace(".csv", ".svg"))

    def resume(self, folder: Path) -> None:
        """Take up a run from its checkpoint; refuses one of another configuration."""
        content = parallel.from_first(lambda: _read_checkpoint(folder))
        own = _fingerprint(dataclasses.asdict(self.config))
        if _fingerprint(json.loads(content["config"])) != own:
            raise ReadError(
                "The checkpoint belongs to another training configuration.",
                hint="Resume with the configuration the run was started with.",
            )
        state = self.state
        state.network.load_state_dict(content["network"])
        state.average.network.load_state_dict(content["average"])
        state.optimiser.load_state_dict(content["optimiser"])
        state.epoch, state.step = content["epoch"], content["step"]
        state.history = content["history"]


def _read_checkpoint(folder: Path) -> dict[str, Any]:
    path = folder / CHECKPOINT
    if not zipfile.is_zipfile(path):
        raise _no_checkpoint(f"{path.name} is missing or damaged")
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError) as error:
        raise _no_checkpoint(str(error)) from error
    return content


def _no_checkpoint(detail: str) -> ReadError:
    return ReadError(
        "There is no checkpoint to resume from.",
        hint="Start the training without --resume.",
        detail=detail,
    )


def trained_network(config: TrainConfig, folder: Path) -> nn.Module:
    """Give the averaged network of the checkpoint in `folder`, for use."""
    network = build_network(config.network.class_name, config.network.args)
    network.load_state_dict(_read_checkpoint(folder)["average"])
    return network.eval()


def _fingerprint(stated: Mapping[str, Any]) -> str:
    """Give what two runs must share to be one, from a configuration or from a fingerprint of one.

    That is all but where files lie (of `data.also` the names of the folders count), what is
    exported, how often is validated, and the number of epochs, which may be cut or raised on the
    way. An entry that did not exist when a run was begun has its usual value: so it was trained.
    """
    usual = dataclasses.asdict(TrainConfig(DataConfig(""), NetworkConfig("")))
    table = {section: usual[section] | stated.get(section, {}) for section in usual}
    table["data"]["also"] = [Path(folder).name for folder in table["data"]["also"]]
    del table["export"], table["data"]["folder"], table["data"]["cache"]
    del table["network"]["weights"], table["network"]["part"]
    del table["schedule"]["epochs"], table["run"]["validate_every"]
    return json.dumps(table, sort_keys=True)


def write_curves(history: list[Row], path: Path) -> None:
    """Write the rows of a run as CSV; a value that an epoch has not stays empty."""
    names = list(dict.fromkeys(name for row in history for name in row))
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(history)
    partial.replace(path)


def draw_curves(history: list[Row], path: Path) -> None:
    """Draw the losses and scores of a run by epoch."""
    names = dict.fromkeys(name for row in history for name in row)
    lines = {
        name.removeprefix("val_"): [(row["epoch"], row[name]) for row in history if name in row]
        for name in names
        if name == "train_loss" or name.startswith("val_")
    }
    write_lines(path, "Training", ("epoch", ""), lines)


def picture_form(network: nn.Module) -> torch.memory_format:
    """The order of flat pictures in memory that a network learns with.

    With their channels last it is quicker. There oneDNN (as in torch 2.13) ends the process in the
    gradient of some convolutions of single pixels that step over others, where the processor has
    AVX-512: a network with such a one keeps its channels first.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and {*layer.kernel_size} == {1} and max(layer.stride) > 1:
            return torch.contiguous_format
    return torch.channels_last


def _part_of(network: nn.Module, name: str) -> nn.Module:
    try:
        return network.get_submodule(name)
    except AttributeError as error:
        raise ReadError(f"The network has no part {name}.", detail=str(error)) from error


def _progress_line(row: Row, epochs: int, seconds_left: float) -> str:
    parts = [f"epoch {row['epoch']:.0f}/{epochs}", f"loss {row['train_loss']:.4f}"]
    parts += [f"{name} {value:.4f}" for name, value in row.items() if name.startswith("val_")]
    minutes = seconds_left / 60.0
    parts += [f"{row['seconds']:.0f} s", f"about {minutes:.0f} min left"]
    return ", ".join(parts)
