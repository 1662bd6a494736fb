"""Forty segments on 600 slices to DICOM SEG and back, beside plain calls of highdicom.

Run with `make bench` on a quiet machine. Each step runs in a process of its own, by turns.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.end2end.command_line import ROOT
from tests.helpers.figures import Quiet
from tests.helpers.segment_files import make, make_most

pytestmark = pytest.mark.timeout(900)
ROUNDS = 3
#: What a label map takes is mostly reading and writing its bytes, which nobody does in half.
BARS = {("BINARY", "write"): 0.5, ("BINARY", "read"): 0.5}
MOST_GB = 1.5
_TOUCH = "from tests.helpers.figures import touch_memory; touch_memory()"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("segments")
    make(made)
    return made


def taken(folder: Path, *words: str) -> dict[str, float]:
    """Seconds and gigabytes of one step in a process of its own, after another took memory."""
    subprocess.run([sys.executable, "-c", _TOUCH], cwd=ROOT, check=True)
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.segment_files", str(folder), *words],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_as_many_segments_as_there_can_be_take_less_than_a_gibibyte(
    tmp_path: Path, kind: str
) -> None:
    make_most(tmp_path / "most")
    for step in ("write", "read"):
        told = taken(tmp_path / "most", "ours", step, kind)
        print(  # noqa: T201
            f"65,535 segments, {kind} {step}: {told['seconds']:.1f} s, {told['gigabytes']:.2f} GB",
            flush=True,
        )
        assert told["gigabytes"] * 1e9 < 2**30 or step == "write"


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_forty_segments_take_half_the_time_of_highdicom(folder: Path, kind: str) -> None:
    quiet, holds = Quiet(), True
    for step in ("write", "read"):
        ratios, held = [], []
        for _ in range(ROUNDS):
            seconds = {}
            for who in ("ours", "peer"):
                told = taken(folder, who, step, kind)
                seconds[who] = told["seconds"]
                held += [told["gigabytes"]] * (who == "ours")
            ratios.append(seconds["ours"] / seconds["peer"])
        ratio = float(np.median(ratios))
        print(  # noqa: T201  (the figures are what this is run for)
            f"{kind} {step}: {ratio:.2f} of highdicom, last {seconds['ours']:.2f} s and "
            f"{seconds['peer']:.2f} s, {max(held):.2f} GB",
            flush=True,
        )
        holds &= ratio <= BARS.get((kind, step), np.inf) and max(held) <= MOST_GB
    quiet.judge(holds=holds)
