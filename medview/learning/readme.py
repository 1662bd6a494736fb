"""The card that people read: a model folder's README and figures, from what was measured."""

import json
from pathlib import Path
from typing import Any

from medview.learning.plots import write_lines, write_table

_TITLES = {
    "dice": "Dice",
    "hd95": "95 % Hausdorff distance (mm)",
    "volume": "volume error, median (share of the true volume)",
    "auroc": "area under the ROC curve",
    "auprc": "area under the precision-recall curve",
    "accuracy": "accuracy (the most probable class)",
    "ece": "expected calibration error, 10 bins",
    "sensitivity": "sensitivity at 90 % specificity",
    "map50": "mean average precision at overlap 0.5",
    "ap50": "average precision at overlap 0.5,",
    "count": "error of the count,",
    "f1": "F1 of objects at overlap 0.5",
    "pq": "panoptic quality",
    "sq": "mean overlap of matched objects",
    "epe": "end-point error",
}
_WHOLE = {
    "map50_95": "mean average precision, overlaps 0.5 to 0.95",
    "epe_px": "end-point error (pixels)",
    "epe_still_px": "end-point error of an answer of no motion (pixels)",
    "f1_iou50": "F1 of objects at overlap 0.5",
    "sensitivity_at_spec90": "sensitivity at 90 % specificity",
    "volume_error_median": "volume error, median (share of the true volume)",
    "count_error_median": "error of the count, median (share of the true count)",
}


def write_measured(folder: Path, result: dict[str, Any], note: str) -> None:
    """Put an evaluation into a model folder: `docs/metrics.json`, `eval_metrics`, README.

    `note` says in words how the cases were chosen and what the figures are not.
    """
    (folder / "docs").mkdir(parents=True, exist_ok=True)
    _write(folder / "docs" / "metrics.json", result)
    path = folder / "configs" / "metadata.json"
    metadata = json.loads(path.read_text(encoding="utf-8"))
    metadata["eval_metrics"] = {
        name: round(entry["value"], 4) for name, entry in result["metrics"].items()
    }
    _write(path, metadata)
    _draw(folder / "docs", metadata, result)
    text = readme(metadata, result, note)
    (folder / "docs" / "README.md").write_text(text, encoding="utf-8")


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _draw(folder: Path, metadata: dict[str, Any], result: dict[str, Any]) -> None:
    """Draw what the evaluation has tables of."""
    tables, own = result.get("tables", {}), metadata["medview"]
    if "confusion" in tables:
        write_table(
            folder / "confusion.svg", "Confusion matrix", own["classes"], tables["confusion"]
        )
    if "roc" in tables:
        axes = ("1 - specificity", "sensitivity")
        chance = [(0.0, 0.0), (1.0, 1.0)]
        write_lines(folder / "roc.svg", "ROC", axes, {"model": tables["roc"], "chance": chance})
    if "reliability" in tables:
        points = [(stated, true) for stated, true, _ in tables["reliability"]]
        lines = {"model": points, "perfect": [(0.0, 0.0), (1.0, 1.0)]}
        axes = ("probability stated", "share true")
        write_lines(folder / "reliability.svg", "Reliability", axes, lines)


def readme(metadata: dict[str, Any], result: dict[str, Any], note: str) -> str:
    """Give the model card as Markdown."""
    own = metadata["medview"]
    scope = "; ".join(
        f"{name.replace('_', ' ')} {_words(value)}" for name, value in own["scope"].items() if value
    )
    parts = [
        f"# {metadata['name']}",
        metadata["description"],
        f"Version {metadata['version']}, by {metadata['authors']}.",
        f"## Intended use\n\n{metadata['intended_use']}",
        "## Limits\n\n" + "\n".join(f"- {limit}" for limit in own["limits"]),
        f"Made for: {scope}.",
        f"## Measured\n\n{_table(result)}\n\n{note}",
        f"## Data\n\n{metadata['data_source']}\n\nLicence of the data: {own['data_licence']}.",
        "## How it works\n\n" + _how(own),
        f"## Licence\n\n{own['licence']}, see LICENSE.",
        "## References\n\n" + "\n".join(f"- {item}" for item in metadata["references"]),
    ]
    return "\n\n".join(parts) + "\n"


def _words(values: list[Any]) -> str:
    if all(isinstance(value, str) for value in values):
        return ", ".join(values)
    return " to ".join(f"{value:g}" for value in values)


def _table(result: dict[str, Any]) -> str:
    judged = result.get("out_of_fold", 0)
    held_out = (
        f" {judged} of them were judged by the one member of the model that had not learned from "
        "them (out of fold), at a temperature found without them; the model is the mean of all "
        "members."
        if judged
        else ""
    )
    lines = [
        f"{result['count']} cases of the split `{result['split']}`; in brackets the 95 % interval "
        f"from drawing patients anew (bootstrap).{held_out}",
        "",
        "| figure | value |",
        "|---|---|",
    ]
    for name, entry in result["metrics"].items():
        kind, _, rest = name.partition("_")
        part = rest.removeprefix("mm_").removeprefix("error_").replace("_", " ")
        low, high = entry["ci95"]
        title = _WHOLE.get(name) or f"{_TITLES.get(kind, kind)} {part}".strip()
        lines.append(f"| {title} | {entry['value']:.3f} [{low:.3f}, {high:.3f}] |")
    tables = result.get("tables", {})
    pictures = {"confusion": "confusion matrix", "roc": "ROC", "reliability": "reliability"}
    drawn = [f"![{words}]({name}.svg)" for name, words in pictures.items() if name in tables]
    return "\n".join([*lines, *(["", " ".join(drawn)] if drawn else [])])


_BUNDLE = (
    "`python -m monai.bundle run --config_file configs/inference.json --bundle_root . "
    "--dataset_dir FOLDER` does the same with MONAI (medview must be installed)."
)


def _how(own: dict[str, Any]) -> str:
    preprocess, network = own["preprocess"], own["network"]
    members = network["args"].get("count", 1) if network["class"].endswith(".Ensemble") else 1
    name = network["args"]["network"] if members > 1 else network["class"]
    many = f"The mean of {members} networks `{name}`" if members > 1 else f"`{name}`"
    mirrored = f", mirrored along the axes {own['flips']} and averaged" if own["flips"] else ""
    trained = f"Trained by `{own['train_command']}`."
    if len(own["patch"]) == 2:
        size = " x ".join(map(str, preprocess["size_px"]))
        scaled = f"scaled to fit into {size} pixels" if size else "in their own pixels"
        colour = "in colour" if preprocess["channels"] == 3 else "in grey"
        margin = preprocess.get("margin", 0)
        cut = f", {margin:.1%} cut from each edge" if margin else ""
        return (
            f"{many} on pictures {colour}{cut}, {scaled}, normalised by "
            f"{json.dumps(preprocess['intensity'])}{mirrored}. {_BUNDLE} {trained}"
        )
    spacing = " x ".join(f"{value:g}" for value in preprocess["spacing_mm"])
    return (
        f"{many} on crops in {preprocess['orientation']} order at {spacing} "
        f"mm, normalised by {json.dumps(preprocess['intensity'])}, in windows of "
        f"{' x '.join(map(str, own['patch']))} voxels{mirrored}. "
        f"{_BUNDLE} {trained}"
    )
