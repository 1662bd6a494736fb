"""Read first, then reveal: what is hidden, until when, and what the record says of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medview.core.errors import CommandError, ReportError
from medview.core.findings import Person, Provenance, utc_now
from medview.services.audit import Audit
from medview.services.edits import ChangeFindings, FindingStep
from medview.services.first_read import COMMIT, REVEAL, SWITCH, FirstRead
from medview.services.settings import Settings
from medview.services.workspace import Workspace
from tests.helpers import desk as made
from tests.helpers.desk import STUDY


class Stage:
    def __init__(self) -> None:
        self.work: Workspace = made.workspace()
        self.settings = Settings(None)
        self.review, self.audit = made.desk(self.work)
        self.first_read = FirstRead(self.work, self.settings, self.audit)

    def seen(self) -> int:
        return len(self.first_read.visible(STUDY, self.work.findings_of(STUDY)))

    def actions(self, audit: Audit) -> list[tuple[str, str]]:
        known = (COMMIT, REVEAL, SWITCH)
        return [(row.action, row.note) for row in audit.rows() if row.action in known]


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_without_the_mode_proposals_are_seen_at_once(stage: Stage) -> None:
    made.propose(stage.work, stage.review)
    assert stage.seen() == 2
    assert not stage.first_read.hides(STUDY)
    with pytest.raises(CommandError, match="Nothing is hidden"):
        stage.first_read.commit(STUDY, "Normal.")


def test_proposals_wait_for_a_first_read(stage: Stage) -> None:
    stage.first_read.switch(on=True)
    made.propose(stage.work, stage.review)
    (segmentation,) = stage.work.segmentations.values()
    assert (stage.seen(), stage.first_read.waiting(STUDY)) == (0, 2)
    assert stage.first_read.conceals(segmentation)
    with pytest.raises(CommandError, match="hidden"):
        stage.first_read.require_seen(STUDY)
    with pytest.raises(CommandError, match="says nothing"):
        stage.first_read.commit(STUDY, "  ")
    stage.first_read.commit(STUDY, "No lesion.")
    assert stage.seen() == 2
    assert not stage.first_read.conceals(segmentation)
    assert stage.actions(stage.audit) == [
        (SWITCH, "on"),
        (COMMIT, "No lesion. (0 findings, 0 segments before the reveal)"),
    ]


def test_what_the_reader_found_is_seen_and_enough_for_a_first_read(stage: Stage) -> None:
    stage.first_read.switch(on=True)
    made.propose(stage.work, stage.review)
    mine = replace(
        made.finding(None, 1.0, "Mine"), provenance=Provenance(Person("Dr Ada"), utc_now())
    )
    stage.work.apply(ChangeFindings(STUDY, (FindingStep(None, mine),), "Mine"))
    assert stage.seen() == 1
    stage.first_read.commit(STUDY)
    assert stage.seen() == 3


def test_a_first_read_needs_a_name(stage: Stage) -> None:
    stage.first_read.switch(on=True)
    stage.work.reader = ""
    with pytest.raises(ReportError, match="name"):
        stage.first_read.commit(STUDY, "Normal.")


def test_switching_off_reveals_and_says_so(stage: Stage) -> None:
    stage.first_read.switch(on=True)
    made.propose(stage.work, stage.review)
    stage.settings.set("ai.read_first", False)
    assert stage.seen() == 2
    assert stage.actions(stage.audit)[1:] == [(SWITCH, "off"), (REVEAL, "without a first read")]
    # Switched on again it cannot make the reader unsee what was shown.
    stage.first_read.switch(on=True)
    assert stage.seen() == 2


def test_what_was_seen_before_the_mode_stays_in_sight(stage: Stage) -> None:
    made.propose(stage.work, stage.review)
    stage.first_read.switch(on=True)
    assert stage.seen() == 2
    assert (REVEAL, "seen before the mode was on") in stage.actions(stage.audit)


def test_the_record_tells_the_next_session(stage: Stage) -> None:
    stage.first_read.switch(on=True)
    made.propose(stage.work, stage.review)
    again = FirstRead(stage.work, stage.settings, stage.audit)
    assert again.hides(STUDY)
    stage.first_read.commit(STUDY, "Normal.")
    assert not FirstRead(stage.work, stage.settings, stage.audit).hides(STUDY)
