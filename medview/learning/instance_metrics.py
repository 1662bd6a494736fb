"""How well objects were told apart: matches with the truth, F1 and panoptic quality."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class InstanceMatch:
    """One picture: the overlaps of matched objects, and how many there are of both."""

    overlaps: tuple[float, ...]
    answers: int
    truths: int


def match_instances(
    answer: npt.NDArray[np.integer], truth: npt.NDArray[np.integer]
) -> InstanceMatch:
    """Match numbered objects that overlap (intersection over union) by more than half.

    Above half, a match is the only one there can be (Kirillov et al., arXiv:1801.00868).
    """
    answers, mine = np.unique(answer, return_inverse=True)
    truths, theirs = np.unique(truth, return_inverse=True)
    table = np.zeros((len(answers), len(truths)), np.int64)
    np.add.at(table, (mine.ravel(), theirs.ravel()), 1)
    union = table.sum(axis=1)[:, None] + table.sum(axis=0)[None] - table
    overlap = (table / np.maximum(union, 1))[answers != 0][:, truths != 0]
    matched = overlap[overlap > 0.5]
    return InstanceMatch(
        tuple(float(value) for value in matched), overlap.shape[0], overlap.shape[1]
    )


def panoptic_figures(matches: Sequence[InstanceMatch]) -> dict[str, float]:
    """Give F1 at half overlap, segmentation and panoptic quality, and the error of the count.

    All objects of all pictures count alike: PQ = sum of overlaps / (matches + half of the objects
    of both that have none) (Kirillov et al., arXiv:1801.00868). The count's error is the median
    over pictures, as a share of the true count.
    """
    matched = sum(len(match.overlaps) for match in matches)
    total = sum(match.answers + match.truths for match in matches) / 2
    shared = sum(sum(match.overlaps) for match in matches)
    if total == 0:
        return dict.fromkeys(("f1_iou50", "pq", "sq", "count_error_median"), float("nan"))
    return {
        "f1_iou50": matched / total,
        "pq": shared / total,
        "sq": shared / matched if matched else 0.0,
        "count_error_median": float(
            np.median([abs(m.answers - m.truths) / max(m.truths, 1) for m in matches])
        ),
    }


def overlap_curve(matches: Sequence[InstanceMatch]) -> list[list[float]]:
    """Give the F1 of objects at every overlap from 0.5 to 0.95 that a match has to pass."""
    overlaps = np.array([value for match in matches for value in match.overlaps])
    total = sum(match.answers + match.truths for match in matches) / 2
    steps = np.arange(10) / 20 + 0.5
    return [[float(step), float((overlaps > step).sum() / max(total, 1))] for step in steps]
