"""Cases for learning: images with what readers decided of them, as a data set folder.

The folder is what `medview train` and `medview evaluate` read: `dataset.toml`, `index.csv`,
`images`, `labels` or `Annotations`; and `provenance.jsonl`, a line for every case. Nothing in it
says who the patient is: names are pseudonyms, and images carry values and a grid alone.
"""

from __future__ import annotations

import csv
import io
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from medview.core.cases import LabelledCase, Start
from medview.core.errors import ExportError
from medview.core.toml import toml_text
from medview.io.dicom_write import write_file
from medview.io.grid_write import write_grid
from medview.io.nifti_write import write_labels

INDEX, DATASET, ORIGINS = "index.csv", "dataset.toml", "provenance.jsonl"
_COLUMNS = ("file", "patient", "split", "label")
_LAYOUTS: Mapping[str, Mapping[str, str]] = {
    "segmentation": {"image": "{file}", "label": "labels/{id}.nii.gz"},
    "detection": {"image": "{file}", "label": "Annotations/{id}.xml"},
    "classification": {"image": "{file}"},
}
#: The configuration that goes on from a model, and its card, beside the cases.
RECIPE, CARD = "train.toml", "card.toml"
#: Fine-tuning: this share of the learning rate, and of the epochs, that the model was made with.
_GENTLER, _SHORTER = 0.1, 0.25
#: Of five people one is held out.
_HELD_OUT = 4


def write_cases(folder: Path, cases: Sequence[LabelledCase], start: Start | None = None) -> str:
    """Put cases into a data set folder, which is made if missing; those of the same name go.

    A patient stays in the split of the first case; of five patients one is held out. ExportError
    for a folder that is for another task, is no data set of this kind, or cannot be written.

    With `start` a configuration that fine-tunes that model on the cases is written beside them,
    unless there is one; gives its name if it was.
    """
    for case in cases:
        classes = _declare(folder, case)
        rows = {row["file"]: row for row in _rows(folder)}
        file = _write_image(folder, case)
        _write_truth(folder, case, classes)
        # Its own row first: a case that is written anew keeps its side.
        split = next((row["split"] for row in rows.values() if row["patient"] == case.patient), "")
        rows[file] = {
            "file": file,
            "patient": case.patient,
            "split": split or _next_split(list(rows.values())),
            "label": case.answer,
        }
        _note_origin(folder, case)
        _write_index(folder, list(rows.values()))
    return RECIPE if start is not None and _write_recipe(folder, start) else ""


def _declare(folder: Path, case: LabelledCase) -> tuple[str, ...]:
    """Tell task and classes in `dataset.toml`; new classes come behind those there are."""
    path = folder / DATASET
    table: dict[str, Any] = {"task": case.task, "classes": [], "layout": _LAYOUTS[case.task]}
    if path.is_file():
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
            known, layout = [str(name) for name in table["classes"]], dict(table["layout"])
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
            raise ExportError(f"{path} could not be understood ({error})") from error
        if table["task"] != case.task or layout != dict(_LAYOUTS[case.task]):
            raise ExportError(
                f"{folder} is a data set for {table['task']}, not for {case.task} as written here.",
                "Choose another folder.",
            )
    elif (folder / INDEX).exists():
        raise ExportError(f"{folder} holds a data set of another kind.", "Choose another folder.")
    else:
        known = []
    classes = tuple(dict.fromkeys([*known, *case.classes]))
    if list(classes) != known or not path.is_file():
        _write_text(path, toml_text({**table, "classes": list(classes)}))
    return classes


def _write_image(folder: Path, case: LabelledCase) -> str:
    """Write the image as it is looked at; colour as PNG, all else as NIfTI."""
    image = case.image
    if image.channels > 1:
        file = f"images/{case.name}.png"
        write_file(folder / file, lambda out: _save_png(image.voxels[0], out))
    else:
        file = f"images/{case.name}.nii.gz"
        write_grid(image, folder / file)
    return file


def _save_png(picture: Any, out: IO[bytes]) -> None:
    Image.fromarray(np.ascontiguousarray(picture)).save(out, format="PNG")


