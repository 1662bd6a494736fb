"""Which devices torch can compute on, and how it should use them; importing this loads torch."""

from __future__ import annotations

import os

import torch

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
