"""A new model against the old one: paired, fair, in words, and only where they can be compared."""

import csv
import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest

from medview.core.succession import Verdict, read_succession
from medview.inference.catalog import Catalog
from medview.learning.data import Case
from medview.learning.evaluate import main as evaluate_main
from medview.learning.rivals import differences, start_of
from medview.learning.tasks.task import Scored, means
from medview.learning.train import main
from medview.services.successors import may_replace, successor_in
from tests.helpers.flat_training import write_flat, write_flat_card, write_flat_config

EXPORT = '[export]\nid = "{}"\ncard = "card.toml"'


def task_of(*names: str) -> SimpleNamespace:
    """A task whose figures are means of numbers of the cases."""
    return SimpleNamespace(
        figures=lambda scored: means(scored, names), headlines=lambda: (names[0],)
    )


def scored_as(values: np.ndarray, people: list[str], name: str = "score") -> list[Scored]:
    return [
        Scored(Case(f"c{n}", person, "val", Path("x")), {name: float(value)})
        for n, (value, person) in enumerate(zip(values, people, strict=True))
    ]


def test_the_interval_is_that_of_the_paired_difference():
    """Cases differ tenfold more than models do: only pairs show it (normal law of the mean)."""
    rng = np.random.default_rng(0)
    old = rng.normal(0.6, 0.2, 300)
    gain = rng.normal(0.02, 0.02, 300)
    people = [str(n) for n in range(300)]
    task = task_of("score")
    found = differences(task, scored_as(old + gain, people), task, scored_as(old, people))
    half = 1.96 * gain.std() / math.sqrt(300)
    assert found["score"].difference == pytest.approx(gain.mean())
    assert found["score"].ci95 == pytest.approx(
        (gain.mean() - half, gain.mean() + half), abs=half / 8
    )
    assert found["score"].verdict is Verdict.BETTER


