"""Motion between frames: how far off, and how long, beside DIS and TV-L1 in the same run.

The pairs are those that `medview evaluate` measures by, of clips that were not learned from. The
figures that count are ratios. It needs the extra `bench`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medview.inference.engines.network import load_trained, read_metadata
from medview.inference.networks.readings import flat_recipe, motion_between
from medview.learning.clips import read_frames
from medview.learning.layouts import open_dataset
from medview.learning.tasks.video import Pair, exam
from medview.learning.warps import end_point_error

cv2 = pytest.importorskip("cv2")
registration = pytest.importorskip("skimage.registration")

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "resources" / "models" / "motion"
CLIPS = ROOT / "resources" / "training" / "motion" / "clips"
pytestmark = [pytest.mark.shared, pytest.mark.timeout(3600)]

Seer = Callable[[np.ndarray, np.ndarray], np.ndarray]


def dis(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """OpenCV's dense inverse search at its best preset, on bytes as it wants them."""
    eight = [np.clip(one * 255, 0, 255).astype(np.uint8) for one in (first, second)]
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*eight, None)
    return np.moveaxis(flow, -1, 0)


def tvl1(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """scikit-image's TV-L1 with its usual settings."""
    down, right = registration.optical_flow_tvl1(first, second)
    return np.stack([right, down])


def judged(see: Seer, pairs: list[Pair]) -> tuple[float, float]:
    """Mean end-point error in pixels and seconds of processor a pair."""
    errors, began = [], time.process_time()
    for pair in pairs:
        found = torch.from_numpy(np.ascontiguousarray(see(*pair.pictures.numpy()), np.float32))
        errors.append(end_point_error(found, pair.motion).item())
    return float(np.mean(errors)), (time.process_time() - began) / len(pairs)


def test_motion_is_seen_better_than_by_dis_and_faster_than_by_tvl1(benchmark: Any) -> None:
    cases = open_dataset(CLIPS).of("val")
    if not all(case.image.is_file() for case in cases):
        pytest.skip("the clips are not here")
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    network, recipe = load_trained(MODEL), flat_recipe(read_metadata(MODEL))

    def own(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return motion_between(network, first, second, recipe)

    error: dict[str, list[float]] = {"medview": [], "dis": [], "tvl1": []}
    seconds: dict[str, list[float]] = {name: [] for name in error}
    for case in cases:
        pairs = exam(read_frames(case.image))
        for name, see in (("medview", own), ("dis", dis), ("tvl1", tvl1)):
            # TV-L1 takes its time: two pairs a clip tell enough.
            off, took_s = judged(see, pairs[::3] if name == "tvl1" else pairs)
            error[name].append(off)
            seconds[name].append(took_s)
            benchmark.extra_info[f"{case.id} {name}"] = f"{off:.3f} px, {took_s:.2f} s"
    benchmark.pedantic(own, tuple(pairs[0].pictures.numpy()), rounds=3)
    mean = {name: float(np.mean(values)) for name, values in error.items()}
    pace = {name: float(np.mean(values)) for name, values in seconds.items()}
    benchmark.extra_info |= {"error_px": mean, "seconds": pace}
    print(dict(benchmark.extra_info))  # noqa: T201
    assert mean["medview"] <= 0.8 * mean["dis"]
    assert mean["medview"] <= 0.8 * mean["tvl1"]
    assert pace["medview"] < pace["tvl1"]
