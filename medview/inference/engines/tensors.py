"""Weights of others as plain tensors: nothing that a weight file holds is ever run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from medview.core.errors import ModelError

#: Under which of these names training programs put the network's tensors.
_NAMES = ("model_state_dict", "state_dict", "network_weights", "model", "net", "network")


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a weight file by name: safetensors, whatever it is called, or a checkpoint.

    Checkpoints are read with `weights_only`; ModelError for those that need more than that, and
    for files without named tensors.
    """
    try:
        with path.open("rb") as file:
            head = file.read(9)
        if head[8:9] == b"{":  # eight bytes of length, then JSON: safetensors
            return dict(safetensors.torch.load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (safetensors.SafetensorError, RuntimeError, OSError, EOFError, ValueError) as error:
        raise ModelError(
            f"The weights {path.name} cannot be read.", detail=type(error).__name__
        ) from error
    except Exception as error:  # what cannot be unpickled safely raises an error of pickle's own
        if type(error).__name__ != "UnpicklingError":
            raise
        raise ModelError(
            f"The weights {path.name} hold more than tensors; such a file is a program and is"
            " not loaded.",
            hint="Ask those who publish it for safetensors.",
        ) from error
    return _tensors_in(content, path.name)


def _tensors_in(content: Any, name: str) -> dict[str, torch.Tensor]:
    if isinstance(content, Mapping):
        for key in _NAMES:
            if isinstance(content.get(key), Mapping):
                content = content[key]
                break
        tensors = {str(key): value for key, value in content.items()
                   if isinstance(value, torch.Tensor)}  # fmt: skip
        if tensors:
            return tensors
    raise ModelError(f"The weights {name} hold no named tensors.")
