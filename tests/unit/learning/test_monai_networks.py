"""Networks of MONAI, named in a configuration: learned, written as a model folder, and read."""

import json

import numpy as np
import pytest
from PIL import Image

from medview.core.geometry import Geometry
from medview.core.volume import Volume
from medview.inference.catalog import load_card
from medview.inference.engines import classification, segmentation
from medview.inference.networks.building import build_network
from medview.learning.train import main
from tests.helpers.flat_training import write_flat, write_flat_card, write_flat_config
from tests.helpers.run_context import RunContext

EXPORT = '[export]\nid = "discs"\ncard = "card.toml"'
UNET = 'class = "monai.networks.nets.UNet"\n[network.args]\nspatial_dims = 2\nin_channels = 1\n\
out_channels = 2\nchannels = [8, 16, 32]\nstrides = [2, 2]\n'
DENSE = 'class = "monai.networks.nets.DenseNet121"\n[network.args]\nspatial_dims = 2\n\
in_channels = 1\nout_channels = 2\ninit_features = 8\ngrowth_rate = 4\n'


def trained(tmp_path, task: str, network: str, epochs: int, keys: str = ""):
    data = write_flat(tmp_path / "data", task)
    write_flat_card(tmp_path, task)
    recipe = write_flat_config(tmp_path / "r.toml", data, task, epochs=epochs, more=EXPORT)
    before, rest = recipe.read_text().split("class = ", 1)
    after = rest[rest.index("[loss]") :]
    text = before.replace("[data]\n", f"[data]\n{keys}") + network + after
    recipe.write_text(text.replace("warmup = 2", "warmup = 1"))
    assert main([str(recipe), "--out", str(tmp_path / "out")]) == 0
    return data, tmp_path / "out" / "discs"


def shown(picture: np.ndarray) -> Volume:
    voxels = picture[None].astype(np.float32)
    return Volume("v", "s", Geometry(voxels.shape, np.eye(4)), voxels)


def test_a_unet_of_monai_learns_and_the_engine_reads_with_it(tmp_path):
    data, folder = trained(tmp_path, "masks", UNET, epochs=10, keys="cache = true\n")
    result = json.loads((folder / "docs" / "metrics.json").read_text())
    assert result["metrics"]["dice_mask"]["value"] > 0.8
    engine = segmentation.Engine(load_card(folder), folder)
    engine.load("cpu")
    picture = np.asarray(Image.open(data / "images" / "p11.png"))
    # Other sides than those of the training, and none that the network could halve twice.
    cut = picture[:46, :63]
    (found,) = engine.run(shown(cut), None, None, RunContext()).segmentations
    truth = np.asarray(Image.open(data / "masks" / "p11.png"))[:46, :63] > 0
    labels = found.labels[0] > 0
    assert 2 * (labels & truth).sum() / (labels.sum() + truth.sum()) > 0.8


def test_a_densenet_of_monai_is_read_as_it_was_measured(tmp_path):
    data, folder = trained(tmp_path, "classes", DENSE, epochs=2)
    result = json.loads((folder / "docs" / "metrics.json").read_text())
    measured = {case["id"]: case["probability"] for case in result["cases"]}
    engine = classification.Engine(load_card(folder), folder)
    engine.load("cpu")
    picture = np.asarray(Image.open(data / "images" / "p11.png"))
    found = engine.run(shown(picture), None, None, RunContext())
    told = {one.label: one.probability for one in (*found.findings, *found.candidates)}
    assert told["many"] == pytest.approx(measured["p11"], abs=1e-3)


@pytest.mark.parametrize(
    ("name", "arguments", "divisor"),
    [
        ("UNet", {"channels": [4, 8, 8], "strides": [2, 2], "out_channels": 2}, 4),
        ("SegResNet", {"out_channels": 2}, 32),  # it does not say by what it divides
        ("ResNet", {"block": "basic", "layers": [1, 1, 1, 1], "block_inplanes": [4] * 4}, 1),
    ],
)
def test_what_the_sides_of_an_image_are_made_a_multiple_of(name, arguments, divisor):
    channels = "n_input_channels" if name == "ResNet" else "in_channels"
    network = build_network(
        f"monai.networks.nets.{name}", {"spatial_dims": 2, channels: 1, **arguments}
    )
    assert network.divisor == divisor
