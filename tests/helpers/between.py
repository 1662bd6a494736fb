"""Labels between scores in one call, as benchmarks and tests compare them with peers."""

from __future__ import annotations

import numpy as np

from medview.imaging.arg_max import Labels, Scores, best_class, label_between, line


def labels_on(scores: Scores, shape: tuple[int, int, int]) -> Labels:
    """Labels of `shape` from scores (C, a, b, c) of the same field of view.

    Equal to trilinear interpolation of all classes followed by arg-max, up to rounding.
    """
    best, out = np.empty(scores.shape[1:], np.uint16), np.empty(shape, np.uint16)
    best_class(scores, best)
    lines = [line(size, count) for size, count in zip(scores.shape[1:], shape, strict=True)]
    label_between(scores, np.ones(best.shape, np.float32), best, lines, out)
    return out
