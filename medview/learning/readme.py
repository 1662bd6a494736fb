"""The card that people read: a model folder's README and figures, from what was measured."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from medview.core.succession import COMPARISON_FILE, read_succession
from medview.learning.detection_metrics import FROC_RATES
from medview.learning.drawings import draw
from medview.reporting.succession import succession_table, verdict_text

#: Figures by their whole name, then by the words they begin with; what follows names a class.
_WHOLE = MappingProxyType(
    {
        "volume_error_median": "volume error, median (share of the true volume)",
        "area_error_median": "area error, median (share of the true area)",
        "auroc": "area under the ROC curve",
        "auprc": "area under the precision-recall curve",
        "accuracy": "accuracy (the most probable class)",
        "ece": "expected calibration error, 10 bins",
        "sensitivity_at_spec90": "sensitivity at 90 % specificity",
        "map50": "mean average precision at overlap 0.5",
        "map50_95": "mean average precision, overlaps 0.5 to 0.95",
        "froc": "mean sensitivity at 1/8 to 8 false positives an image (FROC)",
        **{
            name: f"sensitivity at {rate:g} false positives an image"
            for name, rate in FROC_RATES.items()
        },
        "f1_iou50": "F1 of objects at overlap 0.5",
        "pq": "panoptic quality",
        "sq": "mean overlap of matched objects",
        "count_error_median": "error of the count, median (share of the true count)",
        "clicks_median": "clicks until Dice 0.9, median",
        "good": "share of cases that reach it",
        "dice_1_click": "Dice after the first click",
        "dice_3_clicks": "Dice after 3 clicks",
        "dice_5_clicks": "Dice after 5 clicks",
        "epe_px": "end-point error (pixels)",
        "epe_still_px": "end-point error of an answer of no motion (pixels)",
    }
)
_BEGINNINGS = MappingProxyType(
    {
        "surface_dice_": "surface Dice",
        "dice_": "Dice",
        "hd95_mm_": "95 % Hausdorff distance (mm)",
        "hd95_px_": "95 % Hausdorff distance (pixels)",
        "auroc_": "area under the ROC curve,",
        "ap50_": "average precision at overlap 0.5,",
        "froc_": "mean sensitivity at 1/8 to 8 false positives an image,",
        "count_error_": "error of the count, mean,",
    }
)


def figure_title(name: str) -> str:
    """Give the words for a figure's name."""
    whole = name.removesuffix("_open")
    alone = ", open licences alone" if whole != name else ""
    if whole in _WHOLE:
        return _WHOLE[whole] + alone
    for start, words in _BEGINNINGS.items():
        if whole.startswith(start):
            return f"{words} {whole.removeprefix(start).replace('_', ' ')}{alone}"
    return name.replace("_", " ")


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
    pictures = draw(folder / "docs", "", result, metadata["medview"].get("classes") or ())
    text = readme(metadata, result, note, (*pictures, *_compared(folder)))
    (folder / "docs" / "README.md").write_text(text, encoding="utf-8")


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _compared(folder: Path) -> list[str]:
    """Give what a comparison with the model before says, as Markdown; nothing without one."""
    path = folder / COMPARISON_FILE
    if not path.is_file():
        return []
    succession = read_succession(json.loads(path.read_text(encoding="utf-8")))
    head, *rows = succession_table(succession)
    lines = [f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows)]
    notes = [f"- {note}." for note in succession.notes]
    words = verdict_text(succession)
    return [
        "\n\n".join(
            ["### Against the model it came from", words, "\n".join(lines)]
            + (["\n".join(notes)] if notes else [])
        )
    ]


def readme(metadata: dict[str, Any], result: dict[str, Any], note: str, more: Sequence[str]) -> str:
    """Give the model card as Markdown; `more` stands below the figures."""
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
        f"## Measured\n\n{_table(result)}",
        *more,
        note,
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
    patients = len({case["patient"] for case in result["cases"]})
    lines = [
        f"{result['count']} cases of {patients} patients, of the split `{result['split']}`; in "
        f"brackets the 95 % interval from drawing patients anew (bootstrap).{held_out}",
        "",
        "| figure | value | cases |",
        "|---|---|---|",
    ]
    for name, entry in result["metrics"].items():
        low, high = entry["ci95"]
        count = entry.get("count", result["count"])
        lines.append(
            f"| {figure_title(name)} | {entry['value']:.3f} [{low:.3f}, {high:.3f}] | {count} |"
        )
    defined = result.get("definitions", {})
    said = [f"- {name.replace('_', ' ')}: {words}." for name, words in defined.items()]
    return "\n".join([*lines, *(["", *said] if said else [])])


_COLOURS = {
    "colour": "in colour",
    "mean": "in grey",
    "nuclear": "in grey (the stain of nuclei: red light taken away where light went through, else "
    "the mean of the colours)",
}
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
    if own["engine"] == "marks":
        return (
            f"{many} on a window of {own['patch'][0]} x {own['patch'][1]} cells, as large as the "
            "marks and what was answered before ask for, normalised by "
            f"{json.dumps(preprocess['intensity'])}; marks, the answer before and a box are "
            f"channels beside the image. {trained}"
        )
    if len(own["patch"]) == 2:
        size = " x ".join(map(str, preprocess["size_px"]))
        scaled = f"scaled to fit into {size} pixels" if size else "in their own pixels"
        colour = _COLOURS[
            "colour" if preprocess["channels"] == 3 else preprocess.get("grey", "mean")
        ]
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
