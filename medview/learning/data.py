"""Data set folders: found, checked in full before the first step, split by patient."""

import csv
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import nibabel
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from scipy import ndimage

from medview.core.errors import ReadError

Number = TypeVar("Number", np.float32, np.uint8)

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Case:
    """One image with its label map; `patient` groups the cases of one person."""

    id: str
    patient: str
    split: str
    image: Path
    label: Path


@dataclass(frozen=True)
class Dataset:
    """A data set folder; class number n in the label maps is `classes[n - 1]`."""

    folder: Path
    task: str
    classes: tuple[str, ...]
    cases: tuple[Case, ...]

    def of(self, split: str) -> tuple[Case, ...]:
        """Give the cases of one split, or of all."""
        return tuple(case for case in self.cases if split in {"all", case.split})


@dataclass(frozen=True)
class Scan:
    """One case in memory in the frame (right, anterior, superior): axes x, y, z; spacing in mm."""

    image: npt.NDArray[np.float32]
    label: npt.NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True)
class _Layout:
    task: str
    classes: tuple[str, ...]
    image: str
    label: str
    index: str


def open_dataset(folder: Path) -> Dataset:
    """Find the cases of a data set folder by its `dataset.toml` or by a layout known by itself.

    Raises ReadError when the folder is no data set, when the index lacks a column, names a split
    unknown here, or has one patient in two splits.
    """
    layout = _declared(folder) or _recognised(folder)
    if layout is None:
        raise ReadError(
            f"{folder.name} is not a data set folder.",
            hint="Add a dataset.toml with task, classes and [layout], and an index.csv.",
        )
    cases = _read_index(folder, layout)
    check_no_leak(cases)
    return Dataset(folder, layout.task, layout.classes, cases)


def _declared(folder: Path) -> _Layout | None:
    path = folder / "dataset.toml"
    if not path.is_file():
        return None
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        layout = table["layout"]
        return _Layout(
            task=str(table["task"]),
            classes=tuple(str(name) for name in table["classes"]),
            image=str(layout["image"]),
            label=str(layout["label"]),
            index=str(layout.get("index", "index.csv")),
        )
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError, OSError) as error:
        raise ReadError(
            "dataset.toml could not be understood.",
            hint="It needs task, classes, and [layout] with image and label.",
            detail=repr(error),
        ) from error


def _recognised(folder: Path) -> _Layout | None:
    """Know NIfTI pairs: images/ID.nii.gz, labels/ID.nii.gz and index.csv."""
    if not (folder / "index.csv").is_file() or not (folder / "labels").is_dir():
        return None
    names = sorted(path.name for path in (folder / "images").glob("*.nii.gz"))
    if not names:
        return None
    hippocampus = all(name.startswith("hippocampus_") for name in names)
    classes = ("anterior", "posterior") if hippocampus else _classes_from_labels(folder)
    pattern = "{id}.nii.gz"
    return _Layout("segmentation", classes, f"images/{pattern}", f"labels/{pattern}", "index.csv")


def _classes_from_labels(folder: Path) -> tuple[str, ...]:
    """Name the classes by number when nobody named them."""
    highest = 0
    for path in sorted((folder / "labels").glob("*.nii.gz")):
        try:
            highest = max(highest, int(np.max(np.asanyarray(nibabel.load(path).dataobj))))
        except (OSError, ValueError, ImageFileError):
            continue  # named with all other bad files by load_scans
    return tuple(f"class {number}" for number in range(1, highest + 1))


def _read_index(folder: Path, layout: _Layout) -> tuple[Case, ...]:
    try:
        text = (folder / layout.index).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ReadError(
            f"The index {layout.index} could not be read.", detail=str(error)
        ) from error
    rows = list(csv.DictReader(text.splitlines()))
    missing = {"file", "patient", "split"} - set(rows[0] if rows else ())
    if missing:
        raise ReadError(f"The index lacks the columns: {', '.join(sorted(missing))}.")
    problems = []
    cases = []
    for number, row in enumerate(rows, start=2):
        file, patient, split = (row[key] or "" for key in ("file", "patient", "split"))
        if not file or not patient or split not in SPLITS:
            problems.append(f"line {number}: needs file, patient and a split of {SPLITS}")
            continue
        name = Path(file).name.removesuffix(".gz").removesuffix(".nii")
        image = folder / layout.image.format(id=name)
        cases.append(Case(name, patient, split, image, folder / layout.label.format(id=name)))
    if problems:
        raise ReadError("The index is not valid: " + "; ".join(problems))
    return tuple(cases)


