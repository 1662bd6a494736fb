"""What child processes of benchmarks do; imports as little as they are to have imported."""

from __future__ import annotations

import importlib
from multiprocessing.connection import Connection

import numpy as np

from medview.core.shared_array import SharedArray


def import_torch(end: Connection) -> None:
    """Say when torch is there."""
    importlib.import_module("torch")
    end.send("ready")


def last_voxels(end: Connection) -> None:
    """Answer each array, or the name of one in shared memory, with its last voxel."""
    while (given := end.recv()) is not None:
        if isinstance(given, np.ndarray):
            end.send(int(given[-1, -1, -1]))
        else:
            with SharedArray.attach(given) as block:
                end.send(int(block.array[-1, -1, -1]))
