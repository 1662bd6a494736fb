"""A short form of the trial of dying workers."""

from __future__ import annotations

from pathlib import Path

from tests.end2end.dying_workers import FAULTS, table


def test_every_fault_costs_its_job_and_nothing_else(tmp_path: Path) -> None:
    lines = list(table(tmp_path, points=1))
    assert len(lines) == len(FAULTS)
    for line in lines:
        assert (line.right, line.intact) == (1, 1), str(line)
