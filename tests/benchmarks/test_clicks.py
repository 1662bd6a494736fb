"""How many clicks an outline takes: ours beside two peers that are given clicks alike.

Run with `pytest -s tests/benchmarks/test_clicks.py`; the figures go into the help page.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.clicks import (
    Case,
    clicks_needed,
    confidence_connected,
    hippocampi,
    lungs,
    network,
    random_walker,
    reached_by,
    walks,
)

pytest.importorskip("skimage")
pytestmark = pytest.mark.timeout(1200)


@pytest.mark.parametrize("cases", [hippocampi, lungs])
def test_it_takes_fewer_clicks_than_with_its_peers(
    shared: Path, cases: Callable[[Path], Iterator[Case]]
) -> None:
    """The first two cases were looked at while the walks were made, and do not count.

    The network learned from MRI of other patients, and from no X-ray.
    """
    chosen = list(islice(cases(shared / "train"), 2, 42))
    assert len(chosen) >= 20
    median = {}
    for method in (network, walks, confidence_connected, random_walker):
        begun = time.perf_counter()
        reached = [reached_by(case, method) for case in chosen]
        took = (time.perf_counter() - begun) / sum(map(len, reached))
        clicks = [clicks_needed(one) for one in reached]
        good = np.mean([one[-1] >= 0.9 for one in reached])
        after = [np.mean([one[min(n, len(one)) - 1] for one in reached]) for n in (1, 3, 5)]
        median[method.__name__] = float(np.median(clicks))
        print(  # noqa: T201
            f"{cases.__name__}, {len(chosen)} cases, {method.__name__}: median clicks to Dice 0.9 "
            f"{median[method.__name__]:g} (21: never), reached by {good:.0%}, "
            f"Dice after 1, 3, 5 clicks {after[0]:.2f}, {after[1]:.2f}, {after[2]:.2f}, "
            f"{took:.3f} s a click",
            flush=True,
        )
    peers = median["confidence_connected"], median["random_walker"]
    assert max(median["network"], median["walks"]) <= min(peers)
