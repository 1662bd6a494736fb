"""Boxes around what another network finds, what is cut out of them and what is put back."""

import pytest
import torch
from torch import nn

from medview.inference.networks.finding import Finder, cut_out, put_back


class Bright(nn.Module):
    """Finds what lies above the mean."""

    divisor = 8

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        assert image.shape[2] % 8 == image.shape[3] % 8 == 0
        return torch.cat([torch.zeros_like(image), image - 0.5], dim=1)


def finder() -> Finder:
    made = Finder(
        "medview.inference.networks.unet.UNet2d", {"out_channels": 2, "widths": [2, 4]}, 100
    )
    made.network = Bright()
    return made


def test_the_box_reaches_a_little_over_what_was_found_in_a_picture_of_any_shape() -> None:
    picture = torch.zeros(1, 1, 300, 200)
    picture[..., 60:240, 80:180] = 1.0
    picture[..., 290, 5] = 1.0  # a stray piece
    box = finder()(picture)[0]
    high, wide = 0.6, 0.5
    margin = 0.08
    expected = [0.2 - margin * high, 0.4 - margin * wide, 0.8 + margin * high, 0.9 + margin * wide]
    torch.testing.assert_close(box, torch.tensor(expected), atol=0.03, rtol=0)


@pytest.mark.parametrize("found", [0, 10])
def test_the_whole_picture_is_taken_where_next_to_nothing_is_found(found: int) -> None:
    picture = torch.zeros(1, 1, 96, 96)
    picture[..., :found, :found] = 1.0
    assert finder()(picture).tolist() == [[0.0, 0.0, 1.0, 1.0]]


def test_it_stays_as_it_is_whatever_is_trained_around_it() -> None:
    made = Finder(
        "medview.inference.networks.unet.UNet2d",
        {"out_channels": 2, "widths": [2, 4], "norm": "batch"},
        32,
    )
    before = {name: value.clone() for name, value in made.state_dict().items()}
    made.train()
    made(torch.randn(2, 1, 40, 40))
    assert all(torch.equal(before[name], value) for name, value in made.state_dict().items())
    assert not any(parameter.requires_grad for parameter in made.parameters())


def test_what_is_cut_out_is_what_lies_in_the_box() -> None:
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(60.0), indexing="ij")
    image = torch.stack([rows, columns])[None]
    boxes = torch.tensor([[0.25, 0.5, 0.75, 1.0]])  # rows 10 to 30, columns 30 to 60
    inner = cut_out(image, boxes, 10)
    torch.testing.assert_close(inner[0, 0, :, 0], 10.0 + 2 * torch.arange(10) + 0.5)
    torch.testing.assert_close(inner[0, 1, 0], (30.0 + 3 * torch.arange(10) + 1.0))


def test_what_is_put_back_keeps_its_sum_and_its_place() -> None:
    shares = torch.randn((2, 3, 7, 7), generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.31, 0.4, 0.77, 0.95]])
    maps = put_back(shares, boxes, 50)
    torch.testing.assert_close(maps.mean(dim=(2, 3)), shares.sum(dim=(2, 3)))
    outside = maps[1].clone()
    outside[:, 15:39, 20:48] = 0.0
    assert not outside.any()
    assert maps[1, :, 15:39, 20:48].abs().sum() > 0
