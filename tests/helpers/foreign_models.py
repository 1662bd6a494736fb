"""Model folders of other programs whose answers are known, each made in a few lines."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.torch
import torch
from torch import nn

from medview.core.geometry import Calibration, Geometry
from medview.core.models import ModelCard
from medview.core.volume import Volume
from medview.inference.catalog import load_card

TILTED = np.array(
    [[0.0, 0.3, 0.9, -20], [0.0, 1.1, -0.2, -30], [2.0, 0, 0, -40], [0, 0, 0, 1]], np.float64
)


def grey(voxels: npt.NDArray[Any], affine: npt.NDArray[Any] | None = None) -> Volume:
    grid = Geometry(voxels.shape, np.eye(4) if affine is None else affine)
    return Volume("v", "s", grid, voxels)


def chain(widths: list[int], dilations: list[int], **how: Any) -> tuple[dict[str, Any], nn.Module]:
    """A description as brainchop writes it, and the same network in torch's own parts."""
    layers, parts, given = [], [], 1
    for number, (width, dilation) in enumerate(zip(widths, dilations, strict=True)):
        last = number == len(widths) - 1
        kernel = 1 if last else 3
        pad = dilation * (kernel // 2)
        layers.append(
            {"in_channels": given, "out_channels": width, "kernel_size": kernel,
             "padding": pad, "stride": 1, "dilation": dilation}
        )  # fmt: skip
        parts.append(nn.Conv3d(given, width, kernel, padding=pad, dilation=dilation))
        if not last:
            if how.get("bnorm"):
                parts.append(nn.GroupNorm(width, width, affine=False))
            parts.append(
                nn.GELU() if how.get("gelu") else nn.ELU() if how.get("elu") else nn.ReLU()
            )
        given = width
    return {"header": "Parts", "layers": layers, **how}, nn.Sequential(*parts)


def bright_and_brighter(folder: Path) -> Path:
    """A MeshNet for which 0 to 0.4 is background, to 0.8 the first thing, above the second."""
    weight = torch.zeros(3, 1, 1, 1, 1)
    weight[:, 0, 0, 0, 0] = torch.tensor([0.0, 1.0, 2.0])
    bias = torch.tensor([0.0, -0.4, -1.2])
    passing = torch.zeros(1, 1, 3, 3, 3)
    passing[0, 0, 1, 1, 1] = 1
    model, _ = chain([1, 3], [2, 1])
    folder.mkdir()
    (folder / "model.json").write_text(json.dumps(model))
    labels = {"labels": ["none", "Left-Thalamus", "White Matter"]}
    (folder / "labels.json").write_text(json.dumps(labels))
    tensors = {"model.0.weight": passing, "model.0.bias": torch.zeros(1),
               "model.2.weight": weight, "model.2.bias": bias}  # fmt: skip
    safetensors.torch.save_file(tensors, folder / "model.pth")
    return folder


class Redness(nn.Module):
    """For each pixel how much redder than blue it is, as a probability."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return (image[:, :1] - image[:, 2:]).clamp(0, 1)


def picture_card(folder: Path, engine: str, weights: str, **own: Any) -> ModelCard:
    code = {"value": "59820001", "scheme": "SCT", "meaning": "Blood Vessel"}
    output = {"index": 1, "label": "Vessels", "code": code, "color_rgb": [200, 0, 0]}
    digest = hashlib.sha256((folder / weights).read_bytes()).hexdigest()
    metadata = {
        "version": "1", "name": "Red", "intended_use": "Tests.",
        "medview": {
            "id": "red", "engine": engine, "weights": {"file": weights, "sha256": digest},
            "preprocess": {"size_px": [64, 64], "channels": 3,
                           "intensity": {"method": "range", "low": 0, "high": 255}},
            "activation": "none", "threshold": 0.5, "outputs": [output],
            "scope": {"modality": ["OP"]}, "limits": ["None."], "licence": "none", **own,
        },
    }  # fmt: skip
    (folder / "configs").mkdir(exist_ok=True)
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    return load_card(folder)


def red_square() -> Volume:
    voxels = np.full((1, 96, 128, 3), 90, np.uint8)
    voxels[0, 20:60, 30:90] = (250, 20, 40)
    grid = Geometry((1, 96, 128), np.eye(4), calibration=Calibration.NONE)
    return Volume("v", "s", grid, voxels)


def make_torchscript(folder: Path) -> ModelCard:
    traced = torch.jit.trace(Redness(), torch.zeros(1, 3, 64, 64))  # type: ignore[no-untyped-call]
    traced.save(str(folder / "red.pt"))
    return picture_card(folder, "torchscript", "red.pt")


def onnx_file(path: Path, *, external: bool = False) -> None:
    """red - blue by a 1 x 1 convolution, cut at 0 and 1."""
    module = pytest.importorskip("onnx")
    helper, proto = module.helper, module.TensorProto
    weight = helper.make_tensor("w", proto.FLOAT, [1, 3, 1, 1], [1.0, 0.0, -1.0])
    if external:
        weight.ClearField("float_data")
        weight.data_location = proto.EXTERNAL
        for key, value in (("location", "../secret.bin"), ("length", "12")):
            entry = weight.external_data.add()
            entry.key, entry.value = key, value
    bounds = [helper.make_tensor(n, proto.FLOAT, [], [v]) for n, v in (("lo", 0.0), ("hi", 1.0))]
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"]),
        helper.make_node("Clip", ["c", "lo", "hi"], ["out"]),
    ]
    size = [1, 3, "h", "w_"]
    graph = helper.make_graph(
        nodes, "red",
        [helper.make_tensor_value_info("image", proto.FLOAT, size)],
        [helper.make_tensor_value_info("out", proto.FLOAT, [1, 1, "h", "w_"])],
        [weight, *bounds],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    path.write_bytes(
        helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
    )


def bundle(folder: Path, **changed: Any) -> Path:
    """A bundle whose network finds what is above 300, resampled to 2 mm and back, no program."""
    where = {"key": "pred"}
    transforms = [
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
        {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None},
        {"_target_": "Spacingd", "keys": "image", "pixdim": [2.0, 2.0, 2.0]},
        {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": 0, "a_max": 1000,
         "b_min": 0, "b_max": 1, "clip": True},
    ]  # fmt: skip
    after = [
        {"_target_": "Activationsd", "keys": "pred", "softmax": True},
        {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing",
         "orig_keys": "image", "nearest_interp": False},
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        {"_target_": "SaveImaged", "keys": "pred", "output_dir": "/nowhere"},
    ]  # fmt: skip
    configuration = {
        "network_def": {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 2,
                        "kernel_size": 1},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16]},
        "preprocessing": {"_target_": "Compose", "transforms": transforms},
        "postprocessing": {"_target_": "Compose", "transforms": after},
        **changed,
    }  # fmt: skip
    image = {"type": "image", "modality": "CT", "num_channels": 1, "spatial_shape": [16, 16, 16]}
    answer = {"format": "segmentation", "channel_def": {"0": "background", "1": "liver"}}
    formats = {"inputs": {"image": image}, "outputs": {"pred": answer}}
    metadata = {"version": "0.1.0", "name": "Bright", "network_data_format": formats, **where}
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True)
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    (folder / "configs" / "inference.json").write_text(json.dumps(configuration))
    weight = torch.tensor([0.0, 40.0]).reshape(2, 1, 1, 1, 1)
    torch.save({"weight": weight, "bias": torch.tensor([0.0, -12.0])}, folder / "models/model.pt")
    return folder
