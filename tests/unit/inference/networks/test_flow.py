"""The network of motion: its parts against what they are by definition."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional

from medview.inference.networks.flow import (
    FlowNet,
    Smoother,
    blurred,
    scaled,
    slopes,
    warped,
)
from medview.inference.networks.readings import FlatRecipe, motion_between, write_answers
from tests.helpers.moving import beating_frames


def picture(rows: int = 40, columns: int = 56, seed: int = 0) -> torch.Tensor:
    noise = np.random.default_rng(seed).normal(size=(rows, columns))
    return torch.from_numpy(ndimage.gaussian_filter(noise, 2).astype(np.float32))[None, None]


def test_warping_shows_what_stood_where_the_motion_points():
    """Against spline-free linear interpolation by scipy, at places between pixels."""
    image = picture()
    flow = torch.randn(1, 2, 40, 56, generator=torch.Generator().manual_seed(1))
    rows, columns = np.mgrid[:40, :56].astype(float)
    places = [rows + flow[0, 1].numpy(), columns + flow[0, 0].numpy()]
    expected = ndimage.map_coordinates(image[0, 0].numpy(), places, order=1, mode="nearest")
    assert warped(image, flow)[0, 0].numpy() == pytest.approx(expected, abs=1e-5)


def test_blurring_is_a_gaussian_with_its_edge_continued():
    image = picture()
    expected = ndimage.gaussian_filter(image[0, 0].numpy(), 1.7, mode="nearest", truncate=6)
    found = blurred(image, torch.tensor(1.7), 10)[0, 0].numpy()
    assert found == pytest.approx(expected, abs=1e-5)


def test_slopes_of_a_plane_are_those_of_the_plane():
    rows, columns = torch.meshgrid(torch.arange(9.0), torch.arange(12.0), indexing="ij")
    right, down = slopes((3 * columns - 2 * rows)[None, None])
    assert (right[..., 1:-1] == 3).all()
    assert (down[..., 1:-1, :] == -2).all()


def test_smoothing_keeps_an_even_field_and_believes_where_there_is_evidence():
    smoother = Smoother().eval()
    even = torch.ones(1, 2, 32, 32) * torch.tensor([2.0, -3.0]).view(1, 2, 1, 1)
    evidence = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(3))
    assert (smoother(even, evidence, evidence) - even).abs().max() < 1e-4
    field = even.clone()
    field[..., 16:] = 100.0  # nonsense, where nothing can be seen
    evidence[..., 16:] = 0.0
    evidence[..., :16] = 1.0
    found = smoother(field, evidence, 0 * evidence)
    assert (found - even)[..., :12].abs().max() < 1.0


def test_untrained_it_is_a_registration_already():
    """A turn and stretch about the middle, 8 pixels at the corners, seen to a third of a pixel."""
    frames, factors = beating_frames(4, swing=0.08, side=128)
    pair = torch.from_numpy(np.stack([frames[0], frames[3]]).astype(np.float32))[None]
    pair = (pair - pair.mean((2, 3), keepdim=True)) / pair.std((2, 3), keepdim=True)
    rows, columns = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    truth = torch.stack([columns - 63.5, rows - 63.5]) * (factors[3] / factors[0] - 1)
    with torch.inference_mode():
        found = FlowNet().eval()(pair)[0]
    inner = (found - truth)[:, 16:-16, 16:-16].norm(dim=0)
    assert truth.norm(dim=0).max() > 6
    assert inner.mean() < 0.3


def test_a_motion_on_a_larger_picture_is_longer():
    """A turn about the middle of the picture stays that turn."""
    rows, columns = torch.meshgrid(torch.arange(24.0), torch.arange(32.0), indexing="ij")
    turn = torch.stack([-(rows - 11.5), columns - 15.5])[None] * 0.1
    larger = scaled(turn, (48, 64))
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    expected = torch.stack([-(rows - 23.5), columns - 31.5])[None] * 0.1
    assert (larger - expected)[:, :, 2:-2, 2:-2].abs().max() < 1e-4


@pytest.mark.parametrize("size", [(33, 47), (64, 64), (90, 130)])
def test_pictures_of_any_size_get_a_motion_for_every_pixel(size):
    network = FlowNet().eval()
    pair = functional.interpolate(torch.randn(2, 2, 8, 8), size=size, mode="bilinear")
    with torch.inference_mode():
        assert network(pair).shape == (2, 2, *size)
    assert network.train()(pair).shape[0::2] == (2, 2, size[1])


def test_the_bundle_writes_the_motion_from_each_frame_to_the_next(tmp_path):
    from PIL import Image

    torch.manual_seed(0)
    network = FlowNet().eval()
    names = []
    for number in range(3):
        grey = np.random.default_rng(number).integers(0, 255, (40, 50)).astype(np.uint8)
        names.append(str(tmp_path / f"f{number}.png"))
        Image.fromarray(grey).save(names[-1])
    intensity = {"method": "percentile_zscore", "low_percent": 0.0, "high_percent": 100.0}
    metadata = {
        "medview": {
            "classes": ["motion"],
            "preprocess": {"channels": 1, "size_px": [], "intensity": intensity},
        }
    }
    write_answers("motion", network, metadata, names, str(tmp_path / "out"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["f0.npy", "f1.npy"]
    first, second = (np.asarray(Image.open(name)) for name in names[1:])
    recipe = FlatRecipe(("motion",), intensity=intensity)
    assert np.load(tmp_path / "out" / "f1.npy") == pytest.approx(
        motion_between(network, first, second, recipe), abs=1e-6
    )
