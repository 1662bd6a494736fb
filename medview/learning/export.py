"""A trained network written as a model folder, which is a MONAI bundle."""

import hashlib
import json
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import monai
import numpy as np
import safetensors.torch
import torch
from torch import nn

from medview.core.errors import ReadError
from medview.learning.config import TrainConfig

_NEEDED = (
    "name", "version", "description", "intended_use", "authors", "licence", "licence_file",
    "data_source", "data_licence", "references", "note", "limits", "scope", "outputs",
)  # fmt: skip


@dataclass(frozen=True)
class Card:
    """What people say of a model, read from the card file beside the training configuration."""

    folder: Path
    entries: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        """Give one entry."""
        return self.entries[name]


def load_card(path: Path) -> Card:
    """Read a card (TOML); every missing entry is named in one ReadError."""
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ReadError(f"The card {path.name} could not be read.", detail=str(error)) from error
    missing = [name for name in _NEEDED if name not in entries]
    if "licence_file" in entries and not (path.parent / entries["licence_file"]).is_file():
        missing.append(f"the file {entries['licence_file']}")
    if missing:
        raise ReadError(f"The card {path.name} lacks: {', '.join(missing)}.")
    return Card(path.parent, entries)


def export_model(
    network: nn.Module,
    config: TrainConfig,
    card: Card,
    sources: Mapping[str, Path],
    folder: Path,
) -> None:
    """Write the model folder: metadata, inference configuration, float16 weights, licence.

    `sources` (training configuration and card, by new name) are kept in `configs`, so the folder
    says how it was made. README and figures follow when the model has been measured.
    """
    for name in ("configs", "models", "docs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    weights = folder / "models" / "model.safetensors"
    tensors = {
        name: value.detach().cpu().half().contiguous()
        for name, value in network.state_dict().items()
    }
    content = safetensors.torch.save(tensors, metadata={"format": "pt"})
    weights.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    described = metadata(config, card, digest)
    own = described["medview"]
    _write_json(folder / "configs" / "metadata.json", described)
    _write_json(
        folder / "configs" / "inference.json",
        inference_config(config, keep_largest=own["keep_largest"]),
    )
    for name, source in sources.items():
        _copy(source, folder / "configs" / name)
    _copy(card.folder / card["licence_file"], folder / "LICENSE")


def _copy(source: Path, target: Path) -> None:
    if source.resolve() != target.resolve():
        shutil.copyfile(source, target)


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def metadata(config: TrainConfig, card: Card, sha256: str) -> dict[str, Any]:
    """Give MONAI's metadata with the medview block."""
    outputs = [{"index": 0, "label": "background"}, *card["outputs"]]
    names = {str(output["index"]): output["label"] for output in outputs}
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": card["scope"]["modality"][0],
        "num_channels": 1,
        "spatial_shape": list(config.data.patch),
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": True,
        "channel_def": {"0": "image"},
    }
    answer = {
        **image,
        "format": "segmentation",
        "num_channels": len(outputs),
        "value_range": [0, 1],
        "channel_def": names,
    }
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/"
        "0.8.1/meta_schema_20240725.json",
        "version": card["version"],
        "changelog": {card["version"]: "first release"} | card.entries.get("changelog", {}),
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {"nibabel": "5.3", "safetensors": "0.5", "medview": "0.1.0"},
        "name": card["name"],
        "task": card["description"].split(".")[0],
        "description": card["description"],
        "authors": card["authors"],
        "copyright": card["authors"],
        "data_source": card["data_source"],
        "data_type": "nifti",
        "image_classes": "one channel, normalised as medview.preprocess.intensity says",
        "label_classes": ", ".join(f"{index}: {name}" for index, name in names.items()),
        "pred_classes": f"{len(outputs)} channels of probabilities, background first",
        "eval_metrics": {},
        "intended_use": card["intended_use"],
        "references": card["references"],
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": answer}},
        "medview": _own_block(config, card, sha256),
    }


