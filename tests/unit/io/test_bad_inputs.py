"""Every bad input through the product: what is promised of it happens, and its neighbours load."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.bad_inputs import CASES
from tests.helpers.bad_inputs.case import Case, write
from tests.helpers.bad_inputs.containers import PASSWORD, SECRET, encrypted_zip
from tests.helpers.bad_inputs.seeds import good, pixels
from tests.helpers.import_bench import MIB, Bench, Outcome, bench

pytestmark = [
    pytest.mark.session_processes,
    pytest.mark.filterwarnings("ignore:Invalid value for VR CS"),
]

#: Hash of the seed slice as `medview info` gives it: real-world values in float32.
INTACT = hashlib.sha256((pixels().astype("<f4") - 1024).tobytes()).hexdigest()
_NOTE_OF_ONE = re.compile(r"A single slice")
_TECHNICAL = re.compile(
    r"Traceback|Error\b|Exception|NoneType|0x[0-9a-f]{6}|\bline \d+|__|errno|\bbytes-like|\.py\b"
)


@pytest.fixture(scope="module")
def worker() -> Iterator[Bench]:
    """One import worker for all cases."""
    with bench() as made:
        yield made


def _run(worker: Bench, case: Case, folder: Path) -> Outcome:
    """The case beside two slices that are fine and belong to the same study."""
    root = folder / "dropped"
    root.mkdir()
    case.write(root)
    for n in (1, 2):
        write(root / f"zz_good{n}.dcm", good(n, 2.0 * n))
    return worker.info(root)


def _bad(outcome: Outcome) -> list[dict[str, Any]]:
    return [series for _, series in outcome.series() if series["description"] != "good"]


def _warned(series: dict[str, Any], volume: dict[str, Any]) -> bool:
    """Whether something stays on the series or the volume that a reader sees."""
    return any(not _NOTE_OF_ONE.match(note) for note in (*series["notes"], *volume["notes"]))


def _untrusted(volume: dict[str, Any]) -> bool:
    return volume["affine_lps"] is None and volume["calibration"] == "none"


def _behaviour(outcome: Outcome) -> set[str]:
    """The codes that what happened stands for."""
    shown = [(one, volume) for one in _bad(outcome) for volume in one["volumes"]]
    refused = any(problem["severity"] == "refused" for problem in outcome.problems)
    codes = set()
    if refused:
        codes |= {"R"} if not shown else {"R", "W"}
    if shown and not refused:
        codes |= {"L", "N", "X"}
    if refused and not any(SECRET in repr(v).encode() for _, v in shown):
        codes.add("X")
    if shown and all(_warned(*pair) for pair in shown):
        codes.add("W")
    if shown and all(_untrusted(volume) for _, volume in shown):
        codes.add("U")
    if len(shown) > 1:
        codes.add("S")
    return codes


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_input_gets_what_was_promised(case: Case, worker: Bench, tmp_path: Path) -> None:
    if case.name.startswith("Z20") and os.geteuid() == 0:
        pytest.skip("nothing is closed to root")
    outcome = _run(worker, case, tmp_path)
    _others_are_whole(outcome)
    assert _behaviour(outcome) & set(case.expected), outcome.problems
    _report_is_plain(outcome)
    if case.twin:
        _nothing_invented(outcome)
    assert outcome.grown < 512 * MIB
    # A guard against hanging on a machine that does other things too, not a measure of speed.
    assert outcome.seconds < 5 * case.seconds + 20


def _others_are_whole(outcome: Outcome) -> None:
    """The two good slices are one volume without a word about it."""
    (found,) = [series for _, series in outcome.series() if series["description"] == "good"]
    (volume,) = found["volumes"]
    assert volume["shape"] == [2, 128, 128]
    assert volume["spacing_mm"] == pytest.approx([2.0, 0.8, 0.7])
    assert volume["notes"] == []


def _report_is_plain(outcome: Outcome) -> None:
    """Every row names a file, a reason in words and what to do."""
    for problem in outcome.problems:
        assert problem["path"]
        assert len(problem["reason"].split()) > 2
        assert problem["hint"]
        assert not _TECHNICAL.search(problem["reason"] + problem["hint"]), problem


def _nothing_invented(outcome: Outcome) -> None:
    """One slice is shown as it was made, or a warning stays with it."""
    for series in _bad(outcome):
        for volume in series["volumes"]:
            if volume["shape"] == [1, 128, 128]:
                assert volume["sha256"] == INTACT or _warned(series, volume)


@pytest.mark.parametrize("aes", [False, True], ids=["ZipCrypto", "AES"])
def test_an_encrypted_archive_opens_with_its_password_only(
    worker: Bench, tmp_path: Path, *, aes: bool
) -> None:
    path = tmp_path / "locked.zip"
    write(path, encrypted_zip(aes=aes))
    for password, told in (("", "asks for a password"), ("wrong", "does not open")):
        outcome = worker.info(path, password)
        assert not outcome.info["patients"]
        assert any(told in problem["reason"] for problem in outcome.problems)
    outcome = worker.info(path, PASSWORD)
    assert outcome.problems == []
    ((_, series),) = outcome.series()
    assert series["volumes"][0]["shape"] == [2, 128, 128]
