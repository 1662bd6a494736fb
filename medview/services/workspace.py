"""Workspace: the truth about what is open, and the one way to change the reader's work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from psygnal import Signal, SignalGroup

from medview.core.arriving import Arriving
from medview.core.clip import Clip
from medview.core.events import (
    ClipLoaded,
    Event,
    FindingChanged,
    FrameChanged,
    HistoryChanged,
    JobChanged,
    Level,
    LoadingChanged,
    ModelsChanged,
    Notice,
    ReportChanged,
    SegmentationChanged,
    SettingChanged,
    StudyClosed,
    StudyOpened,
    TrackChanged,
    TrainingChanged,
    ViewChanged,
    VolumeLoaded,
)
from medview.core.findings import Finding
from medview.core.jobs import InferenceJob
from medview.core.report import Report
from medview.core.segmentation import Segmentation
from medview.core.study import Problem, Series, Study
from medview.core.timeline import ClipTrack
from medview.core.volume import Volume
from medview.services.edits import Compound, Edit
from medview.services.held import Held, Hold
from medview.services.history import History
from medview.services.settings import Settings
from medview.services.work import Work


class Events(SignalGroup):
    """One signal for each event class; each sends the event itself."""

    study_opened = Signal(StudyOpened)
    study_closed = Signal(StudyClosed)
    volume_loaded = Signal(VolumeLoaded)
    clip_loaded = Signal(ClipLoaded)
    frame_changed = Signal(FrameChanged)
    track_changed = Signal(TrackChanged)
    loading_changed = Signal(LoadingChanged)
    segmentation_changed = Signal(SegmentationChanged)
    finding_changed = Signal(FindingChanged)
    report_changed = Signal(ReportChanged)
    job_changed = Signal(JobChanged)
    models_changed = Signal(ModelsChanged)
    training_changed = Signal(TrainingChanged)
    history_changed = Signal(HistoryChanged)
    view_changed = Signal(ViewChanged)
    setting_changed = Signal(SettingChanged)
    notice = Signal(Notice)


#: Event class -> name of its signal.
SIGNAL_OF: Mapping[type, str] = MappingProxyType(
    {
        StudyOpened: "study_opened",
        StudyClosed: "study_closed",
        VolumeLoaded: "volume_loaded",
        ClipLoaded: "clip_loaded",
        FrameChanged: "frame_changed",
        TrackChanged: "track_changed",
        LoadingChanged: "loading_changed",
        SegmentationChanged: "segmentation_changed",
        FindingChanged: "finding_changed",
        ReportChanged: "report_changed",
        JobChanged: "job_changed",
        ModelsChanged: "models_changed",
        TrainingChanged: "training_changed",
        HistoryChanged: "history_changed",
        ViewChanged: "view_changed",
        SettingChanged: "setting_changed",
        Notice: "notice",
    }
)


#: Looks at an edit just applied and may add one that belongs to the same step.
Follower = Callable[[Edit], Edit | None]


class Workspace:
    """Open studies, volumes, segmentations, findings, reports and jobs.

    One thread, the owner, changes it, and never from inside an event handler (RuntimeError):
    handlers mark what is stale and read later. `problems` lists what could not be read,
    `notices` what the reader was told, also before a window listened.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.events = Events()
        self.problems: list[Problem] = []
        self.notices: list[Notice] = []
        self._studies: dict[str, Study] = {}
        self._sources: dict[str, tuple[Path, ...]] = {}
        self._passwords: dict[str, str] = {}
        self._held = Held()
        self._jobs: dict[str, InferenceJob] = {}
        self._work = Work()
        self._followers: list[Follower] = []
        self._closing: list[Callable[[str], object]] = []
        self._emitting = 0
        self._settings = settings
        self._reader = ""
        self.history = History(self._redo, self._revert)
        self.studies: Mapping[str, Study] = MappingProxyType(self._studies)
        self.volumes: Mapping[str, Volume] = MappingProxyType(self._held.volumes)
        self.clips: Mapping[str, Clip] = MappingProxyType(self._held.clips)
        #: Volumes of which some planes are there; nothing but looking is to be done with them.
        self.arriving: Mapping[str, Arriving] = MappingProxyType(self._held.arriving)
        self.jobs: Mapping[str, InferenceJob] = MappingProxyType(self._jobs)
        #: Tracks on clips by UID, in the order they came.
        self.tracks: Mapping[str, ClipTrack] = self._work.tracks
        if settings is not None:
            settings.changed.connect(self.emit)
            self.notices.extend(settings.notices)

    @property
    def reader(self) -> str:
        """Who is at the desk; "" if nobody gave a name. Set here it holds for this run only."""
        if self._reader or self._settings is None:
            return self._reader
        return self._settings.text("reader.name").strip()

    @reader.setter
    def reader(self, name: str) -> None:
        self._reader = name.strip()

    @property
    def segmentations(self) -> Mapping[str, Segmentation]:
        """All segmentations by UID; their labels are read-only."""
        return self._work.segmentations

    @property
    def findings(self) -> Mapping[str, Finding]:
        """All findings by UID, rejected ones too."""
        return self._work.findings

    @property
    def reports(self) -> Mapping[str, Report]:
        """The newest report of each study by study UID."""
        return self._work.reports

    # Reading

    def series(self, uid: str) -> Series:
        """The series with that UID in any open study; KeyError if there is none."""
        return self._study_with_series(uid).find_series(uid)

    def study_of(self, uid: str) -> Study:
        """The study that a study, series, volume, clip, segmentation, finding or track belongs to.

        KeyError for a UID of nothing open.
        """
        if uid in self._studies:
            return self._studies[uid]
        if uid in self.findings:
            return self._studies[self._work.study_of_finding(uid)]
        if uid in self.tracks:
            return self._studies[self._work.study_of_track(uid)]
        if uid in self.segmentations:
            uid = self.segmentations[uid].volume_uid
        return self._study_with_series(self._held.series_of(uid))

    def volumes_of(self, series_uid: str) -> tuple[Volume, ...]:
        """Loaded volumes of a series, in order."""
        return tuple(v for v in self.volumes.values() if v.series_uid == series_uid)

    def clips_of(self, series_uid: str) -> tuple[Clip, ...]:
        """Loaded clips of a series, in order."""
        return tuple(clip for clip in self.clips.values() if clip.series_uid == series_uid)

    def arriving_of(self, series_uid: str) -> Arriving | None:
        """The volume of a series that is being read and can be looked at already."""
        known = (one for one in self.arriving.values() if one.series.uid == series_uid)
        return next(known, None)

    def pictures_of(self, series_uid: str) -> tuple[Volume, ...]:
        """What can be drawn of a series: its volumes, then the frames of its clips."""
        clips = (clip.pictures for clip in self.clips_of(series_uid))
        return (*self.volumes_of(series_uid), *clips)

    def is_loaded(self, series_uid: str) -> bool:
        """Whether any volume or clip of a series is there."""
        return bool(self.pictures_of(series_uid))

    def segmentations_of(self, volume_uid: str) -> tuple[Segmentation, ...]:
        """Segmentations on a volume, in the order they came."""
        return tuple(s for s in self.segmentations.values() if s.volume_uid == volume_uid)

    def findings_of(self, study_uid: str) -> tuple[Finding, ...]:
        """Findings of a study in the order they came, rejected ones too."""
        return self._work.findings_of(study_uid)

    def report_of(self, study_uid: str) -> Report | None:
        """The newest report of a study, if one was begun."""
        versions = self._work.versions_of(study_uid)
        return versions[-1] if versions else None

    def versions_of(self, study_uid: str) -> tuple[Report, ...]:
        """All versions of a study's report, the newest last; signed ones never go."""
        return self._work.versions_of(study_uid)

    def sources_of(self, study_uid: str) -> tuple[Path, ...]:
        """The files and folders a study was opened from."""
        return self._sources.get(study_uid, ())

    def password_of(self, study_uid: str) -> str:
        """The password its archive was opened with, kept in memory only."""
        return self._passwords.get(study_uid, "")

    # What is open

    def open_studies(
        self,
        studies: Iterable[Study],
        problems: Sequence[Problem] = (),
        *,
        sources: Sequence[Path] = (),
        password: str = "",
    ) -> None:
        """Open studies; one that is open already grows by the series and images it lacked."""
        self._check_quiet()
        self.problems.extend(problems)
        for study in studies:
            old = self._studies.get(study.uid)
            self._studies[study.uid] = study if old is None else _merged(old, study)
            known = self._sources.get(study.uid, ())
            self._sources[study.uid] = tuple(dict.fromkeys((*known, *sources)))
            if password:
                self._passwords[study.uid] = password
            self.history.focus(study.uid)
            self.emit(StudyOpened(study.uid))

    def note_series(self, uid: str, note: str) -> None:
        """Add to what is said of a series; KeyError if it is not open."""
        self._check_quiet()
        study = self._study_with_series(uid)
        series = tuple(
            replace(one, notes=tuple(dict.fromkeys((*one.notes, note)))) if one.uid == uid else one
            for one in study.series
        )
        self._studies[study.uid] = replace(study, series=series)
        self.emit(ViewChanged())

    def close_study(self, uid: str) -> None:
        """Put a study away with its volumes, its work and its history; frees their memory."""
        self._check_quiet()
        study = self._studies[uid]
        for last_look in self._closing:
            last_look(uid)
        volumes, holds = self._held.release({one.uid for one in study.series})
        gone = tuple(s.uid for s in self.segmentations.values() if s.volume_uid in volumes)
        self._work.forget(uid, gone)
        self.history.forget(uid)
        for job in [job for job in self._jobs.values() if job.study_uid == uid]:
            del self._jobs[job.uid]
        del self._studies[uid]
        self._sources.pop(uid, None)
        self._passwords.pop(uid, None)
        self.emit(StudyClosed(uid))
        for hold in holds:
            hold.close()

    def add_volume(self, volume: Volume, hold: Hold | None = None) -> None:
        """Add a loaded volume, or put it anew; `hold` keeps its memory until the study closes."""
        self._check_quiet()
        self._study_with_series(volume.series_uid)
        event = ViewChanged() if volume.uid in self.volumes else VolumeLoaded(volume.uid)
        self._held.put(volume, hold)
        self.emit(event)

    def put_arriving(self, arriving: Arriving) -> None:
        """Add a volume that can be looked at while it is read; `add_volume` takes its place."""
        self._check_quiet()
        self._held.arriving[arriving.volume.uid] = arriving

    def drop_arriving(self, volume_uid: str) -> None:
        """Forget a volume that will not be there."""
        self._check_quiet()
        self._held.arriving.pop(volume_uid, None)

    def add_clip(self, clip: Clip, hold: Hold | None = None) -> None:
        """Add a loaded clip; `hold` keeps its memory and is closed with the study."""
        self._check_quiet()
        self._study_with_series(clip.series_uid)
        self._held.put(clip, hold)
        self.emit(ClipLoaded(clip.uid))

    def hold_of(self, volume_uid: str) -> Hold | None:
        """What keeps the memory of a volume: a SharedArray where it came by `loading`."""
        return self._held.holds.get(volume_uid)

    def put_job(self, job: InferenceJob) -> None:
        """Add a job or put its next state."""
        self._check_quiet()
        self._jobs[job.uid] = job
        self.emit(JobChanged(job.uid))

    # The reader's work

    def apply(self, edit: Edit, *, undoable: bool = True) -> None:
        """Change the reader's work: the one way to do it.

        Followers may add to the step (volumes of painted segments, the report's draft); the
        whole becomes one entry of the history. All of it happens, or nothing: ValueError when
        the work is not what the edit was made for. RuntimeError inside an event handler.
        """
        self._check_quiet()
        done: list[Edit] = []
        complete = False
        try:
            edit.apply(self._work)
            done.append(edit)
            for follower in self._followers:
                companion = follower(edit)
                if companion is not None:
                    companion.apply(self._work)
                    done.append(companion)
            complete = True
        finally:
            if not complete:
                for part in reversed(done):
                    part.revert(self._work)
                self._work.take_changes()
        if undoable:
            whole = Compound(edit.study_uid, edit.title, tuple(done), edit.stroke)
            self.history.push(edit if len(done) == 1 else whole)
        self._publish()

    def follow(self, follower: Follower) -> None:
        """Let `follower` add to every edit; called in the order of registration."""
        self._followers.append(follower)

    def on_closing(self, last_look: Callable[[str], object]) -> None:
        """Let `last_look(study_uid)` see a study's work before the study is put away."""
        self._closing.append(last_look)

    # Telling

    def emit(self, event: Event) -> None:
        """Send an event by its signal."""
        self._emitting += 1
        try:
            getattr(self.events, SIGNAL_OF[type(event)]).emit(event)
        finally:
            self._emitting -= 1

    def notify(self, level: Level, text: str, hint: str = "", command: str = "") -> None:
        """Tell the reader something, in the reader's words; `command` is one that shows more."""
        notice = Notice(level, text, hint, command)
        self.notices.append(notice)
        self.emit(notice)

    def _redo(self, edit: Edit) -> None:
        self._check_quiet()
        edit.apply(self._work)
        self._publish()

    def _revert(self, edit: Edit) -> None:
        self._check_quiet()
        edit.revert(self._work)
        self._publish()

    def _publish(self) -> None:
        for event in self._work.take_changes():
            self.emit(event)
        self.emit(HistoryChanged())

    def _check_quiet(self) -> None:
        if self._emitting:
            raise RuntimeError("State does not change inside an event handler: mark, change later")

    def _study_with_series(self, series_uid: str) -> Study:
        for study in self._studies.values():
            with suppress(KeyError):
                study.find_series(series_uid)
                return study
        raise KeyError(series_uid)


def _merged(old: Study, new: Study) -> Study:
    """One study of two openings: all series, all images, each once."""
    series = {one.uid: one for one in old.series}
    for one in new.series:
        known = series.get(one.uid)
        if known is None:
            series[one.uid] = one
            continue
        images = {image.sop_instance_uid: image for image in (*one.instances, *known.instances)}
        series[one.uid] = replace(known, instances=tuple(images.values()))
    return replace(old, series=tuple(series.values()))
