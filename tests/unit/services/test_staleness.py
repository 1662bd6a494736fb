"""Results whose input changed: marked, and not exported without a word of the reader."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medview.core.errors import CommandError
from medview.core.findings import Person, Provenance, utc_now
from medview.core.jobs import JobInput
from medview.services.staleness import require_fresh, stale_reason
from medview.services.watch import CHANGED
from medview.services.workspace import Workspace
from tests.helpers import desk as made
from tests.helpers.desk import SERIES


@pytest.fixture
def work() -> Workspace:
    work = made.workspace()
    review, _ = made.desk(work)
    work.put_job(made.job(work))
    made.propose(work, review)
    return work


def test_a_result_is_fresh_while_its_input_stays(work: Workspace) -> None:
    assert {stale_reason(work, finding) for finding in work.findings.values()} == {""}
    require_fresh(work, work.findings.values())


def test_changed_files_make_results_of_models_stale_and_no_others(work: Workspace) -> None:
    work.note_series(SERIES, CHANGED)
    findings = list(work.findings.values())
    assert all("files of the image" in stale_reason(work, finding) for finding in findings)
    with pytest.raises(CommandError, match="2 results are stale"):
        require_fresh(work, findings)
    mine = replace(findings[0], provenance=Provenance(Person("Dr Ada"), utc_now()))
    assert stale_reason(work, mine) == ""


def test_a_corrected_segmentation_makes_what_was_made_from_it_stale(work: Workspace) -> None:
    (segmentation,) = work.segmentations.values()
    finding = next(iter(work.findings.values()))
    job = made.job(work)
    work.put_job(replace(job, inputs=(JobInput(segmentation.uid, segmentation.revision),)))
    assert stale_reason(work, finding) == ""
    work.put_job(replace(job, inputs=(JobInput(segmentation.uid, segmentation.revision - 1),)))
    assert "segments it was made from" in stale_reason(work, finding)
