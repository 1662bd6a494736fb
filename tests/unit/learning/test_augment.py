"""Random changes: what is turned off changes nothing, image and label move together."""

import numpy as np
import pytest
import torch

from medview.learning.augment import changed, random_matrix, random_patches
from medview.learning.config import AugmentConfig

STILL = AugmentConfig(
    rotate_deg=0, scale=0, translate_mm=0, flip=(), noise=0, gamma=(1.0, 1.0), clip=0
)


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.normal(size=(12, 14, 16)).astype(np.float32))
    label = torch.zeros((12, 14, 16), dtype=torch.int64)
    label[2:6, 3:9, 4:12] = 1
    label[6:10, 3:9, 4:12] = 2
    return image, label


def test_without_changes_the_case_comes_back_normalised():
    image, label = pair()
    generator = torch.Generator().manual_seed(0)
    images, labels = random_patches([(image, label)], (12, 14, 16), STILL, generator)
    assert torch.equal(labels[0, 0], label)
    expected = (image - image.mean()) / image.std()
    torch.testing.assert_close(images[0, 0], expected, atol=1e-4, rtol=1e-4)


def test_a_mirror_mirrors_image_and_label():
    config = AugmentConfig(**{**vars(STILL), "flip": (0,)})
    image, label = pair()
    seen = set()
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        images, labels = random_patches([(image, label)], (12, 14, 16), config, generator)
        mirrored = torch.equal(labels[0, 0], label.flip(0))
        assert mirrored or torch.equal(labels[0, 0], label)
        expected = image.flip(0) if mirrored else image
        expected = (expected - expected.mean()) / expected.std()
        torch.testing.assert_close(images[0, 0], expected, atol=1e-4, rtol=1e-4)
        seen.add(mirrored)
    assert seen == {True, False}


def test_the_matrix_turns_within_the_angle_and_scales_within_the_share():
    config = AugmentConfig(rotate_deg=20, scale=0.15, flip=())
    generator = torch.Generator().manual_seed(1)
    for _ in range(50):
        sizes = torch.linalg.svdvals(random_matrix(config, generator))
        assert sizes.min() >= 0.85 - 1e-5
        assert sizes.max() <= 1.15 + 1e-5


def test_all_changes_keep_the_shape_and_the_scale_of_the_numbers():
    config = AugmentConfig(elastic_mm=1.5, flip=(0, 1, 2), bias=0.3, coarsen=1.7, clip=0.1)
    generator = torch.Generator().manual_seed(2)
    images, labels = random_patches([pair()] * 8, (8, 16, 8), config, generator)
    assert images.shape == labels.shape == (8, 1, 8, 16, 8)
    assert torch.isfinite(images).all()
    assert set(labels.unique().tolist()) <= {0, 1, 2}
    torch.testing.assert_close(images.std(dim=(1, 2, 3, 4)), torch.ones(8), atol=1e-3, rtol=0)


def test_the_same_seed_gives_the_same_patches():
    first = random_patches([pair()], (8, 8, 8), AugmentConfig(), torch.Generator().manual_seed(5))
    again = random_patches([pair()], (8, 8, 8), AugmentConfig(), torch.Generator().manual_seed(5))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])


def test_flat_pictures_keep_their_channels_and_move_as_one():
    config = AugmentConfig(rotate_deg=180, scale=0.2, flip=(0, 1), elastic_mm=2.0, noise=0)
    label = torch.zeros((40, 50), dtype=torch.int64)
    label[10:25, 12:40] = 1
    image = torch.stack([label.float(), 2 * label.float(), 1 - label.float()])
    still = AugmentConfig(**{**vars(config), "gamma": (1.0, 1.0), "clip": 0})
    images, labels = random_patches(
        [(image, label)] * 6, (48, 48), still, torch.Generator().manual_seed(0)
    )
    assert images.shape == (6, 3, 48, 48)
    assert labels.shape == (6, 1, 48, 48)
    # The first two channels are multiples of each other before as after; bright is still label.
    for picture, mask in zip(images, labels, strict=True):
        inside, outside = picture[0][mask[0] == 1], picture[0][mask[0] == 0]
        assert inside.median() > outside.max() - 0.6 * (inside.max() - outside.min())
        assert inside.mean() > outside.mean() + 0.5


def test_a_turn_in_the_plane_is_a_rotation():
    config = AugmentConfig(rotate_deg=90, scale=0, flip=())
    matrix = random_matrix(config, torch.Generator().manual_seed(4), 2)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(2))
    assert torch.det(matrix).item() == pytest.approx(1.0)


def test_tinted_erased_and_mixed_pictures_stay_pictures():
    config = AugmentConfig(colour=0.4, erase=0.5)
    image = torch.randn((3, 30, 40), generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    blanked = 0
    for _ in range(20):
        out = changed(image, config, generator)
        assert out.shape == image.shape
        assert torch.isfinite(out).all()
        blanked += bool((out == 0).all(dim=0).any())
    assert 3 <= blanked <= 17  # by chance, half of the time


def test_a_veil_lies_behind_objects_and_leaves_them_brighter_than_around():
    config = AugmentConfig(**{**vars(STILL), "veil": 0.8})
    image = torch.zeros((1, 96, 96))
    image[:, 40:56, 40:56] = 1.0
    generator = torch.Generator().manual_seed(0)
    patchy = 0
    for _ in range(40):
        out = changed(image, config, generator)[0]
        around = torch.cat([out[36:40, 40:56].flatten(), out[56:60, 40:56].flatten()])
        assert out[42:54, 42:54].mean() > around.mean()
        beside = out.clone()
        beside[40:56, 40:56] = out[0, 0]
        patchy += bool(beside.max() - beside.min() > 0.1)
    assert 4 <= patchy <= 22  # by chance, three times of ten
