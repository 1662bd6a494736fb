"""Conversion by workers: a hostile file costs its slice, what is missing is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medview.core.errors import ReadError
from medview.services import arrival, planning, scanning
from medview.services.conversion import Wanted, convert
from medview.services.tasks import Tasks
from tests.helpers.dicom_phantoms import CtOptions, write_ct
from tests.helpers.phantoms import Phantom

SMALL = Phantom(shape=(6, 20, 16), radius_mm=5)


@pytest.fixture
def tasks() -> Iterator[Tasks]:
    made = Tasks(workers=1, import_workers=1, preload=("tests.helpers.hostile_reading",))
    yield made
    made.close()


@pytest.mark.parametrize("purpose", ["scan", "sort", "plan", "group", "fill"])
@pytest.mark.parametrize("fate", ["kill", "busy"])
def test_a_file_that_costs_its_worker_costs_its_slice(
    tasks: Tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fate: str, purpose: str
) -> None:
    for module, limit in (
        (scanning, "_FILE_CPU_S"),
        (scanning, "_SORTING_CPU_S"),
        (planning, "_FILE_CPU_S"),
        (arrival, "_PLANE_CPU_S"),
    ):
        monkeypatch.setattr(module, limit, 1.5)
    hostile = {3: {"SeriesDescription": f"{fate}-{purpose}"}}
    paths = write_ct(tmp_path / "in", SMALL, CtOptions(per_slice=hostile))
    lost = paths[3]
    if purpose == "fill":
        lost = lost.rename(lost.with_name(f"{fate}-fill"))
    out = tmp_path / "out.nii.gz"
    problems = convert(tasks, [tmp_path / "in"], Wanted(CtOptions().series_uid, out))
    image = nib.load(out)
    values = np.asarray(image.dataobj).transpose(2, 1, 0)
    good = [0, 1, 2, 4, 5]
    assert np.array_equal(values[good], SMALL.values()[good])
    assert not np.any(np.isin(values[3], SMALL.values()[3]))
    far = image.affine @ (15, 19, 5, 1)
    expected = SMALL.geometry.to_lps_mm((5, 19, 15)) * (-1, -1, 1)
    assert far[:3] == pytest.approx(expected, abs=1e-4)
    assert [one.path for one in problems] == [lost]


def test_what_is_missing_is_named(tasks: Tasks, tmp_path: Path) -> None:
    write_ct(tmp_path / "in", SMALL)
    out = tmp_path / "x.nrrd"
    with pytest.raises(ReadError, match="no such series"):
        convert(tasks, [tmp_path / "in"], Wanted("1.2.3", out))
    with pytest.raises(ReadError, match="no volume 7"):
        convert(tasks, [tmp_path / "in"], Wanted(CtOptions().series_uid, out, volume=7))
    assert not out.exists()
