"""Two programs' views of one image, compared: how far apart its voxels lie, and its values."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Apart:
    """The largest distance between places of one voxel in mm, and between its two values."""

    mm: float
    value: float


def apart(ours_lps: Array, ours: Array, theirs_ras: Array, theirs: Array) -> Apart:
    """Compare values (k, j, i) under an affine to LPS with values (i, j, k) under one to RAS.

    The axes may be flipped and swapped; infinity where the grids are no flip of each other.
    """
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ theirs_ras
    between = np.linalg.inv(ours_lps) @ to_lps
    turn = np.rint(between[:3, :3])
    shift = np.rint(between[:3, 3])
    if not np.array_equal(np.abs(turn).sum(axis=0), np.ones(3)):
        return Apart(float("inf"), float("inf"))
    axes = [int(np.flatnonzero(turn[row])[0]) for row in range(3)]
    if not np.array_equal(np.abs(turn).sum(axis=1), np.ones(3)) or tuple(
        theirs.shape[axis] for axis in axes
    ) != tuple(ours.shape):
        return Apart(float("inf"), float("inf"))
    corners = np.array(list(itertools.product(*[(0, n - 1) for n in theirs.shape]))).T
    mine = ours_lps[:3, :3] @ (turn @ corners + shift[:, None]) + ours_lps[:3, 3:4]
    yours = to_lps[:3, :3] @ corners + to_lps[:3, 3:4]
    mm = float(np.linalg.norm(mine - yours, axis=0).max())
    turned = theirs.transpose(axes)
    for row, axis in enumerate(axes):
        if turn[row, axis] < 0:
            turned = np.flip(turned, axis=row)
    return Apart(mm, float(np.abs(ours.astype(np.float64) - turned).max()))


def dcm2niix(folder: Path, out: Path) -> list[Any]:
    """The images that dcm2niix finds in a folder, untouched by its tilt correction."""
    program = shutil.which("dcm2niix")
    if program is None:
        pytest.skip("needs dcm2niix")
    out.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [program, "-z", "n", "-b", "n", "-f", "%s_%p_%t_%e", "-o", out, folder],
        check=False,
        capture_output=True,
    )
    return [nib.load(path) for path in sorted(out.glob("*.nii"))]
