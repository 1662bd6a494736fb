"""Scores of masks and of classes against the truth, and how sure one can be of them."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    roc_auc_score,
    roc_curve,
)

Mask = npt.NDArray[np.bool_]


def _tensor(mask: Mask) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(mask, dtype=np.uint8))[None, None]


def dice_score(answer: Mask, truth: Mask) -> float:
    """Give 2 |A and B| / (|A| + |B|) (Dice 1945); two empty masks agree fully."""
    score = compute_dice(
        _tensor(answer), _tensor(truth), include_background=True, ignore_empty=False
    )
    return float(score.item())


def hausdorff95_mm(answer: Mask, truth: Mask, spacing_mm: Sequence[float]) -> float:
    """Give the larger 95th percentile of the two one-way surface distances, in mm.

    Infinite when one mask is empty, 0 when both are.
    """
    if not answer.any() or not truth.any():
        return 0.0 if answer.any() == truth.any() else math.inf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI calls torch functions that torch will drop
        distance = compute_hausdorff_distance(
            _tensor(answer),
            _tensor(truth),
            include_background=True,
            percentile=95,
            spacing=list(spacing_mm),
        )
    return float(distance.item())


def relative_volume_error(answer: Mask, truth: Mask) -> float:
    """Give | |A| - |B| | / |B|, a share of the true volume; infinite for an empty truth."""
    true_voxels = int(truth.sum())
    difference = abs(int(answer.sum()) - true_voxels)
    return difference / true_voxels if true_voxels else math.inf


def class_figures(
    truth: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64]
) -> dict[str, float]:
    """Give AUROC, AUPRC, accuracy and calibration error; for two classes sensitivity as well.

    `probabilities` is (n, classes). With two classes the second is the one that is looked for;
    with more, the areas are means over the classes, each against the rest. Not a number where a
    class has no case.
    """
    classes = probabilities.shape[1]
    accuracy = float((probabilities.argmax(axis=1) == truth).mean())
    if len(np.unique(truth)) < classes:
        nothing = dict.fromkeys(("auroc", "auprc", "sensitivity_at_spec90"), math.nan)
        return {**nothing, "accuracy": accuracy, "ece": calibration_error(truth, probabilities)}
    looked_for = [1] if classes == 2 else range(classes)
    pairs = [(truth == number, probabilities[:, number]) for number in looked_for]
    figures = {
        "auroc": float(np.mean([roc_auc_score(true, found) for true, found in pairs])),
        "auprc": float(np.mean([average_precision_score(true, found) for true, found in pairs])),
        "accuracy": accuracy,
        "ece": calibration_error(truth, probabilities),
    }
    if classes == 2:
        missed, found, _ = roc_curve(truth == 1, probabilities[:, 1])
        figures["sensitivity_at_spec90"] = float(found[missed <= 0.1 + 1e-9].max())
    return figures


def label_figures(
    shown: npt.NDArray[np.float32],
    probabilities: npt.NDArray[np.float64],
    classes: Sequence[str],
) -> dict[str, float]:
    """Give the figures of classes that are each there or not: means over them, and each AUROC.

    `shown` (n, classes) is 0 or 1, `probabilities` (n, classes). The areas are means over the
    classes that some cases show and others do not; not a number where there is none. Accuracy is
    the share of right answers at 0.5, over cases and classes.
    """
    figures: dict[str, float] = {}
    areas, precisions, errors = [], [], []
    for name, true, found in zip(classes, shown.T > 0.5, probabilities.T, strict=True):
        told = true.any() and not true.all()
        areas.append(float(roc_auc_score(true, found)) if told else math.nan)
        precisions.append(float(average_precision_score(true, found)) if told else math.nan)
        errors.append(calibration_error(true.astype(int), np.stack([1 - found, found], axis=1)))
        figures[f"auroc_{name.lower()}"] = areas[-1]
    told_of = np.isfinite(areas)
    return {
        "auroc": float(np.mean(np.array(areas)[told_of])) if told_of.any() else math.nan,
        "auprc": float(np.mean(np.array(precisions)[told_of])) if told_of.any() else math.nan,
        "accuracy": float(((probabilities > 0.5) == (shown > 0.5)).mean()),
        "ece": float(np.mean(errors)),
        **figures,
    }


def class_tables(
    truth: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64], bins: int = 10
) -> dict[str, Any]:
    """Give the confusion matrix (truth by row); for two classes ROC and reliability as well.

    `roc` holds (1 - specificity, sensitivity); `reliability` holds, for every bin that is not
    empty, the mean probability stated, the share that was true, and the number of cases.
    """
    classes = probabilities.shape[1]
    answer = probabilities.argmax(axis=1)
    tables: dict[str, Any] = {
        "confusion": confusion_matrix(truth, answer, labels=range(classes)).tolist()
    }
    if classes == 2 and len(np.unique(truth)) == 2:
        missed, found, _ = roc_curve(truth == 1, probabilities[:, 1])
        tables["roc"] = np.stack([missed, found], axis=1).round(5).tolist()
        bin_of = np.minimum((probabilities[:, 1] * bins).astype(int), bins - 1)
        members = [bin_of == number for number in range(bins)]
        tables["reliability"] = [
            [
                float(probabilities[own, 1].mean()),
                float((truth[own] == 1).mean()),
                int(own.sum()),
            ]
            for own in members
            if own.any()
        ]
    return tables


def calibration_error(
    truth: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64], bins: int = 10
) -> float:
    """Give the expected calibration error (Naeini et al. 2015): how far words are from facts.

    In bins of equal width, the difference between the mean probability and the share that was
    true, weighted by the cases of the bin. Two classes: the probability of the second; more:
    that of the most probable (Guo et al., arXiv:1706.04599). Never 0 in few cases, by chance.
    """
    if probabilities.shape[1] == 2:
        stated, true = probabilities[:, 1], (truth == 1).astype(float)
    else:
        stated = probabilities.max(axis=1)
        true = (probabilities.argmax(axis=1) == truth).astype(float)
    bin_of = np.minimum((stated * bins).astype(int), bins - 1)
    gaps = np.bincount(bin_of, stated - true, minlength=bins)
    return float(np.abs(gaps).sum() / len(truth))


def best_temperature(truth: npt.NDArray[np.int64], logits: npt.NDArray[np.float64]) -> float:
    """Give what to divide logits (n, classes) by to make the truth most likely.

    Guo et al., arXiv:1706.04599; between 0.05 and 20.
    """

    def unlikelihood(log_temperature: float) -> float:
        scaled = logits / math.exp(log_temperature)
        return float((logsumexp(scaled, axis=1) - scaled[np.arange(len(truth)), truth]).mean())

    found = minimize_scalar(unlikelihood, bounds=(math.log(0.05), math.log(20.0)), method="bounded")
    return math.exp(float(found.x))


def bootstrap_intervals(
    patients: Sequence[str],
    figures: Callable[[npt.NDArray[np.int64]], Mapping[str, float]],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Give the 95 % percentile interval of every figure when whole patients are drawn anew.

    `figures` takes the numbers of the drawn cases. Patients, not cases, are the unit: two sides of
    one person are not two observations (Efron and Tibshirani 1993, chapter 13). Draws in which a
    figure cannot be told are left out of its interval.
    """
    if not patients:
        raise ValueError("there must be a case")
    members: dict[str, list[int]] = {}
    for number, patient in enumerate(patients):
        members.setdefault(patient, []).append(number)
    groups = [np.array(members[patient]) for patient in sorted(members)]
    rng = np.random.default_rng(seed)
    drawn = [
        figures(np.concatenate([groups[i] for i in choice]))
        for choice in rng.integers(0, len(groups), size=(draws, len(groups)))
    ]
    intervals = {}
    for name in drawn[0]:
        values = np.array([draw[name] for draw in drawn])
        values = values[np.isfinite(values)]
        low, high = np.percentile(values, [2.5, 97.5]) if len(values) else (math.nan, math.nan)
        intervals[name] = (float(low), float(high))
    return intervals
