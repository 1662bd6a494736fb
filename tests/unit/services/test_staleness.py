"""Results whose input changed: marked, and not exported without a word of the reader."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medview.core.errors import CommandError
from medview.core.findings import Person, Provenance, utc_now
from medview.core.geometry import Box
from medview.core.jobs import JobInput
from medview.services.edits import ChangeFindings, FindingStep
from medview.services.staleness import require_fresh, stale_reason
from medview.services.watch import CHANGED
from medview.services.workspace import Workspace
from tests.helpers import desk as made
from tests.helpers.desk import SERIES, STUDY


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


def test_what_was_measured_on_structures_goes_stale_when_one_is_corrected(work: Workspace) -> None:
    both = made.finding(None, 1.0, "Both structures")
    work.apply(ChangeFindings(STUDY, (FindingStep(None, both),), "Both"))
    assert stale_reason(work, both) == ""
    edit = made.dab(work, Box((3, 0, 0), (4, 2, 2)), 1)
    assert edit is not None
    work.apply(edit)
    assert "corrected the segments" in stale_reason(work, both)
    own = [one for one in work.findings.values() if one.segment_ref is not None]
    assert not any(stale_reason(work, one) for one in own), "measured again when corrected"
    work.history.undo()
    assert stale_reason(work, both) == ""
