"""The training command from configuration to measured model folder, and how it ends."""

import csv
import json

import pytest
import safetensors.torch

from medview.inference.catalog import load_card
from medview.learning.config import load_config
from medview.learning.train import main
from tests.helpers.flat_training import write_flat, write_flat_card, write_flat_config
from tests.helpers.training import write_card, write_config, write_dataset

EXPORT = '[export]\nid = "balls"\ncard = "card.toml"\n'


@pytest.mark.expects_warnings
def test_from_configuration_to_measured_model_folder(tmp_path, caplog):
    data = write_dataset(tmp_path / "data", patients=4)
    write_card(tmp_path)
    recipe = write_config(tmp_path / "recipe.toml", data, epochs=1, more=EXPORT)
    out = tmp_path / "out"
    assert main([str(recipe), "--out", str(out)]) == 0
    card = load_card(out / "balls")
    assert card.metrics is not None
    assert (card.metrics.split, card.metrics.count) == ("val", 4)
    assert (out / "balls" / "configs" / "train.toml").read_text() == recipe.read_text()
    assert (out / "balls" / "LICENSE").read_text() == "CC0"

    # One more epoch, taken up from there.
    recipe.write_text(recipe.read_text().replace("epochs = 1", "epochs = 2"))
    assert main([str(recipe), "--out", str(out), "--resume"]) == 0
    assert len((out / "curves.csv").read_text().splitlines()) == 3

    # And a new run that starts from these weights: its first tensors are theirs.
    weights = out / "balls" / "models" / "model.safetensors"
    tuned = tmp_path / "tuned.toml"
    more = recipe.read_text().replace("epochs = 2", "epochs = 1").replace("lr = 3e-2", "lr = 1e-9")
    tuned.write_text(more.replace("[network.args]", f'weights = "{weights}"\n[network.args]'))
    assert main([str(tuned), "--out", str(tmp_path / "tuned")]) == 0
    before = safetensors.torch.load_file(weights)
    after = safetensors.torch.load_file(tmp_path / "tuned/balls/models/model.safetensors")
    assert all((before[name] - after[name]).abs().max() < 1e-3 for name in before)

    # Or one whose stem alone is given; the rest begins anew.
    stem = {k.removeprefix("stem."): v for k, v in before.items() if k.startswith("stem.")}
    safetensors.torch.save_file(stem, tmp_path / "stem.safetensors")
    given = f'weights = "{tmp_path / "stem.safetensors"}"\npart = "stem"\n[network.args]'
    tuned.write_text(more.replace("[network.args]", given))
    assert main([str(tuned), "--out", str(tmp_path / "part")]) == 0
    part = safetensors.torch.load_file(tmp_path / "part/balls/models/model.safetensors")
    likeness = {name: bool((before[name] - part[name]).abs().max() < 1e-3) for name in before}
    assert all(alike for name, alike in likeness.items() if name.startswith("stem."))
    assert not all(likeness.values())
    tuned.write_text(tuned.read_text().replace('part = "stem"', 'part = "root"'))
    assert main([str(tuned), "--out", str(tmp_path / "no_part")]) == 3
    assert "The network has no part root" in caplog.text


def test_folds_are_measured_on_the_fold_and_not_on_cases_that_were_learned(tmp_path):
    data = write_dataset(tmp_path / "data", patients=4)
    write_card(tmp_path)
    recipe = write_config(tmp_path / "recipe.toml", data, epochs=1, more=EXPORT)
    folds = f'folder = "{data}"\nfolds = 4\nfold = 1\n'
    recipe.write_text(recipe.read_text().replace(f'folder = "{data}"\n', folds))
    assert main([str(recipe), "--out", str(tmp_path / "out")]) == 0
    result = json.loads((tmp_path / "out/balls/docs/metrics.json").read_text())
    assert result["count"] == 2
    assert len({case["patient"] for case in result["cases"]}) == 1


