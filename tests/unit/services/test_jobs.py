"""The queue of model runs: states, cancel, death, refusal, and results as proposals."""

from __future__ import annotations

import os
import shutil
import signal
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medview.core.errors import MedviewError, ModelError
from medview.core.events import JobChanged, Level
from medview.core.findings import ReviewState
from medview.core.geometry import Box, Calibration
from medview.core.jobs import InferenceResult, JobInput, JobState
from medview.core.shared_array import SharedArray
from medview.core.volume import Volume
from medview.inference import orders
from medview.inference.orders import Heard, Order
from medview.services.edits import AddSegmentation
from medview.services.jobs import CANCELLING, Jobs
from medview.services.settings import Settings
from tests.helpers import desk
from tests.helpers.desk import SERIES, STUDY, VOLUME_UID
from tests.helpers.fake_engine import fake_catalog, set_behaviour, write_fake_model
from tests.helpers.program import Program

# The queue against a worker that a test speaks for


class Puppet:
    """A client without a worker: remembers what it was asked, says what a test tells it to."""

    def __init__(self) -> None:
        self.submitted: list[Order] = []
        self.cancelled: list[str] = []
        self.forgotten: list[str] = []
        self.heard: deque[Heard] = deque()
        self.on_wake: Callable[[], object] | None = None
        self.refusal: MedviewError | None = None

    def submit(self, order: Order) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.submitted.append(order)

    def cancel(self, job_uid: str) -> None:
        self.cancelled.append(job_uid)

    def forget(self, volume_uid: str) -> None:
        self.forgotten.append(volume_uid)

    def poll(self) -> list[Heard]:
        heard = list(self.heard)
        self.heard.clear()
        return heard

    def warm(self) -> None: ...

    def close(self) -> None: ...


class Stage:
    """Jobs on a desk with one image and one fake model."""

    def __init__(self, folder: Path, settings: Settings | None = None) -> None:
        self.work = desk.workspace()
        self.review, self.audit = desk.desk(self.work)
        self.catalog = fake_catalog(folder)
        self.puppet = Puppet()
        self.jobs = Jobs(
            self.work,
            self.catalog,
            self.puppet,  # type: ignore[arg-type]
            self.review,
            settings,
        )

    def run(self) -> str:
        return self.jobs.run("fake", VOLUME_UID)

    def say(self, *heard: Heard) -> None:
        self.puppet.heard.extend(heard)
        self.jobs.pump()

    def state(self, uid: str) -> JobState:
        return self.work.jobs[uid].state

    def done(self, uid: str) -> orders.JobDone:
        result = replace(desk.result(self.work), job_uid=uid, device="cpu", seconds=1.5)
        return orders.JobDone(uid, result)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_a_job_goes_through_its_states_to_a_proposal(stage: Stage) -> None:
    uid = stage.run()
    assert stage.state(uid) is JobState.LOADING
    assert not stage.jobs.idle
    stage.say(orders.JobRunning(uid, "cuda:0"))
    assert stage.state(uid) is JobState.RUNNING
    assert stage.work.jobs[uid].device == "cuda:0"
    stage.say(orders.JobProgress(uid, "Looking", 0.25))
    assert (stage.work.jobs[uid].stage, stage.work.jobs[uid].fraction) == ("Looking", 0.25)
    stage.say(stage.done(uid))
    job = stage.work.jobs[uid]
    assert job.state is JobState.DONE
    assert job.ended_at is not None
    assert stage.jobs.idle
    assert len(stage.work.segmentations) == 1
    findings = stage.work.findings_of(STUDY)
    assert [finding.review.state for finding in findings] == [ReviewState.PROPOSED] * 2
    kept = stage.jobs.outcomes.result(uid)
    assert (kept.device, kept.seconds, kept.segmentations) == ("cpu", 1.5, ())
    assert kept.findings == findings


def test_a_proposal_can_be_undone_like_any_edit(stage: Stage) -> None:
    before = desk.fingerprint(stage.work)
    uid = stage.run()
    stage.say(orders.JobRunning(uid, "cpu"), stage.done(uid))
    assert desk.fingerprint(stage.work) != before
    stage.work.history.undo()
    assert desk.fingerprint(stage.work) == before


