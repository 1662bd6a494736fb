"""Classes of volumes and boxes in them, from data set to a model folder that reads volumes."""

import json

import jsonschema
import nibabel
import numpy as np
import pytest
import torch
from scipy import special

from medview.core.errors import ReadError
from medview.inference.catalog import load_card
from medview.inference.engines import classification, detection
from medview.inference.engines.network import load_trained, read_metadata
from medview.learning.box_loss import box_loss, box_target, generalised_overlap
from medview.learning.layouts import open_dataset
from medview.learning.losses import make_class_loss
from medview.learning.metrics import label_figures
from medview.learning.tasks.choice import make_task
from medview.learning.tasks.solid import write_volume_answers
from medview.learning.tasks.task import Recipe
from medview.learning.train import main
from tests.helpers.run_context import RunContext
from tests.helpers.solid_training import (
    AFFINE,
    COLUMNS,
    as_opened,
    write_solid,
    write_solid_card,
    write_solid_config,
)

ENGINES = {"classification": classification.Engine, "detection": detection.Engine}


@pytest.mark.parametrize(
    ("task", "cases", "epochs"), [("single", 24, 8), ("multi", 36, 60), ("maps", 24, 100)]
)
def test_it_learns_from_volumes_and_the_folder_reads_them(task, cases, epochs, tmp_path, resources):
    data = write_solid(tmp_path / "data", task, cases=cases)
    kind = open_dataset(data).task
    write_solid_card(tmp_path, kind)
    recipe = write_solid_config(tmp_path / "r.toml", data, kind, epochs=epochs)
    assert main([str(recipe), "--out", str(tmp_path / "out")]) == 0
    folder = tmp_path / "out" / "solids"
    result = json.loads((folder / "docs" / "metrics.json").read_text())
    schema = json.loads((resources / "schemas" / "evaluate.schema.json").read_text())
    jsonschema.validate(result, schema)
    first = 2 * cases // 3
    assert (result["split"], result["count"]) == ("val", cases - first)
    reached = result["metrics"]["auroc" if kind == "classification" else "map50"]["value"]
    assert reached > 0.85  # chance: 0.5 of classes, hardly anything of boxes

    # What the engine finds in a file of the validation cases is what is there.
    card = load_card(folder)
    engine = ENGINES[kind](card, folder)
    engine.load("cpu")
    right = 0
    names = [f"v{number}" for number in range(first, cases)]
    for number, name in enumerate(names, start=first):
        volume = as_opened(data / "images" / f"{name}.nii.gz")
        found = engine.run(volume, None, None, RunContext())
        shown = kinds_of(task, number)
        right += {one.label for one in found.findings} == set(shown)
        if kind == "detection":
            for one in found.findings:
                low, high = np.array(one.box_lps_mm)
                assert (high - low > 5).all()
                assert (high - low < 30).all()
    assert right >= 0.75 * len(names)

    # And the bundle's own program writes the same of them.
    network = load_trained(folder, "cpu")
    files = [str(data / "images" / f"{name}.nii.gz") for name in names]
    write_volume_answers(read_metadata(folder), network, files, str(tmp_path / "said"))
    said = json.loads((tmp_path / "said" / f"{names[0]}.json").read_text())
    if kind == "classification":
        told = {one.label: one.probability for one in (*found.findings, *found.candidates)}
        last = json.loads((tmp_path / "said" / f"{names[-1]}.json").read_text())
        for label, chance in told.items():
            assert last[label] == pytest.approx(chance, abs=2e-3)
    else:
        assert {row["label"] for row in said if row["score"] > 0.5} <= {"ball", "cube"}
        assert all(row["right_low_mm"] < row["right_high_mm"] for row in said)


def kinds_of(task: str, number: int) -> tuple[str, ...]:
    """What the volume with this number shows: see `write_solid`."""
    every = [(), ("ball",), ("cube",), ("ball", "cube")]
    kinds = {"single": every[1:3], "multi": every}.get(task, every[1:])
    return kinds[number % len(kinds)]


def test_boxes_of_label_maps_and_of_a_list_are_the_same(tmp_path):
    recipe = Recipe(
        classes=("ball", "cube"),
        patch=(24, 24, 24),
        spacing_mm=(1.0, 2.0, 4.0),
        intensity={"method": "percentile_zscore"},
    )
    task = make_task("detection", recipe)
    maps = open_dataset(write_solid(tmp_path / "a", "maps", cases=6)).cases
    lists = open_dataset(write_solid(tmp_path / "b", "list", cases=6)).cases
    for one, other in zip(maps, lists, strict=True):
        first, second = task.read(one), task.read(other)
        np.testing.assert_allclose(first.boxes, second.boxes, atol=1e-3)
        assert first.numbers.tolist() == second.numbers.tolist()
        # Against the voxels themselves: the network's grid begins at the right, rear and foot.
        labels = np.asarray(nibabel.load(one.label).dataobj)[::-1]
        for box, number in zip(first.boxes, first.numbers, strict=True):
            index = np.argwhere(labels == number + 1)
            edges = np.array([index.min(axis=0), index.max(axis=0) + 1]) * 2 / [1, 2, 4]
            np.testing.assert_allclose(box.reshape(2, 3), edges, atol=1e-3)


