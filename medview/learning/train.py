"""`python -m medview.learning.train CONFIG.toml --out DIR [--resume]`: train a model."""

import argparse
import dataclasses
import functools
import logging
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from medview.core.errors import MedviewError, ModelError, ReadError
from medview.core.succession import COMPARISON_FILE
from medview.learning import parallel
from medview.learning.checks import find_near_copies, write_split
from medview.learning.compare import compare
from medview.learning.config import DataConfig, TrainConfig, load_config
from medview.learning.data import Case, Dataset, with_folds, without_copies
from medview.learning.export import Trained, export_model, load_card
from medview.learning.layouts import open_dataset
from medview.learning.loop import CHECKPOINT, Trainer, trained_network
from medview.learning.measuring import SPLIT_FILE, choose_device, measure, report
from medview.learning.metrics import best_temperature
from medview.learning.readme import write_measured
from medview.learning.rivals import compare_with, start_of, told, write_comparison
from medview.learning.tasks.choice import make_task
from medview.learning.tasks.task import Recipe, Task, recipe_of_config

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 done, 2 wrong usage, 3 nothing to read, 4 failed, 130 cancelled."""
    parser = argparse.ArgumentParser(prog="medview train", description="Train a model.")
    parser.add_argument("config", type=Path, help="training configuration (TOML)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the run")
    parser.add_argument("--resume", action="store_true", help="take up the run in --out")
    parser.add_argument("--variants", action="store_true", help="train and compare its variants")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    try:
        with parallel.joined():
            if arguments.variants:
                compare(arguments.config, arguments.out, _train, resume=arguments.resume)
            else:
                _train(arguments.config, arguments.out, arguments.resume)
    except MedviewError as error:
        log.error("%s %s", error.user_text, error.hint)  # noqa: TRY400 - words for the reader
        return 4 if isinstance(error, ModelError) else 3
    except KeyboardInterrupt:
        log.info("stopped; take it up again with --resume")
        return 130
    return 0


@dataclass(frozen=True)
class Job:
    """One network to train: everything a process of its own must know."""

    config: TrainConfig
    task: str
    recipe: Recipe
    cases: tuple[Case, ...]
    out: Path

    def make_task(self) -> Task:
        """Give the task with the losses and changes of the configuration."""
        return make_task(self.task, self.recipe, self.config.loss, self.config.augment)

    def of(self, split: str) -> tuple[Case, ...]:
        """Give the cases of one split; those to learn from as `data.only` limits them."""
        chosen = tuple(case for case in self.cases if case.split == split)
        if split != "train":
            return chosen
        only: dict[str, Any] = self.config.data.only
        return tuple(
            case
            for case in chosen
            if all(case.tags.get(column) in words for column, words in only.items())
        )


def _train(path: Path, out: Path, resume: bool) -> None:
    """Train as the file `path` says; data and card are checked in full before the first step.

    `out` gets checkpoint and curves (of every fold in a folder of its own, where all folds are
    asked for), and, when the configuration names an export, the model folder with its figures.
    """
    config = load_config(path)
    if config.run.batch % parallel.count():
        raise ReadError(
            f"{parallel.count()} processes cannot share a batch of {config.run.batch} evenly.",
            hint="Set run.batch to a multiple of them.",
        )
    card = load_card(Path(config.export.card)) if config.export.id else None
    dataset = _opened(config.data)
    entries = card.entries if card else {}
    recipe = recipe_of_config(config, dataset.classes, entries, multi_label=dataset.multi_label)
    jobs = plan(config, dataset, recipe, out)
    for job in jobs:
        begun = len(jobs) == 1 or parallel.from_first(functools.partial(_begun, job.out))
        work = functools.partial(run_epochs, resume=resume and begun)
        parallel.run(work, (job,), config.run.processes)
    if parallel.rank() > 0:
        return
    write_split(out / SPLIT_FILE.name, [job.cases for job in jobs])
    if card is None:
        return
    folder = out / config.export.id
    sources = {"train.toml": path, "card.toml": Path(config.export.card)}
    networks = [trained_network(config, job.out) for job in jobs]
    temperatures = calibrate(jobs, networks)
    trained = Trained(config, recipe, dataset.task, temperatures)
    export_model(networks, trained, card, sources, folder)
    shutil.copyfile(out / SPLIT_FILE.name, folder / SPLIT_FILE)
    measured = dataclasses.replace(
        dataset,
        cases=jobs[0].cases
        if len(jobs) == 1
        else tuple(case for case in dataset.cases if case.split != "test"),
    )
    split = "val" if len(jobs) == 1 else "all"
    if measured.of(split):
        start = None if config.network.part else start_of(config.network.weights)
        _measure(folder, measured, split, start, card["note"])


def _opened(data: DataConfig) -> Dataset:
    """Give the data set, or all of them as what is to be learned from them."""
    sets = [open_dataset(Path(folder)) for folder in (data.folder, *data.also)]
    return Dataset.to_mark(sets) if data.learn == "marks" else sets[0]


def _measure(folder: Path, dataset: Dataset, split: str, start: Path | None, note: str) -> None:
    """Measure a new model, and hold it against the one that it started from."""
    device = choose_device("auto")
    measured = measure(folder, dataset, split=split, device=device)
    (folder / COMPARISON_FILE).unlink(missing_ok=True)
    if start is not None:
        try:
            succession = compare_with(measured, start, dataset, device)
        except MedviewError as error:
            log.warning("not compared with %s: %s %s", start.name, error.user_text, error.hint)
        else:
            write_comparison(folder / COMPARISON_FILE, succession)
            log.info("%s", told(succession)["words"])
    write_measured(folder, report(measured), note)


def _begun(out: Path) -> bool:
    return (out / CHECKPOINT).is_file()


def plan(config: TrainConfig, dataset: Dataset, recipe: Recipe, out: Path) -> list[Job]:
    """Check the data and give what is to be trained: one network, or one for every fold.

    Images that are nearly copies never lie on both sides: in folds they go together, else the
    copy is not learned from.
    """
    job = Job(config, dataset.task, recipe, dataset.cases, out)
    learned = ("train", "val") if config.data.folds else ("train",)
    copies = find_near_copies(job.make_task(), dataset.cases, learned)
    if copies:
        named = ", ".join(f"{one} = {other}" for one, other in copies)
        log.warning("nearly the same image: %s", named)
    data = config.data
    if data.folds == 0:
        cases, gone = without_copies(dataset.cases, copies)
        if gone:
            log.warning("not learned from, as another split has the image: %s", ", ".join(gone))
        return [dataclasses.replace(job, cases=cases)]
    patient = {case.id: case.patient for case in dataset.cases}
    alike = [(patient[one], patient[other]) for one, other in copies]
    folds = range(data.folds) if data.fold < 0 else [data.fold]
    return [
        dataclasses.replace(
            job,
            cases=with_folds(dataset.cases, data.folds, fold, config.run.seed, alike),
            out=out / f"fold-{fold}" if data.fold < 0 else out,
        )
        for fold in folds
    ]


def calibrate(jobs: Sequence[Job], networks: Sequence[nn.Module]) -> tuple[float, ...]:
    """Give the temperature of the whole model and of each member, for classes; else none.

    None for classes that do not exclude each other, either.
    From what each network says of the cases it never saw. A member is judged at a temperature
    found without these cases: from the other folds, where there are any.
    """
    if jobs[0].task != "classification" or jobs[0].recipe.multi_label:
        return ()
    truths, logits = [], []
    for job, network in zip(jobs, networks, strict=True):
        task, cases = job.make_task(), job.of("val")
        found = [task.answer(network, task.read(case)) for case in cases]
        truths.append(np.array([job.recipe.classes.index(case.answer) for case in cases], int))
        logits.append(np.array(found).reshape(len(cases), len(job.recipe.classes)))
    parts = list(range(len(jobs)))
    chosen = [parts, *([other for other in parts if other != part] or [part] for part in parts)]
    return tuple(
        best_temperature(
            np.concatenate([truths[i] for i in some]), np.concatenate([logits[i] for i in some])
        )
        for some in chosen
    )


def run_epochs(job: Job, *, resume: bool) -> None:
    """Do the epochs, in each of the processes that share the work; the first one speaks."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    device = parallel.device()
    train_cases, val_cases = job.of("train"), job.of("val")
    trainer = Trainer(job.config, job.make_task(), train_cases, val_cases, device)
    if resume:
        trainer.resume(job.out)
    if parallel.rank() == 0:
        write_split(job.out / SPLIT_FILE.name, [job.cases])
    report = log.info if parallel.rank() == 0 else log.debug
    report("%d cases to train on, %d to validate, %s", len(train_cases), len(val_cases), device)
    trainer.run(job.out, report)


if __name__ == "__main__":
    # Also where whoever started this has interrupts ignored: so a run is asked to stop.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
