"""Model folders: found, read key by key, checked byte by byte, never left."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from medview.core.codes import Code
from medview.core.errors import ModelError
from medview.core.models import Metric, Task
from medview.core.plain import to_plain
from medview.inference.catalog import ENGINES, Catalog, load_card, verify_weights
from tests.helpers.fake_engine import FAKE_ENGINES, write_fake_model

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_fake_model(tmp_path, "fake")


def rewrite(model: Path, change: Change) -> None:
    path = model / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    change(metadata)
    path.write_text(json.dumps(metadata))


def full(metadata: dict[str, Any]) -> None:
    """Everything the contract names."""
    metadata.update(description="Looks.", data_source="Somewhere.", authors="A, B")
    metadata["medview"].update(
        engine="segmentation",
        task=None,
        network={
            "class": "medview.inference.networks.unet.UNet3d",
            "args": {"in_channels": 1, "widths": [8, 16]},
        },
        preprocess={
            "orientation": "RAS",
            "spacing_mm": [1, 1, 1.5],
            "intensity": {"method": "percentile_zscore"},
            "localise": "mni152",
        },
        patch=[40, 56, 40],
        threshold=0.5,
        temperature=1.3,
        scope={
            "modality": ["MR"],
            "body_part": ["HEAD"],
            "weighting": ["T1"],
            "age_years": [18, 90],
            "spacing_mm": [0.5, 1.5],
        },
        limits=["Adults only."],
        licence="CC0",
        data_licence="CC-BY-4.0",
        metrics="docs/metrics.json",
        train_command="medview train x.toml --out y",
        memory_mb=900,
    )
    background = {"index": 0, "label": "background"}
    metadata["medview"]["outputs"].insert(0, background)


def test_every_key_of_the_contract_reaches_the_card(model: Path) -> None:
    rewrite(model, full)
    (model / "docs").mkdir()
    figures = {"dice_box": {"value": 0.9, "ci95": [0.8, 0.95]}, "auroc": {"value": 1}}
    report = {"model": "fake", "split": "test", "count": 12, "metrics": figures, "cases": []}
    (model / "docs" / "metrics.json").write_text(json.dumps(report))
    card = load_card(model)
    assert (card.id, card.version, card.title) == ("fake", "1.2.3", "Fake model")
    assert card.task is Task.SEGMENTATION
    assert card.engine == "medview.inference.engines.segmentation:Engine"
    assert card.network_class == "medview.inference.networks.unet.UNet3d"
    assert card.network_args == {"in_channels": 1, "widths": [8, 16]}
    assert card.inputs.orientation == "RAS"
    assert card.inputs.spacing_mm == (1.0, 1.0, 1.5)
    assert card.inputs.patch_shape == (40, 56, 40)
    assert card.inputs.localise == "mni152"
    assert card.inputs.intensity == {"method": "percentile_zscore"}
    assert card.scope.weighting == ("T1",)
    assert card.scope.age_years == (18.0, 90.0)
    assert card.scope.spacing_mm == (0.5, 1.5)
    (channel,) = card.outputs.channels
    assert (channel.index, channel.label, channel.color_rgb) == (1, "Box", (200, 80, 60))
    assert channel.code == Code("91772007", "SCT", "any words")
    assert (card.threshold, card.temperature, card.memory_mb) == (0.5, 1.3, 900)
    assert (card.license, card.data_license) == ("CC0", "CC-BY-4.0")
    assert card.limitations == ("Adults only.",)
    assert card.metrics is not None
    assert (card.metrics.split, card.metrics.count) == ("test", 12)
    assert card.metrics.values == (Metric("dice_box", 0.9, (0.8, 0.95)), Metric("auroc", 1.0, None))
    assert not card.clinical_use


WRONG: dict[str, tuple[Change, str]] = {
    "no version": (lambda m: m.pop("version"), "version is missing"),
    "no purpose": (lambda m: m.pop("intended_use"), "intended_use is missing"),
    "no id": (lambda m: m["medview"].pop("id"), "medview.id is missing"),
    "id that is a path": (lambda m: m["medview"].update(id="../evil"), "medview.id is not"),
    "no engine": (lambda m: m["medview"].pop("engine"), "medview.engine is missing"),
    "code as engine": (
        lambda m: m["medview"].update(engine="os:system"),
        "medview.engine names os:system",
    ),
    "no limits": (lambda m: m["medview"].pop("limits"), "medview.limits is missing"),
    "no licence": (lambda m: m["medview"].pop("licence"), "medview.licence is missing"),
    "no scope": (lambda m: m["medview"].pop("scope"), "medview.scope"),
    "scope of text": (lambda m: m["medview"].update(scope="MR"), "medview.scope is not an object"),
    "range backwards": (
        lambda m: m["medview"]["scope"].update(age_years=[90, 18]),
        "medview.scope.age_years runs backwards",
    ),
    "range of one": (
        lambda m: m["medview"]["scope"].update(spacing_mm=[1]),
        "medview.scope.spacing_mm does not hold 2",
    ),
    "no weights": (lambda m: m["medview"].pop("weights"), "medview.weights.file is missing"),
    "short hash": (
        lambda m: m["medview"]["weights"].update(sha256="abc"),
        "medview.weights.sha256 is not a SHA-256",
    ),
    "no outputs": (lambda m: m["medview"].pop("outputs"), "medview.outputs is missing"),
    "output without code": (
        lambda m: m["medview"]["outputs"][0].pop("code"),
        "medview.outputs[0].code is missing",
    ),
    "code without scheme": (
        lambda m: m["medview"]["outputs"][0]["code"].pop("scheme"),
        "medview.outputs[0].code is not a code",
    ),
    "colour out of range": (
        lambda m: m["medview"]["outputs"][0].update(color_rgb=[0, 0, 256]),
        "medview.outputs[0].color_rgb is not",
    ),
    "index twice": (
        lambda m: m["medview"]["outputs"].append(dict(m["medview"]["outputs"][0])),
        "names an index twice",
    ),
    "index of text": (
        lambda m: m["medview"]["outputs"][0].update(index="1"),
        "medview.outputs[0].index is not a whole number",
    ),
    "orientation": (
        lambda m: m["medview"].update(preprocess={"orientation": "RAA"}),
        "medview.preprocess.orientation is not",
    ),
    "spacing": (
        lambda m: m["medview"].update(preprocess={"spacing_mm": [1, 0, 1]}),
        "medview.preprocess.spacing_mm is not positive",
    ),
    "threshold": (
        lambda m: m["medview"].update(threshold="high"),
        "medview.threshold is not a number",
    ),
    "task": (lambda m: m["medview"].update(task="magic"), "medview.task is not one of"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_missing_or_wrong_key_is_named(model: Path, name: str) -> None:
    change, words = WRONG[name]
    rewrite(model, change)
    with pytest.raises(ModelError) as refused:
        load_card(model, FAKE_ENGINES)
    assert words in refused.value.user_text
    assert "fake" in refused.value.user_text


def test_all_wrong_keys_are_named_at_once(model: Path) -> None:
    def spoil(metadata: dict[str, Any]) -> None:
        del metadata["version"], metadata["medview"]["licence"]
        metadata["medview"]["outputs"][0]["label"] = 7

    rewrite(model, spoil)
    with pytest.raises(ModelError) as refused:
        load_card(model, FAKE_ENGINES)
    for words in ("version is missing", "licence is missing", "outputs[0].label is not text"):
        assert words in refused.value.user_text


def test_one_changed_byte_of_the_weights_is_refused(model: Path) -> None:
    card = load_card(model, FAKE_ENGINES)
    verify_weights(card, model)
    weights = model / card.weights
    content = bytearray(weights.read_bytes())
    content[3] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelError, match="not the ones it was released with"):
        verify_weights(card, model)


@pytest.mark.parametrize("name", ["../secret.json", "/etc/hostname", "models/../../secret.json"])
def test_weights_outside_the_folder_are_refused(model: Path, name: str) -> None:
    (model.parent / "secret.json").write_text("{}")
    rewrite(model, lambda m: m["medview"]["weights"].update(file=name))
    with pytest.raises(ModelError, match="outside its folder"):
        load_card(model, FAKE_ENGINES)


def test_a_link_that_leads_out_of_the_folder_is_refused(model: Path) -> None:
    secret = model.parent / "secret.json"
    secret.write_text("{}")
    (model / "models" / "link.json").symlink_to(secret)
    rewrite(model, lambda m: m["medview"]["weights"].update(file="models/link.json"))
    with pytest.raises(ModelError, match="outside its folder"):
        load_card(model, FAKE_ENGINES)


def test_metrics_outside_the_folder_are_refused(model: Path) -> None:
    rewrite(model, lambda m: m["medview"].update(metrics="../../metrics.json"))
    with pytest.raises(ModelError, match="outside its folder"):
        load_card(model, FAKE_ENGINES)


def test_metrics_that_are_none_are_refused(model: Path) -> None:
    rewrite(model, lambda m: m["medview"].update(metrics="metrics.json"))
    assert load_card(model, FAKE_ENGINES).metrics is None  # not measured yet
    (model / "metrics.json").write_text('{"split": "val", "metrics": {"dice": {"value": "good"}}}')
    with pytest.raises(ModelError) as refused:
        load_card(model, FAKE_ENGINES)
    assert "metrics.dice.value is not a number" in refused.value.user_text
    assert "count is missing" in refused.value.user_text


def test_a_catalogue_offers_the_good_and_lists_the_bad(tmp_path: Path) -> None:
    shipped, own = tmp_path / "shipped", tmp_path / "own"
    write_fake_model(shipped, "b_model")
    write_fake_model(shipped, "a_model")
    write_fake_model(own, "a_model")  # an id that is taken
    foreign = own / "foreign" / "configs"
    foreign.mkdir(parents=True)
    (foreign / "metadata.json").write_text('{"version": "0.1", "task": "x"}')
    (own / "empty").mkdir()
    (own / "torn" / "configs").mkdir(parents=True)
    (own / "torn" / "configs" / "metadata.json").write_text("{")
    (own / ".hidden").mkdir()
    catalog = Catalog([shipped, own, tmp_path / "missing"], FAKE_ENGINES)
    assert [card.id for card in catalog.cards()] == ["a_model", "b_model"]
    assert catalog.folder("a_model") == shipped / "a_model"
    reasons = {problem.folder.name: problem.reason for problem in catalog.problems}
    assert set(reasons) == {"a_model", "foreign", "empty", "torn"}
    assert "without a medview block" in reasons["foreign"]
    assert "not a model folder" in reasons["empty"]
    assert "cannot be read" in reasons["torn"]
    assert "has the id a_model" in reasons["a_model"]
    with pytest.raises(ModelError) as refused:
        catalog.card("c_model")
    assert "a_model, b_model" in refused.value.hint
    catalog.verify("b_model")
    write_fake_model(own, "c_model")
    catalog.refresh()
    assert catalog.card("c_model").version == "1.2.3"


def test_a_bundle_with_code_is_read_as_data(model: Path, tmp_path: Path) -> None:
    """MONAI evaluates `$...`; here it is text, and the text is no number."""
    canary = tmp_path / "canary"
    rewrite(model, lambda m: m["medview"].update(threshold=f"$open({str(canary)!r}, 'w')"))
    with pytest.raises(ModelError):
        load_card(model, FAKE_ENGINES)
    assert not canary.exists()


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", "null", '"text"', "1e999"])
def test_metadata_that_is_no_object_is_a_problem_not_a_crash(model: Path, content: str) -> None:
    (model / "configs" / "metadata.json").write_text(content)
    with pytest.raises(ModelError):
        load_card(model, FAKE_ENGINES)


def test_enormous_metadata_is_not_read(model: Path) -> None:
    (model / "configs" / "metadata.json").write_text(" " * (5 << 20) + "{}")
    with pytest.raises(ModelError, match="too large"):
        load_card(model, FAKE_ENGINES)


def test_only_our_engines_can_be_named() -> None:
    assert all(name.startswith("medview.inference.engines.") for name in ENGINES.values())


def test_shipped_models_are_complete_and_unchanged(resources: Path) -> None:
    catalog = Catalog([resources / "models"])
    assert not catalog.problems
    cards = catalog.cards()
    assert "threshold_body" in {card.id for card in cards}
    for card in cards:
        catalog.verify(card.id)
        folder = catalog.folder(card.id)
        assert (folder / "LICENSE").is_file()
        assert (folder / "docs" / "README.md").is_file()
        assert card.limitations
        assert not card.clinical_use


def test_cards_as_json_follow_the_published_schema(resources: Path, model: Path) -> None:
    rewrite(model, full)
    schema = json.loads((resources / "schemas" / "models.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    cards = [*Catalog([resources / "models"]).cards(), load_card(model)]
    jsonschema.validate({"models": [to_plain(card) for card in cards]}, schema)
    one = {**schema, "$ref": "#/$defs/card"}
    for key in ("type", "properties", "required", "additionalProperties"):
        one.pop(key, None)
    jsonschema.validate(to_plain(cards[0]), one)
    broken = to_plain(cards[0]) | {"limitations": "none"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"models": [broken]}, schema)
