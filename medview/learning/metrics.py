"""Scores of masks and of classes against the truth, and how sure one can be of them."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from sklearn.metrics import (
    auc,
    average_precision_score,
    confusion_matrix,
    precision_recall_curve,
    roc_curve,
)

Mask = npt.NDArray[np.bool_]
#: Which cases are so (n,), and what probability was stated of each (n,).
Question = tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]

#: The share of the cases without a finding that may be called ill where sensitivity is read.
_FALSE_ALARMS = 0.1

#: How often patients are drawn anew for an interval.
DRAWS = 1000


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
            spacing=[float(edge) for edge in spacing_mm],
        )
    return float(distance.item())


def surface_dice(
    answer: Mask, truth: Mask, spacing_mm: Sequence[float], tolerance_mm: float
) -> float:
    """Give the share of both surfaces, by area, that lies within a tolerance of the other one.

    Nikolov et al., arXiv:1809.04430, as MONAI works it out from areas of surface elements (in a
    picture: lengths of the outline). 1 when both masks are empty, 0 when one is.
    """
    if not answer.any() and not truth.any():
        return 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI tells of an empty mask, which is scored here
        share = compute_surface_dice(
            _tensor(answer),
            _tensor(truth),
            class_thresholds=[tolerance_mm],
            include_background=True,
            spacing=[float(edge) for edge in spacing_mm],
            use_subvoxels=True,
        )
    return float(share.item())


def relative_volume_error(answer: Mask, truth: Mask) -> float:
    """Give | |A| - |B| | / |B|, a share of the true volume; infinite for an empty truth."""
    true_voxels = int(truth.sum())
    difference = abs(int(answer.sum()) - true_voxels)
    return difference / true_voxels if true_voxels else math.inf


def class_figures(
    truth: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64]
) -> dict[str, float]:
    """Give AUROC, AUPRC, sensitivity at 90 % specificity, accuracy and calibration error.

    `probabilities` is (n, classes). With two classes the second is the one that is looked for;
    with more, the first three are means over the classes, each against the rest. They are not a
    number where a class has no case.
    """
    classes = probabilities.shape[1]
    known = len(np.unique(truth)) == classes
    looked_for = [1] if classes == 2 else range(classes)
    questions = [(truth == number, probabilities[:, number]) for number in looked_for]
    stated, true = _claims(truth, probabilities)
    return {
        **_separation(questions if known else []),
        "accuracy": float((probabilities.argmax(axis=1) == truth).mean()),
        "ece": calibration_error(true, stated),
    }


def _separation(questions: Sequence[Question]) -> dict[str, float]:
    """Give the means over questions that some cases answer and others do not."""
    told = [one for one in questions if _is_told(one[0])]
    areas = [_area_and_sensitivity(*one) for one in told]
    return {
        "auroc": _mean([area for area, _ in areas]),
        "auprc": _mean([float(average_precision_score(*one)) for one in told]),
        "sensitivity_at_spec90": _mean([sensitivity for _, sensitivity in areas]),
    }


def _is_told(true: npt.NDArray[np.bool_]) -> bool:
    return bool(true.any() and not true.all())


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def _area_and_sensitivity(
    true: npt.NDArray[np.bool_], stated: npt.NDArray[np.float64]
) -> tuple[float, float]:
    """Give AUROC, and the highest sensitivity of a threshold of at least 90 % specificity."""
    # Every threshold counts: those that lie on a line of the curve are left out by default.
    alarms, found, _ = roc_curve(true, stated, drop_intermediate=False)
    return float(auc(alarms, found)), float(found[alarms <= _FALSE_ALARMS + 1e-9].max())


def label_figures(
    shown: npt.NDArray[np.float32],
    probabilities: npt.NDArray[np.float64],
    names: Sequence[str],
) -> dict[str, float]:
    """Give the figures of classes that are each there or not: means over them, and each AUROC.

    `shown` (n, classes) is 0 or 1, `probabilities` (n, classes). AUROC, AUPRC and sensitivity are
    means over the classes that some cases show and others do not; not a number where there is
    none. Accuracy is the share of right answers at 0.5, over cases and classes.
    """
    questions = list(zip(shown.T > 0.5, probabilities.T, strict=True))
    return {
        **_separation(questions),
        "accuracy": float(((probabilities > 0.5) == (shown > 0.5)).mean()),
        "ece": _mean([calibration_error(true, stated) for true, stated in questions]),
        **{
            f"auroc_{name}": _area_and_sensitivity(*one)[0] if _is_told(one[0]) else math.nan
            for name, one in zip(names, questions, strict=True)
        },
    }


def class_tables(
    truth: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64], classes: Sequence[str]
) -> dict[str, Any]:
    """Give the confusion matrix (truth by row) and the curves of classes that exclude each other.

    With two classes those of the second; with more, each against the rest.
    """
    answer = probabilities.argmax(axis=1)
    confusion = confusion_matrix(truth, answer, labels=range(len(classes))).tolist()
    looked_for = [1] if len(classes) == 2 else range(len(classes))
    questions = {classes[n]: (truth == n, probabilities[:, n]) for n in looked_for}
    stated, true = _claims(truth, probabilities)
    said = classes[1] if len(classes) == 2 else "the most probable class"
    return {"confusion": confusion, **_curves(questions), **_reliability({said: (true, stated)})}


def label_tables(
    shown: npt.NDArray[np.float32], probabilities: npt.NDArray[np.float64], classes: Sequence[str]
) -> dict[str, Any]:
    """Give the curves of classes that are each there or not."""
    each = zip(shown.T > 0.5, probabilities.T, strict=True)
    questions = dict(zip(classes, each, strict=True))
    return {**_curves(questions), **_reliability(questions)}


def _curves(questions: Mapping[str, Question]) -> dict[str, Any]:
    """Give `roc` (1 - specificity, sensitivity) and `precision_recall` (recall, precision)."""
    tables: dict[str, Any] = {}
    for name, (true, stated) in questions.items():
        if not _is_told(true):
            continue
        alarms, found, _ = roc_curve(true, stated)
        precision, recall, _ = precision_recall_curve(true, stated, drop_intermediate=True)
        for kind, pair in (("roc", (alarms, found)), ("precision_recall", (recall, precision))):
            tables.setdefault(kind, {})[name] = np.stack(pair, axis=1).round(5).tolist()
    return tables


def _reliability(questions: Mapping[str, Question], bins: int = 10) -> dict[str, Any]:
    """Give for every bin that is not empty: mean probability stated, share true, cases."""
    table = {}
    for name, (true, stated) in questions.items():
        bin_of = _bin_of(stated, bins)
        members = [bin_of == number for number in range(bins)]
        table[name] = [
            [float(stated[own].mean()), float(true[own].mean()), int(own.sum())]
            for own in members
            if own.any()
        ]
    return {"reliability": table}


def _claims(
    truth: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Give what probability was stated of each case, and whether it came true.

    Two classes: of the second; more: of the most probable one (Guo et al., arXiv:1706.04599).
    """
    if probabilities.shape[1] == 2:
        return probabilities[:, 1], truth == 1
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == truth


def _bin_of(stated: npt.NDArray[np.float64], bins: int) -> npt.NDArray[np.int64]:
    places: npt.NDArray[np.int64] = np.minimum((stated * bins).astype(np.int64), bins - 1)
    return places


def calibration_error(
    true: npt.NDArray[np.bool_], stated: npt.NDArray[np.float64], bins: int = 10
) -> float:
    """Give the expected calibration error (Naeini et al. 2015): how far words are from facts.

    In bins of equal width, the difference between the mean probability and the share that was
    true, weighted by the cases of the bin. Never 0 in few cases, by chance.
    """
    gaps = np.bincount(_bin_of(stated, bins), stated - true, minlength=bins)
    return float(np.abs(gaps).sum() / len(true))


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
    draws: int = DRAWS,
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
    # What is drawn is what was checked before: scikit-learn need not do so a thousand times.
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
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
