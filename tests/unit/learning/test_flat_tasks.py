"""Every flat task from folder to measured model folder, and what is refused on the way."""

import csv
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from PIL import Image

from medview.core.errors import ReadError
from medview.inference.catalog import load_card
from medview.learning.checks import find_near_copies, read_all
from medview.learning.config import AugmentConfig, LossConfig, load_config
from medview.learning.layouts import open_dataset
from medview.learning.loop import trained_network
from medview.learning.tasks.boxes import moved_boxes
from medview.learning.tasks.choice import make_task
from medview.learning.tasks.classes import Named
from medview.learning.tasks.instances import depth_map
from medview.learning.tasks.task import Recipe, Task, recipe_of_config
from medview.learning.train import main, plan
from tests.helpers.flat_training import (
    TASKS,
    write_flat,
    write_flat_card,
    write_flat_config,
    write_voc,
)

EXPORT = '[export]\nid = "discs"\ncard = "card.toml"'
NAMES = {"masks": "segmentation", "classes": "classification", "boxes": "detection"}
#: What a short training reaches with ease on noisy discs, and a network that learned nothing not.
REACHED = {"masks": "dice_mask", "classes": "auroc", "boxes": "map50", "objects": "f1_iou50"}

#: What is measured and drawn of each task.
EXPECTED = {
    "masks": ("dice_mask", "surface_dice_mask", "hd95_px_mask", "area_error_median"),
    "classes": ("auroc", "auprc", "accuracy", "sensitivity_at_spec90", "ece"),
    "boxes": ("map50", "map50_95", "ap50_disc", "froc", "sensitivity_at_fp0125", "froc_disc"),
    "objects": ("f1_iou50", "pq", "sq", "count_error_median"),
}
PICTURES = {
    "masks": ("cases",),
    "classes": ("confusion", "roc", "precision_recall", "reliability"),
    "boxes": ("froc", "precision_recall"),
    "objects": ("overlap",),
}


def flat_task(name: str, classes: tuple[str, ...], loss: str) -> Task:
    recipe = Recipe(classes=classes, patch=(48, 64), intensity={"method": "percentile_zscore"})
    return make_task(name, recipe, LossConfig(name=loss), AugmentConfig())


@pytest.mark.parametrize("task", TASKS)
def test_it_learns_and_is_measured(task, tmp_path, resources):
    data = write_flat(tmp_path / "data", task, cases=24)
    assert open_dataset(data).task == NAMES.get(task, "instances")
    write_flat_card(tmp_path, task)
    epochs = 40 if task in {"boxes", "objects"} else 20
    recipe = write_flat_config(tmp_path / "r.toml", data, task, epochs=epochs, more=EXPORT)
    assert main([str(recipe), "--out", str(tmp_path / "out")]) == 0
    folder = tmp_path / "out" / "discs"
    result = json.loads((folder / "docs" / "metrics.json").read_text())
    schema = json.loads((resources / "schemas" / "evaluate.schema.json").read_text())
    jsonschema.validate(result, schema)
    assert (result["split"], result["count"], result["out_of_fold"]) == ("val", 8, 0)
    assert result["metrics"][REACHED[task]]["value"] > 0.9
    assert (tmp_path / "out" / "curves.svg").is_file()
    if task == "classes":
        confusion = np.array(result["tables"]["confusion"])
        assert confusion.sum() == 8
        assert np.trace(confusion) / 8 == result["metrics"]["accuracy"]["value"]
        assert "![confusion matrix](confusion.svg)" in (folder / "docs/README.md").read_text()
        assert (folder / "docs" / "roc.svg").is_file()
    if task == "masks":
        assert load_card(folder).metrics is not None
    readme = (folder / "docs" / "README.md").read_text()
    for picture in PICTURES[task]:
        assert f"({picture}.svg)" in readme
        assert (folder / "docs" / f"{picture}.svg").is_file()
    assert set(EXPECTED[task]) <= set(result["metrics"])
    for entry in result["metrics"].values():
        assert entry["ci95"][0] <= entry["value"] <= entry["ci95"][1]
        assert entry["count"] == result["count"]
    assert result["patients"] == 8


