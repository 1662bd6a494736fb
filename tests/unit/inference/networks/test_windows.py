"""Windows: they cover every voxel, and a network that sees single voxels cannot tell them."""

import pytest
import torch
from torch import nn

from medview.inference.networks.unet import UNet3d
from medview.inference.networks.windows import Windowed, windows_over


class Sizes(nn.Module):
    """Passes images through and remembers how large they were."""

    divisor = 4

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.seen.append(tuple(image.shape[2:]))
        return 2 * image


@pytest.mark.parametrize("size", [(8, 8, 8), (9, 11, 10), (5, 8, 30), (3, 3, 3)])
def test_every_voxel_is_answered_as_if_there_were_no_windows(size):
    image = torch.randn(1, 1, *size)
    torch.testing.assert_close(Windowed(Sizes(), (8, 8, 8))(image), 2 * image)


@pytest.mark.parametrize(
    ("size", "window", "number"),
    [
        ((8, 8, 8), (8, 8, 8), 1),
        ((9, 8, 11), (8, 8, 8), 4),
        ((3, 5, 8), (4, 8, 8), 1),
        ((9, 8, 12), (12, 8, 12), 1),  # half as large again: seen as a whole
    ],
)
def test_close_crops_are_asked_in_windows_of_the_training_size_and_larger_images_whole(
    size, window, number
):
    network = Sizes()
    Windowed(network, (8, 8, 8))(torch.zeros(1, 1, *size))
    assert network.seen == [window] * number


def test_one_window_is_the_network_itself():
    torch.manual_seed(0)
    network = UNet3d(1, 3, (4, 8)).eval()
    image = torch.randn(1, 1, 8, 8, 8)
    torch.testing.assert_close(Windowed(network, (8, 8, 8))(image), network(image))


@pytest.mark.parametrize(
    ("size", "side", "overlap", "step"),
    [
        ((20, 9), (8, 8), 0.25, 4),
        ((5,), (8,), 0.5, 1),
        ((33,), (10,), 0.34, 4),
        ((8,), (8,), 0.3, 2),
    ],
)
def test_cores_of_windows_are_the_grid_each_place_once(size, side, overlap, step):
    count = torch.zeros(size)
    for window in windows_over(size, side, overlap, step):
        count[window.core] += 1
        for place, core, most, end in zip(window.place, window.core, side, size, strict=True):
            assert place.start <= core.start < core.stop <= place.stop <= end
            assert place.start % step == 0
            assert place.stop - place.start <= most
            # A core keeps away from an inner edge by nearly half of what is shared.
            shared = most * overlap / 2 - 1
            assert place.start == 0 or core.start - place.start >= shared
            assert place.stop == end or place.stop - core.stop >= shared
    assert (count == 1).all()
