"""Data set folders found: by their `dataset.toml`, or by a layout that is known by itself."""

import csv
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree
from zipfile import BadZipFile

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError

from medview.core.errors import ReadError
from medview.learning.data import SPLITS, Case, Dataset, leaks
from medview.learning.pictures import PICTURES

_TASKS = ("segmentation", "classification", "detection", "instances", "video")
_ENDINGS = PICTURES | {".dcm", ".nii", ".nrrd", ".mha", ".npz"}


@dataclass(frozen=True)
class _Layout:
    task: str
    classes: tuple[str, ...]
    image: str
    label: str = ""
    index: str = "index.csv"
    multi_label: bool = False
    may_lack: tuple[int, ...] = ()


def open_dataset(folder: Path) -> Dataset:
    """Find the cases of a data set folder by its `dataset.toml` or by a layout known by itself.

    Raises ReadError when the folder is no data set, when the index lacks a column, names a split
    unknown here, or has one patient in two splits. Cases without a patient are people of their
    own.
    """
    archives = sorted(folder.glob("*.npz"))
    videos = folder / "labels.csv"
    layout = _declared(folder) or _recognised(folder)
    problems: list[str] = []
    if layout is not None:
        cases = _read_index(folder, layout, problems)
        classes = layout.classes
        if not classes:
            classes = tuple(sorted({case.answer for case in cases}))
        dataset = Dataset(folder, layout.task, classes, cases, layout.multi_label)
    elif archives:
        dataset = _medmnist(folder, archives)
    elif videos.is_file() and (folder / "videos").is_dir():
        dataset = Dataset(folder, "video", ("motion",), _videos(folder, _rows(videos)))
    else:
        raise ReadError(
            f"{folder.name} is not a data set folder.",
            hint="Add a dataset.toml with task, classes and [layout], and an index.csv.",
        )
    if problems := [*problems, *leaks(dataset.cases)]:
        raise ReadError(
            f"The data set {folder.name} is not valid: " + "; ".join(problems),
            hint="All cases of a patient belong to one split.",
        )
    return dataset


def _declared(folder: Path) -> _Layout | None:
    path = folder / "dataset.toml"
    if not path.is_file():
        return None
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        layout = table["layout"]
        found = _Layout(
            task=str(table["task"]),
            classes=tuple(str(name) for name in table["classes"]),
            image=str(layout["image"]),
            label=str(layout.get("label", "")),
            index=str(layout.get("index", "index.csv")),
            multi_label=table.get("multi_label", False) is True,
            may_lack=_may_lack(table),
        )
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError, OSError) as error:
        raise ReadError(
            "dataset.toml could not be understood.",
            hint="It needs task, classes, and [layout] with image and, but for classes, label; "
            "may_lack names some of the classes.",
            detail=repr(error),
        ) from error
    unlabelled = {"classification", "video"}
    if found.task not in _TASKS or not (found.label or found.task in unlabelled):
        raise ReadError(
            "dataset.toml could not be understood.",
            hint=f"task is one of {', '.join(_TASKS)}; all but classification and video "
            "need layout.label.",
        )
    return found


def _may_lack(table: Mapping[str, Any]) -> tuple[int, ...]:
    """The numbers of the classes that a label map need not show; KeyError for an unknown name."""
    numbers = {str(name): number for number, name in enumerate(table["classes"], start=1)}
    named = table.get("may_lack", [])
    if not isinstance(named, list):
        raise TypeError("may_lack is a list of names of classes")
    return tuple(numbers[name] for name in named)


def _recognised(folder: Path) -> _Layout | None:
    """Know a folder with index.csv by what lies beside it."""
    if not (folder / "index.csv").is_file():
        return None
    known: tuple[Callable[[Path], _Layout | None], ...] = (
        _volumes,
        _boxes,
        _masks,
        _numbered_objects,
        _vessels,
        _named_classes,
    )
    return next((layout for find in known if (layout := find(folder))), None)


def _volumes(folder: Path) -> _Layout | None:
    """NIfTI pairs: images/ID.nii.gz and labels/ID.nii.gz."""
    names = sorted(path.name for path in (folder / "images").glob("*.nii.gz"))
    if not names or not (folder / "labels").is_dir():
        return None
    hippocampus = all(name.startswith("hippocampus_") for name in names)
    classes = ("anterior", "posterior") if hippocampus else _classes_from_labels(folder)
    return _Layout("segmentation", classes, "images/{id}.nii.gz", "labels/{id}.nii.gz")


def _classes_from_labels(folder: Path) -> tuple[str, ...]:
    """Name the classes by number when nobody named them."""
    highest = 0
    for path in sorted((folder / "labels").glob("*.nii.gz")):
        try:
            highest = max(highest, int(np.max(np.asanyarray(nibabel.load(path).dataobj))))
        except (OSError, ValueError, ImageFileError):
            continue  # named with all other bad files before the first step
    return tuple(f"class {number}" for number in range(1, highest + 1))


def _boxes(folder: Path) -> _Layout | None:
    """Pascal VOC: JPEGImages/ID.jpg and Annotations/ID.xml."""
    annotations = sorted((folder / "Annotations").glob("*.xml"))
    if not annotations:
        return None
    names: set[str] = set()
    for path in annotations:
        try:
            tree = ElementTree.parse(path)  # noqa: S314 - expat itself limits what entities grow to
        except (OSError, ElementTree.ParseError):
            continue  # named with all other bad files before the first step
        names |= {(item.findtext("name") or "").strip() for item in tree.iter("object")}
    classes = tuple(sorted(names - {""}))
    return _Layout("detection", classes, "{file}", "Annotations/{id}.xml")