def check_no_leak(cases: Sequence[Case]) -> None:
    """Refuse cases of one patient in two splits: a score would then measure memory."""
    seen: dict[str, set[str]] = {}
    for case in cases:
        seen.setdefault(case.patient, set()).add(case.split)
    leaks = sorted(patient for patient, splits in seen.items() if len(splits) > 1)
    if leaks:
        raise ReadError(
            "Patients appear in more than one split: " + ", ".join(leaks),
            hint="Give all cases of a patient the same split.",
        )


def with_folds(cases: Sequence[Case], folds: int, fold: int, seed: int) -> tuple[Case, ...]:
    """Deal the patients of train and val into folds; fold number `fold` becomes val.

    Test cases stay what they are; 0 folds leaves the index as it is.
    """
    if folds == 0:
        return tuple(cases)
    patients = sorted({case.patient for case in cases if case.split != "test"})
    if folds > len(patients):
        raise ReadError(f"{folds} folds need at least as many patients; there are {len(patients)}.")
    order = np.random.default_rng(seed).permutation(len(patients))
    held_out = {patients[index] for index in order[fold::folds]}
    return tuple(
        case
        if case.split == "test"
        else replace(case, split="val" if case.patient in held_out else "train")
        for case in cases
    )


def load_scans(cases: Sequence[Case], classes: int) -> list[Scan]:
    """Read and check every case; all that is wrong is named in one ReadError."""
    scans: list[Scan] = []
    problems: list[str] = []
    for case in cases:
        try:
            scans.append(load_scan(case, classes))
        except ReadError as error:
            problems.append(f"{case.id}: {error.user_text}")
    if problems:
        raise ReadError(
            f"{len(problems)} of {len(cases)} cases cannot be used: " + "; ".join(problems),
            hint="Repair these cases or take them out of the index.",
        )
    return scans


def load_scan(case: Case, classes: int) -> Scan:
    """Read one case into the frame (right, anterior, superior).

    Refuses with ReadError: a file that is missing or unreadable, grids that differ, values that
    are not finite, an image of one value, labels beyond the classes, a class without a voxel.
    """
    image, affine = _read_nifti(case.image, "image")
    label, label_affine = _read_nifti(case.label, "label")
    if image.shape != label.shape or not np.allclose(affine, label_affine, atol=1e-3):
        raise ReadError("image and label lie on different grids")
    if not np.isfinite(image).all():
        raise ReadError("image holds values that are not finite")
    if image.min() == image.max():
        raise ReadError("image holds one value only")
    if not np.isin(label, range(classes + 1)).all():
        raise ReadError(f"label holds values other than 0 to {classes}")
    empty = [str(n) for n in range(1, classes + 1) if not (label == n).any()]
    if empty:
        raise ReadError(f"label has no voxel of class {', '.join(empty)}")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return Scan(
        image.astype(np.float32),
        label.astype(np.uint8),
        (float(spacing[0]), float(spacing[1]), float(spacing[2])),
    )


def _read_nifti(path: Path, what: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    if not path.is_file():
        raise ReadError(f"{what} is missing")
    try:
        volume = nibabel.as_closest_canonical(nibabel.load(path))
        array = np.asarray(volume.dataobj)
    except (OSError, ValueError, EOFError, ImageFileError) as error:
        raise ReadError(f"{what} cannot be read", detail=str(error)) from error
    if array.ndim != 3 or 0 in array.shape:
        raise ReadError(f"{what} is not a 3D volume")
    return array, np.asarray(volume.affine, dtype=np.float64)


def resize(
    array: npt.NDArray[Number], shape: tuple[int, ...], *, nearest: bool = False
) -> npt.NDArray[Number]:
    """Give the same field of view in another number of voxels, linearly or by nearest voxel."""
    if array.shape == shape:
        return array
    factors = [new / old for new, old in zip(shape, array.shape, strict=True)]
    result: npt.NDArray[Number] = ndimage.zoom(
        array, factors, order=0 if nearest else 1, mode="nearest", grid_mode=True
    )
    return result


def to_spacing(
    array: npt.NDArray[Number],
    spacing_mm: Sequence[float],
    wanted_mm: Sequence[float],
    *,
    nearest: bool = False,
) -> npt.NDArray[Number]:
    """Bring an array to another spacing, to the nearest whole number of voxels."""
    shape = tuple(
        max(1, round(size * old / new))
        for size, old, new in zip(array.shape, spacing_mm, wanted_mm, strict=True)
    )
    return resize(array, shape, nearest=nearest)
