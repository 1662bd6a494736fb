"""Figures as ratios: ours and its peers measured turn by turn in one run, on a quiet machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import psutil
import pytest

#: Cores that others may use while figures are taken.
_QUIET_CORES = 0.3


def touch_memory(megabytes: int = 900) -> None:
    """Let the host give memory now: on small virtual machines the first who asks pays for it."""
    np.ones(megabytes << 20, dtype=np.uint8)


class Quiet:
    """What others do on the machine meanwhile."""

    def __init__(self) -> None:
        self._busy_s, self._own_s = _busy_s(), _own_s()
        self._begun = time.monotonic()

    @property
    def others(self) -> float:
        """Cores that other programs kept busy since this was made."""
        wall = time.monotonic() - self._begun
        return max(0.0, _busy_s() - self._busy_s - (_own_s() - self._own_s)) / max(wall, 1e-3)

    def judge(self, *, holds: bool) -> None:
        """Fail where a bar is missed, if the machine was quiet enough to tell."""
        others = self.others
        if not holds and others > _QUIET_CORES:
            pytest.skip(f"figures recorded but not judged: others used {others:.1f} cores")
        assert holds


def _busy_s() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - _guest(times))


def _guest(times: Any) -> float:
    """Counted twice by Linux: once here, once as user time."""
    return float(getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0))


def _own_s() -> float:
    """Processor time of this process and its children, those that ended included."""
    own = os.times()
    total = own.user + own.system + own.children_user + own.children_system
    for child in psutil.Process().children(recursive=True):
        try:
            used = child.cpu_times()
            total += used.user + used.system
        except psutil.Error:
            continue
    return total


def paired(
    benchmark: Any,
    ours: Callable[[], object],
    peers: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 5,
    between: Callable[[], object] = touch_memory,
) -> dict[str, float]:
    """Median of ours by each peer over interleaved rounds; the figures go into the report.

    `between` runs before each measurement, outside the time. The first round is thrown away.
    """
    times: list[dict[str, float]] = []
    all_of_them = {"ours": ours, **peers}

    def one_round() -> None:
        taken = {}
        for name, run in all_of_them.items():
            between()
            begin = time.perf_counter()
            run()
            taken[name] = time.perf_counter() - begin
        times.append(taken)

    one_round()
    times.clear()
    benchmark.pedantic(one_round, rounds=rounds, iterations=1)
    ratios = {name: float(np.median([t["ours"] / t[name] for t in times])) for name in peers}
    for name in all_of_them:
        taken = [t[name] * 1000 for t in times]
        benchmark.extra_info[f"{name}_p50_ms"] = round(float(np.median(taken)), 1)
    benchmark.extra_info.update({f"x {name}": round(ratio, 3) for name, ratio in ratios.items()})
    print(dict(benchmark.extra_info))  # noqa: T201  (the figures are what this is run for)
    return ratios
