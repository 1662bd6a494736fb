"""Models of ours as MONAI bundles: `monai.bundle run` answers as medview's engines do.

The networks were never trained: what they say means nothing, and has to be the same in both.
"""

import json
from pathlib import Path

import monai.bundle
import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from medview.core.geometry import Calibration, Geometry
from medview.core.volume import Volume
from medview.imaging.intensity import normalise
from medview.inference.catalog import load_card as card_of
from medview.inference.engines import classification, detection, instances, segmentation
from medview.inference.engines.network import (
    label_map,
    load_network,
    load_trained,
    predict,
    read_metadata,
)
from medview.inference.networks.building import build_network
from medview.inference.networks.readings import flat_recipe, motion_between
from medview.learning.config import load_config
from medview.learning.export import Trained, export_model, load_card
from medview.learning.layouts import open_dataset
from medview.learning.scans import load_scan
from medview.learning.tasks.choice import make_task
from medview.learning.tasks.task import recipe_of_config, recipe_of_model
from tests.helpers.flat_training import write_flat, write_flat_card, write_flat_config
from tests.helpers.run_context import RunContext
from tests.helpers.training import write_card, write_config, write_dataset
from tests.unit.learning.test_model_folder import write_model
from tests.unit.learning.test_motion_task import write_config as write_motion_config

# MONAI warns of configurations of others, which these are not, and of decoders it does not need.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
EXPORT = '[export]\nid = "discs"\ncard = "card.toml"'
PICTURES = {
    "masks": ("segmentation", segmentation.Engine, ("disc",)),
    "classes": ("classification", classification.Engine, ("few", "many")),
    "boxes": ("detection", detection.Engine, ("disc",)),
    "objects": ("instances", instances.Engine, ("disc",)),
}


def untrained(folder: Path, recipe_file: Path, task: str, classes: tuple[str, ...]) -> Path:
    """The model folder that a training writes, of a network as it is before the first step."""
    config = load_config(recipe_file)
    torch.manual_seed(1)
    network = build_network(config.network.class_name, config.network.args).eval()
    if hasattr(network, "middles"):  # a detector starts by finding nothing
        network.middles.bias.data.zero_()
    card = load_card(folder / "card.toml")
    trained = Trained(config, recipe_of_config(config, classes, card.entries), task)
    sources = {"train.toml": recipe_file, "card.toml": folder / "card.toml"}
    export_model([network], trained, card, sources, folder / "model")
    return folder / "model"


