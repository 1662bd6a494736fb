"""A trained network written as a model folder, which is a MONAI bundle."""

import hashlib
import json
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import monai
import numpy as np
import safetensors.torch
import torch
from torch import nn

from medview.core.errors import ReadError
from medview.inference.networks.centres import STRIDE
from medview.inference.networks.slices import slice_axis
from medview.learning.config import TrainConfig
from medview.learning.tasks.choice import engine_of
from medview.learning.tasks.task import Recipe

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

    @property
    def licence(self) -> Path:
        """The text of the licence: beside the card, or where a model folder keeps it."""
        beside: Path = self.folder / self.entries["licence_file"]
        return beside if beside.is_file() else self.folder.parent / "LICENSE"


def load_card(path: Path) -> Card:
    """Read a card (TOML); every missing entry is named in one ReadError."""
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ReadError(f"The card {path.name} could not be read.", detail=str(error)) from error
    missing = [name for name in _NEEDED if name not in entries]
    card = Card(path.parent, entries)
    if "licence_file" in entries and not card.licence.is_file():
        missing.append(f"the file {entries['licence_file']}")
    if missing:
        raise ReadError(f"The card {path.name} lacks: {', '.join(missing)}.")
    return card


@dataclass(frozen=True)
class Trained:
    """What a model folder is written from, beside the weights and the card.

    `temperatures` has that of the whole model first, then those of its members; empty for none.
    """

    config: TrainConfig
    recipe: Recipe
    task: str
    temperatures: tuple[float, ...] = ()


def export_model(
    networks: Sequence[nn.Module],
    trained: Trained,
    card: Card,
    sources: Mapping[str, Path],
    folder: Path,
) -> None:
    """Write the model folder: metadata, inference configuration, float16 weights, licence.

    Several networks, of one kind, become the members of one. `sources` (training configuration
    and card, by new name) are kept in `configs`, so the folder says how it was made. README and
    figures follow when the model has been measured.
    """
    for name in ("configs", "models", "docs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    weights = folder / "models" / "model.safetensors"
    content = safetensors.torch.save(_tensors(networks), metadata={"format": "pt"})
    weights.write_bytes(content)
    network = _network_block(trained.config, len(networks))
    digest = hashlib.sha256(content).hexdigest()
    described = metadata(trained, card, network, digest)
    _write_json(folder / "configs" / "metadata.json", described)
    own = described["medview"]
    volumes = len(trained.recipe.patch) == 3
    if trained.task != "marks":  # there is no reader to point at anything in a folder of images
        _write_json(
            folder / "configs" / "inference.json",
            inference_config(trained.config, flips=own["flips"], keep_largest=own["keep_largest"])
            if volumes and trained.task == "segmentation"
            else answering_config(network, volumes=volumes),
        )
    for name, source in sources.items():
        _copy(source, folder / "configs" / name)
    _copy(card.licence, folder / "LICENSE")


def _tensors(networks: Sequence[nn.Module]) -> dict[str, torch.Tensor]:
    """Give all weights by name, numbers in half precision; members of several by their place."""
    tensors = {}
    for number, network in enumerate(networks):
        before = f"members.{number}." if len(networks) > 1 else ""
        for name, value in network.state_dict().items():
            kept = value.detach().cpu()
            tensors[before + name] = (
                kept.half() if kept.dtype.is_floating_point else kept
            ).contiguous()
    return tensors


def _network_block(config: TrainConfig, members: int) -> dict[str, Any]:
    network, arguments = config.network.class_name, config.network.args
    if members == 1:
        return {"class": network, "args": arguments}
    return {
        "class": "medview.inference.networks.ensemble.Ensemble",
        "args": {"network": network, "arguments": arguments, "count": members},
    }


def _copy(source: Path, target: Path) -> None:
    if source.resolve() != target.resolve():
        shutil.copyfile(source, target)


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def metadata(
    trained: Trained, card: Card, network: Mapping[str, Any], sha256: str
) -> dict[str, Any]:
    """Give MONAI's metadata with the medview block."""
    recipe = trained.recipe
    outputs = list(card["outputs"])
    if trained.task == "segmentation":
        outputs.insert(0, {"index": 0, "label": "background"})
    names = {str(output["index"]): output["label"] for output in outputs}
    if card.entries.get("sides"):
        names = {"0": "background", "1": " and ".join(recipe.classes)}
    channels = _channels(recipe, trained.task)
    image = {
        "type": "image",
        "format": "magnitude" if recipe.channels == 1 else "rgb",
        "modality": card["scope"]["modality"][0],
        "num_channels": len(channels),
        "spatial_shape": list(recipe.patch),
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": trained.task != "classification",
        "channel_def": channels,
    }
    answer = {**image, **_answer_format(trained, names)}
    volumes = len(recipe.patch) == 3
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
        "data_type": "nifti" if volumes else "pictures",
        "image_classes": "normalised as medview.preprocess.intensity says",
        "label_classes": ", ".join(f"{index}: {name}" for index, name in names.items()),
        "pred_classes": _PREDICTED[trained.task],
        "eval_metrics": {},
        "intended_use": card["intended_use"],
        "references": card["references"],
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": answer}},
        "medview": _own_block(trained, card, network, sha256),
    }


