"""A model is trained, measured and written by the commands, and MONAI runs what was written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from medview.imaging.intensity import normalise
from medview.inference.engines.network import label_map, load_network, load_trained, predict
from medview.inference.networks.readings import class_probabilities, flat_recipe, objects_in
from medview.learning.layouts import open_dataset
from medview.learning.scans import load_scan
from tests.helpers.flat_training import write_flat, write_flat_card, write_flat_config
from tests.helpers.training import write_card, write_config, write_dataset

ROOT = Path(__file__).resolve().parents[2]
EXPORT = '[export]\nid = "balls"\ncard = "card.toml"\n'


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.slow
def test_train_then_run_with_monai(tmp_path):
    data = write_dataset(tmp_path / "data")
    write_card(tmp_path)
    recipe = write_config(tmp_path / "recipe.toml", data, epochs=2, more="processes = 2\n" + EXPORT)
    out = tmp_path / "out"
    trained = run("-m", "medview.learning.train", str(recipe), "--out", str(out), cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "epoch 2/2" in trained.stderr
    assert trained.stdout == ""
    model = out / "balls"
    metrics = json.loads((model / "docs" / "metrics.json").read_text())
    assert metrics["count"] == 4

    crops = tmp_path / "crops"
    crops.mkdir()
    cases = open_dataset(data).of("val")[:2]
    for case in cases:
        (crops / case.image.name).write_bytes(case.image.read_bytes())
    answered = run(
        *("-m", "monai.bundle", "run", "--config_file", "configs/inference.json"),
        *("--bundle_root", str(model), "--dataset_dir", str(crops)),
        *("--output_dir", str(tmp_path / "answers")),
        cwd=model,
    )
    assert answered.returncode == 0, answered.stderr
    intensity = json.loads((model / "configs" / "metadata.json").read_text())
    intensity = intensity["medview"]["preprocess"]["intensity"]
    network = load_network(model)
    for case in cases:
        (written,) = (tmp_path / "answers").glob(f"{case.id}*")
        labels = np.asarray(nibabel.load(written).dataobj)
        crop = normalise(load_scan(case, 2).image, intensity)
        ours = label_map(predict(network, crop, flips=(0,)), keep_largest=True)
        assert np.mean(labels == ours) > 0.999
        assert 0 < (ours > 0).sum() < ours.size


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classes", "objects"])
def test_flat_pictures_are_answered_by_monai_as_by_us(task, tmp_path):
    data = write_flat(tmp_path / "data", task)
    write_flat_card(tmp_path, task)
    more = '[export]\nid = "discs"\ncard = "card.toml"'
    recipe = write_flat_config(tmp_path / "r.toml", data, task, epochs=4, more=more)
    folds = "[48, 64]\nfolds = 2\nfold = -1\n"
    recipe.write_text(recipe.read_text().replace("[48, 64]\n", folds))
    out = str(tmp_path / "out")
    trained = run("-m", "medview.learning.train", str(recipe), "--out", out, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    model = tmp_path / "out" / "discs"
    answered = run(
        *("-m", "monai.bundle", "run", "--config_file", "configs/inference.json"),
        *("--bundle_root", str(model), "--dataset_dir", str(data / "images")),
        *("--output_dir", str(tmp_path / "answers")),
        cwd=model,
    )
    assert answered.returncode == 0, answered.stderr
    metadata = json.loads((model / "configs" / "metadata.json").read_text())
    network = load_trained(model)
    for name in ("p0", "p7"):
        picture = np.asarray(Image.open(data / "images" / f"{name}.png"))
        if task == "objects":
            written = np.asarray(Image.open(tmp_path / "answers" / f"{name}.png"))
            ours = objects_in(network, picture, flat_recipe(metadata))
            assert np.mean(written == ours) > 0.999
        else:
            named = json.loads((tmp_path / "answers" / f"{name}.json").read_text())
            chances = class_probabilities(network, picture, flat_recipe(metadata))
            assert list(named) == ["few", "many"]
            assert list(named.values()) == pytest.approx(chances.tolist(), abs=1e-4)


@pytest.mark.slow
def test_bad_data_end_a_shared_run_in_words(tmp_path):
    data = write_dataset(tmp_path / "data")
    (data / "labels" / "ball_00.nii.gz").unlink()
    recipe = write_config(tmp_path / "recipe.toml", data, more="processes = 2")
    out = str(tmp_path / "out")
    result = run("-m", "medview.learning.train", str(recipe), "--out", out, cwd=tmp_path)
    assert result.returncode == 3
    assert "ball_00: label is missing" in result.stderr
    assert "Traceback" not in result.stderr
