"""A model run from the panel, in its own process, to the proposal in the list."""

from __future__ import annotations

import pytest
from PyQt6.QtCore import Qt

from medview.core.findings import ReviewState
from medview.core.jobs import JobState
from tests.gui.conftest import Desk

pytestmark = pytest.mark.slow


def test_run_shows_progress_and_proposes(desk: Desk) -> None:
    widget = desk.window.ai.cards["fake"]
    widget.run.click()
    desk.turn()
    assert widget.cancel.isVisibleTo(desk.window.ai)
    assert widget.bar.isVisibleTo(desk.window.ai)
    seen: set[str] = set()

    def over() -> bool:
        seen.add(widget._state.text())
        return all(job.state.is_over for job in desk.services.workspace.jobs.values())

    desk.wait(over, 90)
    (job,) = desk.services.workspace.jobs.values()
    assert job.state is JobState.DONE, job.error
    assert len(seen) > 1
    assert widget._state.text().startswith("Done in ")
    findings = list(desk.services.workspace.findings.values())
    assert [finding.review.state for finding in findings] == [ReviewState.PROPOSED]
    row = desk.window.findings.view.item(0).data(Qt.ItemDataRole.UserRole)
    assert row.title == findings[0].label
    assert desk.window.actions_made.by_id["edit.undo"].text().startswith("Undo AI proposal")


def test_cancel_answers_at_once_and_ends(desk: Desk) -> None:
    from tests.helpers.fake_engine import set_behaviour

    set_behaviour(desk.services.catalog.folder("fake"), steps=400, step_s=0.05)
    desk.services.catalog.refresh()
    widget = desk.window.ai.cards["fake"]
    widget.run.click()
    jobs = desk.services.workspace.jobs
    desk.wait(lambda: any(job.state is JobState.RUNNING for job in jobs.values()), 90)
    widget.cancel.click()
    assert widget.cancel.text() == "Cancelling …"
    desk.wait(lambda: all(job.state.is_over for job in jobs.values()), 20)
    (job,) = jobs.values()
    assert job.state is JobState.CANCELLED
    assert widget.run.isEnabled()
    assert not desk.services.workspace.findings
