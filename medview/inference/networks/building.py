"""Networks made by name: ours only."""

import importlib
from collections.abc import Mapping
from typing import Any

from torch import nn

from medview.core.errors import ModelError

_OUR_NETWORKS = "medview.inference.networks."


def build_network(class_name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Make one of our own networks by name; names outside `medview.inference.networks` refused."""
    if not class_name.startswith(_OUR_NETWORKS):
        raise ModelError(f"The network {class_name} is not one of medview's own.")
    module_name, _, name = class_name.rpartition(".")
    try:
        network = getattr(importlib.import_module(module_name), name)(**arguments)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ModelError(
            f"The network {class_name} cannot be built as the model asks.", detail=repr(error)
        ) from error
    if not isinstance(network, nn.Module):
        raise ModelError(f"{class_name} is not a network.")
    return network
