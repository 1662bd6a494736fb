"""A trained network as a model folder: written, measured, read back, refused when damaged."""

import csv
import dataclasses
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch

from medview.core.errors import ModelError, ReadError
from medview.imaging.intensity import normalise
from medview.inference.catalog import load_card as load_model_card
from medview.inference.engines.network import (
    label_map,
    load_network,
    predict,
    read_metadata,
)
from medview.inference.networks.building import build_network
from medview.inference.networks.unet import UNet3d
from medview.learning.config import TrainConfig, load_config
from medview.learning.evaluate import main
from medview.learning.export import Trained, export_model, load_card
from medview.learning.layouts import open_dataset
from medview.learning.measuring import evaluate
from medview.learning.readme import write_measured
from medview.learning.scans import load_scan
from medview.learning.tasks.task import recipe_of_config
from tests.helpers.training import write_card, write_config, write_dataset


def write_model(folder: Path, data: Path) -> tuple[TrainConfig, UNet3d]:
    """A network that was never trained, in a model folder `folder/balls`."""
    more = '[export]\nid = "balls"\ncard = "card.toml"'
    path = write_config(folder / "recipe.toml", data, more=more)
    config = load_config(path)
    torch.manual_seed(0)
    network = UNet3d(**config.network.args).eval()
    card = load_card(
        folder / "card.toml" if (folder / "card.toml").exists() else write_card(folder)
    )
    recipe = recipe_of_config(config, ("large", "small"), card.entries)
    trained = Trained(config, recipe, "segmentation")
    sources = {"train.toml": path, "card.toml": folder / "card.toml"}
    export_model([network], trained, card, sources, folder / "balls")
    return config, network


@pytest.fixture
def model(tmp_path):
    write_model(tmp_path, write_dataset(tmp_path / "data"))
    return tmp_path / "balls"


def test_what_was_written_answers_the_same(tmp_path):
    _, network = write_model(tmp_path, write_dataset(tmp_path / "data"))
    halved = UNet3d(1, 3, (8, 16)).eval()
    halved.load_state_dict({k: v.half().float() for k, v in network.state_dict().items()})
    crop = np.random.default_rng(0).normal(size=(13, 11, 10)).astype(np.float32)
    loaded = load_network(tmp_path / "balls")
    answer = predict(loaded, crop, flips=(0,))
    assert answer.shape == (3, 13, 11, 10)
    even = crop[:12, :10]
    answer = predict(loaded, even, flips=(0,))
    np.testing.assert_array_equal(answer, predict(halved, even, flips=(0,)))
    np.testing.assert_allclose(answer, predict(network, even, flips=(0,)), atol=0.02)


def test_one_changed_byte_is_refused(model):
    weights = model / "models" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelError, match="not the ones"):
        load_network(model)


def test_missing_weights_are_refused(model):
    (model / "models" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="missing"):
        load_network(model)


def test_weights_of_another_network_are_refused(model):
    path = model / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    metadata["medview"]["network"]["args"]["widths"] = [8, 32]
    path.write_text(json.dumps(metadata))
    with pytest.raises(ModelError, match="do not fit"):
        load_network(model)


def test_islands_are_left_out_and_touching_classes_stay_together():
    probabilities = np.zeros((3, 10, 10, 10), np.float32)
    probabilities[0] = 0.5
    probabilities[1, 1:4, 1:4, 1:4] = 0.9
    probabilities[2, 4:6, 1:4, 1:4] = 0.9
    probabilities[1, 8:10, 8:10, 8:10] = 0.9
    every = label_map(probabilities)
    assert ((every == 1).sum(), (every == 2).sum()) == (27 + 8, 18)
    one = label_map(probabilities, keep_largest=True)
    assert ((one == 1).sum(), (one == 2).sum()) == (27, 18)
    assert not label_map(probabilities[:1], keep_largest=True).any()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("os.system", "neither one of medview's own nor MONAI's"),
        ("monai.networks.nets.hovernet.os.system", "cannot be built"),
        ("monai.networks.nets.unet.torch", "cannot be built"),
        ("monai.networks.nets.get_efficientnet_image_size", "cannot be built"),
        ("monai.networks.nets.DenseNet121", "cannot be built"),
        ("monai.networks.nets.EfficientNetBN", "weights from elsewhere"),
        ("medview.inference.networks.unet.Missing", "cannot be built"),
        ("medview.inference.networks.unet.pairwise", "cannot be built"),
    ],
)
def test_only_our_networks_and_those_of_monai_are_built(name, words):
    with pytest.raises(ModelError, match=words):
        build_network(name, {})


