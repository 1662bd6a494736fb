"""A classifier of pictures by the directions of their edges, for few pictures to learn from."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from medview.inference.networks.finding import Finder, cut_out, put_back

#: Keeps flat blocks flat: of the size of the noise of a picture whose values vary by 1.
_FLAT = 0.1
#: The entries of a block of length 1 differ by about a tenth.
_SPREAD = 10.0
#: How much of the mean over the pictures learned from comes from the last few of them.
_PACE = 0.05
#: The side of a map of evidence about a picture and a box in it.
_MAP_PX = 56


class _PlaceWeights(nn.Module):
    """A weight for every feature of every place; (N, F, r, c) to shares (N, classes, r, c).

    What counts is how far a feature is from its mean over the pictures learned from: a place that
    looks as it mostly does has no share.
    """

    mean: torch.Tensor

    def __init__(self, features: int, side: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.weight = nn.Parameter(torch.zeros(classes, features, side, side))
        self.register_buffer("mean", torch.zeros(features, side, side))

    def forward(self, found: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.mean.lerp_(found.detach().mean(dim=0), _PACE)
        unusual = self.dropout(found - self.mean)
        shares: torch.Tensor = torch.einsum("nfrc,kfrc->nkrc", unusual, self.weight)
        return shares


class GradientHistograms(nn.Module):
    """Histograms of oriented gradients, and one weight for each; (N, 1, h, w) to (N, classes).

    The picture is cut into `cells` x `cells` parts; in each, the strength of edges is summed by
    direction (`bins` over half a turn); four neighbouring cells together are brought to length 1.
    Dalal & Triggs: Histograms of oriented gradients for human detection. CVPR (2005), with mean
    instead of weighted sums. Only the last layer is learned, so a few hundred pictures are enough.
    With the arguments of a `finder` (see `Finder`) the same is done once more for what lies in its
    box, brought to `framed_px` pixels: each place there is the same part of the body.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 2,
        cells: int = 8,
        bins: int = 9,
        dropout: float = 0.0,
        finder: Mapping[str, Any] | None = None,
        framed_px: int = 256,
    ) -> None:
        if in_channels != 1:
            raise ValueError("edges are looked for in grey pictures alone")
        super().__init__()
        self.cells, self.bins, self.framed_px = cells, bins, framed_px
        self.places = _PlaceWeights(4 * bins, cells - 1, classes, dropout)
        self.bias = nn.Parameter(torch.zeros(classes))
        self.finder = Finder(**finder) if finder else None
        if finder:
            self.framed = _PlaceWeights(4 * bins, cells - 1, classes, dropout)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Give logits."""
        return sum((shares.sum(dim=(2, 3)) for shares, _ in self._shares(image)), self.bias)

    def evidence(self, image: torch.Tensor) -> torch.Tensor:
        """Give the share of every place in the logits, (N, classes, r, c); they are its mean."""
        looked_at = self._shares(image)
        if len(looked_at) == 1:
            shares = looked_at[0][0]
            return shares * shares[0, 0].numel() + self.bias[:, None, None]
        maps = (put_back(shares, boxes, _MAP_PX) for shares, boxes in looked_at)
        return sum(maps, self.bias[:, None, None])

    def _shares(self, image: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Give the shares of every place (N, classes, r, c), and the boxes that the places fill."""
        whole = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(len(image), 4)
        shares = [(self.places(self._blocks(image)), whole)]
        if self.finder is not None:
            boxes = self.finder(image)
            inner = cut_out(image, boxes, self.framed_px)
            shares.append((self.framed(self._blocks(inner)), boxes))
        return shares

    def _blocks(self, image: torch.Tensor) -> torch.Tensor:
        """Give the histograms of 2 x 2 cells at length 1, (N, 4 bins, cells - 1, cells - 1)."""
        edged = functional.pad(image, (1, 1, 1, 1), mode="replicate")
        across = (edged[:, 0, 1:-1, 2:] - edged[:, 0, 1:-1, :-2]) / 2
        down = (edged[:, 0, 2:, 1:-1] - edged[:, 0, :-2, 1:-1]) / 2
        strength = torch.sqrt(across.square() + down.square() + 1e-12)
        turn = torch.atan2(down, across) * (self.bins / math.pi)  # opposite edges: same direction
        below = turn.floor()
        share = turn - below  # of the strength, to the next bin; the rest to this one
        first = below.long() % self.bins
        places = self._cell_of_each(image) * self.bins
        cells = torch.zeros(len(image) * self.cells**2 * self.bins, device=image.device)
        cells = cells.scatter_add(0, (places + first).flatten(), ((1 - share) * strength).flatten())
        second = (first + 1) % self.bins
        cells = cells.scatter_add(0, (places + second).flatten(), (share * strength).flatten())
        histograms = cells.view(len(image), self.cells, self.cells, self.bins).movedim(3, 1)
        whole = functional.unfold(histograms, 2)
        whole = whole / (whole.square().sum(dim=1, keepdim=True) + _FLAT).sqrt()
        # About mean 0 and variance 1, were all directions alike.
        even = (whole - 1 / math.sqrt(whole.shape[1])) * _SPREAD
        side = self.cells - 1
        return even.reshape(len(image), -1, side, side)

    def _cell_of_each(self, image: torch.Tensor) -> torch.Tensor:
        """Give the number of the cell that every pixel lies in, (N, h, w)."""
        count, _, height, width = image.shape
        row = torch.arange(height, device=image.device) * self.cells // height
        column = torch.arange(width, device=image.device) * self.cells // width
        picture = torch.arange(count, device=image.device)[:, None, None]
        return (picture * self.cells + row[:, None]) * self.cells + column
