"""Where in a picture what matters lies: a box around what another network finds."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from medview.imaging.intensity import normalise
from medview.inference.networks.building import build_network
from medview.inference.networks.pictures import fitted_shape, resized
from medview.inference.networks.windows import continued

#: This share of the found area may lie outside of the box at each of its four sides: stray pieces.
_OUTSIDE = 0.01
#: The box is made wider by this share of its sides, at each of them.
_MARGIN = 0.08
#: A box narrower than this share of the picture is not believed.
_LEAST = 0.25


class Finder(nn.Module):
    """A box around what a network of segmentation finds; (N, 1, h, w) to boxes (N, 4).

    `network` is made with `arguments`, looks at pictures that fit into `size_px` and answers with
    logits, background first. It is not trained any further. Boxes are top, left, bottom, right,
    in shares of the picture; the whole picture where next to nothing is found.
    """

    def __init__(self, network: str, arguments: Mapping[str, Any], size_px: int) -> None:
        super().__init__()
        self.network = build_network(network, arguments).requires_grad_(requires_grad=False)
        self.size_px = size_px

    def train(self, mode: bool = True) -> "Finder":
        """Stay as it is, whatever is trained around it."""
        del mode
        return super().train(mode=False)

    @torch.no_grad()
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Give the boxes."""
        return torch.stack([_box_around(self._found(one)) for one in image])

    def _found(self, picture: torch.Tensor) -> torch.Tensor:
        """Give where in a picture (1, h, w) something is found, on the network's own grid."""
        rows, columns = fitted_shape(picture.shape[1:], (self.size_px, self.size_px))
        small = normalise(
            resized(picture, (rows, columns)).cpu().numpy(),
            {"method": "percentile_zscore", "low_percent": 0.5, "high_percent": 99.5},
        )
        divisor = int(getattr(self.network, "divisor", 1))
        sides = [-(-side // divisor) * divisor for side in (rows, columns)]
        answer = self.network(continued(torch.from_numpy(small)[None].to(picture.device), sides))
        found: torch.Tensor = answer[0, :, :rows, :columns].argmax(dim=0) > 0
        return found


def _box_around(found: torch.Tensor) -> torch.Tensor:
    """Give top, left, bottom, right of what is found (h, w), in shares of the sides."""
    ends = [_ends(found.sum(dim=other)) for other in (1, 0)]
    box = torch.stack([low for low, _ in ends] + [high for _, high in ends])
    sides = (box[2:] - box[:2]).tolist()
    if not min(sides) >= _LEAST:
        return torch.tensor([0.0, 0.0, 1.0, 1.0], device=found.device)
    return box.clamp(0.0, 1.0)


def _ends(profile: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Give between which shares of an axis all but next to nothing of a profile lies."""
    summed = profile.cumsum(0) / profile.sum().clamp(min=1)
    low = (summed < _OUTSIDE).sum() / len(profile)
    high = ((summed < 1.0 - _OUTSIDE).sum() + 1) / len(profile)
    widened = _MARGIN * (high - low)
    return low - widened, high + widened


def cut_out(image: torch.Tensor, boxes: torch.Tensor, side: int) -> torch.Tensor:
    """Give what lies in the boxes (N, 4) of pictures (N, C, h, w), as (N, C, side, side)."""
    steps = (torch.arange(side, device=image.device) + 0.5) / side
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    places = 2 * (low + steps[:, None] * (high - low)) - 1  # (N, side, 2): rows, columns
    rows = places[:, :, None, 0].expand(-1, -1, side)
    columns = places[:, None, :, 1].expand(-1, side, -1)
    grid = torch.stack([columns, rows], dim=-1)
    return functional.grid_sample(image, grid, padding_mode="border", align_corners=False)


def put_back(shares: torch.Tensor, boxes: torch.Tensor, side: int) -> torch.Tensor:
    """Spread shares (N, C, r, c) of places of the boxes over pictures, as (N, C, side, side).

    The mean over a picture is the sum of the shares; 0 outside of the box.
    """
    maps = []
    for share, (top, left, bottom, right) in zip(shares, boxes.tolist(), strict=True):
        rows = _covers(top, bottom, share.shape[1], side)
        columns = _covers(left, right, share.shape[2], side)
        spread = torch.einsum("krc,rh,cw->khw", share, rows.to(share), columns.to(share))
        maps.append(spread * side * side)
    return torch.stack(maps)


def _covers(low: float, high: float, cells: int, side: int) -> torch.Tensor:
    """Give which part of each cell between two shares of an axis lies on which pixel."""
    edges = torch.linspace(low * side, high * side, cells + 1)
    pixels = torch.arange(side)
    starts = torch.maximum(edges[:-1, None], pixels[None])
    ends = torch.minimum(edges[1:, None], pixels[None] + 1)
    covered = (ends - starts).clamp(min=0)
    return covered / covered.sum(dim=1, keepdim=True)
