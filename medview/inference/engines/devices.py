"""Which devices torch can compute on, and how it should use them; importing this loads torch."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

# What mallopt(3) of the GNU C library calls its parameters, and where they settle by themselves.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_SETTLED = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20}

_DEFAULT_THREADS = torch.get_num_threads()


def prepare(threads: int = 0) -> tuple[str, ...]:
    """Set torch up for one job at a time and name the devices there are, the best first.

    `threads` 0 takes the cores this process may use, which in a container are not the host's.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch.set_num_threads(threads or max(1, min(_DEFAULT_THREADS, allowed or 1)))
    return available()


def available() -> tuple[str, ...]:
    """Names such as `cuda:0` and `cpu`, the fastest first."""
    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return (*(f"cuda:{index}" for index in range(cuda)), "cpu")


def choose(wanted: str) -> tuple[str, tuple[str, ...]]:
    """The device to use for `auto`, `cpu`, `cuda` or `cuda:N`, and what had to be done instead."""
    devices = available()
    if wanted == "auto":
        return devices[0], ()
    name = "cuda:0" if wanted == "cuda" else wanted
    if name in devices:
        return name, ()
    return "cpu", (f"There is no {wanted} here; the processor was used.",)


def free_bytes(device: str) -> float | None:
    """Memory that a run may take on `cpu` or `cuda:N`; None where the system does not tell."""
    if device != "cpu":
        return float(torch.cuda.mem_get_info(device)[0])
    try:
        return float(psutil.virtual_memory().available)
    except (OSError, psutil.Error):
        return None


@contextmanager
def memory_kept() -> Iterator[None]:
    """Use freed memory again meanwhile, and give it back to the system afterwards.

    The C library of Linux returns every large block at once and asks for it again; for the tensors
    of a network that takes as long as a good part of the work. Elsewhere this does nothing.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(library, "mallopt") or not hasattr(library, "malloc_trim"):
        yield
        return
    assert library is not None  # noqa: S101  (it has what was asked for)
    for parameter, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, (1 << 31) - 1)):
        library.mallopt(parameter, value)
    try:
        yield
    finally:
        for parameter, value in _SETTLED.items():
            library.mallopt(parameter, value)
        library.malloc_trim(0)
