"""Volumes learned slice by slice with neighbours as channels, and read so by the engine."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from torch import nn

from medview.core.errors import ReadError
from medview.inference.catalog import load_card
from medview.inference.engines import segmentation
from medview.inference.networks.slices import Slicewise, within_slices
from medview.learning.config import AugmentConfig, load_config
from medview.learning.tasks.choice import make_task
from medview.learning.tasks.slices import SliceSegmentation
from medview.learning.tasks.task import Recipe
from medview.learning.train import main
from tests.helpers.run_context import RunContext
from tests.helpers.solid_training import AFFINE, as_opened
from tests.helpers.training import CARD, write_config

#: What shows on a slice is labelled on the one before it: only neighbours can tell.
SIDES = (24, 24, 8)
THICK = AFFINE @ np.diag([0.5, 0.5, 2.0, 1.0])
EXPORT = '[export]\nid = "balls"\ncard = "card.toml"\n'


def write_shifted(folder: Path, cases: int = 9) -> Path:
    rng = np.random.default_rng(0)
    lines = ["file,patient,split,label"]
    x, y = np.mgrid[:24, :24]
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for case in range(cases):
        shown = np.zeros(SIDES, bool)
        for k in range(SIDES[2]):
            if (case + k) % 2 or k == 0:
                middle = rng.uniform(7, 17, 2)
                shown[..., k] = (x - middle[0]) ** 2 + (y - middle[1]) ** 2 < 25
        label = np.zeros(SIDES, np.uint8)
        label[..., :-1] = shown[..., 1:]
        image = (100 + 80 * shown + rng.normal(0, 5, SIDES)).astype(np.float32)
        for kind, array in (("images", image), ("labels", label)):
            nibabel.save(nibabel.Nifti1Image(array, THICK), folder / kind / f"s{case}.nii.gz")
        split = "val" if case >= cases - 3 else "train"
        lines.append(f"images/s{case}.nii.gz,P{case},{split},")
    (folder / "index.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_recipe(folder: Path, data: Path, neighbours: int, epochs: int) -> Path:
    path = write_config(folder / "r.toml", data, epochs=epochs, more=f"rounds = 4\n{EXPORT}")
    channels = 1 + 2 * neighbours
    text = path.read_text().replace("UNet3d", "UNet2d").replace("out_channels = 3", "")
    text = text.replace("widths = [8, 16]", f"in_channels = {channels}\nwidths = [8, 16]")
    keys = f"patch = [24, 24, 1]\nneighbours = {neighbours}\nspacing_mm = [1.0, 1.0, 4.0]"
    path.write_text(text.replace("patch = [16, 16, 16]", keys))
    (folder / "LICENCE.txt").write_text("CC0")
    first = CARD[: CARD.rindex("[[outputs]]")].replace("keep_largest = true\n", "")
    (folder / "card.toml").write_text(first)
    return path


@pytest.mark.parametrize("neighbours", [0, 1])
def test_neighbours_tell_what_the_slice_itself_does_not(neighbours, tmp_path):
    data = write_shifted(tmp_path / "data")
    recipe = write_recipe(tmp_path, data, neighbours, epochs=12 if neighbours else 2)
    assert main([str(recipe), "--out", str(tmp_path / "out")]) == 0
    folder = tmp_path / "out" / "balls"
    result = json.loads((folder / "docs" / "metrics.json").read_text())
    reached = result["metrics"]["dice_class_1"]["value"]
    if not neighbours:
        assert reached < 0.6
        return
    assert reached > 0.85
    metadata = json.loads((folder / "configs" / "metadata.json").read_text())
    names = metadata["network_data_format"]["inputs"]["image"]["channel_def"]
    assert names == {"0": "slice -1", "1": "image", "2": "slice +1"}

    # The engine, which knows volumes as k, j, i with the axes as they are stored, finds the same.
    engine = segmentation.Engine(load_card(folder), folder)
    engine.load("cpu")
    scores = {case["id"]: case["dice_class_1"] for case in result["cases"]}
    for name in ("s6", "s8"):
        (found,) = engine.run(
            as_opened(data / "images" / f"{name}.nii.gz"), None, None, RunContext()
        ).segmentations
        truth = np.asarray(nibabel.load(data / "labels" / f"{name}.nii.gz").dataobj).T > 0
        labels = found.labels > 0
        dice = 2 * (labels & truth).sum() / (labels.sum() + truth.sum())
        assert dice == pytest.approx(scores[name], abs=0.02)


class Weighted(nn.Module):
    """The channels weighted 1, 10, 100 as the only class."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        weights = torch.tensor([1.0, 10.0, 100.0]).view(1, 3, 1, 1)
        return (image * weights).sum(dim=1, keepdim=True)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slice_stands_between_its_neighbours_and_the_last_is_repeated(axis):
    volume = torch.arange(5.0).view([-1 if other == axis else 1 for other in range(3)])
    volume = volume.expand([5 if other == axis else 3 for other in range(3)])
    found = Slicewise(Weighted(), axis, neighbours=1)(volume[None, None])
    assert found.shape == (1, 1, *volume.shape)
    before, own, after = [0, 0, 1, 2, 3], [0, 1, 2, 3, 4], [1, 2, 3, 4, 4]
    expected = [a + 10 * b + 100 * c for a, b, c in zip(before, own, after, strict=True)]
    assert found[0, 0].movedim(axis, 0)[:, 0, 0].tolist() == expected
    assert within_slices((0, 1, 2), axis) == (0, 1)


def test_training_stacks_are_whole_slices_in_their_order():
    """Unchanged, a stack is three neighbouring slices, and its label that of the middle one."""
    augment = AugmentConfig(
        rotate_deg=40.0, scale=0.0, translate_mm=0.0, noise=0.0, gamma=(1.0, 1.0)
    )
    recipe = Recipe(classes=("one",), patch=(9, 1, 9), neighbours=1)
    task = make_task("segmentation", recipe, augment=augment)
    assert isinstance(task, SliceSegmentation)
    assert task.input_shape() == (3, 9, 9)
    assert task.answer_shape() == (2, 9, 9)
    slices = torch.arange(6.0)
    image = slices.view(1, 6, 1).expand(9, 6, 9) + 0.001 * torch.rand(9, 6, 9)
    label = (slices == 3).long().view(1, 6, 1).expand(9, 6, 9)
    generator = torch.Generator().manual_seed(0)
    labelled = 0
    for _ in range(40):
        stack, truth = task.batch([(image, label)], generator)
        levels = stack[0, :, 4, 4].round().tolist()
        middle = int(levels[1])
        assert levels == [max(middle - 1, 0), middle, min(middle + 1, 5)]
        assert truth[0, 0, 4, 4] == (middle == 3)
        labelled += middle == 3
    assert labelled > 15  # half of the draws, and one in six of the others


def test_what_slices_cannot_be_learned_for_is_refused(tmp_path):
    for task in ("classification", "detection"):
        with pytest.raises(ReadError, match="slice by slice"):
            make_task(task, Recipe(classes=("a", "b"), patch=(9, 9, 1)))
    path = write_recipe(tmp_path, tmp_path, 1, epochs=1)
    path.write_text(path.read_text().replace("[24, 24, 1]", "[24, 24, 24]"))
    with pytest.raises(ReadError, match=r"data\.neighbours belong to"):
        load_config(path)
    path.write_text(path.read_text().replace("[24, 24, 24]", "[24, 1, 1]"))
    with pytest.raises(ReadError, match="may have one side of 1"):
        load_config(path)
