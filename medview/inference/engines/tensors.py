"""Weights of others as plain tensors: nothing that a weight file holds is ever run."""

import _codecs
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251  (the error alone)
from typing import Any

import numpy as np
import safetensors.torch
import torch

from medview.core.errors import ModelError

#: Under which of these names training programs put the network's tensors.
_NAMES = ("model_state_dict", "state_dict", "network_weights", "model", "net", "network")


#: Beside tensors, checkpoints of training programs hold NumPy's numbers: harmless, and allowed.
_NUMBERS: list[Any] = [
    np.dtype,
    np.ndarray,
    _codecs.encode,
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
    *(type(np.dtype(name)) for name in ("f4", "f8", "i4", "i8", "u1", "?")),
]


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a weight file by name: safetensors, whatever it is called, or a checkpoint.

    ModelError for files without named tensors and for what `load_checkpoint` refuses.
    """
    try:
        with path.open("rb") as file:
            head = file.read(9)
        if head[8:9] == b"{":  # eight bytes of length, then JSON: safetensors
            return dict(safetensors.torch.load_file(path))
    except (safetensors.SafetensorError, OSError) as error:
        raise ModelError(
            f"The weights {path.name} cannot be read.", detail=type(error).__name__
        ) from error
    return _tensors_in(load_checkpoint(path), path.name)


def load_checkpoint(path: Path) -> Any:
    """What a file of `torch.save` holds, read with `weights_only`, on the CPU.

    ModelError for a file that is none, and for one that holds more than tensors, numbers, texts
    and lists of them: to read it would be to run it.
    """
    try:
        with torch.serialization.safe_globals(_NUMBERS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ModelError(
            f"The weights {path.name} hold more than tensors; such a file is a program and is"
            " not loaded.",
            hint="Ask those who publish it for safetensors.",
            detail=str(error)[:400],
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        raise ModelError(
            f"The weights {path.name} cannot be read.", detail=type(error).__name__
        ) from error


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
