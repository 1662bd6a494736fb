"""Pictures on their way to a network, and boxes and objects on their way back."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from medview.inference.networks.instances import instances_of
from medview.inference.networks.pictures import (
    ask,
    boxes_of,
    fitted_shape,
    nuclear_stain,
    resized,
    to_input,
)

PLAIN = {"method": "percentile_zscore", "low_percent": 0, "high_percent": 100}


@pytest.mark.parametrize(
    ("shape", "box", "expected"),
    [
        ((480, 640), (240, 320), (240, 320)),
        ((480, 640), (240, 240), (180, 240)),
        ((100, 50), (256, 256), (256, 128)),
        ((31, 47), (), (31, 47)),
        ((1, 1000), (64, 64), (1, 64)),
    ],
)
def test_a_picture_is_scaled_to_just_fit(shape, box, expected):
    assert fitted_shape(shape, box) == expected


def test_shrinking_averages_what_it_leaves_out():
    fine = torch.zeros(1, 64, 64)
    fine[:, ::2] = 1.0  # lines that plain sampling would turn into all or nothing
    small = resized(fine, (16, 16))
    torch.testing.assert_close(small[:, 2:-2], torch.full((1, 12, 16), 0.5), atol=0.02, rtol=0)


def test_grey_and_colour_come_as_the_network_has_them():
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)
    assert to_input(colour, 3, (), PLAIN).shape == (3, 20, 30)
    grey = to_input(colour, 1, (), PLAIN)
    again = to_input(colour.mean(axis=2), 3, (), PLAIN)
    assert grey.shape == (1, 20, 30)
    torch.testing.assert_close(again, grey.expand(3, -1, -1))
    assert abs(float(grey.mean())) < 1e-5
    assert float(grey.std(correction=0)) == pytest.approx(1.0, abs=1e-4)


def test_the_stain_of_nuclei_is_bright_whichever_way_the_light_goes():
    """Colours of haematoxylin and of eosin on white: transmitted shares of light by stain."""
    haematoxylin, eosin = (0.65, 0.70, 0.29), (0.07, 0.99, 0.11)  # Ruifrok and Johnston (2001)
    section = np.full((40, 60, 3), 240.0)
    section[:, 20:40] *= np.exp(-np.array(eosin))
    section[10:20, 5:15] *= np.exp(-np.array(haematoxylin))
    section[10:20, 25:35] *= np.exp(-np.array(haematoxylin))
    shown = nuclear_stain(section.astype(np.uint8))
    nuclei = [shown[10:20, 5:15].mean(), shown[10:20, 25:35].mean()]
    assert min(nuclei) > 5 * max(shown[:, 40:].mean(), shown[25:, 20:40].mean())
    lit = np.zeros((40, 60), np.uint16)
    lit[10:20, 5:15] = 900
    assert np.array_equal(nuclear_stain(lit), lit)
    in_colour = np.stack([0 * lit, 3 * lit, 0 * lit], axis=-1)
    assert np.array_equal(nuclear_stain(in_colour), lit)
    bright_field = 1000 - lit
    assert np.array_equal(nuclear_stain(bright_field), lit)


class Coarse(nn.Module):
    """Means of 4 x 4 pixels; refuses what does not divide."""

    divisor = 4

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        assert image.shape[2] % 4 == image.shape[3] % 4 == 0
        return self.scale * nn.functional.avg_pool2d(image, 4)


def test_edges_go_on_where_a_picture_does_not_divide():
    image = torch.arange(6.0)[None, None].expand(1, 5, 6).contiguous()
    answer = ask(Coarse(), image)
    assert answer.shape == (1, 2, 2)
    assert answer[0, 0].tolist() == pytest.approx([1.5, (4 + 5 + 5 + 5) / 4])


def maps_of(boxes: list[tuple[float, float, float, float, int]]) -> torch.Tensor:
    """The answer of a perfect detector of two classes on a grid of 20 x 30 cells."""
    answer = torch.full((6, 20, 30), -8.0)
    answer[2:] = 0.0
    for number, (top, left, bottom, right, kind) in enumerate(boxes):
        middle = ((top + bottom) / 2, (left + right) / 2)
        row, column = int(middle[0] // 4), int(middle[1] // 4)
        answer[kind, row, column] = 4.0 - number
        cell = ((row + 0.5) * 4, (column + 0.5) * 4)
        reach = [cell[0] - top, cell[1] - left, bottom - cell[0], right - cell[1]]
        answer[2:, row, column] = torch.tensor(reach).log()
    return answer


def test_boxes_come_back_from_the_maps_that_hold_them():
    truth = [(10.0, 20.0, 41.0, 63.0, 1), (50.0, 80.0, 58.0, 90.0, 0)]
    boxes, scores, numbers = boxes_of(maps_of(truth), 2)
    np.testing.assert_allclose(boxes, [box[:4] for box in truth], atol=1e-3)
    assert numbers.tolist() == [1, 0]
    assert scores.tolist() == pytest.approx([1 / (1 + np.exp(-4)), 1 / (1 + np.exp(-3))])


def test_of_two_boxes_on_one_object_the_surer_stays_but_not_across_classes():
    same = [(10.0, 20.0, 40.0, 60.0, 1), (10.0, 30.0, 40.0, 66.0, 1)]
    assert len(boxes_of(maps_of(same), 2)[0]) == 1
    assert len(boxes_of(maps_of(same), 2, most_overlap=0.9)[0]) == 2
    other = [same[0], (*same[1][:4], 0)]
    assert len(boxes_of(maps_of(other), 2)[0]) == 2
    assert len(boxes_of(maps_of(other), 2, most=1)[0]) == 1
    assert len(boxes_of(torch.full((6, 4, 4), -9.0), 2)[0]) == 0


def discs(*places: tuple[int, int, int]) -> np.ndarray:
    rows, columns = np.mgrid[:60, :80]
    objects = np.zeros((60, 80), np.int32)
    for number, (row, column, radius) in enumerate(places, start=1):
        objects[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = number
    return objects


def perfect_maps(objects: np.ndarray) -> torch.Tensor:
    depth = np.zeros(objects.shape, np.float32)
    for number in range(1, objects.max() + 1):
        distance = ndimage.distance_transform_edt(objects == number)
        depth = np.maximum(depth, distance / distance.max())
    maps = np.stack([objects > 0, depth]).astype(np.float32)
    return torch.from_numpy(maps).clamp(0.001, 0.999).logit()


def test_touching_objects_are_told_apart_and_covered_whole():
    objects = discs((30, 20, 12), (30, 41, 10), (10, 70, 3))
    found = instances_of(perfect_maps(objects))
    assert found.max() == 3
    assert np.array_equal(found > 0, objects > 0)
    for number in range(1, 4):
        names, counts = np.unique(found[objects == number], return_counts=True)
        assert counts.max() / counts.sum() > 0.98
        assert (found == names[counts.argmax()]).sum() == pytest.approx(counts.sum(), rel=0.05)


@pytest.mark.parametrize(("saddle", "expected"), [(0.95, 1), (0.85, 2)])
def test_two_peaks_are_two_objects_if_the_way_between_leads_down_far_enough(saddle, expected):
    depth = np.full((9, 21), 0.2, np.float32)
    depth[4, :] = np.interp(range(21), [0, 5, 10, 15, 20], [0.5, 0.97, saddle, 0.99, 0.5])
    maps = torch.from_numpy(np.stack([np.full_like(depth, 0.99), depth])).logit()
    found = instances_of(maps, prominence=0.1)
    assert found.max() == expected
    assert (found > 0).all()
    assert (found[4, 5] != found[4, 15]) == (expected == 2)


def test_specks_are_dropped_and_flat_objects_kept():
    objects = discs((30, 20, 12), (5, 5, 1))
    assert instances_of(perfect_maps(objects)).max() == 1
    maps = perfect_maps(discs((30, 20, 12)))
    maps[1] = -3.0  # nowhere deep: the piece is one object all the same
    assert (instances_of(maps) == 1).sum() == (discs((30, 20, 12)) == 1).sum()
    assert not instances_of(torch.full((2, 8, 8), -5.0)).any()


def test_of_equal_cells_side_by_side_the_first_is_the_middle():
    answer = torch.full((5, 12, 12), -8.0)
    answer[1:] = np.log(3.0)  # boxes of 6 pixels: those of neighbours overlap by a fifth
    answer[0, 4, 4] = answer[0, 4, 5] = answer[0, 5, 4] = 2.0
    answer[0, 4, 8] = 2.0  # as sure, and not beside them
    boxes, _, _ = boxes_of(answer, 1)
    np.testing.assert_allclose(boxes, [[15, 15, 21, 21], [15, 31, 21, 37]], atol=1e-4)
