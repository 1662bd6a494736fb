"""Outcomes: how finished runs went, and the maps and timelines they gave to look at."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from medview.core.findings import ModelAuthor
from medview.core.jobs import InferenceResult
from medview.core.maps import ScalarMap
from medview.core.timeline import Timeline

#: The maps of all open studies together; the oldest go first.
MOST_MAP_BYTES = 512 << 20


class Outcomes:
    """Results of finished jobs by job UID, in the order they came, until their study is closed.

    Segmentations are the workspace's and not kept here. Findings are as the model gave them,
    whatever became of them in the workspace. Maps that files brought stand beside them.
    Nothing here is undone; the store keeps it, and maps
    as far as there is room for them.
    """

    def __init__(self, most_bytes: int = MOST_MAP_BYTES) -> None:
        self._most_bytes = most_bytes
        self._results: dict[str, InferenceResult] = {}
        self._brought: dict[str, ScalarMap] = {}

    def bring(self, maps: Sequence[ScalarMap]) -> None:
        """Take in maps that files brought, until their images are closed; known ones anew."""
        for one in maps:
            self._brought[one.uid] = one
        while self._brought and self._bytes() > self._most_bytes:
            del self._brought[next(iter(self._brought))]

    def put(self, result: InferenceResult) -> None:
        """Keep what came of a job."""
        self._results[result.job_uid] = replace(result, segmentations=())
        for uid, one in self._results.items():
            if self._bytes() <= self._most_bytes:
                break
            if uid != result.job_uid:
                self._results[uid] = replace(one, maps=())

    def drop_maps(self, job_uid: str) -> None:
        """Forget the maps of a job: they do not lie on the image at hand."""
        if job_uid in self._results:
            self._results[job_uid] = replace(self._results[job_uid], maps=())

    @property
    def has_any(self) -> bool:
        """Whether any run has ended well."""
        return bool(self._results)

    def result(self, job_uid: str) -> InferenceResult:
        """How a job went; KeyError for one that did not end well, or whose study was closed."""
        return self._results[job_uid]

    def find(self, job_uid: str) -> InferenceResult | None:
        """How a job went, None as `result` raises."""
        return self._results.get(job_uid)

    def maps_of(self, volume_uid: str) -> tuple[ScalarMap, ...]:
        """The maps on an image, the newest last."""
        given = (one for result in self._results.values() for one in result.maps)
        maps = (*self._brought.values(), *given)
        return tuple(one for one in maps if one.volume_uid == volume_uid)

    def maps_beside(self, one: ScalarMap) -> tuple[ScalarMap, ...]:
        """A map and those its run gave of other places in the same image, each place once.

        A model that looks at several regions says of each how sure it is; maps of single
        findings stand alone.
        """
        found = [one]
        for result in self._results.values():
            if one.finding_uid or one not in result.maps:
                continue
            for other in result.maps:
                alike = (other.kind, other.volume_uid) == (one.kind, one.volume_uid)
                taken = any(other.geometry.agrees_with(known.geometry) for known in found)
                if alike and not taken and not other.finding_uid:
                    found.append(other)
        return tuple(found)

    def maps_about(self, finding_uid: str) -> tuple[ScalarMap, ...]:
        """The maps that explain a finding."""
        maps = (one for result in self._results.values() for one in result.maps)
        return tuple(one for one in maps if finding_uid and one.finding_uid == finding_uid)

    def timelines_of(self, clip_uid: str) -> tuple[Timeline, ...]:
        """What was said of a clip frame by frame, the newest last."""
        lines = (result.timeline for result in self._results.values())
        return tuple(line for line in lines if line is not None and line.clip_uid == clip_uid)

    def author_of(self, one: ScalarMap) -> ModelAuthor | None:
        """The model that gave a map; None for one that was brought in."""
        for result in self._results.values():
            if any(known.uid == one.uid for known in result.maps):
                return result.author
        return None

    def keep_only(self, job_uids: Iterable[str], volume_uids: Collection[str]) -> None:
        """Forget the rest: results of other jobs, and maps brought in on other images."""
        self._brought = {
            uid: one for uid, one in self._brought.items() if one.volume_uid in volume_uids
        }
        known = set(job_uids)
        self._results = {uid: one for uid, one in self._results.items() if uid in known}

    def _bytes(self) -> int:
        given = (one for result in self._results.values() for one in result.maps)
        return sum(one.values.nbytes for one in (*given, *self._brought.values()))
