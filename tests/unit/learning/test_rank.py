"""What to annotate next: made harder comes first, labelled is left out, failures stop nothing."""

import csv
import dataclasses
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import special
from torch import nn

from medview.core.errors import ModelError, ReadError
from medview.inference.networks.readings import FoundBoxes
from medview.learning.rank import Doubt, doubts_of, ordered, unlabelled, write_order
from medview.learning.tasks.boxes import Detection
from medview.learning.tasks.choice import make_task
from medview.learning.tasks.task import Recipe, Task
from tests.helpers.flat_training import write_flat

PLAIN = {"method": "range", "low": 0.0, "high": 255.0}


class Brightness(nn.Module):
    """Sure of what is far from the middle of the range: logits of background and object.

    A network without weights would have no device to ask on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(12.0))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        above = self.slope * (image - 0.5)
        return torch.cat([-above, above], dim=1)


def task_for(name: str, patch: tuple[int, ...], classes: tuple[str, ...]) -> Task:
    recipe = Recipe(classes=classes, patch=patch, intensity=PLAIN)
    return make_task(name, recipe)


def disc(noise: float, seed: int) -> np.ndarray:
    rows, columns = np.mgrid[:48, :64]
    inside = (rows - 24) ** 2 + (columns - 32) ** 2 <= 14**2
    grey = 60 + 130 * inside + np.random.default_rng(seed).normal(0, noise, inside.shape)
    return np.clip(grey, 0, 255)


def test_pictures_made_harder_by_noise_come_first(tmp_path):
    noises = {"a": 25.0, "b": 2.0, "c": 40.0, "d": 12.0, "e": 60.0}
    for seed, (name, noise) in enumerate(noises.items()):
        Image.fromarray(disc(noise, seed).astype(np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    Image.fromarray(np.full((48, 64), 9, np.uint8)).save(tmp_path / "flat.png")
    (tmp_path / "letter.txt").write_text("Dear colleague")
    task = task_for("segmentation", (48, 64), ("disc",))
    files = unlabelled(tmp_path, (".png",))
    order = ordered(list(doubts_of(task, Brightness(), files)))
    assert [one.file.stem for one in order] == ["e", "c", "a", "d", "b", "broken", "flat"]
    assert [one.problem for one in order[:5]] == [""] * 5
    assert order[5].problem == "image cannot be read"
    assert order[6].problem == "image holds one value only"
    assert all(0 <= one.uncertainty <= 1 for one in order[:5])
    out = tmp_path / "more" / "order.csv"
    write_order(out, tmp_path, order, task.doubt_words)
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5", "", ""]
    assert rows[0]["file"] == "e.png"
    assert "expected Dice" in rows[0]["measure"]
    assert rows[5]["problem"] == "image cannot be read"


def test_volumes_made_harder_by_noise_come_first(tmp_path):
    for seed, noise in enumerate((25.0, 5.0, 50.0)):
        volume = np.stack([disc(noise, 10 * seed + n)[:24, :24] for n in range(8)], axis=2)
        path = tmp_path / f"v{noise:.0f}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(volume.astype(np.float32), np.eye(4)), path)
    task = task_for("segmentation", (24, 24, 8), ("disc",))
    order = ordered(list(doubts_of(task, Brightness(), unlabelled(tmp_path, (".nii.gz",)))))
    assert [one.file.name for one in order] == ["v50.nii.gz", "v25.nii.gz", "v5.nii.gz"]


def test_of_classes_those_near_a_half_come_first(tmp_path):
    """Entropy by scipy, of probabilities that the logits are made from."""
    task = task_for("classification", (48, 64), ("dark", "bright"))
    stated = np.array([0.5, 0.1, 0.65, 0.99])
    found = []
    for chance in stated:
        logits = np.log([1 - chance, chance])
        fixed = type("Fixed", (type(task),), {"answer": lambda *_, given=logits: given})
        asked = fixed(task.recipe, *_configs())
        found.append(asked.doubt(Brightness(), None))
    expected = (special.entr(stated) + special.entr(1 - stated)) / np.log(2)
    np.testing.assert_allclose(found, expected)
    assert np.argsort(found)[::-1].tolist() == [0, 2, 1, 3]
    both = dataclasses.replace(task.recipe, multi_label=True)
    asked = type(
        "Fixed", (type(task),), {"answer": lambda *_: special.logit(np.array([0.5, 0.1]))}
    )(both, *_configs())
    assert asked.doubt(Brightness(), None) == pytest.approx(expected[:2].mean())


def _configs():
    from medview.learning.config import AugmentConfig, LossConfig

    return LossConfig("cross_entropy"), AugmentConfig()


def test_of_boxes_the_doubtful_scores_count():
    task = task_for("detection", (48, 64), ("cell",))
    assert isinstance(task, Detection)

    def doubt(*scores: float) -> float:
        found = FoundBoxes(
            np.zeros((len(scores), 4), np.float32),
            np.array(scores, np.float32),
            np.zeros(len(scores), np.int64),
        )
        task.answer = lambda *_: found
        return task.doubt(Brightness(), None)

    assert doubt() == 0.0
    assert doubt(0.02, 0.05) == 0.0  # no candidates
    assert doubt(0.5) == pytest.approx(1.0)
    assert doubt(0.9, 0.98) == pytest.approx((0.2 + 0.04) / 2, abs=1e-6)
    assert doubt(0.5, 0.98) > doubt(0.9, 0.98)


def test_a_structure_that_is_nearly_found_is_doubtful_too():
    task = task_for("segmentation", (48, 64), ("disc",))

    def doubt(highest: float) -> float:
        chances = np.zeros((2, 4, 4), np.float32)
        chances[1, 1, 1] = highest
        chances[0] = 1 - chances[1]
        task.chances = lambda *_: chances
        return task.doubt(Brightness(), None)

    assert doubt(0.0) == 0.0
    assert doubt(0.4) == pytest.approx(0.4)


@pytest.mark.parametrize("task", ["masks", "classes", "objects"])
def test_what_has_a_label_is_left_out_of_a_data_set(task, tmp_path):
    data = write_flat(tmp_path, task, cases=6)
    for name in ("new1", "new2"):
        Image.fromarray(disc(5, 0).astype(np.uint8)).save(data / "images" / f"{name}.png")
    found = {path.name for path in unlabelled(data, (".png",))}
    assert found == {"new1.png", "new2.png"}
    if task == "masks":  # a case of the index whose label is not drawn yet
        (data / "masks" / "p3.png").unlink()
        assert {path.name for path in unlabelled(data, (".png",))} == found | {"p3.png"}
    if task == "classes":  # a row of the index without its class
        text = (data / "index.csv").read_text().replace("P4,val,few", "P4,val,")
        (data / "index.csv").write_text(text)
        assert {path.name for path in unlabelled(data, (".png",))} == found | {"p4.png"}


def test_an_image_that_the_network_does_not_take_is_named():
    class Refusing(Brightness):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            raise RuntimeError(f"sizes differ: {len(image)}")

    task = task_for("segmentation", (48, 64), ("disc",))
    task.unlabelled = lambda case: case
    task.chances = lambda network, _: network(torch.zeros(1))
    (one,) = doubts_of(task, Refusing(), [Path("x.png")])
    assert one == Doubt(Path("x.png"), None, "the network does not take it: sizes differ: 1")


def test_motion_needs_no_annotation(tmp_path):
    from medview.learning.rank import open_model

    with pytest.raises(
        ModelError,
        match=r"Motion between frames cannot .* points that a reader",
    ):
        open_model(Path(__file__).parents[3] / "resources" / "models" / "motion", "cpu")
    with pytest.raises(ReadError, match="no folder"):
        unlabelled(tmp_path / "none", (".png",))