def asked_by_monai(model: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `python -m monai.bundle run` puts its answers; called as that command calls it."""
    monkeypatch.chdir(model)
    out = model.parent / "answers"
    monai.bundle.run(
        config_file="configs/inference.json",
        bundle_root=str(model),
        dataset_dir=str(images),
        output_dir=str(out),
    )
    torch.set_grad_enabled(True)  # the bundle turns it off for all that comes
    return out


def shown(picture: np.ndarray) -> Volume:
    geometry = Geometry((1, *picture.shape), np.eye(4), calibration=Calibration.NONE)
    return Volume("v", "s", geometry, picture[None])


@pytest.mark.parametrize("task", PICTURES)
def test_pictures_are_answered_by_monai_as_by_the_engine(task, tmp_path, monkeypatch):
    data = write_flat(tmp_path / "data", task, cases=3)
    write_flat_card(tmp_path, task)
    word, engine, classes = PICTURES[task]
    recipe = write_flat_config(tmp_path / "r.toml", data, task, epochs=1, more=EXPORT)
    model = untrained(tmp_path, recipe, word, classes)
    answers = asked_by_monai(model, data / "images", monkeypatch)
    ours = engine(card_of(model), model)
    ours.load("cpu")
    for name in ("p0", "p1", "p2"):
        picture = np.asarray(Image.open(data / "images" / f"{name}.png"))
        result = ours.run(shown(picture), None, None, RunContext(parameters={"threshold": 0.0}))
        if task in ("masks", "objects"):
            written = np.asarray(Image.open(answers / f"{name}.png"))
            labels = result.segmentations[0].labels[0] if result.segmentations else 0 * written
            assert np.array_equal(written, labels)
            continue
        named = json.loads((answers / f"{name}.json").read_text())
        if task == "classes":
            told = {one.label: one.probability for one in (*result.findings, *result.candidates)}
            assert told == pytest.approx(named, abs=1e-5)
        else:
            found = [one.picture_box for one in result.findings if one.picture_box]
            boxes = np.array([box.box_px for box in found]).reshape(-1, 4)
            assert len(boxes) == len(named["boxes"]) > 0
            np.testing.assert_allclose(
                sorted(map(tuple, boxes)), sorted(map(tuple, named["boxes"])), atol=0.02
            )


def test_volumes_are_answered_by_monai_as_by_us(tmp_path, monkeypatch):
    data = write_dataset(tmp_path / "data", patients=3)
    write_model(tmp_path, data)
    model = tmp_path / "balls"
    cases = open_dataset(data).of("val")[:1]
    crops = tmp_path / "crops"
    crops.mkdir()
    for case in cases:
        (crops / case.image.name).write_bytes(case.image.read_bytes())
    answers = asked_by_monai(model, crops, monkeypatch)
    own = json.loads((model / "configs" / "metadata.json").read_text())["medview"]
    network = load_network(model)
    for case in cases:
        (written,) = answers.glob(f"{case.id}*")
        labels = np.asarray(nibabel.load(written).dataobj)
        crop = normalise(load_scan(case, 2).image, own["preprocess"]["intensity"])
        ours = label_map(
            predict(network, crop, flips=tuple(own["flips"])), keep_largest=own["keep_largest"]
        )
        assert np.mean(labels == ours) > 0.999


def test_slices_are_answered_by_monai_as_by_us(tmp_path, monkeypatch):
    """A network of MONAI that sees neighbours, on slices that it could not halve as often."""
    data = write_dataset(tmp_path / "data", patients=3)
    write_card(tmp_path)
    recipe = write_config(tmp_path / "r.toml", data, more='[export]\nid = "b"\ncard = "card.toml"')
    text = recipe.read_text().replace("[16, 16, 16]", "[1, 16, 16]\nneighbours = 1")
    before, rest = text.split("class = ")
    network = 'class = "monai.networks.nets.UNet"\n[network.args]\nspatial_dims = 2\n'
    network += "in_channels = 3\nout_channels = 3\nchannels = [4, 8, 8, 8]\nstrides = [2, 2, 2]\n"
    recipe.write_text(before + network + rest[rest.index("[optimiser]") :].replace("[0]", "[0, 1]"))
    model = untrained(tmp_path, recipe, "segmentation", ("large", "small"))
    case = open_dataset(data).of("val")[0]
    crops = tmp_path / "crops"
    crops.mkdir()
    (crops / case.image.name).write_bytes(case.image.read_bytes())
    (written,) = asked_by_monai(model, crops, monkeypatch).glob(f"{case.id}*")
    labels = np.asarray(nibabel.load(written).dataobj)
    task = make_task("segmentation", recipe_of_model(read_metadata(model), ("large", "small")))
    network = load_trained(model)
    assert network.divisor == 8
    ours = task.answer(network, task.read(case))
    assert np.mean(labels == ours) > 0.999
    assert len(np.unique(labels)) > 1


def test_motion_is_answered_by_monai_as_by_us(tmp_path, monkeypatch):
    """Pictures of a folder are the frames of a clip there."""
    data = write_flat(tmp_path / "data", "masks", cases=3)
    write_flat_card(tmp_path, "masks")
    recipe = write_motion_config(tmp_path / "r.toml", data, 1)
    model = untrained(tmp_path, recipe, "video", ("motion",))
    answers = asked_by_monai(model, data / "images", monkeypatch)
    network = load_trained(model)
    settings = flat_recipe(json.loads((model / "configs" / "metadata.json").read_text()))
    frames = [np.asarray(Image.open(path)) for path in sorted((data / "images").iterdir())]
    for number in (0, 1):
        ours = motion_between(network, frames[number], frames[number + 1], settings)
        np.testing.assert_allclose(np.load(answers / f"p{number}.npy"), ours, atol=1e-4)
        assert np.abs(ours).max() > 0
