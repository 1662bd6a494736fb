"""A model is trained, measured and written by the commands, and MONAI runs what was written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medview.imaging.intensity import normalise
from medview.inference.engines.network import label_map, load_network, predict
from medview.learning.layouts import open_dataset
from medview.learning.scans import load_scan
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
def test_bad_data_end_a_shared_run_in_words(tmp_path):
    data = write_dataset(tmp_path / "data")
    (data / "labels" / "ball_00.nii.gz").unlink()
    recipe = write_config(tmp_path / "recipe.toml", data, more="processes = 2")
    out = str(tmp_path / "out")
    result = run("-m", "medview.learning.train", str(recipe), "--out", out, cwd=tmp_path)
    assert result.returncode == 3
    assert "ball_00: label is missing" in result.stderr
    assert "Traceback" not in result.stderr
