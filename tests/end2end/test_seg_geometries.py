"""What is segmented on any grid is read by others at the same place."""

from __future__ import annotations

from tests.end2end.seg_geometries import geometries


def test_no_voxel_is_wrong_on_random_grids() -> None:
    rows = geometries(6, seed=3)
    assert all(row.in_highdicom == 0 for row in rows), rows
    assert all(row.in_dcmqi <= 0 for row in rows), rows
    assert {row.label_map for row in rows} == {True, False}