def _own_block(config: TrainConfig, card: Card, sha256: str) -> dict[str, Any]:
    data = config.data
    return {
        "id": config.export.id,
        "engine": "segmentation",
        "network": {"class": config.network.class_name, "args": config.network.args},
        "weights": {"file": "models/model.safetensors", "sha256": sha256},
        "preprocess": {
            "orientation": "RAS",
            "spacing_mm": list(data.spacing_mm),
            "intensity": data.intensity,
            "localise": card.entries.get("localise"),
        },
        "patch": list(data.patch),
        "flips": list(config.augment.flip),
        "keep_largest": card.entries.get("keep_largest", False),
        "outputs": card["outputs"],
        "threshold": None,
        "temperature": None,
        "scope": card["scope"],
        "limits": card["limits"],
        "licence": card["licence"],
        "data_licence": card["data_licence"],
        "metrics": "docs/metrics.json",
        "train_command": "medview train configs/train.toml --out DIR",
    }


def inference_config(config: TrainConfig, *, keep_largest: bool) -> dict[str, Any]:
    """Give the configuration for `python -m monai.bundle run`: MONAI's own transforms throughout.

    Percentile clipping and z-score are MONAI's `ScaleIntensityRangePercentiles` and
    `NormalizeIntensity`, which together equal `medview.imaging.intensity.percentile_zscore`.
    """
    return {
        "imports": [
            "$import glob",
            "$import numpy",
            "$import torch",
            "$from safetensors.torch import load_file",
            "$from medview.inference.engines.network import label_map",
        ],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/input'",
        "output_dir": "$@bundle_root + '/output'",
        "images": "$sorted(glob.glob(@dataset_dir + '/*.nii*'))",
        "device": "cpu",
        "weights": "$load_file(@bundle_root + '/models/model.safetensors')",
        "network_def": {"_target_": config.network.class_name, **config.network.args},
        "network": {
            "_target_": "medview.inference.networks.averaging.FlipAverage",
            "network": {
                "_target_": "medview.inference.networks.windows.Windowed",
                "network": "@network_def",
                "patch": list(config.data.patch),
            },
            "flips": list(config.augment.flip),
        },
        "preprocessing": {"_target_": "Compose", "transforms": _before(config)},
        "postprocessing": {"_target_": "Compose", "transforms": _after(keep_largest=keep_largest)},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': name} for name in @images]",
            "transform": "@preprocessing",
        },
        "predict": "$lambda item: {**item, 'pred': @network(item['image'][None])[0]}",
        "initialize": [
            "$@network_def.load_state_dict({k: v.float() for k, v in @weights.items()})",
            "$@network.eval().to(@device)",
        ],
        "run": [
            "$torch.set_grad_enabled(False)",
            "$[@postprocessing(@predict(item)) for item in @dataset]",
        ],
    }


def _before(config: TrainConfig) -> list[dict[str, Any]]:
    """What happens to an image before the network, in MONAI's words."""
    intensity = config.data.intensity
    return [
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
        {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None},
        {"_target_": "Spacingd", "keys": "image", "pixdim": list(config.data.spacing_mm)},
        {
            "_target_": "ScaleIntensityRangePercentilesd",
            "keys": "image",
            "lower": intensity["low_percent"],
            "upper": intensity["high_percent"],
            "b_min": 0.0,
            "b_max": 1.0,
            "clip": True,
        },
        {"_target_": "NormalizeIntensityd", "keys": "image"},
    ]


def _after(*, keep_largest: bool) -> list[dict[str, Any]]:
    """What happens to probabilities: back to the grid of the file, to labels, to disk."""
    # Multiplying by zero keeps the MetaTensor, and with it the place in space.
    labels = f"torch.as_tensor(label_map(p.numpy(), keep_largest={keep_largest}))[None]"
    return [
        {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing",
         "orig_keys": "image", "nearest_interp": False},
        {"_target_": "Lambdad", "keys": "pred", "func": f"$lambda p: p[:1] * 0 + {labels}"},
        {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir",
         "output_dtype": "$numpy.uint8", "separate_folder": False},
    ]  # fmt: skip
