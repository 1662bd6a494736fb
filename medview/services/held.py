"""Pictures in memory: the volumes and clips of open studies, and what keeps their memory."""

from __future__ import annotations

from typing import Protocol

from medview.core.arriving import Arriving
from medview.core.clip import Clip
from medview.core.volume import Volume


class Hold(Protocol):
    """What keeps the memory of a volume or clip; closed when the study is."""

    def close(self) -> None:
        """Let the memory go."""


class Held:
    """What `Workspace` has in memory, by UID, in the order it came."""

    def __init__(self) -> None:
        self.volumes: dict[str, Volume] = {}
        self.clips: dict[str, Clip] = {}
        self.arriving: dict[str, Arriving] = {}
        self.holds: dict[str, Hold] = {}

    def put(self, one: Volume | Clip, hold: Hold | None) -> None:
        """Keep a volume or clip, and its memory."""
        if isinstance(one, Clip):
            self.clips[one.uid] = one
        else:
            self.arriving.pop(one.uid, None)
            self.volumes[one.uid] = one
        if hold is not None:
            self.holds[one.uid] = hold

    def series_of(self, uid: str) -> str:
        """The series that a volume or clip belongs to; any other UID is given back."""
        if uid in self.volumes:
            return self.volumes[uid].series_uid
        return self.clips[uid].series_uid if uid in self.clips else uid

    def release(self, series_uids: set[str]) -> tuple[list[str], list[Hold]]:
        """Forget what belongs to some series: the UIDs of the volumes, and the holds to close."""
        volumes = [one.uid for one in self.volumes.values() if one.series_uid in series_uids]
        clips = [one.uid for one in self.clips.values() if one.series_uid in series_uids]
        arriving = [uid for uid, one in self.arriving.items() if one.series.uid in series_uids]
        holds = [self.holds.pop(uid) for uid in (*volumes, *clips) if uid in self.holds]
        for kept, uids in ((self.volumes, volumes), (self.clips, clips), (self.arriving, arriving)):
            for uid in uids:
                del kept[uid]
        return volumes, holds