def _write_truth(folder: Path, case: LabelledCase, classes: Sequence[str]) -> None:
    if case.labels is not None:
        numbers = np.zeros(len(case.classes) + 1, np.uint8)
        for number, name in enumerate(case.classes, start=1):
            numbers[number] = classes.index(name) + 1
        target = folder / "labels" / f"{case.name}.nii.gz"
        write_labels(numbers[case.labels], case.image.geometry, target)
    elif case.task == "detection":
        text = ElementTree.tostring(_annotation(case), encoding="unicode")
        _write_text(folder / "Annotations" / f"{case.name}.xml", text)


def _annotation(case: LabelledCase) -> ElementTree.Element:
    """Boxes as Pascal VOC has them (Everingham et al. 2010)."""
    root = ElementTree.Element("annotation")
    for name, (top, left, bottom, right) in case.boxes:
        item = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(item, "name").text = name
        box = ElementTree.SubElement(item, "bndbox")
        for key, value in (("xmin", left), ("ymin", top), ("xmax", right), ("ymax", bottom)):
            ElementTree.SubElement(box, key).text = f"{value:g}"
    return root


def _rows(folder: Path) -> list[dict[str, str]]:
    path = folder / INDEX
    if not path.is_file():
        return []
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ExportError(f"{path} could not be read ({error})") from error
    if any(set(_COLUMNS) - row.keys() for row in rows):
        raise ExportError(f"{path} lacks one of the columns {', '.join(_COLUMNS)}.")
    return rows


def _write_index(folder: Path, rows: Sequence[Mapping[str, str]]) -> None:
    text = io.StringIO()
    names = dict.fromkeys([*_COLUMNS, *(name for row in rows for name in row)])
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    _write_text(folder / INDEX, text.getvalue())


def _write_text(path: Path, text: str) -> None:
    write_file(path, lambda file: file.write(text.encode("utf-8")))


def _next_split(rows: Sequence[Mapping[str, str]]) -> str:
    """The split of a patient who is new: the second, seventh, twelfth... is held out."""
    people = {row["patient"]: row["split"] for row in rows}
    held_out = sum(split == "val" for split in people.values())
    return "val" if held_out * _HELD_OUT < len(people) - held_out else "train"


def _note_origin(folder: Path, case: LabelledCase) -> None:
    """One line for every case; that of an earlier version goes."""
    path = folder / ORIGINS
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        kept = [line for line in lines if json.loads(line)["case"] != case.name]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{path} could not be read ({error})") from error
    new = json.dumps({"case": case.name, **case.origin}, ensure_ascii=False, sort_keys=True)
    _write_text(path, "".join(f"{line}\n" for line in [*kept, new]))


def _write_recipe(folder: Path, start: Start) -> bool:
    """Write a configuration that fine-tunes a model on the cases; whether there was none yet.

    Nothing is done for models that were not trained here.
    """
    model = start.folder
    own, described = model / "configs" / RECIPE, model / "configs" / CARD
    if (folder / RECIPE).exists() or not (own.is_file() and described.is_file()):
        return False
    try:
        table = tomllib.loads(own.read_text(encoding="utf-8"))
        people = tomllib.loads(described.read_text(encoding="utf-8"))
        left_out = {"folder", "folds", "fold", "only"}
        data = {key: value for key, value in table["data"].items() if key not in left_out}
        table["data"] = {"folder": ".", **data}
        table["network"].pop("part", None)
        table["network"]["weights"] = str(model / "models" / "model.safetensors")
        optimiser, schedule = table.setdefault("optimiser", {}), table.setdefault("schedule", {})
        optimiser["lr"] = optimiser.get("lr", 1e-3) * _GENTLER
        schedule["epochs"] = max(4, round(schedule.get("epochs", 100) * _SHORTER))
        schedule["warmup"] = 1
        table.setdefault("run", {})["validate_every"] = 1
        table["export"] = {"id": f"{start.id}_tuned", "card": CARD}
        people["name"] = f"{start.title}, tuned on own cases"
        people["data_source"] = f"{people['data_source']} Tuned on cases of the reader's own."
        people["licence_file"] = str(model / "LICENSE")
        people.pop("train_command", None)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ExportError(f"{own} could not be understood ({error})") from error
    for name, content in ((CARD, people), (RECIPE, table)):
        _write_text(folder / name, toml_text(content))
    return True
