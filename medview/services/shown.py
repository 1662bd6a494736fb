"""Which volume or clip of each series is on show."""

from __future__ import annotations

from contextlib import suppress

from medview.core.arriving import Arriving
from medview.core.clip import Clip
from medview.core.study import Study
from medview.core.volume import Volume
from medview.services.workspace import Workspace


class Shown:
    """The series on show, and what of each series was looked at last.

    `picture` is what is drawn: the volume on show, or the frames of the clip as a stack without a
    place. Only one of `volume` and `clip` is there at a time.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._of_series: dict[str, str] = {}
        self._series_uid = ""
        #: A first image of what is being opened: it hides the series on show, and goes with it.
        self.preview: Arriving | None = None

    @property
    def series_uid(self) -> str:
        """The series on show; "" for none, and while a first image stands for what will come."""
        return "" if self.preview is not None else self._series_uid

    @series_uid.setter
    def series_uid(self, uid: str) -> None:
        self._series_uid = uid
        self.preview = None

    @property
    def study(self) -> Study | None:
        """The study of the series on show; None for none, or when it was closed."""
        if self.preview is not None:
            return self.preview.study
        with suppress(KeyError):
            return self._workspace.study_of(self.series_uid)
        return None

    @property
    def volume(self) -> Volume | None:
        """The volume on show; None while there is none."""
        return self._workspace.volumes.get(self._uid)

    @property
    def clip(self) -> Clip | None:
        """The clip on show; None while there is none."""
        return self._workspace.clips.get(self._uid)

    @property
    def arriving(self) -> Arriving | None:
        """What is drawn although not all of it is there; None where all is, or nothing."""
        if self.preview is not None or self._uid:
            return self.preview
        return self._workspace.arriving_of(self._series_uid)

    @property
    def picture(self) -> Volume | None:
        """What is drawn; None while there is nothing."""
        arriving = self.arriving
        if arriving is not None:
            return arriving.volume
        clip = self.clip
        return self.volume if clip is None else clip.pictures

    @property
    def _uid(self) -> str:
        """The volume or clip on show: the last one chosen, or the first there is."""
        uid = self._of_series.get(self.series_uid, "")
        if uid in self._workspace.volumes or uid in self._workspace.clips:
            return uid
        uid = next(iter(self.members(self.series_uid)), "")
        if uid:  # remembered, because a painted view asks often
            self._of_series[self.series_uid] = uid
        return uid

    def members(self, series_uid: str) -> tuple[str, ...]:
        """Volumes and clips of a series by UID, in order; stills among clips as they were taken."""
        pictures = list(self._workspace.pictures_of(series_uid))
        if self._workspace.clips_of(series_uid):
            instances = self._workspace.series(series_uid).instances
            place = {instance.sop_instance_uid: n for n, instance in enumerate(instances)}
            last = len(place)
            pictures.sort(key=lambda one: place.get(next(iter(one.instance_uids), ""), last))
        return tuple(picture.uid for picture in pictures)

    def choose(self, uid: str) -> bool:
        """Show a volume or clip; whether that changed anything. KeyError if it is not loaded."""
        clip = self._workspace.clips.get(uid)
        series_uid = (self._workspace.volumes[uid] if clip is None else clip).series_uid
        changed = (series_uid, uid) != (self.series_uid, self._of_series.get(series_uid))
        self._of_series[series_uid] = uid
        self.series_uid = series_uid
        return changed

    def neighbour(self, steps: int) -> str:
        """The volume or clip that many places on in the series, held to its ends; "" for none."""
        members = self.members(self.series_uid)
        if self._uid not in members:
            return ""
        return members[min(max(members.index(self._uid) + steps, 0), len(members) - 1)]

    def place(self) -> tuple[int, int]:
        """Which one of the series it is, counted from 1, and how many there are."""
        members = self.members(self.series_uid)
        return (1 + members.index(self._uid), len(members)) if self._uid in members else (1, 1)
