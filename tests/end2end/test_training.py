"""A model is trained, measured and written by the commands, and MONAI runs what was written."""

import csv
import json
import os
import socket
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
from medview.learning.train import main
from tests.helpers.flat_training import write_flat, write_flat_card, write_flat_config
from tests.helpers.training import write_card, write_config, write_dataset

ROOT = Path(__file__).resolve().parents[2]
EXPORT = '[export]\nid = "balls"\ncard = "card.toml"\n'


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env=environment(),
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


UNCHANGED = """[augment]
rotate_deg = 0.0
scale = 0.0
translate_mm = 0.0
noise = 0.0
gamma = [1.0, 1.0]
[loss]
name = "cross_entropy"
"""
TORCHRUN = ("-m", "torch.distributed.run")


def write_even_config(path: Path, data: Path, *, epochs: int) -> Path:
    """A training without chance beyond the order of cases, each patch a whole image."""
    text = write_config(path, data, epochs=epochs).read_text()
    before, rest = text.split("[augment]")
    after = rest[rest.index("[run]") :].replace("batch = 2", "batch = 4").replace("0.9", "0.0")
    path.write_text(before.replace("[16, 16, 16]", "[20, 20, 20]") + UNCHANGED + after)
    return path


def read_curve(out: Path) -> list[list[float]]:
    with (out / "curves.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return [[float(value) for name, value in row.items() if name != "seconds"] for row in rows]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, `recipe.toml`, and the run of one process in `alone`."""
    folder = tmp_path_factory.mktemp("alone")
    data = write_dataset(folder / "data", patients=6)
    recipe = write_even_config(folder / "recipe.toml", data, epochs=2)
    assert main([str(recipe), "--out", str(folder / "alone")]) == 0
    return folder


def assert_same_curve(out: Path, expected: Path) -> None:
    """Sums in another order round otherwise, which grows from step to step."""
    mine, other = read_curve(out)[:2], read_curve(expected)
    assert mine[0][2] == pytest.approx(other[0][2], rel=1e-5)
    np.testing.assert_allclose(mine, other, rtol=1e-2, atol=1e-3)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_torchrun_gives_what_one_process_gives(alone):
    together = run(
        *(*TORCHRUN, "--standalone", "--nproc-per-node", "2", "-m", "medview", "train"),
        *(str(alone / "recipe.toml"), "--out", str(alone / "together")),
        cwd=alone,
    )
    assert together.returncode == 0, together.stderr
    assert together.stderr.count("epoch 2/2") == 1  # one of them speaks
    assert_same_curve(alone / "together", alone / "alone")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_machines_that_share_no_disk_train_together_and_resume(alone, tmp_path):
    """The second one holds nothing of the run, and needs nothing of it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    recipe = tmp_path / "recipe.toml"
    for resume, epochs in ((), 2), (("--resume",), 3):
        text = (alone / "recipe.toml").read_text()
        recipe.write_text(text.replace("epochs = 2", f"epochs = {epochs}"))
        machines = [
            subprocess.Popen(
                [
                    *(sys.executable, *TORCHRUN, "--nnodes", "2", "--nproc-per-node", "1"),
                    *("--node-rank", str(number), "--master-addr", "127.0.0.1"),
                    *("--master-port", port, "-m", "medview.learning.train", str(recipe)),
                    *("--out", str(tmp_path / f"machine{number}"), *resume),
                ],
                cwd=tmp_path,
                env=environment(),
                stderr=subprocess.PIPE,
                text=True,
            )
            for number in range(2)
        ]
        said = [machine.communicate(timeout=240)[1] for machine in machines]
        assert [machine.returncode for machine in machines] == [0, 0], "\n".join(said)
    assert len(read_curve(tmp_path / "machine0")) == 3
    assert_same_curve(tmp_path / "machine0", alone / "alone")
    assert not (tmp_path / "machine1").exists()
