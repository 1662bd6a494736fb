"""Tracks on clips: placed, corrected, followed, taken back, saved and brought back."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from medview.core.errors import CommandError, ModelError
from medview.core.findings import ModelAuthor, Provenance, utc_now
from medview.core.jobs import InferenceJob, InferenceResult, JobInput, JobState
from medview.core.models import Task
from medview.core.plain import from_plain
from medview.core.timeline import Timeline, Track, TrackShape
from medview.services.kept import read_kept
from medview.services.outcomes import Outcomes
from medview.services.settings import Settings
from medview.services.steps import pack_step, unpack_step
from medview.services.store import Store
from medview.services.tasks import Tasks
from medview.services.tracking import Tracking
from medview.services.viewing import Viewing
from medview.services.workspace import Workspace
from tests.helpers.clips import clip, open_clip
from tests.unit.services.test_store import settle

FRAMES = 10


class Model:
    """Stands for the queue of runs: what is followed moves a pixel down with every frame."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.outcomes = Outcomes()
        self.asked: list[dict[str, Any]] = []
        self.cancelled: list[str] = []
        self.installed = True

    def fitting(self, _uid: str) -> tuple[Any, ...]:
        return (SimpleNamespace(id="motion", task=Task.MOTION),) if self.installed else ()

    def run(self, model_id: str, image_uid: str, *, parameters: dict[str, Any]) -> str:
        job = InferenceJob(model_id, "1", (JobInput(image_uid),), "1", parameters=parameters)
        self.asked.append({"job": job, **parameters})
        self.workspace.put_job(job)
        return job.uid

    def cancel(self, job_uid: str) -> None:
        self.cancelled.append(job_uid)
        self.workspace.put_job(self.workspace.jobs[job_uid].step(JobState.CANCELLED))

    def answer(self, number: int = -1) -> None:
        asked = self.asked[number]
        job: InferenceJob = asked["job"]
        track = from_plain(Track, asked["tracks"][0])
        places = list(track.places)
        for frame in range(FRAMES):
            if frame not in track.key_frames:
                key = min(track.key_frames, key=lambda k: abs(k - frame))
                places[frame] = tuple((row + frame - key, x) for row, x in track.places[key])
        clip_uid = job.inputs[0].uid
        provenance = Provenance(ModelAuthor("motion", "1", "ab"), utc_now(), job.uid)
        times = self.workspace.clips[clip_uid].frame_times_s
        line = Timeline(clip_uid, times, provenance, tracks=(replace(track, places=tuple(places)),))
        self.outcomes.put(InferenceResult(job.uid, timeline=line))
        for state in (JobState.LOADING, JobState.RUNNING, JobState.DONE):
            job = job.step(state)
            self.workspace.put_job(job)


class Room:
    def __init__(self, tasks: Tasks) -> None:
        self.work = Workspace(Settings(None))
        self.work.reader = "Dr Ada"
        self.viewing = Viewing(self.work, Settings(None))
        self.tasks = tasks
        self.model = Model(self.work)
        self.tracking = Tracking(self.work, self.viewing, self.model, tasks)  # type: ignore[arg-type]
        open_clip(self.work, clip([n / 10 for n in range(FRAMES)]))
        self.viewing.show_series("1.3")

    def answer(self, number: int = -1) -> None:
        self.model.answer(number)
        self.tasks.pump()

    def rows(self) -> list[float | None]:
        track = self.tracking.selected
        assert track is not None
        return [places[0][0] if places else None for places in track.places]

    def steps(self) -> list[str]:
        return [edit.title for edit in self.work.history.entries("1")]


@pytest.fixture
def tasks() -> Iterator[Tasks]:
    made = Tasks(preload=())
    yield made
    made.close()


@pytest.fixture
def room(tasks: Tasks) -> Room:
    return Room(tasks)


def test_a_placed_point_is_followed_and_both_are_one_step(room: Room) -> None:
    room.viewing.cine.go_to(3)
    room.tracking.place([(20.0, 30.0)], TrackShape.POINT, "Wall")
    assert room.rows() == [None, None, None, 20, None, None, None, None, None, None]
    (track,) = room.tracking.tracks
    assert room.tracking.is_following(track.uid)
    room.answer()
    assert not room.tracking.is_following(track.uid)
    assert room.rows() == [17, 18, 19, 20, 21, 22, 23, 24, 25, 26]
    assert room.steps() == ["Place Wall"]
    assert room.work.tracks[track.uid].provenance.aids == (ModelAuthor("motion", "1", "ab"),)
    (curve,) = room.tracking.curves(room.tracking.tracks[0])
    assert (curve.name, curve.unit) == ("Displacement", "{px}")
    assert curve.values == (3, 2, 1, 0, 1, 2, 3, 4, 5, 6)
    assert room.work.history.undo()
    assert room.tracking.tracks == ()
    assert room.work.history.redo()
    assert room.rows()[9] == 26


