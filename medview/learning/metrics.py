"""Scores of a segmentation against the truth, and how sure one can be of their mean."""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance

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


def bootstrap_interval(
    values: Sequence[float],
    patients: Sequence[str],
    statistic: Callable[[npt.NDArray[np.float64]], Any],
    *,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Give the 95 % percentile interval of a statistic when whole patients are drawn anew.

    Patients, not cases, are the unit: two sides of one person are not two observations
    (Efron and Tibshirani 1993, chapter 13).
    """
    if len(values) != len(patients) or len(values) == 0:
        raise ValueError("every value needs its patient, and there must be one")
    numbers = np.asarray(values, dtype=np.float64)
    groups = [
        np.flatnonzero([name == patient for name in patients]) for patient in sorted(set(patients))
    ]
    rng = np.random.default_rng(seed)
    drawn = [
        statistic(numbers[np.concatenate([groups[i] for i in choice])])
        for choice in rng.integers(0, len(groups), size=(draws, len(groups)))
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)
