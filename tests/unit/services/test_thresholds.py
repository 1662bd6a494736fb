"""The line between proposals and candidates, moved by the reader."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medview.core.errors import CommandError
from medview.core.findings import Finding, SegmentRef
from medview.core.jobs import InferenceResult, JobState
from medview.services.audit import Audit
from medview.services.outcomes import Outcomes
from medview.services.remembered import Remembered
from medview.services.review import ReviewDesk
from medview.services.thresholds import Count, Thresholds
from medview.services.workspace import Workspace
from tests.helpers import desk as made

SURE, LIKELY, DOUBTFUL, FAINT = 0.9, 0.6, 0.3, 0.1


class Stage:
    """A run with two findings above its threshold of 0.5 and two candidates below it."""

    def __init__(self) -> None:
        self.work: Workspace = made.workspace()
        self.review: ReviewDesk
        self.audit: Audit
        self.review, self.audit = made.desk(self.work)
        self.outcomes = Outcomes()
        self.thresholds = Thresholds(self.work, self.outcomes, self.audit)
        self.findings = {p: self._finding(p) for p in (SURE, LIKELY, DOUBTFUL, FAINT)}
        job = made.job(self.work)
        self.work.put_job(replace(job, state=JobState.DONE))
        result = InferenceResult(
            "job",
            findings=(self.findings[SURE], self.findings[LIKELY]),
            candidates=(self.findings[DOUBTFUL], self.findings[FAINT]),
            threshold=0.5,
        )
        self.review.propose(result, job)
        self.outcomes.put(result)

    @staticmethod
    def _finding(probability: float) -> Finding:
        return replace(made.finding(None, 1.0, f"Nodule {probability}"), probability=probability)

    def there(self) -> set[float]:
        return {p for p, f in self.findings.items() if f.uid in self.work.findings}


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_at_first_the_threshold_of_the_run_holds(stage: Stage) -> None:
    assert stage.thresholds.line("job") == 0.5
    assert stage.thresholds.count("job", 0.5) == Count(2, 2)


def test_lowered_it_proposes_candidates_and_raised_it_withdraws(stage: Stage) -> None:
    assert stage.thresholds.set("job", 0.25) == Count(3, 1)
    assert stage.there() == {SURE, LIKELY, DOUBTFUL}
    assert stage.thresholds.set("job", 0.7) == Count(1, 3)
    assert stage.there() == {SURE}
    notes = [row.note for row in stage.audit.rows() if row.action == "ai.threshold"]
    assert notes == ["0.25: 1 proposed, 0 withdrawn", "0.70: 0 proposed, 2 withdrawn"]


def test_the_line_set_last_is_remembered_for_the_model_in_this_version(
    stage: Stage, tmp_path: Path
) -> None:
    file = tmp_path / "thresholds.json"
    thresholds = Thresholds(stage.work, stage.outcomes, stage.audit, Remembered(file))
    thresholds.preview("job", 0.4)

    def later() -> Thresholds:
        return Thresholds(stage.work, stage.outcomes, stage.audit, Remembered(file))

    card: Any = SimpleNamespace(id="finder", version="1.0")
    assert later().usual(card) == {}
    for line in (0.25, 0.7):
        thresholds.set("job", line)
    assert later().usual(card) == {"threshold": 0.7}
    card.version = "1.1"
    assert later().usual(card) == {}
    card.version = "1.0"
    for nonsense in ('{"finder 1.0": 7}', '{"finder 1.0": "high"}'):
        file.write_text(nonsense)
        assert later().usual(card) == {}


def test_it_can_be_undone_and_the_line_follows(stage: Stage) -> None:
    stage.thresholds.set("job", 0.7)
    stage.work.history.undo()
    assert stage.there() == {SURE, LIKELY}
    assert stage.thresholds.line("job") == 0.5
    stage.work.history.undo()  # the proposal itself
    assert stage.there() == set()
    assert stage.thresholds.count("job", stage.thresholds.line("job")).above == 0


def test_what_was_decided_stays(stage: Stage) -> None:
    stage.review.accept(stage.findings[LIKELY].uid)
    stage.review.reject(stage.findings[SURE].uid)
    assert stage.thresholds.set("job", 1.0) == Count(2, 2)
    assert stage.there() == {SURE, LIKELY}


def test_looking_at_another_line_changes_no_work(stage: Stage) -> None:
    before = made.fingerprint(stage.work)
    stage.thresholds.preview("job", 0.2)
    looked = stage.thresholds.looked_at(stage.work.findings.values())
    assert {finding.probability for finding in looked} == {SURE, LIKELY, DOUBTFUL}
    stage.thresholds.preview("job", 0.8)
    looked = stage.thresholds.looked_at(stage.work.findings.values())
    assert {finding.probability for finding in looked} == {SURE}
    assert made.fingerprint(stage.work) == before


def test_findings_of_segments_are_no_matter_of_this_line() -> None:
    stage = Stage()
    held = replace(stage.findings[LIKELY], segment_ref=SegmentRef("s", 1))
    stage.outcomes.put(InferenceResult("job", findings=(held,), threshold=0.5))
    assert not stage.thresholds.movable("job")
    with pytest.raises(CommandError, match="no findings"):
        stage.thresholds.set("job", 0.9)


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_what_is_no_probability_is_refused(stage: Stage, value: float) -> None:
    with pytest.raises(CommandError, match="from 0 to 1"):
        stage.thresholds.set("job", value)
