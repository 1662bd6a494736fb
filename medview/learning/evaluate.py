"""`python -m medview.learning.evaluate MODEL_DIR DATA_DIR --out FILE.json`: measure a model."""

import argparse
import json
import logging
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from medview.core.errors import MedviewError, ModelError, ReadError
from medview.imaging.intensity import normalise
from medview.inference.engines.network import (
    keeps_largest,
    label_map,
    load_network,
    predict,
    read_flips,
    read_metadata,
)
from medview.learning.data import (
    SPLITS,
    Case,
    Dataset,
    Scan,
    load_scans,
    open_dataset,
    resize,
    to_spacing,
)
from medview.learning.metrics import (
    bootstrap_interval,
    dice_score,
    hausdorff95_mm,
    relative_volume_error,
)

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
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    try:
        dataset = open_dataset(arguments.data)
        result = evaluate(arguments.model, dataset, split=arguments.split, device=arguments.device)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    except MedviewError as error:
        log.error("%s %s", error.user_text, error.hint)  # noqa: TRY400 - words for the reader
        return 4 if isinstance(error, ModelError) else 3
    except KeyboardInterrupt:
        return 130
    return 0


def evaluate(
    model: Path, dataset: Dataset, *, split: str | None = None, device: str = "auto"
) -> Row:
    """Score a segmentation model on labelled cases; gives what the evaluation file holds.

    Without `split` the test cases count, or the validation cases where there is no test. Each
    case is normalised and asked as a whole, mirrored views averaged, as in a reading.
    """
    metadata = read_metadata(model)
    if dataset.task != "segmentation":
        raise ReadError(f"Data sets for {dataset.task} cannot be scored.")
    chosen = split or ("test" if dataset.of("test") else "val")
    cases = dataset.of(chosen)
    if not cases:
        raise ReadError(f"The data set has no case in the split {chosen}.")
    _check_classes(metadata, dataset)
    network = load_network(model, choose_device(device))
    scans = load_scans(cases, len(dataset.classes))
    rows = []
    for number, (case, scan) in enumerate(zip(cases, scans, strict=True), start=1):
        answer = segment(network, scan, metadata)
        rows.append(score(case, scan, answer, dataset.classes))
        log.info("%d/%d %s", number, len(cases), case.id)
    return {
        "model": metadata["medview"]["id"],
        "version": metadata["version"],
        "task": dataset.task,
        "split": chosen,
        "count": len(rows),
        "metrics": summarise(rows, [case.patient for case in cases]),
        "cases": rows,
    }


def choose_device(wanted: str) -> str:
    """Turn `auto` into what is there; ModelError for a device that is not."""
    available = torch.cuda.is_available()
    if wanted == "auto":
        return "cuda:0" if available else "cpu"
    if wanted.startswith("cuda") and not available:
        raise ModelError("There is no CUDA device here.", hint="Use --device cpu.")
    return wanted


def _check_classes(metadata: Row, dataset: Dataset) -> None:
    outputs = {output["index"] for output in metadata["medview"]["outputs"]} - {0}
    if outputs != set(range(1, len(dataset.classes) + 1)):
        raise ModelError(
            f"The model names {len(outputs)} structures, the data set {len(dataset.classes)}."
        )


def segment(network: nn.Module, scan: Scan, metadata: Row) -> npt.NDArray[np.uint8]:
    """Give the label map of one scan on its own grid."""
    preprocess = metadata["medview"]["preprocess"]
    if preprocess["orientation"] != "RAS":
        raise ModelError("Only models in the orientation RAS can be measured.")
    image = to_spacing(scan.image, scan.spacing_mm, preprocess["spacing_mm"])
    crop = normalise(image, preprocess["intensity"])
    probabilities = predict(network, crop, read_flips(metadata))
    on_grid = np.stack([resize(channel, scan.image.shape) for channel in probabilities])
    return label_map(on_grid, keep_largest=keeps_largest(metadata))


def score(case: Case, scan: Scan, answer: npt.NDArray[np.uint8], classes: Sequence[str]) -> Row:
    """Compare one label map with the truth; distances in mm, the volume error as a share.

    A structure that was missed altogether is as far off as the field of view is wide.
    """
    farthest = math.dist((0.0, 0.0, 0.0), np.multiply(scan.label.shape, scan.spacing_mm))
    row: Row = {"id": case.id, "patient": case.patient}
    for number, name in enumerate(classes, start=1):
        mine, truth = answer == number, scan.label == number
        row[f"dice_{name}"] = dice_score(mine, truth)
        distance = hausdorff95_mm(mine, truth, scan.spacing_mm)
        row[f"hd95_mm_{name}"] = min(distance, farthest)
    row["volume_error"] = relative_volume_error(answer > 0, scan.label > 0)
    return row


def summarise(rows: Sequence[Row], patients: Sequence[str]) -> dict[str, Row]:
    """Give the mean of every score (the median of the volume error) with its interval."""
    metrics: dict[str, Row] = {}
    for name in rows[0]:
        if name in {"id", "patient"}:
            continue
        values = [row[name] for row in rows]
        middle = np.median if name == "volume_error" else np.mean
        key = "volume_error_median" if name == "volume_error" else name
        interval = bootstrap_interval(values, patients, middle)
        metrics[key] = {"value": float(middle(values)), "ci95": list(interval)}
    return metrics


if __name__ == "__main__":
    sys.exit(main())