def test_the_catalogue_reads_the_folder(model):
    card = load_model_card(model)
    assert card.id == "balls"
    assert card.inputs.orientation == "RAS"
    assert card.inputs.spacing_mm == (1.0, 1.0, 1.0)
    assert [channel.label for channel in card.outputs.channels] == ["Large ball", "Small ball"]
    assert card.train_command


def test_an_incomplete_card_is_refused_naming_what_it_lacks(tmp_path):
    card = write_card(tmp_path)
    card.write_text(card.read_text().replace("intended_use", "use"))
    (tmp_path / "LICENCE.txt").unlink()
    with pytest.raises(ReadError, match=r"intended_use, the file LICENCE\.txt"):
        load_card(card)


def test_evaluation_scores_the_answer_that_a_reading_would_give(model, tmp_path, resources):
    out = tmp_path / "scores.json"
    assert main([str(model), str(tmp_path / "data"), "--out", str(out), "--split", "val"]) == 0
    result = json.loads(out.read_text())
    schema = json.loads((resources / "schemas" / "evaluate.schema.json").read_text())
    jsonschema.validate(result, schema)
    assert (result["model"], result["split"], result["count"]) == ("balls", "val", 4)
    assert set(result["metrics"]) == {
        "dice_large",
        "dice_small",
        "hd95_mm_large",
        "hd95_mm_small",
        "surface_dice_large",
        "surface_dice_small",
        "volume_error_median",
    }
    assert (result["patients"], result["metrics"]["dice_large"]["count"]) == (2, 4)
    assert "at most 1 voxel" in result["definitions"]["surface_dice"]
    table = csv.DictReader((tmp_path / "scores-cases.csv").read_text().splitlines())
    rows = [{name: str(value) for name, value in case.items()} for case in result["cases"]]
    assert list(table) == rows
    assert (tmp_path / "scores-cases.svg").is_file()
    dataset = open_dataset(tmp_path / "data")
    case = dataset.of("val")[0]
    scan = load_scan(case, 2)
    intensity = read_metadata(model)["medview"]["preprocess"]["intensity"]
    probabilities = predict(load_network(model), normalise(scan.image, intensity), (0,))
    answer = label_map(probabilities, keep_largest=True)
    large, truth = answer == 1, scan.label == 1
    expected = 2 * (large & truth).sum() / (large.sum() + truth.sum())
    row = result["cases"][0]
    assert row["id"] == case.id
    assert row["dice_large"] == pytest.approx(expected, abs=1e-6)
    error = abs((answer > 0).sum() - (scan.label > 0).sum()) / (scan.label > 0).sum()
    assert row["volume_error"] == pytest.approx(error)
    mean = np.mean([case["dice_large"] for case in result["cases"]])
    low, high = result["metrics"]["dice_large"]["ci95"]
    assert result["metrics"]["dice_large"]["value"] == pytest.approx(mean)
    assert low <= mean <= high


def test_measured_folder_tells_its_figures(model, tmp_path):
    result = evaluate(model, open_dataset(tmp_path / "data"))
    write_measured(model, result, "Computed cases.")
    text = (model / "docs" / "README.md").read_text()
    value = result["metrics"]["dice_small"]["value"]
    assert f"| Dice small | {value:.3f} [" in text
    assert "Balls only." in text
    assert "Computed cases." in text
    card = load_model_card(model)
    assert card.metrics is not None
    assert {metric.name for metric in card.metrics.values} == set(result["metrics"])