def _channels(recipe: Recipe, task: str) -> dict[str, str]:
    """Give the names of what the network sees at once."""
    if task == "video":
        names = ["frame", "next frame"]
    elif task == "marks":
        names = ["image", "marks on it", "marks beside it", "answer before", "box around it"]
    elif recipe.channels == 1:
        around = range(-recipe.neighbours, recipe.neighbours + 1)
        names = [f"slice {place:+d}" if place else "image" for place in around]
    else:
        names = ["red", "green", "blue"]
    return {str(number): name for number, name in enumerate(names)}


_PREDICTED = MappingProxyType(
    {
        "segmentation": "one channel of logits a class, background first",
        "classification": "one logit a class",
        "detection": "logits of a middle by class, then logarithms of how far the box reaches, "
        "down the axes and up them, in cells 4 pixels or voxels wide",
        "instances": "logits of the foreground and of the depth within an object",
        "video": "displacement to the right and down, in pixels",
        "marks": "one channel of logits: what is meant by the marks",
    }
)


def _answer_format(trained: Trained, names: Mapping[str, str]) -> dict[str, Any]:
    """Give what MONAI's metadata says of the answer."""
    patch = list(trained.recipe.patch)
    match trained.task:
        case "segmentation":
            form, channels, shape = "segmentation", dict(names), patch
        case "classification":
            form, shape = "probabilities", []
            channels = {str(n): name for n, name in enumerate(trained.recipe.classes)}
        case "detection":
            form, shape = "boxes", [side // STRIDE for side in patch]
            ways = ["up", "left", "down", "right"]
            if len(patch) == 3:
                ways = ["left", "back", "down", "right", "front", "up"]
            named = [*trained.recipe.classes, *ways]
            channels = {str(n): name for n, name in enumerate(named)}
        case "marks":
            form, shape, channels = "segmentation", patch, {"0": "object"}
        case "instances":
            form, shape, channels = "instances", patch, {"0": "foreground", "1": "depth"}
        case _:
            form, shape, channels = "motion", patch, {"0": "right", "1": "down"}
    return {
        "format": form,
        "num_channels": len(channels),
        "spatial_shape": shape,
        "value_range": [0, 1] if form == "segmentation" else [],
        "channel_def": channels,
    }


def _own_block(
    trained: Trained, card: Card, network: Mapping[str, Any], sha256: str
) -> dict[str, Any]:
    recipe, config = trained.recipe, trained.config
    volumes = len(recipe.patch) == 3
    flat = {
        "size_px": list(recipe.size_px),
        "channels": recipe.channels,
        "grey": recipe.grey,
        "margin": recipe.margin,
    }
    block = {
        "id": config.export.id,
        "engine": engine_of(trained.task),
        "network": network,
        "weights": {"file": "models/model.safetensors", "sha256": sha256},
        "preprocess": {
            "orientation": "RAS" if volumes else None,
            "spacing_mm": list(recipe.spacing_mm) if volumes else None,
            "intensity": recipe.intensity,
            "localise": card.entries.get("localise"),
            **({} if volumes else flat),
            **({"channels": 1 + 2 * recipe.neighbours} if recipe.neighbours else {}),
        },
        "patch": list(recipe.patch),
        "flips": list(recipe.flips),
        "keep_largest": recipe.keep_largest,
        "outputs": card["outputs"],
        "threshold": card.entries.get("threshold"),
        "temperature": trained.temperatures[0] if trained.temperatures else None,
        "scope": card["scope"],
        "limits": card["limits"],
        "licence": card["licence"],
        "data_licence": card["data_licence"],
        "metrics": "docs/metrics.json",
        **({"sides": True} if card.entries.get("sides") else {}),
        "train_command": card.entries.get(
            "train_command", "medview train configs/train.toml --out DIR"
        ),
    }
    if not volumes or trained.task != "segmentation":
        block |= {"classes": list(recipe.classes), "decoding": dict(recipe.decoding)}
    if recipe.multi_label:
        block["multi_label"] = True
    if recipe.surface_tolerance:
        block["surface_tolerance"] = recipe.surface_tolerance
    if len(trained.temperatures) > 2:
        block["member_temperatures"] = list(trained.temperatures[1:])
    return block


def inference_config(
    config: TrainConfig, *, flips: Sequence[int], keep_largest: bool
) -> dict[str, Any]:
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
        "network_def": _network_def(config.network.class_name, config.network.args),
        "network": {
            "_target_": "medview.inference.networks.averaging.FlipAverage",
            "network": _over_volumes(config),
            "flips": list(flips),
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


def _network_def(class_name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Give the network in the words of a MONAI bundle.

    One that is not ours is made as the engines make it: it would not say what divides its sides.
    """
    if class_name.startswith("medview."):
        return {"_target_": class_name, **arguments}
    return {
        "_target_": "medview.inference.networks.building.build_network",
        "class_name": class_name,
        "arguments": dict(arguments),
    }


def _over_volumes(config: TrainConfig) -> dict[str, Any]:
    """Give the network for volumes of any size, in the words of a MONAI bundle."""
    patch, axis = config.data.patch, slice_axis(config.data.patch)
    windowed = {
        "_target_": "medview.inference.networks.windows.Windowed",
        "network": "@network_def",
        "patch": [side for number, side in enumerate(patch) if number != axis],
    }
    if axis is None:
        return windowed
    return {
        "_target_": "medview.inference.networks.slices.Slicewise",
        "network": windowed,
        "axis": axis,
        "neighbours": config.data.neighbours,
    }


def answering_config(network: Mapping[str, Any], *, volumes: bool) -> dict[str, Any]:
    """Give the configuration for `python -m monai.bundle run` on a folder of png, jpg or jpeg.

    With `volumes` on one of NIfTI files. It reads images and answers with the functions that the
    engines read with.
    """
    asks = (
        "$from medview.learning.tasks.solid import write_volume_answers"
        if volumes
        else "$from medview.inference.networks.readings import write_answers"
    )
    run = (
        "$write_volume_answers(@metadata, @network_def, @images, @output_dir)"
        if volumes
        else "$write_answers(@metadata['medview']['engine'], @network_def, @metadata, @images,"
        " @output_dir)"
    )
    return {
        "imports": [
            "$import glob",
            "$import json",
            "$import torch",
            "$from pathlib import Path",
            "$from safetensors.torch import load_file",
            asks,
        ],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/input'",
        "output_dir": "$@bundle_root + '/output'",
        "images": f"$sorted(glob.glob(@dataset_dir + '/{'*.nii*' if volumes else '*.*g'}'))",
        "metadata": "$json.loads(Path(@bundle_root, 'configs', 'metadata.json').read_text())",
        "weights": "$load_file(@bundle_root + '/models/model.safetensors')",
        "network_def": _network_def(network["class"], network["args"]),
        "initialize": [
            "$@network_def.load_state_dict({k: v.float() for k, v in @weights.items()})",
            "$@network_def.eval()",
        ],
        "run": ["$torch.set_grad_enabled(False)", run],
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