def test_one_job_runs_and_the_others_wait_their_turn(stage: Stage) -> None:
    first, second, third = stage.run(), stage.run(), stage.run()
    assert [order.job_uid for order in stage.puppet.submitted] == [first]
    assert stage.state(second) is JobState.QUEUED
    stage.jobs.cancel(second)
    assert stage.state(second) is JobState.CANCELLED
    assert stage.puppet.cancelled == []
    stage.say(orders.JobRunning(first, "cpu"), orders.JobFailed(first, "No box was found.", "Why?"))
    assert stage.state(first) is JobState.FAILED
    assert stage.work.jobs[first].error == "No box was found."
    assert [order.job_uid for order in stage.puppet.submitted] == [first, third]
    notice = stage.work.notices[-1]
    assert (notice.level, notice.text, notice.hint) == (Level.ERROR, "No box was found.", "Why?")


def test_cancel_is_shown_at_once_and_what_comes_after_is_dropped(stage: Stage) -> None:
    uid = stage.run()
    stage.say(orders.JobRunning(uid, "cpu"))
    stage.jobs.cancel(uid)
    stage.jobs.cancel(uid)
    assert stage.puppet.cancelled == [uid]
    assert stage.work.jobs[uid].stage == CANCELLING
    stage.say(orders.JobProgress(uid, "Looking", 0.5))
    assert stage.work.jobs[uid].stage == CANCELLING
    stage.say(stage.done(uid))  # it was done just before the worker saw the wish
    assert stage.state(uid) is JobState.CANCELLED
    assert not stage.work.segmentations
    with pytest.raises(KeyError):
        stage.jobs.outcomes.result(uid)
    stage.jobs.cancel(uid)
    assert stage.state(uid) is JobState.CANCELLED


def test_a_death_is_a_state_of_its_own_and_the_next_job_goes_on(stage: Stage) -> None:
    first, second = stage.run(), stage.run()
    stage.say(orders.JobRunning(first, "cpu"), orders.JobDied(first, "The AI process stopped.", -9))
    assert stage.state(first) is JobState.DIED
    assert stage.work.jobs[first].error == "The AI process stopped."
    assert "The AI process stopped." in stage.work.notices[-1].text
    assert stage.state(second) is JobState.LOADING


def test_a_worker_that_cannot_be_started_fails_the_job_in_words(stage: Stage) -> None:
    stage.puppet.refusal = MedviewError("There is not enough shared memory.", "Close studies.")
    uid = stage.run()
    assert stage.state(uid) is JobState.FAILED
    assert stage.jobs.idle
    assert stage.work.notices[-1].hint == "Close studies."


def test_silence_and_a_given_up_worker_are_told_to_the_reader(stage: Stage) -> None:
    uid = stage.run()
    stage.say(orders.JobRunning(uid, "cpu"), orders.JobSilent(uid, 120.0))
    assert "no sign of life for 120 s" in stage.work.notices[-1].text
    assert stage.state(uid) is JobState.RUNNING
    stage.say(orders.WorkerStopped("It does not start."))
    assert stage.work.notices[-1].text == "It does not start."
    stage.say(stage.done(uid))
    assert stage.work.notices[-1].text.endswith("is done."), "the warning holds no longer"


def test_the_result_of_a_closed_study_is_dropped_with_a_notice(stage: Stage) -> None:
    uid, waiting = stage.run(), stage.run()
    stage.say(orders.JobRunning(uid, "cpu"))
    done = stage.done(uid)
    stage.work.close_study(STUDY)
    assert stage.puppet.cancelled == [uid]
    assert stage.puppet.forgotten == [VOLUME_UID]
    stage.say(done)
    assert stage.jobs.idle
    assert waiting not in stage.work.jobs
    assert [order.job_uid for order in stage.puppet.submitted] == [uid]
    assert not stage.work.segmentations
    assert "closed" in stage.work.notices[-1].text