def _masks(folder: Path) -> _Layout | None:
    """Pictures with one mask each: images/ID.* and masks/ID.png."""
    if not (folder / "masks").is_dir():
        return None
    lungs = (folder / "LICENCES.csv").is_file()
    return _Layout("segmentation", ("lungs",) if lungs else ("mask",), "{file}", "masks/{id}.png")


def _numbered_objects(folder: Path) -> _Layout | None:
    """Pictures with a map of numbered objects: images/ID.png and labels/ID.png."""
    if not sorted((folder / "labels").glob("*.png")):
        return None
    name = "nucleus" if "nuclei" in folder.name else "object"
    return _Layout("instances", (name,), "{file}", "labels/{id}.png")


def _vessels(folder: Path) -> _Layout | None:
    """Fundus photographs with the first observer's vessels beside them."""
    if not sorted((folder / "images").glob("*_1stHO.png")):
        return None
    return _Layout("segmentation", ("vessels",), "{file}", "images/{id}_1stHO.png")


def _named_classes(folder: Path) -> _Layout | None:
    """Pictures whose class stands in the index."""
    rows = _rows(folder / "index.csv")
    if not rows or not all((row.get("label") or "").strip() for row in rows):
        return None
    return _Layout("classification", (), "{file}")


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ReadError(f"The index {path.name} could not be read.", detail=str(error)) from error
    return [{k: v or "" for k, v in row.items() if k} for row in csv.DictReader(text.splitlines())]


def _read_index(folder: Path, layout: _Layout, problems: list[str]) -> tuple[Case, ...]:
    rows = _rows(folder / layout.index)
    missing = {"file", "patient", "split"} - set(rows[0] if rows else ())
    if missing:
        raise ReadError(f"The index lacks the columns: {', '.join(sorted(missing))}.")
    licences = _licences(folder)
    names = _names([row["file"] for row in rows])
    cases: dict[str, Case] = {}
    for number, (name, row) in enumerate(zip(names, rows, strict=True), start=2):
        if name in cases:
            problems.append(f"line {number}: {row['file']} has had a line before")
        if not row["file"] or row["split"] not in SPLITS:
            problems.append(f"line {number}: needs file, patient and a split of {SPLITS}")
            continue
        case = _case(folder, layout, name, row, licences)
        named = case.answers if layout.multi_label else (case.answer,)
        known = not layout.classes or set(named) <= set(layout.classes)
        if layout.task == "classification" and not known:
            problems.append(f"line {number}: {case.answer!r} is not one of {layout.classes}")
        cases[name] = case
    return tuple(cases.values())


def _names(files: Sequence[str]) -> list[str]:
    """Give each file's name without its ending, and with its folders where others share it."""
    bare = [PurePosixPath(file.replace("\\", "/").removesuffix(".gz")) for file in files]
    bare = [path.with_suffix("") if path.suffix.lower() in _ENDINGS else path for path in bare]
    often = Counter(path.name for path in bare)
    return [path.name if often[path.name] == 1 else "_".join(path.parts) for path in bare]


def _case(
    folder: Path,
    layout: _Layout,
    name: str,
    row: Mapping[str, str],
    licences: Mapping[str, str],
) -> Case:
    tags = {k: v for k, v in row.items() if k not in {"file", "patient", "split", "label"}}
    if name in licences:
        tags["licence"] = licences[name]
    return Case(
        name,
        row["patient"] or name,
        row["split"],
        folder / layout.image.format(id=name, file=row["file"]),
        folder / layout.label.format(id=name, file=row["file"]) if layout.label else None,
        row.get("label", "").strip(),
        tags=tags,
        may_lack=layout.may_lack,
    )


def _licences(folder: Path) -> dict[str, str]:
    """Give the class of licence of every image that LICENCES.csv names."""
    path = folder / "LICENCES.csv"
    rows = _rows(path) if path.is_file() else []
    return {row["image"]: row["license_class"] for row in rows if "license_class" in row}


def _videos(folder: Path, rows: list[dict[str, str]]) -> tuple[Case, ...]:
    """Know lung ultrasound clips: labels.csv with video and patient, and videos/NAME.

    Clips without a split can be measured on, and dealt into folds.
    """
    missing = {"video", "patient"} - set(rows[0] if rows else ())
    if missing:
        raise ReadError(f"labels.csv lacks the columns: {', '.join(sorted(missing))}.")
    return tuple(
        Case(
            row["video"],
            row["patient"] or row["video"],
            row.get("split") or "val",
            folder / "videos" / row["video"],
            answer=row.get("label", ""),
            tags={"licence": row.get("license_class", "")},
        )
        for row in rows
    )


def _medmnist(folder: Path, archives: list[Path]) -> Dataset:
    """Know MedMNIST: arrays SPLIT_images (n, rows, columns) and SPLIT_labels (n, 1)."""
    cases: list[Case] = []
    for path in archives:
        try:
            with np.load(path) as arrays:
                labels = {
                    split: arrays[f"{split}_labels"].ravel()
                    for split in SPLITS
                    if f"{split}_images" in arrays
                }
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise ReadError(f"{path.name} could not be read.", detail=str(error)) from error
        cases += [
            Case(f"{split}_{row}", f"{split}_{row}", split, path, answer=str(answer), row=row)
            for split, answers in labels.items()
            for row, answer in enumerate(answers)
        ]
    if not cases:
        raise ReadError(f"{folder.name} holds no pictures with labels.")
    numbers = sorted({case.answer for case in cases}, key=int)
    names = ("normal", "pneumonia") if "pneumonia" in archives[0].name else tuple(numbers)
    if len(names) != len(numbers):
        names = tuple(numbers)
    named = dict(zip(numbers, names, strict=True))
    return Dataset(
        folder,
        "classification",
        names,
        tuple(replace(case, answer=named[case.answer]) for case in cases),
    )
