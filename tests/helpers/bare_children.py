"""What child processes of benchmarks do; imports as little as they are to have imported."""

from __future__ import annotations

import importlib
from multiprocessing.connection import Connection

import numpy as np

from medview.core.shared_array import SharedArray, SharedArrayName


def import_torch(end: Connection) -> None:
    """Say when torch is there."""
    importlib.import_module("torch")
    end.send("ready")


def last_voxels(end: Connection) -> None:
    """Answer each array, or the name of one in shared memory, with its last voxel."""
    while (given := end.recv()) is not None:
        last = _last_voxel(given)
        # Gone now, and not while the next one is waited for: it would take that one's time.
        del given
        end.send(last)


def _last_voxel(given: object) -> int:
    if isinstance(given, np.ndarray):
        return int(given[-1, -1, -1])
    assert isinstance(given, SharedArrayName)
    with SharedArray.attach(given) as block:
        return int(block.array[-1, -1, -1])