def test_members_judge_only_what_they_have_not_learned(tmp_path):
    data = write_flat(tmp_path / "data", "classes")
    write_flat_card(tmp_path, "classes")
    path = write_flat_config(tmp_path / "r.toml", data, "classes", epochs=3, more=EXPORT)
    path.write_text(path.read_text().replace("[48, 64]\n", "[48, 64]\nfolds = 3\nfold = -1\n"))
    out = tmp_path / "out"
    assert main([str(path), "--out", str(out)]) == 0
    result = json.loads((out / "discs" / "docs" / "metrics.json").read_text())
    assert (result["split"], result["count"], result["out_of_fold"]) == ("all", 12, 12)
    own = json.loads((out / "discs" / "configs" / "metadata.json").read_text())["medview"]
    assert own["network"]["args"]["count"] == 3
    assert len(own["member_temperatures"]) == 3
    with (out / "discs" / "docs" / "split.csv").open(encoding="utf-8") as stream:
        rows = {row["id"]: int(row["fold"]) for row in csv.DictReader(stream)}
    assert sorted(set(rows.values())) == [0, 1, 2]

    # The stated probability of a case is that of the network trained without its fold.
    config = load_config(path)
    dataset = open_dataset(data)
    jobs = plan(config, dataset, recipe_of_config(config, dataset.classes, {}), out)
    case = next(case for case in dataset.cases if rows[case.id] == 1)
    assert case.id not in {other.id for other in jobs[1].of("train")}
    task = jobs[1].make_task()
    logits = task.answer(trained_network(config, jobs[1].out), task.read(case))
    odds = float(logits[1] - logits[0]) / own["member_temperatures"][1]
    stated = next(row for row in result["cases"] if row["id"] == case.id)["probability"]
    assert stated == pytest.approx(1 / (1 + np.exp(-odds)), abs=2e-3)  # weights are rounded

    # Taken up again, nothing is left to do and the folder comes out the same.
    assert main([str(path), "--out", str(out), "--resume"]) == 0
    again = json.loads((out / "discs" / "docs" / "metrics.json").read_text())
    assert again == result


def test_only_cases_with_the_wanted_tag_are_learned_from(tmp_path):
    data = write_flat(tmp_path / "data", "masks")
    rows = [f"p{n},{'open' if n % 2 else 'nc-sa'}" for n in range(12)]
    (data / "LICENCES.csv").write_text("image,license_class\n" + "\n".join(rows) + "\n")
    path = write_flat_config(tmp_path / "r.toml", data, "masks", epochs=1)
    only = '[48, 64]\nonly = { licence = ["open"] }\n'
    path.write_text(path.read_text().replace("[48, 64]\n", only))
    config = load_config(path)
    dataset = open_dataset(data)
    assert dataset.classes == ("lungs",)
    (job,) = plan(config, dataset, recipe_of_config(config, dataset.classes, {}), tmp_path)
    assert [case.id for case in job.of("train")] == ["p1", "p3", "p5", "p7"]
    assert len(job.of("val")) == 4
    task = job.make_task()
    cases = job.of("val")
    examples = read_all(task, cases)
    answers = [
        example.label * (case.tags["licence"] == "open")
        for case, example in zip(cases, examples, strict=True)
    ]
    scored = [
        task.score(case, example, answer, thorough=True)
        for case, example, answer in zip(cases, examples, answers, strict=True)
    ]
    figures = task.figures(scored)
    assert (figures["dice_lungs"], figures["dice_lungs_open"]) == (0.5, 1.0)
    assert (figures["surface_dice_lungs"], figures["surface_dice_lungs_open"]) == (0.5, 1.0)
    # What was missed altogether is as far off as the picture is wide: half of them 80 pixels.
    assert (figures["hd95_px_lungs"], figures["hd95_px_lungs_open"]) == (40.0, 0.0)
    assert (figures["area_error_median"], figures["area_error_median_open"]) == (0.5, 0.0)
    assert task.counts(scored) == dict.fromkeys((n for n in figures if n.endswith("_open")), 2)


