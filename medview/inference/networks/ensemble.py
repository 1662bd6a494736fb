"""Several networks of one kind that answer as one."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn

from medview.inference.networks.building import build_network
from medview.inference.networks.classifiers import Explains


class Ensemble(nn.Module):
    """The mean of what `count` networks of one kind answer, before softmax or sigmoid.

    Made from cross-validation: each member has learned without one fold of the people, so a
    person it never saw can be judged by it alone, and a new person by all.
    """

    def __init__(self, network: str, arguments: Mapping[str, Any], count: int) -> None:
        super().__init__()
        if count < 1:
            raise ValueError("an ensemble needs a member")
        self.members = nn.ModuleList(build_network(network, arguments) for _ in range(count))
        self.divisor = int(getattr(self.members[0], "divisor", 1))

    def evidence(self, image: torch.Tensor) -> torch.Tensor:
        """Give the mean of the members' evidence, for members that have one."""
        members = (cast("Explains", member) for member in self.members)
        return torch.stack([member.evidence(image) for member in members]).mean(dim=0)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Give the mean answer."""
        return torch.stack([member(image) for member in self.members]).mean(dim=0)
