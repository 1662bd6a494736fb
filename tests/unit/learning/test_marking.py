"""The reader made up who marks objects, pictures made up for it, and learning from both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from medview.core.errors import ReadError
from medview.imaging.edit import Mask
from medview.imaging.prompts import SIDE, Floats, Question, Slice, View
from medview.inference.marks import CHANNELS, open_answerer
from medview.inference.networks.building import build_network
from medview.inference.networks.unet import ShuffledUNet2d
from medview.learning.config import AugmentConfig, LossConfig, load_config
from medview.learning.data import Dataset
from medview.learning.layouts import open_dataset
from medview.learning.made_up import made_up, smooth_noise
from medview.learning.marking import Meant, Subject, clicked, example, meant, worst_place
from medview.learning.measuring import evaluate
from medview.learning.tasks.marks import Marks
from medview.learning.tasks.task import Recipe
from medview.learning.train import main
from tests.helpers.flat_training import write_flat, write_flat_card
from tests.helpers.training import write_dataset

CONFIG = """
[data]
folder = "{folder}"
also = ["{also}"]
learn = "marks"
patch = [128, 128]
[network]
class = "medview.inference.networks.unet.ShuffledUNet2d"
[network.args]
in_channels = 5
out_channels = 1
widths = [8, 12, 16]
norm = "batch"
[loss]
name = "outline"
[optimiser]
lr = 1e-2
[schedule]
epochs = 1
warmup = 0
[run]
batch = 4
ema = 0.5
validate_every = 1
[export]
id = "pointer"
card = "card.toml"
"""


def ball(shape: tuple[int, ...] = (40, 48), radius: float = 9) -> np.ndarray:
    """Distances within a radius of the middle, in pixels."""
    places = np.indices(shape).reshape(len(shape), -1).T
    middle = (np.array(shape) - 1) / 2
    return (np.linalg.norm(places - middle, axis=1) <= radius).reshape(shape)


def subject(seed: int = 0) -> Subject:
    rng = np.random.default_rng(seed)
    label = ball((20, 24, 26), 7).astype(np.uint8)
    return Subject(rng.normal(size=label.shape).astype(np.float32) + 4 * label, label, (2, 1, 1))


def sure(view: View) -> Floats:
    """Answers that all of it belongs."""
    return np.ones_like(view.image)


def of_others(folder: Path) -> Path:
    """A data set of other patients than the helpers name."""
    index = folder / "index.csv"
    text = index.read_text(encoding="utf-8").replace(",P", ",Q")
    index.write_text(text, encoding="utf-8")
    return folder


def task() -> Marks:
    return Marks(Recipe(("object",), (SIDE, SIDE)), LossConfig("outline"), AugmentConfig())


@pytest.mark.parametrize("seed", range(40))
def test_what_is_meant_in_a_made_up_picture_is_one_area_that_stands_out(seed: int) -> None:
    picture, truth = made_up(np.random.default_rng(seed))
    assert picture.shape == truth.shape == (SIDE, SIDE)
    assert np.isfinite(picture).all()
    assert ndimage.label(truth)[1] == 1
    assert 40 <= truth.sum() <= 0.8 * truth.size


def test_smooth_noise_has_its_knots_and_no_creases() -> None:
    field = smooth_noise(np.random.default_rng(1), 5, (65, 65))
    knots = np.random.default_rng(1).standard_normal((5, 5))
    np.testing.assert_allclose(field[::16, ::16], knots, atol=1e-6)
    assert np.abs(np.diff(field, axis=0)).max() < np.abs(np.diff(knots, axis=0)).max() / 8


@pytest.mark.parametrize("seed", range(60))
def test_marks_lie_where_they_say_and_boxes_are_around_the_object(seed: int) -> None:
    rng = np.random.default_rng(seed)
    view, truth = example(subject(seed) if seed % 2 else None, rng, sure)
    assert view.image.shape == truth.shape == (SIDE, SIDE)
    assert abs(float(view.image.mean())) < 1e-4
    # Marks are drawn three cells thick: their middles lie on what they are about.
    reach = ndimage.distance_transform_edt(~truth), ndimage.distance_transform_edt(truth)
    for marked, away in zip((view.adds, view.takes), reach, strict=True):
        parts, count = ndimage.label(marked)
        for number in range(1, count + 1):
            assert away[parts == number].min() == 0
    if view.box.any():
        inside = (truth & view.box).sum() / truth.sum()
        assert inside > 0.6
    assert view.adds.any() or view.takes.any() or view.box.any() or (view.before >= 0.5).any()


@pytest.mark.parametrize("seed", range(12))
def test_a_volume_of_one_slice_is_learned_from_along_every_axis(seed: int) -> None:
    label = np.zeros((1, 30, 40), np.uint8)
    label[0, 10:20, 12] = 1
    values = np.random.default_rng(0).normal(size=label.shape).astype(np.float32)
    one = Subject(values, label, (5.0, 1.0, 1.0))
    view, truth = example(one, np.random.default_rng(seed), sure)
    assert truth.any()
    assert np.isfinite(view.image).all()


def test_an_answer_before_is_corrected_where_it_is_wrong() -> None:
    corrected = 0
    for seed in range(80):
        view, truth = example(None, np.random.default_rng(seed), sure)
        if (view.before >= 0.5).all() and not truth.all():
            corrected += 1
            assert view.takes.any()
    assert corrected >= 5


def test_the_object_of_a_volume_is_in_one_of_its_slices_with_its_neighbour() -> None:
    one = subject()
    for seed in range(20):
        found = meant(one, np.random.default_rng(seed))
        whole = one.label > 0
        places = [
            (axis, n)
            for axis in range(3)
            for n in range(whole.shape[axis])
            if np.array_equal(whole.take(n, axis), found.truth)
            and np.array_equal(one.image.take(n, axis), found.where.values)
        ]
        assert len(places) == 1
        axis, number = places[0]
        assert found.where.pixel_mm == tuple(s for n, s in enumerate(one.pixel_mm) if n != axis)
        if found.beside is not None:
            beside = [whole.take(n, axis) for n in (number - 1, number + 1)]
            assert any(np.array_equal(found.beside, mask) for mask in beside)


def parts_of(mask: Mask) -> list[set[tuple[int, int]]]:
    """Its parts, pixel by pixel: those reached from one over sides."""
    left, parts = {(int(j), int(i)) for j, i in np.argwhere(mask)}, []
    while left:
        part, edge = set(), [left.pop()]
        while edge:
            j, i = edge.pop()
            part.add((j, i))
            beside = {(j + 1, i), (j - 1, i), (j, i + 1), (j, i - 1)} & left
            left -= beside
            edge += beside
        parts.append(part)
    return parts


def depth_of(place: tuple[int, int], part: set[tuple[int, int]]) -> float:
    """How far a pixel is from the nearest one that is no part, found by looking at all around."""
    assert place in part
    reach = range(-30, 31)
    offs = ((j, i) for j in reach for i in reach if (place[0] + j, place[1] + i) not in part)
    return min(np.hypot(j, i) for j, i in offs)


@pytest.mark.parametrize("seed", range(4))
def test_clicks_go_where_the_literature_has_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = ndimage.gaussian_filter(rng.normal(size=(24, 30)), 3) > 0
    answer = ndimage.gaussian_filter(rng.normal(size=(24, 30)), 3) > 0
    place, missing = worst_place(truth, answer)
    areas = [parts_of(truth & ~answer), parts_of(answer & ~truth)]
    largest = max((area for both in areas for area in both), key=len)
    assert missing is (largest in areas[0])
    assert depth_of(place, largest) == max(depth_of(one, largest) for one in largest)


def test_clicks_end_when_it_is_good_or_nobody_listens() -> None:
    truth = ball()
    one = Meant(Slice(truth.astype(np.float32), (1.0, 1.0)), truth)
    assert clicked(one, lambda _asked: truth, 0.9, 20) == [1.0]
    assert clicked(one, lambda _asked: np.zeros_like(truth), 0.9, 5) == [0.0] * 5
    half = truth.copy()
    half[:20] = False

    def later(question: Question) -> Mask:
        return truth if len(question.hints.adds) > 1 else half

    assert clicked(one, later, 0.9, 20) == [
        pytest.approx(2 * half.sum() / (truth.sum() + half.sum())),
        1.0,
    ]


def test_pictures_with_numbered_objects_masks_and_volumes_are_learned_from(tmp_path: Path) -> None:
    folders = [
        write_flat(tmp_path / "objects", "objects"),
        write_flat(tmp_path / "masks", "masks"),
        of_others(write_dataset(tmp_path / "balls", patients=3)),
    ]
    data = Dataset.to_mark([open_dataset(folder) for folder in folders])
    assert data.classes == ("object",)
    assert len({case.id for case in data.cases}) == len(data.cases) == 12 + 12 + 6
    learning = task()
    subjects = [learning.read(case) for case in data.cases]
    assert [one.numbered for one in subjects] == [True] * 12 + [False] * 18
    assert {one.image.ndim for one in subjects} == {2, 3}
    generator = torch.Generator().manual_seed(4)
    images, truths = learning.batch([learning.prepare(one) for one in subjects[:6]], generator)
    assert images.shape == (6, CHANNELS, SIDE, SIDE)
    assert truths.shape == (6, 1, SIDE, SIDE)
    again, _ = learning.batch(subjects[:6], torch.Generator().manual_seed(4))
    assert torch.equal(images, again)
    right, wrong = 20 * truths - 10, 10 - 20 * truths
    assert learning.loss(right, truths) < 0.01 < learning.loss(wrong, truths)


def test_data_without_outlines_and_odd_patches_are_refused(tmp_path: Path) -> None:
    boxes = open_dataset(write_flat(tmp_path / "boxes", "boxes"))
    with pytest.raises(ReadError, match="has no outlines"):
        Dataset.to_mark([boxes])
    with pytest.raises(ReadError, match="128 x 128"):
        Marks(Recipe(("object",), (64, 64)), LossConfig("outline"), AugmentConfig())
    (tmp_path / "small.toml").write_text(
        CONFIG.format(folder="x", also="y").replace("[128, 128]", "[64, 64]"), encoding="utf-8"
    )
    with pytest.raises(ReadError, match=r"small.toml .*data.patch must be \[128, 128\]"):
        load_config(tmp_path / "small.toml")
    (tmp_path / "odd.toml").write_text(
        '[data]\nfolder = "x"\nalso = ["y"]\n[network]\nclass = "n"\n', encoding="utf-8"
    )
    with pytest.raises(ReadError, match="also belongs to"):
        load_config(tmp_path / "odd.toml")


def test_data_sets_that_would_be_taken_for_each_other_are_refused(tmp_path: Path) -> None:
    one = open_dataset(write_flat(tmp_path / "x" / "set", "objects", cases=3))
    other = open_dataset(write_flat(tmp_path / "y" / "set", "masks", cases=3))
    with pytest.raises(ReadError) as told:
        Dataset.to_mark([one, other])
    assert str(one.folder) in told.value.user_text
    assert str(other.folder) in told.value.user_text
    with pytest.raises(ReadError, match="both have a case"):
        Dataset.to_mark([one, one])


def test_a_patient_is_in_one_split_of_all_data_sets(tmp_path: Path) -> None:
    one, other = (
        open_dataset(write_flat(tmp_path / name, kind, cases=3))
        for name, kind in (("one", "objects"), ("other", "masks"))
    )
    Dataset.to_mark([one, other])
    moved = {"train": "val", "val": "train"}
    cases = tuple(replace(case, split=moved.get(case.split, "test")) for case in other.cases)
    with pytest.raises(ReadError, match=r"more than one split: .*P0"):
        Dataset.to_mark([one, replace(other, cases=cases)])


@pytest.mark.parametrize(
    "change",
    [
        ('norm = "batch"', 'norm = "instance"'),
        ('norm = "batch"', 'norm = "batch"\nstep = 4'),
        ("ShuffledUNet2d", "UNet2d"),
    ],
)
def test_a_network_that_the_window_cannot_ask_is_refused_before_it_learns(
    tmp_path: Path, change: tuple[str, str]
) -> None:
    (tmp_path / "recipe.toml").write_text(
        CONFIG.format(folder="x", also="y").replace(*change), encoding="utf-8"
    )
    config = load_config(tmp_path / "recipe.toml")
    network = build_network(config.network.class_name, config.network.args)
    with pytest.raises(ReadError, match=r"network.class and network.args") as told:
        task().check_network(network)
    assert "training configuration" in told.value.hint


def test_a_network_that_only_looks_like_one_that_can_be_asked_is_refused() -> None:
    made = ShuffledUNet2d(CHANNELS, 1, (8, 12, 16), "batch")
    task().check_network(made)
    for part in made.modules():
        if isinstance(part, torch.nn.LeakyReLU):
            part.negative_slope = 0.9
    with pytest.raises(ReadError) as told:
        task().check_network(made)
    assert told.value.detail == "Without torch it answers something else."


def test_an_empty_label_is_named(tmp_path: Path) -> None:
    folder = write_flat(tmp_path / "masks", "masks", cases=3)
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(folder / "masks" / "p0.png")
    case = Dataset.to_mark([open_dataset(folder)]).cases[0]
    with pytest.raises(ReadError, match="label is empty"):
        task().read(case)
    volumes = write_dataset(tmp_path / "balls", patients=3)
    label = volumes / "labels" / "ball_00.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((20, 20, 20), np.uint8), np.eye(4)), label)
    case = Dataset.to_mark([open_dataset(volumes)]).cases[0]
    with pytest.raises(ReadError, match="label is empty"):
        task().read(case)


@pytest.mark.expects_warnings
def test_from_configuration_to_a_model_that_answers_marks(tmp_path: Path) -> None:
    objects = write_flat(tmp_path / "objects", "objects", cases=6)
    balls = of_others(write_dataset(tmp_path / "balls", patients=3))
    write_flat_card(tmp_path, "objects")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(CONFIG.format(folder=objects, also=balls), encoding="utf-8")
    assert main([str(recipe), "--out", str(tmp_path / "out")]) == 0
    folder = tmp_path / "out" / "pointer"
    answerer = open_answerer(folder)
    assert answerer.card.metrics is not None
    assert answerer.card.metrics.count == 2 + 4
    names = {metric.name for metric in answerer.card.metrics.values}
    assert {"clicks_median", "good", "dice_1_click", "dice_3_clicks"} <= names
    mask = np.zeros((SIDE, SIDE), dtype=np.bool_)
    mask[60:64, 60:64] = True
    empty = np.zeros_like(mask)
    picture = ball((SIDE, SIDE), 20).astype(np.float32)
    likely = answerer(View(picture, mask, empty, np.zeros_like(picture), empty))
    assert likely[mask].min() > 0.5
    told = (folder / "docs" / "README.md").read_text(encoding="utf-8")
    assert "clicks until Dice 0.9, median" in told
    assert "channels beside the image" in told
    found = evaluate(folder, open_dataset(objects), split="val")
    assert found["count"] == 2
    assert found["task"] == "marks"


def test_what_the_network_answers_is_seen_by_its_examples() -> None:
    learning, asked = task(), list[int]()

    class Watched(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            asked.append(len(x))
            return x[:, :1] * 0 + self.weight

    learning.watch(Watched())
    learning.batch([subject(n) for n in range(12)], torch.Generator().manual_seed(1))
    assert asked
