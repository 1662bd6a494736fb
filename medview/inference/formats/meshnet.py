"""MeshNet networks as brainchop publishes them: `model.json`, weights, and a list of labels.

MeshNet (Fedorov et al., arXiv:1612.00940) is a chain of dilated 3D convolutions over a whole head
of 256 x 256 x 256 voxels of 1 mm; `model.json` gives each layer's kernel, padding and dilation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medview.core.errors import ModelError
from medview.core.models import InputSpec, ModelCard, Scope
from medview.inference.formats.described import (
    channels_of,
    foreign_card,
    is_number_list,
    read_json,
)

ENGINE = "medview.inference.engines.meshnet:Engine"
#: Edge of the cube that such a network looks at, and its voxels.
SIDE, SPACING_MM = 256, (1.0, 1.0, 1.0)
_LAYER = ("in_channels", "out_channels", "kernel_size", "padding", "dilation")
_WEIGHTS = (".safetensors", ".pth", ".pt")


def describe(folder: Path) -> ModelCard | None:
    """The card of a folder with a MeshNet in it; None if there is none, ModelError if damaged."""
    if not (folder / "model.json").is_file():
        return None
    model = read_json(folder / "model.json")
    if not _is_chain(model.get("layers")):
        return None
    layers = model["layers"]
    if any(layer.get("stride", 1) != 1 for layer in layers):
        raise ModelError(f"{folder.name} has strides; a MeshNet has none.")
    weights = _weights_of(folder)
    count = int(layers[-1]["out_channels"])
    names, colors = _labels_of(folder, count)
    return foreign_card(
        folder,
        kind="MeshNet of brainchop",
        engine=ENGINE,
        weights=weights,
        channels=channels_of(names, colors),
        intended_use=str(model.get("header") or ""),
        limitations=(
            "Made for T1-weighted MR of whole heads; the image is brought to 256 x 256 x 256"
            " voxels of 1 mm first.",
        ),
        scope=Scope(modality=("MR",), body_part=("HEAD", "BRAIN"), weighting=("T1",)),
        inputs=InputSpec(
            orientation="LIA",
            spacing_mm=SPACING_MM,
            patch_shape=(SIDE, SIDE, SIDE),
            intensity={"method": "quantiles", "low_percent": 2, "high_percent": 98},
            along_body=True,
        ),
        authors="brainchop (neuroneural)",
    )


def _is_chain(layers: Any) -> bool:
    """Whether a JSON value is the list of layers of a MeshNet."""
    if not isinstance(layers, list) or len(layers) < 2:
        return False
    return all(
        isinstance(layer, dict) and all(type(layer.get(key)) is int for key in _LAYER)
        for layer in layers
    )


def _weights_of(folder: Path) -> str:
    found = sorted(
        path.name for path in folder.iterdir() if path.is_file() and path.suffix in _WEIGHTS
    )
    if len(found) != 1:
        what = "no weights" if not found else f"several weight files ({', '.join(found)})"
        raise ModelError(f"{folder.name} is a MeshNet with {what}.")
    return found[0]


def _labels_of(folder: Path, count: int) -> tuple[dict[int, str], dict[int, tuple[int, int, int]]]:
    """Names and colours by label; of several lists the one with as many names as outputs.

    A network whose outputs are not counted (-1) and not named tells one thing from the rest.
    """
    for path in sorted(folder.glob("*.json")):
        if path.name == "model.json":
            continue
        listed = read_json(path)
        labels = listed.get("labels")
        if not isinstance(labels, list) or not all(isinstance(name, str) for name in labels):
            continue
        if count in (-1, len(labels)):
            return dict(enumerate(labels)), _colors_of(listed, len(labels))
    plain = {number: f"Label {number}" for number in range(2 if count == -1 else count)}
    return plain, {}


def _colors_of(listed: dict[str, Any], count: int) -> dict[int, tuple[int, int, int]]:
    parts = [listed.get(letter) for letter in "RGB"]
    if not all(is_number_list(part, count) for part in parts):
        return {}
    triples = zip(*parts, strict=True)
    return {
        number: (int(r) & 255, int(g) & 255, int(b) & 255)
        for number, (r, g, b) in enumerate(triples)
    }
