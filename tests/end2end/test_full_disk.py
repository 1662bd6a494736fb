"""A full disk under a running program: told with path and room, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

from tests.end2end.full_disk import KINDS, Full, full_disks
from tests.helpers.disks import needs_disks


@needs_disks
def test_work_and_exports_outlive_a_full_disk(tmp_path: Path) -> None:
    seen: list[Full] = []
    rows = full_disks(tmp_path, 2 * len(KINDS), seed=4, note=seen.append)
    assert rows == seen
    assert not [row for row in rows if row.faults]
    assert any(row.told for row in rows)
