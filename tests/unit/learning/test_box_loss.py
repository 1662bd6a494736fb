"""The detector's target and loss against what they are meant to be."""

import pytest
import torch

from medview.learning.box_loss import box_loss, box_target, generalised_overlap


def test_generalised_overlap_by_hand():
    """Two unit squares side by side with a gap of one: no overlap, hull of three."""
    one, other = torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([[0.0, 2, 1, 3]])
    assert generalised_overlap(one, other).item() == pytest.approx(-1 / 3)
    assert generalised_overlap(one, one).item() == pytest.approx(1.0)


def test_a_bump_stands_on_each_middle_and_small_boxes_come_first():
    boxes = torch.tensor([[4.0, 4.0, 60.0, 60.0], [28.0, 28.0, 36.0, 36.0]])
    target = box_target(boxes, torch.tensor([0, 1]), 2, (16, 16), 4)
    assert target.heat[0, 8, 8] == target.heat[1, 8, 8] == 1.0
    assert target.boxes[:, 8, 8].tolist() == [28, 28, 36, 36]
    assert target.boxes[:, 8, 10].tolist() == [4, 4, 60, 60]
    assert (target.heat[0] > 0).sum() > 4 * (target.heat[1] > 0).sum()
    assert target.weight[0, 0] == 0


def test_a_bump_is_a_gaussian_of_the_box_over_the_whole_grid():
    """Liu et al., arXiv:1909.00700: alpha = 0.54, three standard deviations to the edge."""
    boxes = torch.tensor([[2.0, 6.0, 50.0, 30.0], [-6.0, 40.0, 10.0, 70.0]])
    target = box_target(boxes, torch.tensor([0, 0]), 1, (16, 16), 4)
    rows, columns = torch.meshgrid(*[torch.arange(16.0)] * 2, indexing="ij")
    bumps = []
    for top, left, bottom, right in boxes.tolist():
        row, column = (top + bottom) / 2 // 4, (left + right) / 2 // 4
        down, across = 0.54 * (bottom - top) / 24, 0.54 * (right - left) / 24
        bump = torch.exp(-(((rows - row) / down) ** 2 + ((columns - column) / across) ** 2) / 2)
        bumps.append(torch.where(bump < 0.01, 0.0, bump))
    torch.testing.assert_close(target.heat[0], torch.maximum(*bumps))
    assert torch.equal(target.weight > 0, target.heat[0] > 0)


def test_a_perfect_answer_costs_next_to_nothing_and_others_more():
    boxes = torch.tensor([[8.0, 8.0, 40.0, 48.0]])
    target = box_target(boxes, torch.tensor([1]), 2, (16, 16), 4)
    answer = torch.full((1, 6, 16, 16), -12.0)
    rows, columns = torch.meshgrid(*[(torch.arange(16) + 0.5) * 4] * 2, indexing="ij")
    reach = torch.stack([rows - 8, columns - 8, 40 - rows, 48 - columns]).clamp(min=0.1)
    answer[0, 2:] = reach.log()
    peak = target.heat[1] == 1.0
    answer[0, 1][peak] = 12.0
    perfect = box_loss(answer, [target], 2, 4).item()
    assert perfect < 0.01
    missed = answer.clone()
    missed[0, 1][peak] = -12.0
    assert box_loss(missed, [target], 2, 4).item() > 5
    askew = answer.clone()
    askew[0, 2:] += 0.5
    assert box_loss(askew, [target], 2, 4).item() > 1
    nothing = box_target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), 2, (16, 16), 4)
    assert box_loss(torch.full((1, 6, 16, 16), -12.0), [nothing], 2, 4).item() < 1e-3