@pytest.mark.expects_warnings
def test_what_is_wrong_with_a_list_of_boxes_is_said(tmp_path, caplog):
    data = write_solid(tmp_path, "list", cases=3)
    task = make_task("detection", Recipe(("ball", "cube"), (24, 24, 24), (2.0, 2.0, 2.0)))
    case = open_dataset(data).cases[0]
    middle = (AFFINE @ [12, 12, 12, 1])[:3]
    good = ",".join(f"{n:g}" for n in (*(middle - 5), *(middle + 5)))
    listed = data / "boxes.csv"
    listed.write_text(f"{COLUMNS}\nv0,ball,{good}\nv0,ball,1,1,1,1,2,2\nv1,cone,{good}\n")
    assert len(task.read(case).boxes) == 1
    assert "v0: 1 boxes without an extent" in caplog.text
    for text, words in (
        (f"{COLUMNS}\nv0,cone,{good}\n", "names cone"),
        (f"{COLUMNS}\nv0,ball,1,2,x,4,5,6\n", "cannot be read"),
        ("id,label\nv0,ball\n", "cannot be read"),
        (f"{COLUMNS}\nv0,ball,900,900,900,950,950,950\n", "outside of the image"),
    ):
        listed.write_text(text)
        with pytest.raises(ReadError) as error:
            task.read(case)
        assert words in error.value.user_text
    listed.unlink()
    with pytest.raises(ReadError, match="missing"):
        task.read(case)


def test_what_volumes_cannot_be_learned_for_is_refused(tmp_path):
    with pytest.raises(ReadError, match="instances cannot be learned from in volumes"):
        make_task("instances", Recipe(("a",), (8, 8, 8)))
    data = write_solid(tmp_path, "multi", cases=4)
    index = data / "index.csv"
    index.write_text(index.read_text().replace("ball|cube", "ball|cone"))
    with pytest.raises(ReadError, match=r"ball\|cone"):
        open_dataset(data)


def test_each_label_is_a_question_of_its_own():
    """Against SciPy: binary cross-entropy of each class, whatever the others are."""
    logits = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]])
    shown = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    chances = special.expit(logits)
    wanted = -(shown * np.log(chances) + (1 - shown) * np.log(1 - chances)).mean()
    loss = make_class_loss("cross_entropy", multi_label=True)
    found = loss(torch.from_numpy(logits), torch.from_numpy(shown))
    assert float(found) == pytest.approx(wanted, rel=1e-6)
    figures = label_figures(shown.astype(np.float32), chances, ("a", "b", "c"))
    assert figures["auroc_a"] == 1.0  # the only class that one case shows and the other does not
    assert np.isnan(figures["auroc_b"])
    assert figures["auroc"] == 1.0
    assert figures["accuracy"] == pytest.approx(4 / 6)


def test_boxes_in_volumes_overlap_and_are_answered_as_their_target_says():
    boxes = torch.tensor([[0.0, 0, 0, 2, 2, 2], [0.0, 0, 0, 1, 1, 1]])
    moved = torch.tensor([[1.0, 0, 0, 3, 2, 2], [5.0, 5, 5, 6, 6, 6]])
    # Half shared: 4 of 12, all of their hull. Nothing shared: hull 216, union 2.
    found = generalised_overlap(boxes, moved)
    torch.testing.assert_close(found, torch.tensor([1 / 3, -(216 - 2) / 216]))
    truth = torch.tensor([[4.0, 6, 8, 20, 18, 24]])
    target = box_target(truth, torch.tensor([1]), 2, (8, 8, 8), 4)
    assert target.heat[1, 3, 3, 4] == 1
    assert not target.heat[0].any()
    answer = torch.zeros(1, 8, 8, 8, 8)
    answer[:, :2] = torch.where(target.heat >= 1, 12.0, -12.0)
    cells = torch.stack(torch.meshgrid(*[torch.arange(8.0)] * 3, indexing="ij")) * 4 + 2
    reach = torch.cat(
        [cells - truth[0, :3, None, None, None], truth[0, 3:, None, None, None] - cells]
    )
    answer[0, 2:] = reach.clamp(min=1e-3).log()
    assert float(box_loss(answer, [target], 2, 4)) < 0.01
    answer[0, 2:] += 0.5
    assert float(box_loss(answer, [target], 2, 4)) > 0.5