@pytest.mark.expects_warnings
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_the_same_image_under_two_names_is_found_and_not_learned_from(form, tmp_path):
    """Resized, and encoded with losses, under another patient in another split."""
    data = write_flat(tmp_path / "data", "masks")
    copy = Image.open(data / "images" / "p11.png")
    resized = copy.resize((128, 96), Image.Resampling.BICUBIC)
    resized.save(data / "images" / "p2.png", form, quality=60)
    mask = Image.open(data / "masks" / "p11.png").resize((128, 96))
    mask.save(data / "masks" / "p2.png")
    dataset = open_dataset(data)
    task = flat_task("segmentation", ("mask",), "dice")
    assert find_near_copies(task, dataset.cases) == [("p2", "p11")]
    config = load_config(write_flat_config(tmp_path / "r.toml", data, "masks", epochs=1))
    recipe = recipe_of_config(config, dataset.classes, {})
    (job,) = plan(config, dataset, recipe, tmp_path)
    assert "p2" not in {case.id for case in job.cases}

    path = write_flat_config(tmp_path / "r.toml", data, "masks", epochs=1)
    path.write_text(path.read_text().replace("[48, 64]\n", "[48, 64]\nfolds = 4\nfold = -1\n"))
    for job in plan(load_config(path), dataset, recipe, tmp_path):
        splits = {case.id: case.split for case in job.cases}
        assert splits["p2"] == splits["p11"]


def test_all_bad_pictures_are_named_at_once(tmp_path):
    data = write_flat(tmp_path / "data", "masks")
    (data / "images" / "p0.png").write_bytes(b"no picture")
    (data / "masks" / "p1.png").unlink()
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(data / "masks" / "p2.png")
    Image.fromarray(np.zeros((48, 63), np.uint8)).save(data / "masks" / "p3.png")
    Image.fromarray(np.full((48, 64), 9, np.uint8)).save(data / "images" / "p4.png")
    with pytest.raises(ReadError) as error:
        read_all(flat_task("segmentation", ("mask",), "dice"), open_dataset(data).cases)
    for words in (
        "5 of 12",
        "p0: image cannot be read",
        "p1: label is missing",
        "p2: label is empty",
        "p3: image and label lie on different grids",
        "p4: image holds one value only",
    ):
        assert words in error.value.user_text


@pytest.mark.expects_warnings
def test_bad_boxes_are_named_and_flat_ones_left_out(tmp_path, caplog):
    data = write_flat(tmp_path / "data", "boxes")
    objects = np.zeros((48, 64), np.uint8)
    objects[5:15, 5:20] = 1
    bad = (
        "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>1</ymin>"
        "<xmax>{}</xmax><ymax>9</ymax></bndbox></object>"
    )
    notes = data / "Annotations"
    write_voc(notes / "p0.xml", objects, bad.format("disc", 5, 5))
    write_voc(notes / "p1.xml", objects, bad.format("disc", 5, 90))
    (notes / "p2.xml").write_text("<annotation>")
    dataset = open_dataset(data)
    task = flat_task("detection", dataset.classes, "box")
    with pytest.raises(ReadError) as error:
        read_all(task, dataset.cases)
    assert "p1: label has boxes outside of the image" in error.value.user_text
    assert "p2: label cannot be read" in error.value.user_text
    assert task.read(dataset.cases[0]).boxes.tolist() == [[5, 5, 15, 20]]
    assert "p0: 1 boxes without an area" in caplog.text


def test_a_loss_for_another_task_is_refused():
    with pytest.raises(ReadError, match="box does not fit"):
        flat_task("segmentation", ("mask",), "box")
    with pytest.raises(ReadError, match="sounds cannot be learned"):
        flat_task("sounds", ("x",), "mse")


