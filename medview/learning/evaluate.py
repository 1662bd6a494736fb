"""`python -m medview.learning.evaluate MODEL_DIR DATA_DIR --out FILE.json`: measure a model."""

import argparse
import json
import logging
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medview.core.errors import MedviewError, ModelError
from medview.core.succession import COMPARISON_FILE
from medview.learning.data import SPLITS
from medview.learning.drawings import case_table, draw
from medview.learning.layouts import open_dataset
from medview.learning.measuring import choose_device, measure, report
from medview.learning.readme import write_measured
from medview.learning.rivals import compare_with, told, write_comparison

log = logging.getLogger(__name__)

Row = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 done, 2 wrong usage, 3 nothing to read, 4 the model refused."""
    parser = argparse.ArgumentParser(prog="medview evaluate", description="Measure a model.")
    parser.add_argument("model", type=Path, help="model folder")
    parser.add_argument("data", type=Path, help="data set folder")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--split", choices=[*SPLITS, "all"], help="default: test, else val")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:0")
    parser.add_argument("--against", type=Path, help="folder of the model it came from")
    parser.add_argument(
        "--card", action="store_true", help="write the figures into the model's card as well"
    )
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    try:
        _evaluate(arguments)
    except MedviewError as error:
        log.error("%s %s", error.user_text, error.hint)  # noqa: TRY400 - words for the reader
        return 4 if isinstance(error, ModelError) else 3
    except OSError as error:
        log.error("The figures could not be written: %s", error)  # noqa: TRY400 - for the reader
        return 3
    except KeyboardInterrupt:
        return 130
    return 0


def _evaluate(arguments: argparse.Namespace) -> None:
    dataset, device = open_dataset(arguments.data), choose_device(arguments.device)
    measured = measure(arguments.model, dataset, split=arguments.split, device=device)
    result, succession = report(measured), None
    if arguments.against:
        succession = compare_with(measured, arguments.against, dataset, device)
        result["comparison"] = told(succession)
        log.info("%s", result["comparison"]["words"])
    classes = measured.judge.metadata["medview"].get("classes") or ()
    write_result(arguments.out, result, classes)
    if arguments.card:
        if succession is not None:
            write_comparison(arguments.model / COMPARISON_FILE, succession)
        write_card_figures(arguments.model, report(measured))


def write_result(path: Path, result: Row, classes: Sequence[str]) -> None:
    """Write FILE.json, and beside it the cases as FILE-cases.csv and curves as FILE-NAME.svg."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    beside = path.with_name(f"{path.stem}-cases.csv")
    beside.write_text(case_table(result), encoding="utf-8")
    draw(path.parent, f"{path.stem}-", result, classes)


def write_card_figures(model: Path, result: Row) -> None:
    """Put an evaluation into the card of a model folder, with the note that its card file has."""
    path = model / "configs" / "card.toml"
    try:
        note = tomllib.loads(path.read_text(encoding="utf-8"))["note"]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError) as error:
        raise ModelError(
            f"{model.name} has no card with a note that figures could be written into.",
            hint="A model that medview trained keeps it as configs/card.toml.",
            detail=repr(error),
        ) from error
    write_measured(model, result, str(note))


if __name__ == "__main__":
    sys.exit(main())
