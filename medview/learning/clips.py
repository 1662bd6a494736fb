"""Clips read from the files that hold them, as grey pictures to learn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from medview.core.errors import ReadError
from medview.imaging.motion import grey
from medview.learning.opened import open_all

#: So many frames of a clip are kept, evenly spread over it.
FRAMES = 32


def read_frames(path: Path) -> npt.NDArray[np.float32]:
    """Give (time, rows, columns) of the first clip in a file, from 0 to about 1, at most 32 frames.

    Any file that opens in the window as a clip will do. ReadError where there is none.
    """
    if not path.is_file():
        raise ReadError("clip is missing")
    series, reasons = open_all(path)
    clip = next((clip for one in series for clip in one.clips), None)
    if clip is None:
        raise ReadError(reasons or "it holds no moving pictures")
    return _shares(grey(clip.frames[_spread(len(clip.frames))]))


def _spread(count: int) -> npt.NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(count, FRAMES)).round().astype(np.int64))


def _shares(pictures: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Brightness as a share of nearly the highest, the lowest 0; stored numbers may be anything."""
    low, high = pictures.min(), np.percentile(pictures, 99.9)
    shares: npt.NDArray[np.float32] = (pictures - low) / np.float32(max(high - low, 1e-6))
    return shares