def test_a_result_that_lies_on_another_image_fails_the_job(stage: Stage) -> None:
    uid = stage.run()
    done = stage.done(uid)
    (segmentation,) = done.result.segmentations
    elsewhere = replace(done.result, segmentations=(replace(segmentation, volume_uid="x"),))
    stage.say(orders.JobRunning(uid, "cpu"), orders.JobDone(uid, elsewhere))
    assert stage.state(uid) is JobState.FAILED
    assert not stage.work.segmentations
    assert not stage.work.findings_of(STUDY)


@pytest.mark.parametrize("painted", [False, True])
def test_a_result_is_dropped_when_what_it_looked_at_moved_on(stage: Stage, painted: bool) -> None:
    prior = desk.segmentation(stage.work)
    stage.work.apply(AddSegmentation(STUDY, prior, "Add"))
    uid = stage.run()
    seen = JobInput(prior.uid, stage.work.segmentations[prior.uid].revision)
    job = stage.work.jobs[uid]
    stage.work.put_job(replace(job, inputs=(*job.inputs, seen)))
    stage.say(orders.JobRunning(uid, "cpu"))
    done = stage.done(uid)
    if painted:
        stroke = desk.dab(stage.work, Box((0, 0, 0), (1, 2, 2)), 1)
        assert stroke is not None
        stage.work.apply(stroke)
    stage.say(done)
    assert stage.state(uid) is (JobState.FAILED if painted else JobState.DONE)
    assert len(stage.work.segmentations) == (1 if painted else 2)
    assert ("dropped" in stage.work.jobs[uid].error) is painted


