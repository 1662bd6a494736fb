"""Trainings that differ in a few entries, side by side: `medview train` with `--variants`.

Each table of `[variants]` in a training configuration names entries to set otherwise. What comes
of the configuration itself and of every variant is measured alike and written to one table.
"""

import csv
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from medview.core.errors import ReadError
from medview.core.toml import toml_text
from medview.learning import parallel
from medview.learning.config import load_config, read_tables
from medview.learning.layouts import open_dataset
from medview.learning.loop import CURVES
from medview.learning.measuring import evaluate
from medview.learning.plots import write_lines

log = logging.getLogger(__name__)

#: What trains: a configuration, the folder of the run, whether to take it up.
Train = Callable[[Path, Path, bool], None]

#: The configuration in the folder of a run.
CONFIG = "train.toml"

#: Entries that are paths from the folder of the configuration.
_PATHS = (("data", "folder"), ("network", "weights"), ("export", "card"))


def compare(path: Path, out: Path, train: Train, *, resume: bool) -> None:
    """Train a configuration and its variants, each in a folder of its own, and measure them.

    Every folder of a variant has the configuration that it was trained with. With a test split
    the models are measured on that too. ReadError where there are no variants to compare, or one
    is not valid: before anything is trained.
    """
    variants = {"base": {}, **_variants(path)}
    runs = {name: out / name for name in variants}
    for name, run in runs.items():
        _write_config(path, variants[name], run)
        load_config(run / CONFIG)
    for run in runs.values():
        begun = parallel.from_first((run / CURVES).is_file)
        train(run / CONFIG, run, resume and begun)
    if parallel.rank() == 0:
        _write_comparison(runs, out)


def _variants(path: Path) -> dict[str, dict[str, Any]]:
    variants: dict[str, dict[str, Any]] = read_tables(path).get("variants", {})
    if not variants or "base" in variants:
        raise ReadError(
            f"{path.name} has no variants to compare.",
            hint="Add a table like [variants.mse.loss] with the entries to set otherwise.",
        )
    return variants


def _write_config(path: Path, changes: Mapping[str, Any], run: Path) -> None:
    """Write the configuration of one run, its paths from there."""
    tables = read_tables(path)
    del tables["variants"]
    for section, entries in changes.items():
        tables[section] = {**tables.get(section, {}), **entries}
    run.mkdir(parents=True, exist_ok=True)
    for section, name in _PATHS:
        entry = tables.get(section, {}).get(name)
        if entry:
            there = (path.parent / entry).resolve()
            tables[section][name] = Path(os.path.relpath(there, run.resolve())).as_posix()
    partial = run / f"{CONFIG}.{parallel.rank()}"
    partial.write_text(toml_text(tables), encoding="utf-8")
    partial.replace(run / CONFIG)


def _write_comparison(runs: Mapping[str, Path], out: Path) -> None:
    """Write `comparison.csv`, a figure a row, and the scores by epoch as `comparison.svg`."""
    rows = [
        (name, split, figure, entry["count"], entry["value"], *entry["ci95"])
        for name, run in runs.items()
        for split, metrics in _measured(run)
        for figure, entry in metrics.items()
    ]
    with (out / "comparison.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["run", "split", "figure", "count", "value", "ci95_low", "ci95_high"])
        writer.writerows(rows)
    for name, split, figure, count, *values in rows:
        log.info("%s, %d of %s: %s %.3f [%.3f, %.3f]", name, count, split, figure, *values)
    curves = {name: _scores(run / CURVES) for name, run in runs.items()}
    watched = next((figure for figure, _ in curves.values() if figure), "")
    lines = {name: points for name, (_, points) in curves.items()}
    write_lines(out / "comparison.svg", "On the validation cases", ("epoch", watched), lines)


def _measured(run: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Give the figures of the model of a run on each split that was not learned from."""
    config = load_config(run / CONFIG)
    dataset = open_dataset(Path(config.data.folder))
    for split in ("val", "test"):
        if config.export.id and dataset.of(split):
            yield split, evaluate(run / config.export.id, dataset, split=split)["metrics"]


def _scores(curves: Path) -> tuple[str, list[tuple[float, float]]]:
    """Give the figure that the training watched, the first on validation cases, by epoch."""
    with curves.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    watched = next((name for name in rows[0] if name.startswith("val_")), "") if rows else ""
    points = [(float(row["epoch"]), float(row[watched])) for row in rows if row.get(watched)]
    return watched.removeprefix("val_"), points
