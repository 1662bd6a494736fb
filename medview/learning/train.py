"""`python -m medview.learning.train CONFIG.toml --out DIR [--resume]`: train a model."""

import argparse
import dataclasses
import functools
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from medview.core.errors import MedviewError, ModelError, ReadError
from medview.learning import parallel
from medview.learning.config import TrainConfig, load_config
from medview.learning.data import Dataset, load_scans, open_dataset, with_folds
from medview.learning.evaluate import evaluate
from medview.learning.export import export_model, load_card
from medview.learning.loop import Trainer, trained_network
from medview.learning.readme import write_measured

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 done, 2 wrong usage, 3 nothing to read, 4 failed, 130 cancelled."""
    parser = argparse.ArgumentParser(prog="medview train", description="Train a model.")
    parser.add_argument("config", type=Path, help="training configuration (TOML)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the run")
    parser.add_argument("--resume", action="store_true", help="take up the run in --out")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    try:
        _train(arguments.config, arguments.out, resume=arguments.resume)
    except MedviewError as error:
        log.error("%s %s", error.user_text, error.hint)  # noqa: TRY400 - words for the reader
        return 4 if isinstance(error, ModelError) else 3
    except KeyboardInterrupt:
        log.info("stopped; take it up again with --resume")
        return 130
    return 0


def _train(path: Path, out: Path, *, resume: bool) -> None:
    """Train as the file `path` says; data and card are checked in full before the first step.

    `out` gets checkpoint and curves, and, when the configuration names an export, the model
    folder with its figures.
    """
    config = load_config(path)
    card = load_card(Path(config.export.card)) if config.export.id else None
    dataset = open_dataset(Path(config.data.folder))
    if dataset.task != "segmentation":
        raise ReadError(f"Data sets for {dataset.task} cannot be learned from.")
    cases = with_folds(dataset.cases, config.data.folds, config.data.fold, config.run.seed)
    dataset = dataclasses.replace(dataset, cases=cases)
    load_scans([*dataset.of("train"), *dataset.of("val")], len(dataset.classes))
    work = functools.partial(run_epochs, resume=resume)
    parallel.run(work, (config, dataset, out), config.run.processes)
    if card is None:
        return
    folder = out / config.export.id
    sources = {"train.toml": path, "card.toml": Path(config.export.card)}
    export_model(trained_network(config, out), config, card, sources, folder)
    if dataset.of("val"):
        write_measured(folder, evaluate(folder, dataset, split="val"), card["note"])


def run_epochs(config: TrainConfig, dataset: Dataset, out: Path, *, resume: bool) -> None:
    """Do the epochs, in each of the processes that share the work; the first one speaks."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    train_cases, val_cases = dataset.of("train"), dataset.of("val")
    trainer = Trainer(config, train_cases, val_cases, dataset.classes, device)
    if resume:
        trainer.resume(out)
    report = log.info if parallel.rank() == 0 else log.debug
    report("%d cases to train on, %d to validate, %s", len(train_cases), len(val_cases), device)
    trainer.run(out, report)


if __name__ == "__main__":
    sys.exit(main())
