"""How well boxes were found: matches with the truth, and average precision over many pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch

from medview.inference.networks.pictures import overlaps

Numbers = npt.NDArray[np.float64]

#: False positives an image at which sensitivity is read, by the name of the figure.
FROC_RATES = MappingProxyType(
    {
        "sensitivity_at_fp0125": 0.125,
        "sensitivity_at_fp025": 0.25,
        "sensitivity_at_fp05": 0.5,
        "sensitivity_at_fp1": 1.0,
        "sensitivity_at_fp2": 2.0,
        "sensitivity_at_fp4": 4.0,
        "sensitivity_at_fp8": 8.0,
    }
)


@dataclass(frozen=True)
class Match:
    """One class in one picture: scores of the boxes, surest first, and which of them are right.

    `hits` is (overlaps asked for, boxes); `truths` counts the boxes of the truth.
    """

    scores: npt.NDArray[np.float32]
    hits: npt.NDArray[np.bool_]
    truths: int


def match_boxes(
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    truth: npt.NDArray[np.float32],
    least_overlaps: Sequence[float] | Numbers,
) -> Match:
    """Match boxes with the truth, each once, surest first, with the truth it overlaps most.

    As COCO does it (Lin et al., arXiv:1405.0312), at each of `least_overlaps`.
    """
    order = np.argsort(-scores, kind="stable")
    shared = overlaps(torch.from_numpy(boxes[order]), torch.from_numpy(truth)).numpy()
    hits = np.zeros((len(least_overlaps), len(order)), bool)
    for step, least in enumerate(least_overlaps):
        free = np.ones(len(truth), bool)
        for number in range(len(order)):
            open_ones = np.where(free, shared[number], -1.0) if len(truth) else np.array([-1.0])
            best = int(open_ones.argmax())
            if open_ones[best] >= least:
                free[best] = False
                hits[step, number] = True
    return Match(scores[order], hits, len(truth))


def average_precisions(matches: Sequence[Match]) -> Numbers:
    """Give the average precision at each overlap, over all pictures; NaN where nothing was true.

    Precision at 101 recalls, never rising with recall, as COCO does it (arXiv:1405.0312).
    """
    scores = np.concatenate([match.scores for match in matches])
    hits = np.concatenate([match.hits for match in matches], axis=1)
    truths = sum(match.truths for match in matches)
    if truths == 0:
        return np.full(len(hits), np.nan)
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(hits[:, order], axis=1)
    precision = right / np.arange(1, len(order) + 1)
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recalls = np.linspace(0.0, 1.0, 101)
    result = np.zeros(len(hits))
    for step, row in enumerate(right / truths):
        places = np.searchsorted(row, recalls, side="left")
        reached = places < len(row)
        result[step] = precision[step, places[reached]].sum() / len(recalls)
    return result


def froc_curve(matches: Sequence[Match]) -> tuple[Numbers, Numbers]:
    """Give false positives an image and sensitivity at every threshold, the highest first.

    The free-response curve (Bunch et al. 1977) of one class at the first overlap asked for.
    Boxes of the same score pass a threshold together. Sensitivity is NaN where nothing was true.
    """
    scores = np.concatenate([match.scores for match in matches])
    right = np.concatenate([match.hits[0] for match in matches])
    truths = sum(match.truths for match in matches)
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, [True] * (len(order) > 0)).astype(bool)
    found = np.append(0, np.cumsum(right[order])[last])
    wrong = np.append(0, np.cumsum(~right[order])[last])
    return wrong / len(matches), found / truths if truths else np.full(len(found), np.nan)


def sensitivities(matches: Sequence[Match]) -> Numbers:
    """Give the sensitivity at each of the false positives an image in `FROC_RATES`.

    Between two thresholds it is interpolated (as in LUNA16, Setio et al., arXiv:1612.08012);
    where boxes run out before, it stays what it was.
    """
    wrong, found = froc_curve(matches)
    read: Numbers = np.interp(list(FROC_RATES.values()), wrong, found)
    return read
