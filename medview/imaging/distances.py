"""Distances to a mask in millimetres, compiled: exact on every grid whose axes are square.

Squared distances by lower envelopes of parabolas, axis after axis (Felzenszwalb and
Huttenlocher, Distance transforms of sampled functions, 2012). Importing this loads numba.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
_FAR = np.float32(1e18)


@numba.njit(cache=True, nogil=True)
def _first_pass(mask, step, out):  # type: ignore[no-untyped-def]
    """Along the last axis: squared distance to the nearest True in the line."""
    planes, rows, columns = mask.shape
    for k in range(planes):
        for j in range(rows):
            gap = -1.0
            for i in range(columns):
                if mask[k, j, i]:
                    gap = 0.0
                elif gap >= 0:
                    gap += step
                out[k, j, i] = gap * gap if gap >= 0 else _FAR
            gap = -1.0
            for i in range(columns - 1, -1, -1):
                if mask[k, j, i]:
                    gap = 0.0
                elif gap >= 0:
                    gap += step
                    out[k, j, i] = min(out[k, j, i], gap * gap)


@numba.njit(cache=True, nogil=True)
def _envelope(line, weight, halves, scratch):  # type: ignore[no-untyped-def]
    """The parabolas line[p] + weight (q - p)^2 that are the lowest somewhere; how many.

    `scratch` takes which, where each begins, and line[p] / weight + p^2. `halves` has 1 / (2 n):
    a division takes as long as all the rest of a step.
    """
    at, ends, raised = scratch
    count, found = line.size, 0
    for q in range(count):
        if line[q] >= _FAR:
            continue
        if line[q] == 0 and 0 < q < count - 1 and line[q - 1] == 0 and line[q + 1] == 0:
            continue  # at no distance itself, and never the nearest to any other
        raised[q] = line[q] / weight + q * q
        start = -1e30
        while found:
            p = at[found - 1]
            start = (raised[q] - raised[p]) * halves[q - p]
            if start > ends[found - 1]:
                break
            found -= 1
        at[found] = q
        ends[found] = start if found else -1e30
        found += 1
    return found


@numba.njit(cache=True, nogil=True)
def _lowest(line, weight, found, scratch, result):  # type: ignore[no-untyped-def]
    """The minimum over p of line[p] + weight (q - p)^2 for each q, from the envelope of them."""
    at, ends, _ = scratch
    here = 0
    for q in range(line.size):
        if line[q] == 0 or not found:
            result[q] = line[q]
            continue
        while here < found - 1 and ends[here + 1] < q:
            here += 1
        p = at[here]
        result[q] = line[p] + weight * (q - p) * (q - p)


@numba.njit(cache=True, nogil=True)
def _later_pass(out, weight):  # type: ignore[no-untyped-def]
    """Along the second axis of three; the first is reached through a view that changes them."""
    planes, rows, columns = out.shape
    line, result = np.empty(rows, np.float64), np.empty(rows, np.float64)
    scratch = np.empty(rows, np.intp), np.empty(rows, np.float64), np.empty(rows, np.float64)
    halves = 0.5 / np.maximum(np.arange(rows), 1)
    for k in range(planes):
        for i in range(columns):
            for j in range(rows):
                line[j] = out[k, j, i]
            found = _envelope(line, weight, halves, scratch)
            _lowest(line, weight, found, scratch, result)
            for j in range(rows):
                out[k, j, i] = result[j]


def squared_mm(
    mask: Mask, spacing_mm: tuple[float, float, float], *, in_plane: bool = False
) -> npt.NDArray[np.float32]:
    """Squared distance in mm of each voxel of a 3D array to the nearest True one.

    1e18 where there is none. With `in_plane` each slice of the first axis is on its own.
    """
    solid: npt.NDArray[Any] = np.ascontiguousarray(mask)
    out = np.empty(mask.shape, dtype=np.float32)
    _first_pass(solid, spacing_mm[2], out)
    _later_pass(out, spacing_mm[1] ** 2)
    if not in_plane:
        _later_pass(out.transpose(1, 0, 2), spacing_mm[0] ** 2)
    return out
