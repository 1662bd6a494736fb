"""A model folder's network: loaded with its checksum checked, and asked about one crop."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from torch import nn

from medview.core.errors import ModelError
from medview.imaging.crops import largest_piece
from medview.inference.networks.averaging import FlipAverage
from medview.inference.networks.building import build_network
from medview.inference.networks.windows import Windowed

#: What the tensors of an ensemble's first member are called.
_FIRST = "members.0."


def read_metadata(folder: Path) -> dict[str, Any]:
    """Read `configs/metadata.json` of a model folder; ModelError if it has no medview block."""
    try:
        metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
        metadata["medview"]["network"]["class"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"The model folder {folder.name} has no usable metadata.", detail=repr(error)
        ) from error
    result: dict[str, Any] = metadata
    return result


def read_flips(metadata: dict[str, Any]) -> tuple[int, ...]:
    """Give the axes along which the model is asked about a mirrored crop as well: `medview.flips`.

    They are axes of the crop in the model's `preprocess.orientation`.
    """
    return tuple(int(axis) for axis in metadata["medview"].get("flips", ()))


def load_network(folder: Path, device: str = "cpu") -> nn.Module:
    """Give the network of a model folder for images of any size, in windows of its `patch`.

    Refuses as `load_trained` does.
    """
    patch = read_metadata(folder)["medview"]["patch"]
    return Windowed(load_trained(folder, device), patch).eval().to(device)


def load_trained(folder: Path, device: str = "cpu") -> nn.Module:
    """Build the network of a model folder in float32, in evaluation mode, on `device`.

    Refuses with ModelError: weights whose SHA-256 is not the one the metadata states, weights
    that do not fit the network, a network that is not ours. No code of the folder is run.
    """
    block = read_metadata(folder)["medview"]
    network = build_network(block["network"]["class"], block["network"].get("args", {}))
    try:
        content = (folder / block["weights"]["file"]).read_bytes()
        stated = block["weights"]["sha256"]
    except (OSError, KeyError, TypeError) as error:
        raise ModelError(
            f"The weights of {folder.name} are missing.", detail=repr(error)
        ) from error
    if hashlib.sha256(content).hexdigest() != stated:
        raise ModelError(
            f"The weights of {folder.name} are not the ones it was released with.",
            hint="Install the model again.",
        )
    _put_weights(network, content, folder.name)
    return network.eval().to(device)


def load_weights(network: nn.Module, path: Path) -> None:
    """Put the tensors of a safetensors file into a network; ModelError if they do not fit.

    Of a file that holds an ensemble a single network gets its first member.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"The weights {path.name} are missing.", detail=str(error)) from error
    _put_weights(network, content, path.name, one_member=True)


def _put_weights(
    network: nn.Module, content: bytes, name: str, *, one_member: bool = False
) -> None:
    try:
        tensors = safetensors.torch.load(content)
        if one_member and not any(key.startswith(_FIRST) for key in network.state_dict()):
            first = {k.removeprefix(_FIRST): v for k, v in tensors.items() if k.startswith(_FIRST)}
            tensors = first or tensors
        network.load_state_dict({key: value.float() for key, value in tensors.items()})
    except (safetensors.SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"The weights of {name} do not fit its network.", detail=str(error)
        ) from error


def predict(
    network: nn.Module, crop: npt.NDArray[np.float32], flips: Sequence[int] = ()
) -> npt.NDArray[np.float32]:
    """Give class probabilities (C, x, y, z) of one normalised crop (x, y, z).

    The crop's axes are those of the model's `preprocess.orientation`, its spacing the model's.
    `flips` lists axes along which a mirrored crop is also asked and averaged in.
    """
    device = next(network.parameters()).device
    image = torch.from_numpy(np.ascontiguousarray(crop, dtype=np.float32))[None, None].to(device)
    with torch.inference_mode():
        answer = FlipAverage(network, flips)(image)
    result: npt.NDArray[np.float32] = answer[0].float().cpu().numpy()
    return result


def label_map(
    probabilities: npt.NDArray[np.float32], *, keep_largest: bool = False
) -> npt.NDArray[np.uint8]:
    """Give the most probable class of each voxel, (C, x, y, z) to (x, y, z); 0 is background.

    With `keep_largest` only the largest connected piece of all structures together stays
    (by faces): a crop shows one object, and islands apart from it are mistakes.
    """
    labels: npt.NDArray[np.uint8] = probabilities.argmax(axis=0).astype(np.uint8)
    if keep_largest:
        labels[~largest_piece(labels > 0)] = 0
    return labels
