"""Kept results: what runs gave beside the reader's work, as it goes to disk and comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from medview.core.errors import MedviewError
from medview.core.events import Level
from medview.core.findings import Finding, ModelAuthor
from medview.core.jobs import InferenceResult, InputHash
from medview.core.maps import MapKind, ScalarMap
from medview.core.segmentation import Segment
from medview.core.timeline import Timeline
from medview.services.journal import KeptGrid
from medview.services.map_files import MapFiles
from medview.services.originals import Originals
from medview.services.outcomes import Outcomes
from medview.services.tasks import Tasks
from medview.services.workspace import Workspace


@dataclass(frozen=True)
class ModelOutput:
    """What is kept of models beside the work: results, originals, and the files of maps."""

    outcomes: Outcomes
    originals: Originals
    maps: MapFiles


@dataclass(frozen=True)
class KeptMap:
    """Everything of a map but its values, which lie in a file of their own."""

    uid: str
    volume_uid: str
    kind: MapKind
    dtype: str
    grid: KeptGrid
    value_range: tuple[float, float]
    subject: str
    finding_uid: str
    method: str

    @staticmethod
    def of(one: ScalarMap) -> KeptMap:
        """Of a map."""
        return KeptMap(
            uid=one.uid,
            volume_uid=one.volume_uid,
            kind=one.kind,
            dtype=one.values.dtype.str,
            grid=KeptGrid.of(one.geometry),
            value_range=one.value_range,
            subject=one.subject,
            finding_uid=one.finding_uid,
            method=one.method,
        )

    def whole(self, files: MapFiles) -> ScalarMap:
        """The map again; StoreError where its file is gone or damaged."""
        return ScalarMap(
            volume_uid=self.volume_uid,
            kind=self.kind,
            geometry=self.grid.geometry(),
            values=files.read(self.uid, self.dtype, self.grid.shape),
            value_range=self.value_range,
            subject=self.subject,
            finding_uid=self.finding_uid,
            method=self.method,
            uid=self.uid,
        )


@dataclass(frozen=True)
class KeptResult:
    """An InferenceResult in plain fields: without segmentations, its maps by their names.

    The fields it shares with the result have its names.
    """

    job_uid: str
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    out_of_scope: tuple[str, ...] = ()
    fallbacks: tuple[str, ...] = ()
    device: str = "cpu"
    seconds: float = 0.0
    candidates: tuple[Finding, ...] = ()
    threshold: float | None = None
    timeline: Timeline | None = None
    author: ModelAuthor | None = None
    inputs: tuple[InputHash, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    maps: tuple[KeptMap, ...] = ()

    @staticmethod
    def of(result: InferenceResult) -> KeptResult:
        """Of a result."""
        shared = {name: getattr(result, name) for name in _SHARED}
        return KeptResult(**shared, maps=tuple(KeptMap.of(one) for one in result.maps))

    def whole(self, read: Callable[[KeptMap], ScalarMap | None]) -> InferenceResult:
        """The result again, with the maps that `read` gives."""
        maps = (read(one) for one in self.maps)
        return InferenceResult(
            **{name: getattr(self, name) for name in _SHARED},
            maps=tuple(one for one in maps if one is not None),
        )


_SHARED = tuple(one.name for one in fields(KeptResult) if one.name != "maps")


@dataclass(frozen=True)
class KeptOriginal:
    """The segments that a model proposed in one segmentation; its patches are kept one by one."""

    segmentation_uid: str
    segments: tuple[Segment, ...]


class MapKeeper:
    """Writes the maps of runs that ended, beside the window's thread."""

    def __init__(self, workspace: Workspace, tasks: Tasks, output: ModelOutput) -> None:
        self._workspace = workspace
        self._tasks = tasks
        self._output = output
        self._under_way = 0

    @property
    def idle(self) -> bool:
        """Whether nothing is being written."""
        return not self._under_way

    def keep(self, job_uid: str) -> None:
        """Keep the maps of a job, if it gave any."""
        result = self._output.outcomes.find(job_uid)
        if result is not None and result.maps:
            self._under_way += 1
            write = self._output.maps.write
            self._tasks.run(write, result.maps, on_done=self._written, on_error=self._lost)

    def _written(self, _nothing: None) -> None:
        self._under_way -= 1

    def _lost(self, error: MedviewError) -> None:
        self._under_way -= 1
        self._workspace.notify(Level.WARNING, error.user_text, error.hint)
