"""Figures against other programs: what they said of the same drawn data, or say of it now.

Numbers of torchmetrics 1.9.0 (classes, panoptic quality), pycocotools 2.0.11 (average precision)
and surface-distance 0.1 (surface Dice, its own tests) stand here; those programs are not needed.
"""

import warnings

import numpy as np
import pytest
from monai.metrics import compute_froc_curve_data, compute_froc_score
from scipy import ndimage
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, average_precision_score, roc_auc_score

from medview.learning.detection_metrics import (
    FROC_RATES,
    Match,
    average_precisions,
    froc_curve,
    match_boxes,
    sensitivities,
)
from medview.learning.instance_metrics import match_instances, overlap_curve, panoptic_figures
from medview.learning.metrics import (
    calibration_error,
    class_figures,
    class_tables,
    dice_score,
    hausdorff95_mm,
    label_figures,
    label_tables,
    surface_dice,
)


def shifted_blobs(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    one = ndimage.gaussian_filter(rng.normal(size=(24, 30, 20)), 3)
    return one > 0.01, one + 0.3 * ndimage.gaussian_filter(rng.normal(size=one.shape), 2) > 0.01


def test_surface_dice_is_that_of_the_authors_tests():
    """Two thick slabs, one plane of 2 mm apart; two single voxels, 2 mm apart; two pixels."""
    truth = np.zeros((100, 100, 100), bool)
    answer = truth.copy()
    truth[:50], answer[:51] = True, True
    assert surface_dice(answer, truth, (2, 1, 1), 1) == pytest.approx(0.836, abs=5e-4)
    truth[:], answer[:] = False, False
    truth[50, 60, 70], answer[50, 60, 72] = True, True
    assert surface_dice(answer, truth, (3, 2, 1), 1) == pytest.approx(0.5)
    assert surface_dice(answer[50], truth[50], (2, 1), 1) == pytest.approx(0.5)


def test_surface_dice_agrees_with_the_authors_program_on_uneven_voxels():
    rng = np.random.default_rng(0)
    for solid, flat in ((0.8077121, 0.6487344), (0.7751317, 0.6244358), (0.8347657, 0.7861299)):
        answer, truth = shifted_blobs(rng)
        assert surface_dice(answer, truth, (1.0, 0.7, 2.5), 0.7) == pytest.approx(solid, abs=1e-5)
        slices = answer[:, :, 10], truth[:, :, 10]
        assert surface_dice(*slices, (1.0, 0.7), 0.7) == pytest.approx(flat, abs=1e-5)


def test_surface_dice_grows_with_the_tolerance_up_to_the_hausdorff_distance():
    answer, truth = shifted_blobs(np.random.default_rng(4))
    shares = [surface_dice(answer, truth, (1, 1, 1), tolerance) for tolerance in (0, 1, 2, 40)]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_absent_structures_score_one_when_right_and_nothing_when_not():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nothing, something = np.zeros((8, 8, 8), bool), np.zeros((8, 8, 8), bool)
        something[2:5, 2:5, 2:5] = True
        assert surface_dice(nothing, nothing, (1, 1, 1), 1) == 1.0
        assert surface_dice(something, nothing, (1, 1, 1), 1) == 0.0
        assert surface_dice(nothing, something, (1, 1, 1), 1) == 0.0
        assert dice_score(nothing, something) == 0.0


def test_hausdorff_distance_counts_the_spacing_of_each_axis():
    truth, answer = np.zeros((9, 9, 9), bool), np.zeros((9, 9, 9), bool)
    truth[2, 4, 4], answer[6, 4, 4] = True, True
    for spacing in ((2.5, 1, 1), (0.5, 3, 3)):
        assert hausdorff95_mm(answer, truth, spacing) == pytest.approx(4 * spacing[0])
    assert hausdorff95_mm(answer[:, 4], truth[:, 4], (1.5, 1)) == pytest.approx(6.0)


def two_columns(probability: np.ndarray) -> np.ndarray:
    return np.stack([1 - probability, probability], axis=1)


def drawn_pair() -> tuple[np.random.Generator, np.ndarray, np.ndarray]:
    """200 cases of two classes, probabilities in steps of 0.01: many ties."""
    rng = np.random.default_rng(7)
    truth = rng.integers(0, 2, 200)
    return rng, truth, np.clip(0.25 * truth + 0.75 * rng.random(200), 0, 1).round(2)


def test_two_classes_as_torchmetrics_and_scikit_learn_see_them():
    _, truth, stated = drawn_pair()
    figures = class_figures(truth, two_columns(stated))
    assert figures["auroc"] == pytest.approx(0.7866164, abs=1e-6)
    assert figures["auprc"] == pytest.approx(0.8285382, abs=1e-6)
    assert figures["sensitivity_at_spec90"] == pytest.approx(0.4857143, abs=1e-6)
    assert figures["auroc"] == pytest.approx(roc_auc_score(truth, stated))
    assert figures["accuracy"] == accuracy_score(truth, stated > 0.5)
    off_edges = 0.98 * stated + 0.007
    assert calibration_error(truth == 1, off_edges) == pytest.approx(0.116721, abs=1e-6)


def test_reliability_is_the_curve_of_scikit_learn_and_its_gaps_are_the_error():
    _, truth, stated = drawn_pair()
    stated = 0.98 * stated + 0.007
    table = class_tables(truth, two_columns(stated), ("well", "ill"))["reliability"]["ill"]
    true, said = calibration_curve(truth, stated, n_bins=10)
    np.testing.assert_allclose([row[:2] for row in table], np.stack([said, true], axis=1))
    error = sum(abs(s - t) * n for s, t, n in table) / len(truth)
    assert error == pytest.approx(class_figures(truth, two_columns(stated))["ece"])


def test_sensitivity_counts_thresholds_in_the_middle_of_a_straight_curve():
    """Each step of the threshold finds one ill and one well person: at one in ten, one in ten."""
    stated = np.repeat(np.arange(20) / 20, 2)
    figures = class_figures(np.tile([0, 1], 20), two_columns(stated))
    assert figures["sensitivity_at_spec90"] == pytest.approx(0.1)


def test_three_classes_as_torchmetrics_sees_them():
    rng, _, _ = drawn_pair()
    truth, logits = rng.integers(0, 3, 150), rng.normal(size=(150, 3))
    logits[np.arange(150), truth] += 1
    stated = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    figures = class_figures(truth, stated)
    expected = {
        "auroc": 0.8163875,
        "auprc": 0.7292151,
        "sensitivity_at_spec90": 0.4778869,
        "accuracy": 0.6466667,
        "ece": 0.0834458,
    }
    assert figures == pytest.approx(expected, abs=1e-6)
    tables = class_tables(truth, stated, ("a", "b", "c"))
    assert set(tables["roc"]) == set(tables["precision_recall"]) == {"a", "b", "c"}
    assert sum(row[2] for row in tables["reliability"]["the most probable class"]) == 150


def test_labels_that_go_together_as_torchmetrics_sees_them():
    rng, _, _ = drawn_pair()
    rng.integers(0, 3, 150), rng.normal(size=(150, 3))
    shown = (rng.random((120, 4)) < [0.5, 0.3, 0.2, 0.1]).astype(np.float32)
    stated = np.clip(0.3 * shown + 0.7 * rng.random((120, 4)), 0, 1)
    figures = label_figures(shown, stated, ("a", "b", "c", "d"))
    assert figures["auroc"] == pytest.approx(0.8624601, abs=1e-6)
    assert figures["auprc"] == pytest.approx(0.7390079, abs=1e-6)
    assert figures["accuracy"] == pytest.approx(0.7333333, abs=1e-6)
    each = [figures[f"auroc_{name}"] for name in "abcd"]
    assert each == pytest.approx([0.8515016, 0.8457143, 0.8848358, 0.8677886], abs=1e-6)
    never = shown.copy()
    never[:, 3] = 0
    assert np.isnan(label_figures(never, stated, ("a", "b", "c", "d"))["auroc_d"])
    assert set(label_tables(never, stated, ("a", "b", "c", "d"))["roc"]) == {"a", "b", "c"}


def test_curves_go_through_what_scikit_learn_adds_up():
    _, truth, stated = drawn_pair()
    tables = class_tables(truth, two_columns(stated), ("well", "ill"))
    alarms, found = np.array(tables["roc"]["ill"]).T
    assert np.trapezoid(found, alarms) == pytest.approx(roc_auc_score(truth, stated), abs=1e-4)
    recall, precision = np.array(tables["precision_recall"]["ill"]).T
    area = -(np.diff(recall) * precision[:-1]).sum()
    assert area == pytest.approx(average_precision_score(truth, stated), abs=0.02)


def drawn_boxes() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Twelve pictures of up to six objects: truth, boxes found near them and by chance, scores."""
    rng = np.random.default_rng(11)
    pictures = []
    for _ in range(12):
        count = int(rng.integers(0, 7))
        low, size = rng.uniform(0, 80, (count, 2)), rng.uniform(8, 30, (count, 2))
        truth = np.concatenate([low, low + size], 1)
        near = truth + rng.normal(0, 2.5, truth.shape)
        kept = rng.random(count) < 0.85
        far = rng.uniform(0, 80, (5, 2))
        far = np.concatenate([far, far + rng.uniform(8, 30, (5, 2))], 1)
        scores = np.concatenate([rng.uniform(0.3, 1, kept.sum()), rng.uniform(0, 0.8, 5)])
        found = np.concatenate([near[kept], far])
        pictures.append(tuple(part.astype(np.float32) for part in (truth, found, scores)))
    return pictures


def drawn_matches() -> list[Match]:
    steps = np.arange(0.5, 1.0, 0.05)
    return [match_boxes(found, scores, truth, steps) for truth, found, scores in drawn_boxes()]


def test_average_precision_is_that_of_coco():
    precisions = average_precisions(drawn_matches())
    assert precisions.mean() == pytest.approx(0.1162995, abs=1e-6)
    assert precisions[0] == pytest.approx(0.4271384, abs=1e-6)
    assert precisions[5] == pytest.approx(0.0197453, abs=1e-6)


def test_free_response_is_that_of_monai():
    matches = drawn_matches()
    right = np.concatenate([m.scores[m.hits[0]] for m in matches])
    wrong = np.concatenate([m.scores[~m.hits[0]] for m in matches])
    truths = sum(m.truths for m in matches)
    # MONAI leaves the lowest score out of the curve; one that is lower still is left out here.
    curve = compute_froc_curve_data(np.append(wrong, -1.0), right, truths, len(matches))
    mine = froc_curve(matches)
    np.testing.assert_allclose(mine[0], curve[0][::-1])
    np.testing.assert_allclose(mine[1], curve[1][::-1])
    expected = compute_froc_score(*curve, eval_thresholds=tuple(FROC_RATES.values()))
    assert sensitivities(matches).mean() == pytest.approx(expected)


def one_picture(scores: list[float], hits: list[bool], truths: int) -> Match:
    return Match(np.array(scores, np.float32), np.array([hits], bool), truths)


def test_free_response_by_hand():
    """Two pictures, four objects: found at 0.9 and 0.7, false at 0.8 and 0.6."""
    matches = [
        one_picture([0.9, 0.8], [True, False], 2),
        one_picture([0.7, 0.6], [True, False], 2),
    ]
    # No false box: 1/4. From half a false box an image on: 2/4.
    wrong, found = froc_curve(matches)
    assert wrong.tolist() == [0, 0, 0.5, 0.5, 1.0]
    assert found.tolist() == [0, 0.25, 0.25, 0.5, 0.5]
    assert sensitivities(matches).tolist() == [0.25, 0.25, 0.5, 0.5, 0.5, 0.5, 0.5]


def test_boxes_of_one_score_pass_together_and_nothing_true_has_no_sensitivity():
    tied = [one_picture([0.5, 0.5, 0.5], [True, False, True], 2)]
    assert froc_curve(tied)[0].tolist() == [0, 1]
    assert froc_curve(tied)[1].tolist() == [0, 1]
    turned = [one_picture([0.5, 0.5, 0.5], [False, True, True], 2)]
    assert sensitivities(tied).tolist() == sensitivities(turned).tolist()
    assert np.isnan(sensitivities([one_picture([0.5], [False], 0)])).all()
    assert sensitivities([one_picture([], [], 3)]).tolist() == [0.0] * 7


def drawn_objects() -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(5)
    pictures = []
    for _ in range(3):
        truth = ndimage.label(ndimage.gaussian_filter(rng.normal(size=(60, 60)), 3) > 0.05)[0]
        noise = 0.3 * ndimage.gaussian_filter(rng.normal(size=(60, 60)), 3)
        smooth = ndimage.gaussian_filter((truth > 0).astype(float), 1)
        pictures.append((ndimage.label(noise + smooth > 0.5)[0], truth))
    return pictures


def test_panoptic_quality_is_that_of_torchmetrics():
    figures = panoptic_figures([match_instances(*pair) for pair in drawn_objects()])
    assert figures["pq"] == pytest.approx(0.8902019, abs=1e-6)
    assert figures["sq"] == pytest.approx(0.9792221, abs=1e-6)
    assert figures["f1_iou50"] == pytest.approx(0.9090909, abs=1e-6)


def test_the_curve_of_overlaps_starts_at_f1_and_falls():
    matches = [match_instances(*pair) for pair in drawn_objects()]
    curve = overlap_curve(matches)
    assert [step for step, _ in curve] == pytest.approx(np.arange(0.5, 1.0, 0.05).tolist())
    heights = [height for _, height in curve]
    assert heights[0] == pytest.approx(panoptic_figures(matches)["f1_iou50"])
    assert heights == sorted(heights, reverse=True)
    assert overlap_curve([match_instances(np.zeros((4, 4), int), np.zeros((4, 4), int))])[0][1] == 0
