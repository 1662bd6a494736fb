"""Inspection: a file that kills or stalls its worker costs itself, and the report says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from medview.services import inspection
from medview.services.tasks import Tasks
from tests.helpers.bad_inputs.case import write
from tests.helpers.bad_inputs.seeds import good

ROOMS = ("medview.io.", "tests.helpers.")


@pytest.mark.parametrize("fate", ["die", "hang"])
def test_a_file_that_costs_its_worker_costs_itself(
    fate: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(5):
        write(tmp_path / f"{fate if n == 2 else 'ok'}{n}.dcm", good(n, 2.0 * n))
    monkeypatch.setattr(inspection, "_DESCRIBE", "tests.helpers.costly_targets:costly_series_info")
    if fate == "hang":
        # A new worker imports its libraries in this time too.
        for limit in ("_SERIES_S", "_ALONE_S"):
            monkeypatch.setattr(inspection, limit, 10.0)
    tasks = Tasks(workers=1, rooms=ROOMS, preload=("tests.helpers.costly_targets",))
    try:
        found = inspection.info(tasks, [tmp_path])
    finally:
        tasks.close()
    ((series,),) = [study["series"] for study in found["patients"][0]["studies"]]
    (volume,) = series["volumes"]
    assert series["instances"] == 5
    # The place of the lost slice stays empty: four slices at their true distance would be six.
    assert volume["shape"][0] == 5
    assert volume["spacing_mm"][0] == pytest.approx(2.0)
    (problem,) = found["problems"]
    assert problem["path"].endswith(f"{fate}2.dcm")
    assert problem["severity"] == "refused"