@pytest.mark.expects_warnings
def test_how_it_ends_when_it_cannot_begin(tmp_path, caplog):
    data = write_dataset(tmp_path / "data")
    good = write_config(tmp_path / "good.toml", data, more=EXPORT)
    out = str(tmp_path / "out")
    assert main([str(good), "--out", out]) == 3  # no card
    bad = write_config(tmp_path / "bad.toml", data, more='[loss]\nname = "best"')
    assert main([str(bad), "--out", out]) == 3
    assert "loss.name must be one of" in caplog.text
    plain = write_config(tmp_path / "plain.toml", data, epochs=1)
    assert main([str(plain), "--out", out, "--resume"]) == 3
    assert "no checkpoint" in caplog.text
    wide = plain.read_text().replace("UNet3d", "Missing")
    plain.write_text(wide)
    assert main([str(plain), "--out", out]) == 4
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2
    assert not (tmp_path / "out").exists()


def test_variants_are_trained_apart_and_measured_alike(tmp_path):
    data = write_flat(tmp_path / "data", "classes")
    write_flat_card(tmp_path, "classes")
    index = data / "index.csv"
    index.write_text(
        index.read_text().replace("P11,val", "P11,test").replace("P10,val", "P10,test")
    )
    variants = '[export]\nid = "discs"\ncard = "card.toml"\n[variants.mse.loss]\nname = "mse"\n'
    recipe = write_flat_config(tmp_path / "r.toml", "data", "classes", epochs=1, more=variants)
    out = tmp_path / "out"
    assert main([str(recipe), "--out", str(out), "--variants"]) == 0
    with (out / "comparison.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    whole = [row for row in rows if row["figure"] == "accuracy"]
    counts = {(row["run"], row["split"]): int(row["count"]) for row in whole}
    splits = [("base", "val"), ("base", "test"), ("mse", "val"), ("mse", "test")]
    assert counts == dict(zip(splits, [2, 2, 2, 2], strict=True))
    for name, loss in (("base", "cross_entropy"), ("mse", "mse")):
        config = load_config(out / name / "train.toml")
        assert config.loss.name == loss
        assert config.data.folder == str(data)
        measured = json.loads((out / name / "discs/docs/metrics.json").read_text())["metrics"]
        (written,) = (
            float(row["value"])
            for row in rows
            if (row["run"], row["split"], row["figure"]) == (name, "val", "auroc")
        )
        assert written == measured["auroc"]["value"]
    first = [(out / name / "curves.csv").read_text().splitlines()[1] for name in ("base", "mse")]
    assert first[0].split(",")[2] != first[1].split(",")[2]
    assert ">auroc</text>" in (out / "comparison.svg").read_text()
    # The configuration alone is still one training.
    assert load_config(recipe).loss.name == "cross_entropy"


@pytest.mark.expects_warnings
def test_variants_that_cannot_be_compared_are_refused(tmp_path, caplog):
    for more, words in (
        ("", "no variants to compare"),
        ("[variants]\nmse = 3", "could not be understood"),
        ('[variants.best.loss]\nname = "best"', "loss.name must be one of"),
    ):
        recipe = write_flat_config(tmp_path / "r.toml", tmp_path, "classes", epochs=1, more=more)
        assert main([str(recipe), "--out", str(tmp_path / "out"), "--variants"]) == 3
        assert words in caplog.text


@pytest.mark.expects_warnings
@pytest.mark.slow
def test_the_tutorial_is_one_command(shared, resources, tmp_path):
    """One epoch of the textbook network on the real small pictures, and its plots."""
    if not (shared / "train" / "pneumoniamnist_28").is_dir():
        pytest.skip("needs the small chest pictures")
    text = (resources / "training" / "textbook" / "train.toml").read_text(encoding="utf-8")
    recipe = tmp_path / "train.toml"
    data = shared / "train" / "pneumoniamnist_28"
    text = text.replace("../../../../shared/train/pneumoniamnist_28", str(data))
    text = text.replace("epochs = 10", "epochs = 1")
    card = resources / "training" / "textbook" / "card.toml"
    recipe.write_text(text.replace('card = "card.toml"', f'card = "{card}"'), encoding="utf-8")
    assert main([str(recipe), "--out", str(tmp_path / "out")]) == 0
    result = json.loads((tmp_path / "out/textbook/docs/metrics.json").read_text())
    assert result["count"] == 524
    assert result["metrics"]["auroc"]["value"] > 0.95
    assert {"curves.csv", "curves.svg", "split.csv"} <= {
        p.name for p in (tmp_path / "out").iterdir()
    }