def test_what_the_image_lacks_is_kept_with_the_result(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    write_fake_model(tmp_path, "strict", scope={"modality": ["MR"], "age_years": [18, 90]})
    stage.catalog.refresh()
    uid = stage.jobs.run("strict", VOLUME_UID)
    result = InferenceResult(uid, out_of_scope=("Dark.",), notes=("Nothing.",))
    done = stage.done(uid)
    sure = tuple(replace(f, probability=0.9, calibrated=True) for f in done.result.findings)
    found = replace(result, segmentations=done.result.segmentations, findings=sure)
    stage.say(orders.JobRunning(uid, "cpu"), orders.JobDone(uid, found))
    limits = ("The age is not known; the model is for 18 to 90 years.", "Dark.")
    assert stage.jobs.outcomes.result(uid).out_of_scope == limits
    assert stage.work.findings
    assert {f.provenance.cautions for f in stage.work.findings.values()} == {limits}
    assert not any(f.calibrated for f in stage.work.findings.values())


def test_a_calibrated_probability_stays_one_where_the_model_fits(stage: Stage) -> None:
    uid = stage.run()
    done = stage.done(uid)
    sure = tuple(replace(f, probability=0.9, calibrated=True) for f in done.result.findings)
    told = orders.JobDone(uid, replace(done.result, findings=sure))
    stage.say(orders.JobRunning(uid, "cpu"), told)
    assert stage.work.findings
    assert all(f.calibrated for f in stage.work.findings.values())


def test_a_model_for_other_images_is_refused_unless_the_reader_insists(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    write_fake_model(tmp_path, "ct_only", scope={"modality": ["CT"]})
    stage.catalog.refresh()
    with pytest.raises(ModelError) as refused:
        stage.jobs.run("ct_only", VOLUME_UID)
    assert "The image is MR; the model is for CT." in refused.value.hint
    assert not stage.work.jobs
    uid = stage.jobs.run("ct_only", VOLUME_UID, override=True)
    assert stage.work.jobs[uid].override_scope
    stage.say(orders.JobRunning(uid, "cpu"), orders.JobDone(uid, InferenceResult(uid)))
    assert stage.jobs.outcomes.result(uid).out_of_scope == (
        "The image is MR; the model is for CT.",
    )


def test_nobody_can_insist_on_millimetres_that_are_not_known(stage: Stage) -> None:
    known = stage.work.volumes[VOLUME_UID]
    grid = replace(known.geometry, calibration=Calibration.NONE)
    stage.work.add_volume(Volume("flat", SERIES, grid, known.voxels))
    for override in (False, True):
        with pytest.raises(ModelError):
            stage.jobs.run("fake", "flat", override=override)


def test_unknown_models_are_refused(stage: Stage) -> None:
    with pytest.raises(ModelError, match="no model nothing"):
        stage.jobs.run("nothing", VOLUME_UID)


def test_voxels_in_shared_memory_are_named_to_the_worker(stage: Stage) -> None:
    grid = stage.work.volumes[VOLUME_UID].geometry
    shared = SharedArray.create(grid.shape, np.int16)
    stage.work.add_volume(Volume("shared", SERIES, grid, shared.array), hold=shared)
    stage.jobs.run("fake", "shared")
    assert stage.puppet.submitted[-1].backing == shared.key
    # A volume that only resembles what its hold keeps is not taken for it.
    other = SharedArray.create(grid.shape, np.int16)
    stage.work.add_volume(Volume("unlike", SERIES, grid, np.zeros(grid.shape, np.int16)), other)
    stage.jobs.run("fake", "unlike")
    stage.say(orders.JobDied(stage.puppet.submitted[-1].job_uid, "x", 1))
    assert stage.puppet.submitted[-1].volume.uid == "unlike"
    assert stage.puppet.submitted[-1].backing is None
    stage.work.close_study(STUDY)


def test_events_tell_of_every_step(stage: Stage) -> None:
    heard: list[JobChanged] = []
    stage.work.events.job_changed.connect(heard.append)
    uid = stage.run()
    stage.say(orders.JobRunning(uid, "cpu"))
    stage.say(orders.JobFailed(uid, "No."))
    assert heard == [JobChanged(uid)] * 4  # queued, loading, running, failed


def test_options_choose_device_and_cores(tmp_path: Path) -> None:
    settings = Settings(None)
    settings.set("ai.device", "cpu")
    settings.set("ai.threads", 3)
    stage = Stage(tmp_path, settings)
    stage.run()
    assert (stage.puppet.submitted[0].device, stage.puppet.submitted[0].threads) == ("cpu", 3)


def test_a_run_begins_at_the_threshold_that_is_usual_for_its_model(stage: Stage) -> None:
    stage.jobs.usual = lambda card: {"threshold": 0.3} if card.id == "fake" else {}
    stage.run()
    assert stage.puppet.submitted[0].parameters["threshold"] == 0.3
    uid = stage.jobs.run("fake", VOLUME_UID, parameters={"threshold": 0.8})
    assert stage.work.jobs[uid].parameters["threshold"] == 0.8


def test_models_run_on_what_is_opened_only_if_asked_for(tmp_path: Path) -> None:
    settings = Settings(None)
    stage = Stage(tmp_path, settings)
    write_fake_model(tmp_path, "net", task="segmentation")
    write_fake_model(tmp_path, "ct_only", task="segmentation", scope={"modality": ["CT"]})
    stage.catalog.refresh()
    stage.jobs.warm()
    volume = stage.work.volumes[VOLUME_UID]
    stage.work.add_volume(replace(volume, uid="first"))
    stage.jobs.pump()
    assert not stage.work.jobs
    settings.set("ai.run_on_open", value=True)
    woken: list[bool] = []
    stage.jobs.on_wake = lambda: woken.append(True)
    stage.work.add_volume(replace(volume, uid="second", time_index=0))
    stage.work.add_volume(replace(volume, uid="third", time_index=1))
    assert woken
    assert not stage.work.jobs
    stage.jobs.pump()
    (job,) = stage.work.jobs.values()
    assert (job.model_id, job.inputs[0].uid) == ("net", "second")
    assert job.parameters == {"maps": ["saliency"]}


def test_nothing_starts_by_itself_twice_or_while_kept_work_comes_back(tmp_path: Path) -> None:
    settings = Settings(None)
    settings.set("ai.run_on_open", value=True)
    stage = Stage(tmp_path, settings)
    write_fake_model(tmp_path, "net", task="segmentation")
    stage.catalog.refresh()
    stage.jobs.warm()
    is_coming_back = [True]
    stage.jobs.arrivals.waits = lambda: is_coming_back[0]
    volume = replace(stage.work.volumes[VOLUME_UID], uid="second")
    stage.work.add_volume(volume)
    stage.jobs.pump()
    assert not stage.work.jobs
    is_coming_back[0] = False
    stage.jobs.pump()
    (job,) = stage.work.jobs.values()
    assert job.rule == "all that fit, as Preferences say"
    due = stage.jobs.arrivals.due
    fitting = stage.jobs.fitting("second")
    assert due(volume, fitting) == {}
    stage.say(orders.JobFailed(job.uid, "No."))
    assert list(due(volume, fitting)) == ["net"]


def test_a_model_that_is_removed_while_it_runs_comes_to_its_end(
    stage: Stage, tmp_path: Path
) -> None:
    uid, waiting = stage.run(), stage.run()
    stage.say(orders.JobRunning(uid, "cpu"))
    shutil.rmtree(tmp_path / "fake")
    stage.catalog.refresh()
    stage.say(orders.JobProgress(uid, "Looking", 0.5), stage.done(uid))
    assert stage.state(uid) is JobState.DONE
    assert stage.state(waiting) is JobState.FAILED
    assert "no model fake" in stage.work.jobs[waiting].error


def test_fitting_models_come_the_least_doubtful_first(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    write_fake_model(
        tmp_path, "a_doubt", task="segmentation", scope={"modality": ["MR"], "age_years": [1, 2]}
    )
    write_fake_model(tmp_path, "b_sure", task="segmentation")
    write_fake_model(tmp_path, "ct_only", task="segmentation", scope={"modality": ["CT"]})
    stage.catalog.refresh()
    assert [card.id for card in stage.jobs.fitting(VOLUME_UID)] == ["b_sure", "a_doubt", "fake"]


# The queue with a real worker


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    made = Program(tmp_path)
    yield made
    made.jobs.close()


def test_a_killed_worker_costs_its_job_and_nothing_else(program: Program) -> None:
    good = program.run()
    program.until(lambda: program.jobs.idle)
    painted = desk.fingerprint(program.work)
    doomed, waiting = program.run(behave="hang"), program.run(behave="empty")
    os.kill(program.pid(doomed), signal.SIGKILL)
    program.until(lambda: program.jobs.idle)
    states = [program.state(uid) for uid in (good, doomed, waiting)]
    assert states == [JobState.DONE, JobState.DIED, JobState.DONE]
    assert "killed" in program.work.jobs[doomed].error
    assert desk.fingerprint(program.work) == painted


def test_a_deaf_job_is_cancelled_and_the_next_one_runs(program: Program) -> None:
    deaf, waiting = program.run(behave="hang"), program.run()
    program.pid(deaf)
    program.jobs.cancel(deaf)
    program.until(lambda: program.jobs.idle)
    assert program.state(deaf) is JobState.CANCELLED
    assert program.state(waiting) is JobState.DONE


def test_ten_cancels_in_a_row_leave_a_working_queue(program: Program) -> None:
    for number in range(10):
        uid = program.run(steps=10_000, step_s=0.002)
        if number % 2:
            program.pid(uid)
        program.jobs.cancel(uid)
        program.until(lambda uid=uid: program.state(uid).is_over)  # type: ignore[misc]
        assert program.state(uid) is JobState.CANCELLED
    uid = program.run()
    program.until(lambda: program.jobs.idle)
    assert program.state(uid) is JobState.DONE


def test_a_changed_weight_is_refused_at_the_next_run(program: Program) -> None:
    set_behaviour(program.models / "fake", behave="empty")  # the catalogue still knows the old hash
    uid = program.jobs.run("fake", VOLUME_UID)
    program.until(lambda: program.jobs.idle)
    assert program.state(uid) is JobState.FAILED
    assert "not the ones it was released with" in program.work.jobs[uid].error


def test_close_in_the_middle_of_a_run_ends_the_job_as_cancelled(program: Program) -> None:
    uid = program.run(behave="hang")
    program.pid(uid)
    program.jobs.close()
    assert program.state(uid) is JobState.CANCELLED
    program.jobs.close()
