"""What tests let import workers run: good, slow, failing and dying calls."""

from __future__ import annotations

import os
import signal
import time

import numpy as np

from medview.core.errors import ReadError
from medview.core.shared_array import SharedArray, SharedArrayName


def double(number: int) -> int:
    return 2 * number


def process_id() -> int:
    return os.getpid()


def refuse() -> None:
    raise ReadError("This is no image", "Try another", "magic number")


def stumble(secret: str) -> None:
    raise ValueError(f"cannot parse {secret}")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def devour(gigabytes: int) -> int:
    return np.zeros(gigabytes << 30, dtype=np.uint8).nbytes


def fill(key: SharedArrayName, value: int) -> None:
    with SharedArray.attach(key) as shared:
        shared.array[...] = value


def shout() -> None:
    print("noise")  # noqa: T201