def test_two_cases_of_one_person_do_not_count_twice():
    gain = np.random.default_rng(1).normal(0.02, 0.1, 60)
    doubled, people = np.repeat(gain, 2), [str(n // 2) for n in range(120)]
    task, nothing = task_of("score"), np.zeros(120)
    found = differences(task, scored_as(doubled, people), task, scored_as(nothing, people))
    low, high = found["score"].ci95
    assert (high - low) / 2 == pytest.approx(1.96 * gain.std() / math.sqrt(60), rel=0.1)


def test_of_errors_less_is_better_and_what_no_model_did_is_left_out():
    people = [str(n) for n in range(40)]
    worse = np.random.default_rng(2).normal(0.3, 0.05, 40)
    for name in ("epe_px", "hd95_mm_left", "volume_error_median", "ece", "count_error_rbc"):
        task = task_of(name)
        found = differences(
            task, scored_as(1 + worse, people, name), task, scored_as(np.ones(40), people, name)
        )
        assert found[name].verdict is Verdict.WORSE
    task = task_of("epe_still_px")
    same = scored_as(np.ones(40), people, "epe_still_px")
    assert differences(task, same, task, same) == {}


def train(folder: Path, data: Path, name: str, epochs: int, weights: str = "") -> Path:
    """Train on the discs of `data` and give the model folder."""
    write_flat_card(folder, "masks")
    more = EXPORT.format(name)
    path = write_flat_config(folder / f"{name}.toml", data, "masks", epochs=epochs, more=more)
    if weights:
        text = path.read_text().replace("[network]\n", f'[network]\nweights = "{weights}"\n')
        path.write_text(text)
    assert main([str(path), "--out", str(folder / f"run-{name}")]) == 0
    return folder / f"run-{name}" / name


def values_of(path: Path) -> dict[str, float]:
    metrics = json.loads(path.read_text())["metrics"]
    return {name: entry["value"] for name, entry in metrics.items()}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A model of two epochs, and one that fine-tunes it for fourteen, on eight held-out people."""
    folder = tmp_path_factory.mktemp("pair")
    data = write_flat(folder / "data", "masks", cases=24)
    old = train(folder, data, "discs", epochs=2)
    new = train(folder, data, "discs_tuned", 14, str(old / "models" / "model.safetensors"))
    return SimpleNamespace(folder=folder, data=data, old=old, new=new)


@pytest.fixture
def own(pair: SimpleNamespace, tmp_path: Path) -> SimpleNamespace:
    """Copies of both models, to be changed."""
    copies = {name: tmp_path / name for name in ("old", "new")}
    for name, folder in copies.items():
        shutil.copytree(getattr(pair, name), folder)
    return SimpleNamespace(data=pair.data, folder=tmp_path, **copies)


def against(own: SimpleNamespace, model: Path, old: Path, *more: str) -> tuple[int, Path]:
    out = own.folder / "against.json"
    words = [str(model), str(own.data), "--out", str(out), "--split", "val"]
    return evaluate_main([*words, "--against", str(old), *more]), out


def schema_of(resources: Path, name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((resources / "schemas" / f"{name}.schema.json").read_text())
    return schema


def test_fine_tuning_is_held_against_what_it_started_from(pair, resources):
    old, new = pair.old, pair.new
    assert not (old / "docs" / "comparison.json").exists()  # it started from nothing
    assert start_of(str(old / "models" / "model.safetensors")) == old
    assert start_of("") is None
    assert start_of(str(pair.data / "alone.safetensors")) is None
    plain = json.loads((new / "docs" / "comparison.json").read_text())
    jsonschema.validate(plain, schema_of(resources, "comparison"))
    found = read_succession(plain)
    assert (found.count, found.patients, found.split) == (8, 8, "val")
    assert (found.old.id, found.new.id) == ("discs", "discs_tuned")
    before, now = (values_of(model / "docs" / "metrics.json") for model in (old, new))
    for name, one in found.metrics.items():
        assert (one.old, one.new) == pytest.approx((before[name], now[name]))
    assert list(found.headlines) == ["dice_mask"]
    assert found.verdict is Verdict.BETTER
    readme = (new / "docs" / "README.md").read_text()
    assert "### Against the model it came from" in readme
    assert plain["words"] in readme
    assert "flatters it a little" in readme
    catalog = Catalog([old.parent])
    assert may_replace(successor_in(new, catalog), catalog)


def test_the_command_says_what_the_training_said(own, resources):
    code, out = against(own, own.new, own.old)
    result = json.loads(out.read_text())
    assert code == 0
    jsonschema.validate(result, schema_of(resources, "evaluate"))
    assert result["comparison"] == json.loads((own.new / "docs" / "comparison.json").read_text())


def test_nothing_tells_a_model_from_itself(own):
    _, out = against(own, own.new, own.new)
    itself = json.loads(out.read_text())["comparison"]
    assert itself["verdict"] == "cannot be told apart"
    assert {one["difference"] for one in itself["metrics"].values()} == {0.0}


def test_what_the_old_model_learned_from_is_no_case_to_compare_on(own):
    split = own.old / "docs" / "split.csv"
    rows = list(csv.DictReader(split.read_text().splitlines()))
    kept = [dict(row, split="train") if row["id"] in {"p16", "p17"} else row for row in rows]
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in kept)]
    split.write_text("\n".join(lines) + "\n")
    code, _ = against(own, own.new, own.old, "--card")
    fewer = json.loads((own.new / "docs" / "comparison.json").read_text())
    assert (code, fewer["count"]) == (0, 6)
    assert fewer["notes"][0] == "2 cases that the old model learned from are left out"
    assert "2 cases that the old model learned from" in (own.new / "docs/README.md").read_text()


@pytest.mark.expects_warnings
def test_a_model_for_something_else_cannot_be_compared(own):
    """The training that started from it is none the worse for that."""
    metadata = own.old / "configs" / "metadata.json"
    described = json.loads(metadata.read_text())
    described["medview"]["classes"] = ["cube"]
    metadata.write_text(json.dumps(described))
    assert against(own, own.new, own.old)[0] == 4
    weights = own.old / "models" / "model.safetensors"
    other = train(own.folder, own.data, "discs_other", epochs=1, weights=str(weights))
    assert not (other / "docs" / "comparison.json").exists()
    assert (other / "docs" / "metrics.json").is_file()