def test_boxes_move_with_the_picture():
    """A box turned by a right angle about the middle of the patch lies where its corners go."""
    boxes = torch.tensor([[10.0, 20.0, 20.0, 50.0]])
    quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    centre = torch.tensor([31.5, 31.5])
    moved, kept = moved_boxes(boxes, quarter, centre, (64, 64))
    # image offset = matrix @ patch offset, so a patch row is the image column, mirrored.
    corners = torch.tensor([[10.0, 20.0], [20.0, 50.0]]) - 32
    back = corners @ torch.linalg.inv(quarter).T + 32
    assert kept.tolist() == [True]
    expected = [*back.min(dim=0).values.tolist(), *back.max(dim=0).values.tolist()]
    assert moved[0].tolist() == pytest.approx(expected, abs=1e-4)
    outside, kept = moved_boxes(boxes, torch.eye(2), centre + 60, (64, 64))
    assert kept.tolist() == [False]
    assert outside.min() >= 0


def test_depth_is_one_in_the_middle_of_every_object():
    objects = np.zeros((40, 60), np.int32)
    objects[5:36, 5:26] = 1
    objects[5:36, 26:31] = 2  # touches the first
    depth = depth_map(objects)
    for number in (1, 2):
        assert depth[objects == number].max() == 1.0
    assert depth[20, 25] == pytest.approx(1 / 11)  # its border, though the neighbour is an object
    assert depth[20, 26] == pytest.approx(1 / 3)
    assert not depth[objects == 0].any()


def test_medmnist_arrays_are_known(tmp_path: Path):
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 6), ("val", 4)):
        arrays[f"{split}_images"] = rng.integers(0, 255, (count, 28, 28), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(count)[:, None] % 2
    np.savez(tmp_path / "pneumoniamnist.npz", **arrays)
    dataset = open_dataset(tmp_path)
    assert dataset.task == "classification"
    assert dataset.classes == ("normal", "pneumonia")
    assert [len(dataset.of(split)) for split in ("train", "val", "test")] == [6, 4, 0]
    task = flat_task("classification", dataset.classes, "mse")
    example = task.read(dataset.of("val")[3])
    assert np.array_equal(example.image, arrays["val_images"][3])
    assert example.shown.tolist() == [0, 1]


def test_the_margin_of_a_picture_is_not_seen():
    recipe = Recipe(
        classes=("a", "b"), patch=(48, 64), margin=0.1, intensity={"method": "percentile_zscore"}
    )
    task = make_task("classification", recipe)
    picture = np.random.default_rng(0).normal(size=(40, 60))
    marked = picture.copy()
    marked[:4], marked[:, -6:] = 9.0, -9.0
    first = np.array([1, 0], np.float32)
    seen, also = (task.prepare(Named(p, first))[0] for p in (picture, marked))
    assert seen.shape == (1, 32, 48)
    assert torch.equal(seen, also)
    assert not torch.equal(task.prepare(Named(marked[:-1], first))[0][:, :31], seen[:, :31])


def test_mixed_pictures_have_mixed_classes():
    recipe = Recipe(classes=("a", "b"), patch=(16, 16), intensity={"method": "percentile_zscore"})
    still = AugmentConfig(
        rotate_deg=0, scale=0, translate_mm=0, noise=0, gamma=(1.0, 1.0), mixup=5.0
    )
    task = make_task("classification", recipe, LossConfig(name="cross_entropy"), still)
    rng = np.random.default_rng(0)
    prepared = [
        task.prepare(Named(rng.normal(size=(16, 16)), one))
        for one in list(np.eye(2, dtype=np.float32)) * 4
    ]
    images, target = task.batch(prepared, torch.Generator().manual_seed(1))
    torch.testing.assert_close(target.sum(dim=1), torch.ones(8))
    assert ((target > 0.01) & (target < 0.99)).any()
    assert images.shape == (8, 1, 16, 16)
    assert images.std() < 0.99  # a mean of two varies less than either
    assert target.max(dim=1).values.min() >= 0.5
