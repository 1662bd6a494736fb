"""Data sets of readers' cases: as the trainer and other programs read them."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from medview.core.cases import LabelledCase, Start
from medview.core.errors import ExportError
from medview.core.geometry import Geometry
from medview.core.volume import Volume
from medview.io.case_write import write_cases
from medview.learning.config import load_config
from medview.learning.export import load_card
from medview.learning.layouts import open_dataset
from medview.learning.pictures import read_picture
from medview.learning.scans import load_scan
from medview.learning.tasks.boxes import read_boxes

ROOT = Path(__file__).resolve().parents[3]
# Slices go up, rows to the back, columns to the left: (k, j, i) to LPS.
AFFINE = np.array([[0, 0, 1.5, -20], [0, 2, 0, 30], [3, 0, 0, 5], [0, 0, 0, 1.0]])


def volume(channels: int = 1, slices: int = 4) -> Volume:
    shape = (slices, 5, 6)
    voxels = np.arange(np.prod(shape) * channels, dtype=np.uint8 if channels > 1 else np.int16)
    voxels = voxels.reshape(shape if channels == 1 else (*shape, channels))
    return Volume("v", "s", Geometry(shape, AFFINE), voxels, intercept=-20.0 * (channels == 1))


def segmented(name: str, patient: str, classes: tuple[str, ...]) -> LabelledCase:
    labels = np.zeros((4, 5, 6), np.uint8)
    for number in range(1, len(classes) + 1):
        labels[number, 2, 3:5] = number
    return LabelledCase(name, patient, "segmentation", volume(), classes, labels=labels)


def test_structures_keep_their_numbers_as_classes_come(tmp_path: Path) -> None:
    write_cases(tmp_path, [segmented("a", "p", ("liver", "spleen"))])
    write_cases(tmp_path, [segmented("b", "q", ("kidney", "spleen", "liver"))])
    dataset = open_dataset(tmp_path)
    assert dataset.task == "segmentation"
    assert dataset.classes == ("liver", "spleen", "kidney")
    first, second = dataset.cases
    labels = np.asarray(nibabel.load(second.label).dataobj).transpose(2, 1, 0)
    assert [int(labels[n, 2, 3]) for n in (1, 2, 3)] == [3, 2, 1]
    labels = np.asarray(nibabel.load(first.label).dataobj).transpose(2, 1, 0)
    assert [int(labels[n, 2, 3]) for n in (1, 2)] == [1, 2]
    image = nibabel.load(first.image)
    assert np.array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), volume().values())
    # NIfTI's x and y grow right and to the front (RAS), DICOM's left and to the back.
    at = image.affine @ [1, 2, 3, 1]
    assert np.allclose(at[:3], (AFFINE @ [3, 2, 1, 1])[:3] * [-1, -1, 1])
    scan = load_scan(replace(second, label=second.label), 3)
    assert scan.spacing_mm == pytest.approx((1.5, 2.0, 3.0))
    assert [(scan.label == n).sum() for n in (1, 2, 3)] == [2, 2, 2]


def test_a_person_stays_on_one_side_and_one_of_five_is_held_out(tmp_path: Path) -> None:
    for number in range(12):
        write_cases(tmp_path, [segmented(f"c{number}", f"p{number % 11}", ("liver",))])
    cases = open_dataset(tmp_path).cases
    split = {case.patient: case.split for case in cases}
    assert [split[f"p{n}"] for n in range(11)] == [
        "train", "val", *["train"] * 4, "val", *["train"] * 4,
    ]  # fmt: skip
    assert [case.split for case in cases if case.patient == "p0"] == ["train", "train"]


def test_a_case_that_is_written_again_replaces_itself(tmp_path: Path) -> None:
    old = replace(segmented("a", "p", ("liver",)), origin={"model": "one"})
    write_cases(tmp_path, [old])
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[0, 0] = 1
    write_cases(tmp_path, [replace(old, labels=labels, origin={"model": "two"})])
    (case,) = open_dataset(tmp_path).cases
    assert np.asarray(nibabel.load(case.label).dataobj).sum() == 6
    (line,) = (tmp_path / "provenance.jsonl").read_text().splitlines()
    assert json.loads(line) == {"case": "a", "model": "two"}


def test_boxes_and_classes_of_pictures(tmp_path: Path) -> None:
    boxes = (("RBC", (1.0, 2.0, 3.5, 5.0)), ("WBC", (0.0, 0.0, 2.0, 2.0)))
    photo = volume(3, slices=1)
    case = LabelledCase("a", "p", "detection", photo, ("RBC", "WBC"), boxes=boxes)
    write_cases(tmp_path / "boxes", [case])
    dataset = open_dataset(tmp_path / "boxes")
    found, numbers = read_boxes(dataset.cases[0].label, dataset.classes, "a")
    assert found.tolist() == [[1, 2, 3.5, 5], [0, 0, 2, 2]]
    assert numbers.tolist() == [0, 1]
    written = (tmp_path / "boxes" / "Annotations" / "a.xml").read_text()
    assert "<xmin>2</xmin><ymin>1</ymin><xmax>5</xmax><ymax>3.5</ymax>" in written
    picture = np.asarray(Image.open(tmp_path / "boxes" / "images" / "a.png"))
    assert np.array_equal(picture, photo.voxels[0])

    case = LabelledCase("a", "p", "classification", volume(slices=1), ("cyst",), answer="cyst")
    write_cases(tmp_path / "classes", [case])
    dataset = open_dataset(tmp_path / "classes")
    assert (dataset.task, dataset.classes, dataset.cases[0].answer) == (
        "classification", ("cyst",), "cyst",
    )  # fmt: skip
    assert np.array_equal(read_picture(dataset.cases[0]), volume(slices=1).values()[0])


def test_other_data_sets_are_left_alone(tmp_path: Path) -> None:
    write_cases(tmp_path / "mine", [segmented("a", "p", ("liver",))])
    other = LabelledCase("b", "p", "classification", volume(slices=1), ("cyst",), answer="cyst")
    with pytest.raises(ExportError, match="is a data set for segmentation"):
        write_cases(tmp_path / "mine", [other])
    for name, content in (("index.csv", "file,patient,split\n"), ("dataset.toml", "task =")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text(content)
        with pytest.raises(ExportError, match=r"another kind|understood"):
            write_cases(folder, [other])
        assert [path.name for path in folder.iterdir()] == [name]
        assert (folder / name).read_text() == content


def test_a_model_can_be_tuned_on_the_cases(tmp_path: Path) -> None:
    model = ROOT / "resources" / "models" / "hippocampus_mr"
    start = Start("hippocampus_mr", "Hippocampus", model)
    assert write_cases(tmp_path, [segmented("a", "p", ("front", "back"))], start) == "train.toml"
    config = load_config(tmp_path / "train.toml")
    own = tomllib.loads((model / "configs" / "train.toml").read_text())
    assert config.data.folder == str(tmp_path)
    assert config.network.weights == str(model / "models" / "model.safetensors")
    assert config.network.args == own["network"]["args"]
    assert config.augment.flip == (0,)
    assert config.optimiser.lr == pytest.approx(own["optimiser"]["lr"] / 10)
    assert config.export.id == "hippocampus_mr_tuned"
    card = load_card(Path(config.export.card))
    assert card["name"] == "Hippocampus, tuned on own cases"
    assert card.licence.read_text() == (model / "LICENSE").read_text()
    # What the reader changed there stays.
    (tmp_path / "train.toml").write_text("mine")
    assert not write_cases(tmp_path, [segmented("b", "q", ("front", "back"))], start)
    assert (tmp_path / "train.toml").read_text() == "mine"
