"""Tracking: what a reader places on a clip, corrects, and has followed by a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from medview.core.clip import Clip
from medview.core.errors import CommandError, ModelError
from medview.core.events import JobChanged, Level, StudyClosed, ViewChanged
from medview.core.findings import ModelAuthor, Person, Provenance, new_uid, utc_now
from medview.core.jobs import JobState
from medview.core.models import Task
from medview.core.plain import to_plain
from medview.core.timeline import (
    ClipTrack,
    FrameCurve,
    FrameEvent,
    FramePoint,
    Timeline,
    Track,
    TrackShape,
)
from medview.imaging.tracks import curves_of, events_of
from medview.services.edits import ChangeTracks, TrackStep
from medview.services.jobs import Jobs
from medview.services.report_desk import UNNAMED
from medview.services.tasks import Tasks
from medview.services.viewing import Viewing
from medview.services.workspace import Workspace

#: Colours of new tracks, in turn: bright, and apart from each other for most eyes.
_COLORS = (
    (255, 214, 10), (86, 180, 233), (230, 110, 180), (90, 220, 150),
    (240, 140, 60), (190, 160, 255), (160, 230, 230), (250, 250, 250),
)  # fmt: skip


@dataclass(frozen=True)
class _Run:
    """A job that follows a track: which one, as what, and the gesture it completes."""

    track: ClipTrack
    stroke: str


class Tracking:
    """Points, lines and contours on clips.

    What a reader places on a frame makes it a key frame; the model carries it to the frames
    between. A correction on another frame makes that one a key frame too, and only its
    neighbourhood is followed anew. Placing, correcting and what the model makes of it are one step
    of the history. `selected` is the track that commands and the timeline are about.
    """

    def __init__(self, workspace: Workspace, viewing: Viewing, jobs: Jobs, tasks: Tasks) -> None:
        self._workspace = workspace
        self._viewing = viewing
        self._jobs = jobs
        self._tasks = tasks
        self._selected = ""
        #: Whether what models say of a study must not be seen yet.
        self.hides: Callable[[str], bool] = _never
        self._runs: dict[str, _Run] = {}
        self._measured: dict[str, tuple[Track, tuple[FrameCurve, ...]]] = {}
        #: Key frames of each track that the model has not followed yet; None: all of it.
        self._behind: dict[str, set[int] | None] = {}
        workspace.events.job_changed.connect(self._on_job)
        workspace.events.study_closed.connect(self._on_closed)

    # Looking

    @property
    def tracks(self) -> tuple[Track, ...]:
        """Those on the clip on show, in the order they came."""
        clip = self._viewing.clip
        if clip is None:
            return ()
        return tuple(
            one.track
            for one in self._workspace.tracks.values()
            if one.clip_uid == clip.uid and len(one.track.places) == len(clip.frames)
        )

    @property
    def selected(self) -> Track | None:
        """The chosen track of the clip on show, else its newest; None where it has none."""
        tracks = self.tracks
        chosen = [track for track in tracks if track.uid == self._selected]
        return next(iter(chosen), tracks[-1] if tracks else None)

    @property
    def timelines(self) -> tuple[Timeline, ...]:
        """What models said of the clip on show as a whole, the newest last."""
        clip, study = self._viewing.clip, self._viewing.study
        if clip is None or study is None or self.hides(study.uid):
            return ()
        found = self._jobs.outcomes.timelines_of(clip.uid)
        return tuple(line for line in found if not line.tracks)

    def is_following(self, track_uid: str) -> bool:
        """Whether a model is at work on a track."""
        return any(run.track.uid == track_uid for run in self._runs.values())

    def curves(self, track: Track) -> tuple[FrameCurve, ...]:
        """What a track on the clip on show measures, frame by frame.

        Asked for with every frame that is shown, so it is kept while the track is the same.
        """
        clip = self._require()
        known = self._measured.get(track.uid)
        if known is None or known[0] is not track:
            known = self._measured[track.uid] = track, curves_of(track, clip)
        return known[1]

    def events(self, track: Track) -> tuple[FrameEvent, ...]:
        """Where a track is largest and smallest."""
        return events_of(track, self.curves(track))

    def whole(self) -> Timeline:
        """All tracks of the clip on show with what they measure; CommandError without any."""
        clip, tracks = self._require(), self.tracks
        if not tracks:
            raise CommandError("There is no track on this clip", "Place a point or contour.")
        return Timeline(
            clip.uid,
            clip.frame_times_s,
            self._provenance(),
            curves=tuple(curve for track in tracks for curve in self.curves(track)),
            tracks=tracks,
            events=tuple(event for track in tracks for event in self.events(track)),
        )

    # Changing

    def select(self, track_uid: str) -> None:
        """Make a track of the clip on show the chosen one; CommandError if it has none such."""
        self._find(track_uid)
        if track_uid != self._selected:
            self._selected = track_uid
            self._workspace.emit(ViewChanged())

    def place(self, places: Sequence[FramePoint], shape: TrackShape, name: str = "") -> str:
        """Put a new track on the frame on show and let it be followed; its UID.

        CommandError for a line of one place, a contour of two, or places beside the picture.
        """
        clip, frame = self._require(), self._viewing.cine.state.frame
        least = {TrackShape.POINT: 1, TrackShape.LINE: 2, TrackShape.CONTOUR: 3}[shape]
        if len(places) < least or (shape is TrackShape.POINT and len(places) > 1):
            raise CommandError(f"A {shape.value} needs {least} places, not {len(places)}")
        _check_inside(clip, places)
        number = len(self.tracks)
        empty: tuple[tuple[FramePoint, ...], ...] = ((),) * len(clip.frames)
        track = Track(
            name or f"{shape.value.capitalize()} {number + 1}",
            shape,
            _with(empty, frame, places),
            (frame,),
            _COLORS[number % len(_COLORS)],
        )
        made = ClipTrack(clip.uid, track, self._provenance())
        self._selected = track.uid
        self._change(None, made, f"Place {track.name}", behind=None)
        return track.uid

    def correct(self, track_uid: str, places: Sequence[FramePoint]) -> None:
        """Say where a track is on the frame on show: it becomes a key frame.

        CommandError for another number of places than the track has.
        """
        clip, frame = self._require(), self._viewing.cine.state.frame
        old = self._find(track_uid)
        count = len(old.track.places[old.track.key_frames[0]])
        if len(places) != count:
            raise CommandError(f"{old.track.name} has {count} places, not {len(places)}")
        _check_inside(clip, places)
        keys = tuple(sorted({*old.track.key_frames, frame}))
        moved = _with(old.track.places, frame, places)
        track = replace(old.track, places=moved, key_frames=keys)
        self._selected = track_uid
        self._change(old, replace(old, track=track), f"Correct {track.name}", behind={frame})

    def uncorrect(self, track_uid: str) -> None:
        """Take back what makes the frame on show a key frame of a track; not its only one."""
        frame = self._viewing.cine.state.frame
        old = self._find(track_uid)
        keys = tuple(key for key in old.track.key_frames if key != frame)
        if len(keys) == len(old.track.key_frames) or not keys:
            raise CommandError(
                f"Frame {frame + 1} is no correction of {old.track.name}",
                "A track keeps its last key frame; delete it as a whole instead.",
            )
        track = replace(old.track, key_frames=keys)
        neighbours = {key for key in (_before(keys, frame), _after(keys, frame)) if key is not None}
        title = f"Drop a correction of {track.name}"
        self._change(old, replace(old, track=track), title, behind=neighbours)

    def rename(self, track_uid: str, name: str) -> None:
        """Give a track another name."""
        old = self._find(track_uid)
        track = replace(old.track, name=name.strip() or old.track.name)
        self._apply(old, replace(old, track=track), f"Rename {old.track.name}", new_uid())

    def delete(self, track_uid: str) -> None:
        """Take a track away."""
        old = self._find(track_uid)
        self._stop(track_uid)
        self._behind.pop(track_uid, None)
        self._apply(old, None, f"Delete {old.track.name}", new_uid())

    def follow(self, track_uid: str) -> None:
        """Let a model follow all of a track anew; ModelError if there is none for this clip."""
        old = self._find(track_uid)
        self._behind[track_uid] = None
        self._run(old, new_uid(), loudly=True)

    def _change(
        self, old: ClipTrack | None, new: ClipTrack, title: str, behind: set[int] | None
    ) -> None:
        """One gesture: the reader's change, and what a model then makes of it."""
        stroke = new_uid()
        self._apply(old, new, title, stroke)
        known = self._behind.get(new.uid, set())
        self._behind[new.uid] = None if known is None or behind is None else known | behind
        self._run(new, stroke, loudly=False)

    def _apply(self, old: ClipTrack | None, new: ClipTrack | None, title: str, stroke: str) -> None:
        either = new or old
        if either is None:
            raise ValueError("A change from nothing to nothing")
        study_uid = self._workspace.study_of(either.clip_uid).uid
        steps = (TrackStep(old, new),)
        self._workspace.apply(ChangeTracks(study_uid, steps, title, stroke))

    # The model

    def _run(self, track: ClipTrack, stroke: str, *, loudly: bool) -> None:
        """Queue a run for a track in place of the one that is under way."""
        self._stop(track.uid)
        clip = self._workspace.clips[track.clip_uid]
        if len(clip.frames) < 2:
            return
        cards = [c for c in self._jobs.fitting(clip.uid) if c.task is Task.MOTION]
        if not cards:
            text, hint = "No installed model follows motion in this clip", "Place it by hand."
            if loudly:
                raise ModelError(text, hint=hint)
            self._workspace.notify(Level.WARNING, text, hint)
            return
        behind = self._behind.get(track.uid)
        parameters = {"tracks": [to_plain(track.track)]}
        if behind is not None:
            parameters["changed"] = sorted(behind)
        job = self._jobs.run(cards[0].id, clip.uid, parameters=parameters)
        self._runs[job] = _Run(track, stroke)

    def _stop(self, track_uid: str) -> None:
        for job_uid in [uid for uid, run in self._runs.items() if run.track.uid == track_uid]:
            del self._runs[job_uid]
            self._jobs.cancel(job_uid)

    def _on_job(self, event: JobChanged) -> None:
        """Handlers change nothing: what came is taken in at the next turn."""
        if event.uid in self._runs and self._workspace.jobs[event.uid].state.is_over:
            self._tasks.post(lambda: self._take(event.uid))

    def _take(self, job_uid: str) -> None:
        """Put a followed track in the place of the one that was sent, if that still stands."""
        run = self._runs.pop(job_uid, None)
        job = self._workspace.jobs.get(job_uid)
        self._workspace.emit(ViewChanged())  # nobody follows any more, whatever came of it
        if run is None or job is None or job.state is not JobState.DONE:
            return
        timeline = self._jobs.outcomes.result(job_uid).timeline
        current = self._workspace.tracks.get(run.track.uid)
        if timeline is None or not timeline.tracks or current != run.track:
            return
        self._behind[run.track.uid] = set()
        made_by, author = current.provenance, timeline.provenance.author
        if isinstance(author, ModelAuthor):
            made_by = made_by.aided_by(author)
        followed = replace(current, track=timeline.tracks[0], provenance=made_by)
        self._apply(current, followed, f"Follow {current.track.name}", run.stroke)

    def _on_closed(self, _event: StudyClosed) -> None:
        known = self._workspace.jobs
        self._runs = {uid: run for uid, run in self._runs.items() if uid in known}
        tracks = self._workspace.tracks
        self._behind = {uid: frames for uid, frames in self._behind.items() if uid in tracks}
        self._measured = {uid: one for uid, one in self._measured.items() if uid in tracks}

    # What there is

    def _require(self) -> Clip:
        clip = self._viewing.clip
        if clip is None:
            raise CommandError("No clip is shown", "Choose a series of moving pictures first.")
        return clip

    def _find(self, track_uid: str) -> ClipTrack:
        """A track on the clip on show; the chosen one without a UID."""
        clip = self._require()
        chosen = self.selected
        uid = track_uid or (chosen.uid if chosen is not None else "")
        found = self._workspace.tracks.get(uid)
        if found is None or found.clip_uid != clip.uid:
            raise CommandError("There is no such track on this clip", "Place a point or contour.")
        return found

    def _provenance(self) -> Provenance:
        return Provenance(Person(self._workspace.reader or UNNAMED), utc_now())


def _never(_study_uid: str) -> bool:
    """For a desk where nothing is hidden."""
    return False


def _with(
    rows: tuple[tuple[FramePoint, ...], ...], frame: int, places: Sequence[FramePoint]
) -> tuple[tuple[FramePoint, ...], ...]:
    plain = tuple((float(row), float(column)) for row, column in places)
    return (*rows[:frame], plain, *rows[frame + 1 :])


def _check_inside(clip: Clip, places: Sequence[FramePoint]) -> None:
    rows, columns = clip.frames.shape[1:3]
    if not all(-0.5 <= y <= rows - 0.5 and -0.5 <= x <= columns - 0.5 for y, x in places):
        raise CommandError("A place lies beside the picture")


def _before(keys: Sequence[int], frame: int) -> int | None:
    return max((key for key in keys if key < frame), default=None)


def _after(keys: Sequence[int], frame: int) -> int | None:
    return min((key for key in keys if key > frame), default=None)
