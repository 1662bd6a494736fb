"""Model folders whose networks have weights written by hand, so that every answer is known.

Normalised pictures have mean 0 and standard deviation 1. All networks pass the brightness of the
first channel on, unchanged where it is above 0.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from medview.core.models import ModelCard
from medview.inference.catalog import load_card
from medview.inference.networks.building import build_network

PLAIN = {"method": "percentile_zscore", "low_percent": 0, "high_percent": 100}
_OURS = "medview.inference.networks."


def quiet(network: nn.Module) -> None:
    """Every weight 0; norms change nothing."""
    for name, value in network.state_dict().items():
        if "running_var" in name:
            value.fill_(1.0)
        elif value.dtype.is_floating_point:
            value.zero_()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d | nn.BatchNorm3d):
            part.weight.data.fill_(1.0)


def passing(convolution: nn.Module, weight: float = 1.0) -> None:
    """The first channel goes through a convolution as it is."""
    assert isinstance(convolution, nn.Conv2d | nn.Conv3d)
    middle = tuple(size // 2 for size in convolution.kernel_size)
    convolution.weight.data[(0, 0, *middle)] = weight


def evenly(convolution: nn.Module) -> None:
    """The mean of the first channel over all that a convolution sees."""
    assert isinstance(convolution, nn.Conv2d | nn.Conv3d)
    convolution.weight.data[0, 0] = 1.0 / convolution.weight.data[0, 0].numel()


def bright_share(network: nn.Module) -> None:
    """A ResidualClassifier of one width: logits of its classes from the mean of what is above 0.

    Half bright, half dark has a mean of 0.5, a share p of bright pixels sqrt(p (1 - p)). Class n
    gets 20 n (mean - 0.3).
    """
    quiet(network)
    passing(network.features[0])  # type: ignore[index, operator, union-attr]
    classes = network.output.weight.shape[0]  # type: ignore[union-attr]
    for number in range(classes):
        network.output.weight.data[number, 0] = 20.0 * number  # type: ignore[union-attr]
        network.output.bias.data[number] = -6.0 * number  # type: ignore[union-attr]


def bright_spots(reach_px: float) -> Callable[[nn.Module], None]:
    """A CentreDetector: a middle wherever a cell is brighter than its neighbours and than 1.5.

    The box reaches equally far to all sides; the logit is 4 (brightness - 1.5).
    """

    def write(network: Any) -> None:
        quiet(network)
        evenly(network.stem[0])
        evenly(network.reduce)
        passing(network.body.stem[0])
        passing(network.body.merge[0][0])
        passing(network.body.head)
        passing(network.head[1])
        network.middles.weight.data[0, 0] = 4.0
        network.middles.bias.data[:] = -9.0
        network.middles.bias.data[0] = -6.0
        network.reaches.bias.data[:] = float(torch.tensor(reach_px).log())

    return write


def bright_objects(network: Any) -> None:
    """A UNet2d of two outputs: foreground above 0.2, deep above 1.2."""
    quiet(network)
    passing(network.stem[0])
    passing(network.merge[0][0])
    network.head.weight.data[:, 0] = 20.0
    network.head.bias.data[:] = torch.tensor([-4.0, -24.0])


def write_known_model(
    folder: Path,
    engine: str,
    network: str,
    arguments: Mapping[str, Any],
    write: Callable[[nn.Module], None],
    classes: Sequence[str],
    **more: Any,
) -> tuple[ModelCard, Path]:
    """A folder for one of our engines with these weights; its card, and where it lies.

    `more` goes into the medview block; `patch`, `preprocess` and `scope` are merged.
    """
    model = folder / f"known_{engine}"
    (model / "configs").mkdir(parents=True, exist_ok=True)
    (model / "models").mkdir(exist_ok=True)
    made = build_network(_OURS + network, arguments)
    members = getattr(made, "members", [made])
    with torch.no_grad():
        for member in members:
            write(member)
    content = safetensors.torch.save({k: v.contiguous() for k, v in made.state_dict().items()})
    (model / "models" / "model.safetensors").write_bytes(content)
    first = 0 if engine == "classification" else 1
    block = {
        "id": f"known_{engine}",
        "engine": engine,
        "network": {"class": _OURS + network, "args": dict(arguments)},
        "weights": {
            "file": "models/model.safetensors",
            "sha256": hashlib.sha256(content).hexdigest(),
        },
        "preprocess": {"channels": 1, "size_px": [], "intensity": PLAIN},
        "patch": [32, 32],
        "classes": list(classes),
        "outputs": [
            {
                "index": index,
                "label": name,
                "code": {"value": str(index + 1), "scheme": "99TEST", "meaning": name},
                "color_rgb": [200, 60, 60],
            }
            for index, name in enumerate(classes, start=first)
        ],
        "scope": {"modality": []},
        "limits": ["Weights written by hand."],
        "licence": "none",
    }
    block["preprocess"] |= more.pop("preprocess", {})  # type: ignore[operator]
    metadata = {
        "version": "1",
        "name": "Known",
        "intended_use": "Tests.",
        "medview": block | more,
    }
    (model / "configs" / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    return load_card(model), model
