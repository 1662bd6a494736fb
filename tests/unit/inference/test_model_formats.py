"""Folders of other programs: recognised by what lies in them, described, or refused by name."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from medview.core.errors import ModelError
from medview.core.models import ModelCard, Task
from medview.core.tints import tint
from medview.inference.catalog import load_card
from medview.inference.formats.described import model_id
from medview.inference.receipts import hash_folder


def write(folder: Path, files: dict[str, Any]) -> Path:
    """A folder of files: dictionaries as JSON, bytes and text as they are."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def layer(given: int, found: int, dilation: int = 1, kernel: int = 3) -> dict[str, int]:
    return {
        "in_channels": given,
        "out_channels": found,
        "kernel_size": kernel,
        "padding": dilation * (kernel // 2),
        "stride": 1,
        "dilation": dilation,
    }


MESHNET = {"header": "Tissues", "layers": [layer(1, 5), layer(5, 5, 4), layer(5, 3, kernel=1)]}
LABELS = {"R": [0, 9, 8], "G": [0, 7, 6], "B": [0, 5, 4], "labels": ["bg", "White", "Grey-Matter"]}


def labels_of(card: ModelCard) -> dict[int, str]:
    return {channel.index: channel.label for channel in card.outputs.channels}


def limits_are_honest(card: ModelCard) -> bool:
    return any("unknown" in limit for limit in card.limitations) and (
        "Not for clinical use." in card.limitations
    )


def test_a_meshnet_takes_the_list_with_as_many_names_as_outputs(tmp_path: Path) -> None:
    other = {"labels": ["background", "brain"]}
    files = {"model.json": MESHNET, "model.pth": b"w", "c.json": other, "c3.json": LABELS}
    folder = write(tmp_path / "Tissue Net", files)
    card = load_card(folder)
    assert (card.id, card.format, card.version) == ("tissue_net", "MeshNet of brainchop", "unknown")
    assert labels_of(card) == {1: "White", 2: "Grey matter"}
    assert card.outputs.channels[0].color_rgb == (9, 7, 5)
    assert card.outputs.channels[1].code.value == "389081007"
    assert card.scope.modality == ("MR",)
    assert card.folder_sha256 == hash_folder(folder)
    assert limits_are_honest(card)
    assert not card.code


def test_a_meshnet_without_names_numbers_what_it_finds(tmp_path: Path) -> None:
    card = load_card(write(tmp_path / "m", {"model.json": MESHNET, "model.pth": b"w"}))
    assert labels_of(card) == {1: "Label 1", 2: "Label 2"}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"model.json": MESHNET}, "no weights"),
        ({"model.json": MESHNET, "a.pth": b"", "b.pth": b""}, "several"),
        (
            {"model.json": {"layers": [layer(1, 2), {**layer(2, 2), "stride": 2}]}, "a.pth": b""},
            "strides",
        ),
        ({"model.json": "{"}, "cannot be read"),
    ],
)
def test_a_damaged_meshnet_is_refused_with_the_reason(
    tmp_path: Path, files: dict[str, Any], words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        load_card(write(tmp_path / "m", files))


# nnU-Net

PLANS: dict[str, Any] = {
    "dataset_name": "Dataset004_Hippocampus",
    "image_reader_writer": "SimpleITKIO",
    "configurations": {
        "2d": {"patch_size": [56, 40], "spacing": [1, 1]},
        "3d_fullres": {"patch_size": [40, 56, 40], "spacing": [1.0, 1.0, 1.0]},
        "3d_cascade": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
    },
}
DATASET = {
    "channel_names": {"0": "MRI"},
    "labels": {"background": 0, "hippocampus": 1, "liver_left": 2},
    "file_ending": ".nii.gz",
}
TRAINER = "nnUNetTrainer__nnUNetPlans__3d_fullres"


def nnunet(folder: Path, **changed: Any) -> Path:
    where = changed.pop("where", TRAINER)
    files = {
        f"{where}/plans.json": {**PLANS, **changed.get("plans", {})},
        f"{where}/dataset.json": {**DATASET, **changed.get("dataset", {})},
        f"{where}/fold_0/checkpoint_final.pth": b"w0",
        f"{where}/fold_1/checkpoint_best.pth": b"w1",
    }
    return write(folder, {name: files[name] for name in files if name not in changed.get("no", ())})


@pytest.mark.parametrize("where", [TRAINER, f"Dataset004_Hippocampus/{TRAINER}"])
def test_an_nnunet_folder_says_labels_spacing_and_folds(tmp_path: Path, where: str) -> None:
    card = load_card(nnunet(tmp_path / "Task 4", where=where))
    assert (card.id, card.format) == ("task_4", "nnU-Net v2")
    assert card.title == "Hippocampus (nnU-Net)"
    assert labels_of(card) == {1: "Hippocampus", 2: "Left liver"}
    assert card.inputs.spacing_mm == (1.0, 1.0, 1.0)
    assert card.inputs.patch_shape == (40, 56, 40)
    assert card.scope.modality == ("MR",)
    assert card.weights == f"{where}/fold_0/checkpoint_final.pth"
    assert "2 folds" in card.limitations[0]
    assert any("orientation" in limit for limit in card.limitations)
    assert limits_are_honest(card)


TOTALS = [  # data sets of the official releases, and what their cards say
    ("Dataset297_TotalSegmentator_total_3mm_1559subj", 3.0, "CT: total, 3 mm", "CT"),
    ("Dataset291_TotalSegmentator_part1_organs_1559subj", 1.5, "CT: organs, 1.5 mm", "CT"),
    ("Dataset852_TotalSegMRI_total_3mm_1088subj", 3.0, "MR: total, 3 mm", "MR"),
    ("Dataset299_body_1559subj", 1.5, "CT: body, 1.5 mm", "CT"),
    ("Dataset598_mri_body_6mm_139subj", 6.0, "MR: body, 6 mm", "MR"),
]


@pytest.mark.parametrize(("name", "spacing", "title", "modality"), TOTALS)
@pytest.mark.parametrize("named_by", ["plans", "folder"])
def test_weights_of_totalsegmentator_are_known(
    tmp_path: Path, name: str, spacing: float, title: str, modality: str, named_by: str
) -> None:
    known = name if named_by == "plans" else "Dataset004_Hippocampus"
    fullres = {"patch_size": [96, 96, 96], "spacing": [spacing] * 3}
    plans = {"dataset_name": known, "configurations": {"3d_fullres": fullres}}
    labels = {"background": 0, "spleen": 1, "kidney_left": 2, "gluteus_medius_right": 3}
    dataset = {"channel_names": {"0": "anything"}, "labels": labels}
    where = "nnUNetTrainer_4000epochs_NoMirroring__nnUNetPlans__3d_fullres"
    folder = tmp_path / (name if named_by == "folder" else "ts")
    card = load_card(nnunet(folder, where=where, plans=plans, dataset=dataset))
    assert card.title == f"TotalSegmentator {title}"
    assert card.scope.modality == (modality,)
    assert card.scope.age_years == (18, 110)
    assert card.inputs.orientation == "SAR"  # as its own program turns every image
    assert card.inputs.intensity["resampled_first"]
    assert "doi:10.1148/" in card.authors
    assert card.license.startswith("Apache-2.0")
    assert any("adults" in limit for limit in card.limitations)
    assert limits_are_honest(card)
    codes = [(one.label, one.code.value) for one in card.outputs.channels]
    assert codes == [("Spleen", "78961009"), ("Left kidney", "64033007"),
                     ("Right gluteus medius", "127954009")]  # fmt: skip


def test_an_own_licence_and_other_tasks_are_left_as_they_are(tmp_path: Path) -> None:
    folder = nnunet(tmp_path / TOTALS[0][0])
    (folder / "LICENSE").write_text("MIT License")
    assert load_card(folder).license == "MIT"
    other = load_card(nnunet(tmp_path / "Dataset301_heart_highres_1559subj"))
    assert (other.license, other.format) == ("unknown", "nnU-Net v2")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"dataset": {"labels": {"background": 0, "whole": [1, 2]}}}, "regions"),
        ({"dataset": {"labels": {}}}, "names no labels"),
        ({"where": "T__P__3d_cascade"}, "cascade"),
        ({"where": "renamed"}, "configurations"),
        (
            {
                "no": (
                    f"{TRAINER}/fold_0/checkpoint_final.pth",
                    f"{TRAINER}/fold_1/checkpoint_best.pth",
                )
            },
            "not a model folder",
        ),
    ],
)
def test_nnunet_folders_that_cannot_be_run_are_refused(
    tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        load_card(nnunet(tmp_path / "n", **changed))


def test_two_nnunet_models_in_one_folder_are_not_guessed_between(tmp_path: Path) -> None:
    nnunet(tmp_path / "n")
    nnunet(tmp_path / "n", where="nnUNetTrainer__nnUNetPlans__2d")
    with pytest.raises(ModelError, match="several"):
        load_card(tmp_path / "n")


# MONAI bundles

IMAGE = {"type": "image", "format": "hounsfield", "modality": "CT", "num_channels": 1,
         "spatial_shape": [96, 96, 96]}  # fmt: skip
ANSWER = {"type": "image", "format": "segmentation",
          "channel_def": {"0": "background", "1": "spleen"}}  # fmt: skip
METADATA = {
    "version": "0.5.3",
    "name": "Spleen",
    "authors": "A",
    "intended_use": "Research.",
    "eval_metrics": {"mean_dice": 0.96},
    "network_data_format": {"inputs": {"image": IMAGE}, "outputs": {"pred": ANSWER}},
}
PLAIN = {
    "network_def": {"_target_": "UNet", "spatial_dims": 3},
    "inferer": {"_target_": "monai.inferers.SlidingWindowInferer"},
}


def bundle(folder: Path, configuration: Any = PLAIN, **changed: Any) -> Path:
    formats = {**METADATA["network_data_format"], **changed.pop("formats", {})}  # type: ignore[dict-item]
    files = {
        "configs/metadata.json": {**METADATA, "network_data_format": formats, **changed},
        f"models/{'model.pt'}": b"w",
        "LICENSE": "Apache License\nVersion 2.0",
    }
    return write(folder, {**files, "configs/inference.json": configuration})


def test_a_bundle_is_described_by_its_metadata(tmp_path: Path) -> None:
    card = load_card(bundle(tmp_path / "spleen_ct"))
    assert (card.id, card.version, card.title) == ("spleen_ct", "0.5.3", "Spleen")
    assert card.scope.modality == ("CT",)
    assert card.license == "Apache-2.0"
    assert labels_of(card) == {1: "Spleen"}
    assert "mean_dice 0.96" in card.limitations[0]
    assert not card.code
    assert limits_are_honest(card)


@pytest.mark.parametrize(
    "configuration",
    [
        {**PLAIN, "device": "$torch.device('cpu')"},
        {**PLAIN, "x": [{"deep": "$__import__('os').system('true')"}]},
        {**PLAIN, "x": {"_target_": "os.system", "command": "true"}},
        {**PLAIN, "x": {"_target_": "subprocess.Popen"}},
        {**PLAIN, "x": {"_target_": "monai.bundle.run"}},
        {**PLAIN, "x": {"_target_": "scripts.inner.Network"}},
        {**PLAIN, "x": {"_target_": "torch.hub.load"}},
        {**PLAIN, "x": "%other.json"},
        {**PLAIN, "$key": 1},
    ],
)
def test_what_could_run_anything_is_named_a_program(
    tmp_path: Path, configuration: dict[str, Any]
) -> None:
    card = load_card(bundle(tmp_path / "b", configuration))
    assert card.code
    assert not card.may_run


def test_a_bundle_in_yaml_or_with_torchscript_is_a_program(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b")
    (folder / "configs" / "inference.json").rename(folder / "configs" / "inference.yaml")
    assert "YAML" in load_card(folder).code
    other = bundle(tmp_path / "c")
    (other / "models" / "model.pt").rename(other / "models" / "model.ts")
    assert "TorchScript" in load_card(other).code


def test_a_classifier_names_its_classes(tmp_path: Path) -> None:
    answer = {"format": "probabilities", "channel_def": {"0": "benign", "1": "malignant"}}
    card = load_card(bundle(tmp_path / "b", formats={"outputs": {"pred": answer}}))
    assert card.task is Task.CLASSIFICATION
    assert labels_of(card) == {0: "Benign", 1: "Malignant"}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {
                "formats": {
                    "inputs": {"z": {"type": "tuples", "format": "latent", "spatial_shape": [64]}},
                    "outputs": {"pred": {"type": "image", "format": "magnitude"}},
                }
            },
            "generates pictures: it takes 64 latent",
        ),
        ({"formats": {"outputs": {"pred": {"format": "image"}}}}, "does not name what it finds"),
        ({"formats": {"inputs": {}}}, "does not say what its network takes"),
        (
            {"formats": {"outputs": {"p": {"format": "boxes", "channel_def": {"0": "a"}}}}},
            "whose output is boxes",
        ),
    ],
)
def test_bundles_that_are_no_models_of_images_are_named_for_what_they_are(
    tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        load_card(bundle(tmp_path / "b", **changed))


# Lone networks


def test_a_lone_network_is_asked_for_its_card(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="ONNX"):
        load_card(write(tmp_path / "a", {"net.onnx": b"x"}))
    write(tmp_path / "b", {})
    (tmp_path / "b").mkdir(exist_ok=True)
    with zipfile.ZipFile(tmp_path / "b" / "net.pt", "w") as archive:
        for name in ("net/constants.pkl", "net/code/__torch__.py", "net/data.pkl"):
            archive.writestr(name, "x")
    with pytest.raises(ModelError, match="TorchScript"):
        load_card(tmp_path / "b")
    with pytest.raises(ModelError, match="weights without their network"):
        load_card(write(tmp_path / "c", {"net.pth": b"x"}))
    with pytest.raises(ModelError, match="not a model folder"):
        load_card(write(tmp_path / "d", {"words.txt": "x"}))


def test_ids_are_made_of_what_ids_may_hold() -> None:
    assert model_id(Path("Spleen CT (v2)")) == "spleen_ct_v2"
    assert model_id(Path("...")) == "model"
    assert model_id(Path(model_id(Path("Ä b/c d" * 20)))) == model_id(Path("Ä b/c d" * 20))


def test_colours_of_many_structures_differ() -> None:
    colors = [tint(place) for place in range(104)]
    assert len(set(colors)) == 104
    assert all(0 <= part <= 255 for color in colors for part in color)


# The real folders


@pytest.mark.shared
def test_the_published_folders_are_recognised(weights: Path) -> None:
    found = {
        name: load_card(weights / name)
        for name in ("brainchop_model5_gw_ae", "brainchop_subcortical", "brainchop_mindgrab")
    }
    assert labels_of(found["brainchop_model5_gw_ae"]) == {1: "White matter", 2: "Grey matter"}
    assert labels_of(found["brainchop_subcortical"])[14] == "Hippocampus"
    assert len(found["brainchop_subcortical"].outputs.channels) == 17
    with pytest.raises(ModelError, match=r"MedNIST GAN 0\.4\.2 is a MONAI bundle that generates"):
        load_card(weights / "monai_bundle_mednist_gan")


@pytest.fixture
def weights() -> Path:
    folder = Path(__file__).resolve().parents[4] / "shared" / "train" / "third_party_weights"
    if not folder.is_dir():
        pytest.skip("no shared data")
    return folder
