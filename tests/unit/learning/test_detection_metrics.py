"""Average precision and panoptic quality by hand and by definition."""

import math

import numpy as np
import pytest
import torch

from medview.inference.networks.pictures import overlaps
from medview.learning.detection_metrics import Match, average_precisions, match_boxes
from medview.learning.instance_metrics import match_instances, panoptic_figures


def test_overlap_of_boxes_is_shared_area_over_joint_area():
    one = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    others = torch.tensor(
        [[0.0, 0.0, 10.0, 10.0], [5.0, 0.0, 15.0, 10.0], [20.0, 20.0, 30.0, 30.0]]
    )
    assert overlaps(one, others)[0].tolist() == pytest.approx([1.0, 50 / 150, 0.0])


def test_every_true_box_is_found_once_and_by_the_surest():
    truth = np.array([[0, 0, 10, 10], [20, 20, 30, 30]], np.float32)
    boxes = np.array([[0, 0, 10, 9], [0, 0, 10, 10], [20, 20, 30, 36]], np.float32)
    scores = np.array([0.6, 0.9, 0.5], np.float32)
    match = match_boxes(boxes, scores, truth, [0.5, 0.75])
    assert match.scores.tolist() == pytest.approx([0.9, 0.6, 0.5])
    assert match.hits.tolist() == [[True, False, True], [True, False, False]]
    assert match.truths == 2
    nothing = match_boxes(boxes, scores, truth[:0], [0.5])
    assert nothing.hits.tolist() == [[False, False, False]]


def pictures(*rows: tuple[list[float], list[bool], int]) -> list[Match]:
    return [
        Match(np.array(scores, np.float32), np.array([hits], bool), truths)
        for scores, hits, truths in rows
    ]


def test_average_precision_by_hand():
    """Right, wrong, right of two true boxes: precision 1 to recall 1/2, then 2/3 to recall 1."""
    matches = pictures(([0.9, 0.7], [True, True], 1), ([0.8], [False], 1))
    expected = (51 * 1.0 + 50 * 2 / 3) / 101
    assert average_precisions(matches)[0] == pytest.approx(expected)


def test_average_precision_stops_where_recall_stops():
    assert average_precisions(pictures(([0.9], [True], 2)))[0] == pytest.approx(51 / 101)
    assert average_precisions(pictures(([], [], 2)))[0] == 0.0
    assert math.isnan(average_precisions(pictures(([0.5], [False], 0)))[0])


def test_order_of_pictures_does_not_matter():
    rng = np.random.default_rng(0)
    many = pictures(
        *[
            (np.sort(rng.random(6))[::-1].tolist(), (rng.random(6) < 0.6).tolist(), 7)
            for _ in range(9)
        ]
    )
    assert average_precisions(many)[0] == average_precisions(many[::-1])[0]


def test_panoptic_quality_by_hand():
    truth = np.zeros((10, 20), int)
    truth[:, :10], truth[:5, 10:], truth[5:, 10:] = 7, 3, 9
    answer = np.zeros_like(truth)
    answer[:8, :10], answer[:5, 10:] = 1, 2  # overlaps 0.8 and 1; object 9 is missed
    answer[9, 10:12] = 4  # and this is nothing
    match = match_instances(answer, truth)
    assert sorted(match.overlaps) == pytest.approx([0.8, 1.0])
    figures = panoptic_figures([match])
    assert figures["f1_iou50"] == pytest.approx(2 / 3)
    assert figures["pq"] == pytest.approx(1.8 / 3)
    assert figures["sq"] == pytest.approx(0.9)
    assert figures["count_error_median"] == 0.0


def test_objects_that_half_overlap_are_no_match():
    truth = np.zeros((4, 4), int)
    truth[:2] = 1
    answer = np.zeros((4, 4), int)
    answer[:, :] = 1
    assert match_instances(answer, truth).overlaps == ()
    empty = match_instances(np.zeros((4, 4), int), np.zeros((4, 4), int))
    assert math.isnan(panoptic_figures([empty])["pq"])