def test_a_correction_makes_a_key_frame_and_is_followed_around_it(room: Room) -> None:
    uid = room.tracking.place([(20.0, 30.0)], TrackShape.POINT)
    room.answer()
    room.viewing.cine.go_to(8)
    room.tracking.correct(uid, [(40.0, 30.0)])
    assert room.model.asked[-1]["changed"] == [8]
    room.answer()
    assert room.tracking.tracks[0].key_frames == (0, 8)
    assert room.rows() == [20, 21, 22, 23, 24, 37, 38, 39, 40, 41]
    assert room.steps() == ["Place Point 1", "Correct Point 1"]
    room.work.history.undo()
    assert room.rows() == [20, 21, 22, 23, 24, 25, 26, 27, 28, 29]
    room.work.history.redo()
    room.tracking.uncorrect(uid)
    assert room.model.asked[-1]["changed"] == [0]
    room.answer()
    assert room.rows()[8] == 28
    with pytest.raises(CommandError, match="no correction"):
        room.tracking.uncorrect(uid)


def test_what_a_track_measures_is_worked_out_once_for_each_track(room: Room) -> None:
    uid = room.tracking.place([(20.0, 30.0)], TrackShape.POINT)
    room.answer()
    (track,) = room.tracking.tracks
    curves = room.tracking.curves(track)
    assert room.tracking.curves(track) is curves
    room.viewing.cine.go_to(8)
    room.tracking.correct(uid, [(40.0, 30.0)])
    (curve,) = room.tracking.curves(room.tracking.tracks[0])
    assert curve.values[8] == 20
    room.work.close_study("1")
    assert room.tracking._measured == {}


def test_a_correction_while_the_model_works_takes_the_place_of_that_run(room: Room) -> None:
    uid = room.tracking.place([(20.0, 30.0)], TrackShape.POINT)
    first = room.model.asked[0]["job"].uid
    room.viewing.cine.go_to(5)
    room.tracking.correct(uid, [(22.0, 30.0)])
    assert room.model.cancelled == [first]
    assert "changed" not in room.model.asked[-1]  # nothing was followed yet: all of it is
    room.answer()
    assert room.rows() == [20, 21, 22, 20, 21, 22, 23, 24, 25, 26]


def test_what_comes_too_late_changes_nothing(room: Room) -> None:
    uid = room.tracking.place([(20.0, 30.0)], TrackShape.POINT)
    room.tracking.rename(uid, "Annulus")
    room.answer()
    assert room.rows()[1:] == [None] * 9
    room.tracking.delete(uid)
    assert room.tracking.tracks == ()
    assert [step for step in room.steps() if step.startswith("Delete")] == ["Delete Annulus"]


def test_without_a_model_tracks_stay_on_their_key_frames_and_it_is_said(room: Room) -> None:
    room.model.installed = False
    uid = room.tracking.place([(20.0, 30.0), (20.0, 40.0)], TrackShape.LINE)
    assert "No installed model" in room.work.notices[-1].text
    assert room.rows()[0] == 20
    with pytest.raises(ModelError, match="No installed model"):
        room.tracking.follow(uid)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda t: t.place([], TrackShape.POINT), "needs 1 places"),
        (lambda t: t.place([(1, 1), (2, 2)], TrackShape.CONTOUR), "needs 3 places"),
        (lambda t: t.place([(1000, 1)], TrackShape.POINT), "beside the picture"),
        (lambda t: t.correct("nobody", [(1, 1)]), "no such track"),
        (
            lambda t: t.correct(t.place([(1, 1)], TrackShape.POINT), [(1, 1), (2, 2)]),
            "has 1 places",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(
    room: Room, act: Callable[[Tracking], object], words: str
) -> None:
    with pytest.raises(CommandError, match=words):
        act(room.tracking)


def test_tracks_are_saved_and_their_steps_too(room: Room, tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite", delay_s=0.01)
    store.attach(room.work, room.tasks)
    uid = room.tracking.place([(20.0, 30.0)], TrackShape.POINT, "Wall")
    room.answer()
    settle(room.tasks, store)
    kept = read_kept(tmp_path / "store.sqlite", "1")
    assert kept.tracks == tuple(room.work.tracks.values())
    assert [step.title for step in kept.steps] == ["Place Wall"]
    room.tracking.delete(uid)
    settle(room.tasks, store)
    assert read_kept(tmp_path / "store.sqlite", "1").tracks == ()
    store.close()


def test_a_step_of_tracks_is_written_down_whole(room: Room) -> None:
    room.tracking.place([(20.0, 30.0), (np.float64(21.5), 31.0)], TrackShape.LINE)
    (step,) = room.work.history.entries("1")
    packed = pack_step(step)
    # The names that stores already written have for these fields.
    (part,) = json.loads(zlib.decompress(packed))["parts"]
    assert part.keys() == {"title", "track_steps"}
    assert [step.keys() for step in part["track_steps"]] == [{"before", "after"}]
    again = unpack_step(packed, "1", {}, {})
    room.work.history.undo()
    room.work.apply(again)
    assert room.tracking.tracks[0].places[0] == ((20.0, 30.0), (21.5, 31.0))


def test_closing_the_study_takes_its_tracks(room: Room) -> None:
    room.tracking.place([(20.0, 30.0)], TrackShape.POINT)
    room.work.close_study("1")
    assert dict(room.work.tracks) == {}
    assert room.tracking.tracks == ()
    assert room.tracking.selected is None
