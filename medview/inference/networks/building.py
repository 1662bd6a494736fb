"""Networks made by name: ours, and those of MONAI."""

import importlib
import inspect
import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn

from medview.core.errors import ModelError

_OUR_NETWORKS = "medview.inference.networks."
_MONAI_NETWORKS = "monai.networks.nets."

#: What the sides of an image are made a multiple of for a network that does not say by what it
#: divides them: five halvings are the most that is usual.
_USUAL_DIVISOR = 32

#: What constructors and layers raise where arguments or sizes do not suit them.
_MISFITS = (
    *(ImportError, AttributeError, TypeError, ValueError),
    *(RuntimeError, LookupError, AssertionError),
)


def build_network(class_name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Make one of our own networks, or one of MONAI's, by name.

    Names outside `medview.inference.networks` and `monai.networks.nets` are refused, and so is
    what would fetch weights from elsewhere: nothing of a model folder may start a download.
    """
    if not class_name.startswith((_OUR_NETWORKS, _MONAI_NETWORKS)):
        raise ModelError(f"The network {class_name} is neither one of medview's own nor MONAI's.")
    module_name, _, name = class_name.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module_name), name)
        if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
            raise TypeError(f"{name} is not a network")
        _refuse_downloads(kind, arguments)
        network: nn.Module = kind(**arguments)
    except _MISFITS as error:
        raise ModelError(
            f"The network {class_name} cannot be built as the model asks.", detail=repr(error)
        ) from error
    if not hasattr(network, "divisor") and class_name.startswith(_MONAI_NETWORKS):
        cast("Any", network).divisor = _divisor(kind, arguments)
    return network


def _refuse_downloads(kind: type[nn.Module], arguments: Mapping[str, Any]) -> None:
    """Refuse weights from elsewhere, asked for or fetched unless one says no."""
    for name, parameter in inspect.signature(kind).parameters.items():
        usual = parameter.default is not parameter.empty and parameter.default
        if name.startswith("pretrained") and arguments.get(name, usual):
            raise ModelError(
                f"The network {kind.__name__} asks for weights from elsewhere.",
                hint=f"Set {name} = false, and name a file of weights in network.weights.",
            )


def _divisor(kind: type[nn.Module], arguments: Mapping[str, Any]) -> int:
    """Give what every side should be a multiple of: by its strides, or as is usual.

    1 for a network that does not answer with a map, which takes any size or one only.
    """
    if not _answers_in_maps(kind, arguments):
        return 1
    strides = arguments.get("strides") or ()
    steps = [max(step) if isinstance(step, list | tuple) else int(step) for step in strides]
    return math.prod(steps) if steps else _USUAL_DIVISOR


def _answers_in_maps(kind: type[nn.Module], arguments: Mapping[str, Any]) -> bool:
    """Ask a copy without memory or numbers, which costs next to nothing."""
    axes, channels = arguments.get("spatial_dims", 3), arguments.get("in_channels", 1)
    try:
        with torch.device("meta"):
            shape = (1, channels, *[2 * _USUAL_DIVISOR] * axes)
            answer = kind(**arguments).eval()(torch.zeros(shape))
    except _MISFITS:  # it takes images of another size only
        return False
    return isinstance(answer, torch.Tensor) and answer.ndim == len(shape)