def test_the_tolerance_of_surfaces_is_the_cards(tmp_path):
    data = write_dataset(tmp_path / "data")
    card = write_card(tmp_path)
    card.write_text("surface_tolerance = 3.0\n" + card.read_text())
    write_model(tmp_path, data)
    figures = {}
    model = tmp_path / "balls"
    for name, tolerance in (("loose", 3.0), ("tight", 0.0)):
        path = model / "configs" / "metadata.json"
        metadata = json.loads(path.read_text())
        assert metadata["medview"]["surface_tolerance"] == 3.0
        if not tolerance:
            del metadata["medview"]["surface_tolerance"]
            path.write_text(json.dumps(metadata))
        figures[name] = evaluate(model, open_dataset(data))
    assert "at most 3 mm" in figures["loose"]["definitions"]["surface_dice"]
    for structure in ("surface_dice_large", "surface_dice_small"):
        tight, loose = (figures[name]["metrics"][structure]["value"] for name in ("tight", "loose"))
        assert tight < loose


@pytest.mark.expects_warnings
def test_figures_are_written_into_the_card_on_demand(model, tmp_path):
    before = json.loads((model / "configs" / "metadata.json").read_text())
    arguments = [str(model), str(tmp_path / "data"), "--out", str(tmp_path / "s.json")]
    assert main(arguments) == 0
    assert not (model / "docs" / "metrics.json").exists()
    assert main([*arguments, "--card"]) == 0
    result = json.loads((tmp_path / "s.json").read_text())
    assert json.loads((model / "docs" / "metrics.json").read_text()) == result
    after = json.loads((model / "configs" / "metadata.json").read_text())
    assert set(after.pop("eval_metrics")) == set(result["metrics"])
    before.pop("eval_metrics")
    assert after == before
    readme = (model / "docs" / "README.md").read_text()
    low, high = result["metrics"]["surface_dice_small"]["ci95"]
    assert f"[{low:.3f}, {high:.3f}] | 4 |" in readme
    assert "4 cases of 2 patients, of the split `val`" in readme
    assert "Computed cases." in readme
    (model / "configs" / "card.toml").unlink()
    assert main([*arguments, "--card"]) == 4


@pytest.mark.expects_warnings
def test_exit_codes(model, tmp_path, capsys):
    out = str(tmp_path / "o.json")
    assert main([str(model), str(tmp_path), "--out", out]) == 3
    assert main([str(tmp_path), str(tmp_path / "data"), "--out", out]) == 4
    assert main([str(model), str(tmp_path / "data"), "--out", out, "--split", "test"]) == 3
    with pytest.raises(SystemExit) as stop:
        main([str(model)])
    assert stop.value.code == 2
    assert capsys.readouterr().out == ""


def test_the_shipped_model_is_whole_and_says_its_figures(resources):
    """Weights are the released ones, at most 10 MB, and their figures meet what was promised."""
    folder = resources / "models" / "hippocampus_mr"
    weights = folder / "models" / "model.safetensors"
    assert weights.stat().st_size <= 10_000_000
    network = load_network(folder)
    assert predict(network, np.zeros((35, 50, 36), np.float32), (0,)).shape == (3, 35, 50, 36)
    figures = json.loads((folder / "docs" / "metrics.json").read_text())
    schema = json.loads((resources / "schemas" / "evaluate.schema.json").read_text())
    jsonschema.validate(figures, schema)
    assert figures["split"] == "val"
    assert figures["metrics"]["dice_anterior"]["value"] >= 0.89
    assert figures["metrics"]["dice_posterior"]["value"] >= 0.875


def test_the_shipped_model_scores_what_its_card_says(resources, shared):
    """Four cases of people it never saw, measured again."""
    folder = resources / "models" / "hippocampus_mr"
    dataset = open_dataset(shared / "train" / "hippocampus_msd_task04")
    stated = json.loads((folder / "docs" / "metrics.json").read_text())["cases"]
    few = dataclasses.replace(dataset, cases=dataset.of("val")[::10])
    found = evaluate(folder, few, split="val")["cases"]
    by_id = {case["id"]: case for case in stated}
    assert len(found) == 4
    for case in found:
        for name in ("dice_anterior", "dice_posterior"):
            assert case[name] == pytest.approx(by_id[case["id"]][name], abs=0.003)
