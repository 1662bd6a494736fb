"""`python -m medview.learning.rank MODEL_DIR FOLDER --out FILE.csv`: what to annotate next.

The images of a folder that have no label yet, those first of which the model is least sure
(uncertainty sampling: Lewis and Gale, SIGIR 1994).
"""

import argparse
import csv
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from medview.core.errors import MedviewError, ModelError, ReadError
from medview.inference.engines.network import load_trained, read_metadata
from medview.learning.data import Case
from medview.learning.layouts import open_dataset
from medview.learning.measuring import choose_device
from medview.learning.tasks.choice import make_task
from medview.learning.tasks.task import Task, recipe_of_model

log = logging.getLogger(__name__)

_FLAT = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm")
_SOLID = (".nii", ".nii.gz", ".nrrd", ".mha")
#: The engines whose models say how sure they are of one image.
_ENGINES = ("segmentation", "classification", "detection", "instances")
#: Why other engines cannot be asked.
_UNSURE = {
    "motion": "follows points that a reader placed, and gives places without a probability; an "
    "image without such points has no answer that could be doubted",
    "rules": "works by fixed rules, which give no probability",
}
_NO_ANSWER = "gives no probability"
#: What a network that does not take an image raises.
_MISFITS = (RuntimeError, ValueError, IndexError, MemoryError)


@dataclass(frozen=True)
class Doubt:
    """An image and how unsure the model is of it, 0 to 1; None with the `problem` that there is."""

    file: Path
    uncertainty: float | None
    problem: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 done, 2 wrong usage, 3 nothing to read, 4 the model refused."""
    parser = argparse.ArgumentParser(prog="medview rank", description="Order for annotation.")
    parser.add_argument("model", type=Path, help="model folder")
    parser.add_argument("folder", type=Path, help="images, or a data set with unlabelled ones")
    parser.add_argument("--out", type=Path, required=True, help="CSV file to write")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:0")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    try:
        return _rank(arguments)
    except MedviewError as error:
        log.error("%s %s", error.user_text, error.hint)  # noqa: TRY400 - words for the reader
        return 4 if isinstance(error, ModelError) else 3
    except OSError as error:
        log.error("The order could not be written: %s", error)  # noqa: TRY400 - for the reader
        return 3
    except KeyboardInterrupt:
        return 130


def _rank(arguments: argparse.Namespace) -> int:
    task, network = open_model(arguments.model, choose_device(arguments.device))
    files = unlabelled(arguments.folder, _SOLID if len(task.recipe.patch) == 3 else _FLAT)
    if not files:
        raise ReadError(
            f"{arguments.folder.name} has no image without a label that this model reads."
        )
    doubts = []
    for number, doubt in enumerate(doubts_of(task, network, files), start=1):
        doubts.append(doubt)
        said = doubt.problem or f"{doubt.uncertainty:.3f}"
        log.info("%d/%d %s: %s", number, len(files), doubt.file.name, said)
    write_order(arguments.out, arguments.folder, ordered(doubts), task.doubt_words)
    return 0 if any(doubt.uncertainty is not None for doubt in doubts) else 3


def open_model(folder: Path, device: str) -> tuple[Task, nn.Module]:
    """Load a model folder to ask it how sure it is; ModelError for one that does not say."""
    metadata = read_metadata(folder)
    own = metadata["medview"]
    if own["engine"] not in _ENGINES:
        raise ModelError(
            f"{metadata.get('name', folder.name)} cannot put images in order: it "
            f"{_UNSURE.get(own['engine'], _NO_ANSWER)}.",
            hint="Take a model that segments, classifies, detects or counts objects.",
        )
    outputs = [output["label"] for output in own["outputs"] if output["index"] > 0]
    task = make_task(own["engine"], recipe_of_model(metadata, tuple(outputs)))
    if own["preprocess"].get("localise"):
        log.info("Images are taken to be cut out as in this model's data set, not whole heads.")
    return task, load_trained(folder, device)


def unlabelled(folder: Path, endings: Sequence[str]) -> list[Path]:
    """Give the images in a folder and below it that are no label and have none, by name.

    In a data set folder the labels are where its layout has them, and in the column `label`.
    """
    if not folder.is_dir():
        raise ReadError(f"There is no folder {folder}.")
    try:
        cases: Sequence[Case] = open_dataset(folder).cases
    except ReadError:  # plain images, or a data set that lacks labels
        cases = ()
    maps = {case.label.parent for case in cases if case.label and case.label.suffix != ".csv"}
    known = {case.image.resolve() for case in cases if case.answer}
    known |= {case.image.resolve() for case in cases if case.label and case.label.is_file()}
    known |= {case.label.resolve() for case in cases if case.label}
    known |= set(_named(folder))
    images = {case.image.parent for case in cases}
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.name.lower().endswith(tuple(endings))
        and path.is_file()
        and path.resolve() not in known
        and (path.parent in images or path.parent not in maps)
    ]


def _named(folder: Path) -> Iterator[Path]:
    """Give the images whose class stands in an index."""
    index = folder / "index.csv"
    if not index.is_file():
        return
    try:
        rows = list(csv.DictReader(index.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReadError(f"The index of {folder.name} cannot be read.", detail=str(error)) from error
    for row in rows:
        if row.get("file") and (row.get("label") or "").strip():
            yield (folder / row["file"]).resolve()


def doubts_of(task: Task, network: nn.Module, files: Sequence[Path]) -> Iterator[Doubt]:
    """Ask about one image after the other; what is wrong with one is its `problem`."""
    for path in files:
        name = path.name.split(".")[0]
        try:
            example = task.unlabelled(Case(name, name, "test", path))
            yield Doubt(path, task.doubt(network, example))
        except MedviewError as error:
            yield Doubt(path, None, error.user_text)
        except _MISFITS as error:
            yield Doubt(path, None, f"the network does not take it: {error}")


def ordered(doubts: Sequence[Doubt]) -> list[Doubt]:
    """Give the least sure first, those of the same doubt by name, and failures last."""
    return sorted(doubts, key=lambda one: (one.uncertainty is None, -(one.uncertainty or 0.0)))


def write_order(path: Path, folder: Path, doubts: Sequence[Doubt], words: str) -> None:
    """Write the order as CSV, whole or not at all: rank, file, uncertainty, measure, problem."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["rank", "file", "uncertainty", "measure", "problem"])
        for rank, one in enumerate(doubts, start=1):
            name = one.file.relative_to(folder).as_posix()
            if one.uncertainty is None:
                writer.writerow(["", name, "", "", one.problem])
            else:
                writer.writerow([rank, name, f"{one.uncertainty:.6f}", words, ""])
    partial.replace(path)


if __name__ == "__main__":
    sys.exit(main())
