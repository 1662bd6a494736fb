"""Volumes and values of segments that follow the pen.

They are kept slice by slice and counted anew where labels changed, beside the window's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from medview.core.events import SegmentationChanged, StudyClosed
from medview.core.segmentation import LabelArray
from medview.core.volume import Volume
from medview.imaging.measure import Statistics, count_voxels, merge_into, slice_statistics
from medview.services.tasks import Tasks
from medview.services.workspace import Workspace


@dataclass(frozen=True)
class Figures:
    """What a segment measures: its voxels, and its values where it has any that count."""

    voxels: int
    values: Statistics | None


@dataclass(frozen=True)
class _Layer:
    """What one slice holds of each label."""

    voxels: Mapping[int, int]
    values: Mapping[int, Statistics]


@dataclass
class _Kept:
    """What is known of one segmentation, and which slices are to be counted anew."""

    layers: dict[int, _Layer] = field(default_factory=dict)
    due: set[int] = field(default_factory=set)
    figures: Mapping[int, Figures] = field(default_factory=dict)


class SegmentStatistics:
    """The figures of all open segmentations; a stroke costs the slices it touches."""

    def __init__(self, workspace: Workspace, tasks: Tasks) -> None:
        self._workspace = workspace
        self._tasks = tasks
        self._kept: dict[str, _Kept] = {}
        self._counting = False
        workspace.events.segmentation_changed.connect(self._on_changed)
        workspace.events.study_closed.connect(self._forget)

    def of(self, uid: str) -> Mapping[int, Figures]:
        """The figures last counted, by segment number; empty before the first count."""
        kept = self._kept.get(uid)
        return {} if kept is None else kept.figures

    def is_stale(self, uid: str) -> bool:
        """Whether labels changed since they were counted."""
        kept = self._kept.get(uid)
        return kept is None or bool(kept.due)

    def refresh(self, uid: str, on_done: Callable[[], object]) -> None:
        """Count what is stale of a segmentation, then call `on_done`; one count at a time."""
        segmentation = self._workspace.segmentations.get(uid)
        if self._counting or segmentation is None or not self.is_stale(uid):
            return
        volume = self._workspace.volumes[segmentation.volume_uid]
        kept = self._kept.setdefault(uid, _Kept(due=set(range(len(segmentation.labels)))))
        due, kept.due = kept.due, set()
        self._counting = True

        def take(layers: Mapping[int, _Layer]) -> None:
            self._counting = False
            if uid in self._workspace.segmentations:
                kept.layers.update(layers)
                kept.figures = _summed(kept.layers.values())
            on_done()

        self._tasks.run(_counted, volume, segmentation.labels, sorted(due), on_done=take)

    def _on_changed(self, event: SegmentationChanged) -> None:
        kept = self._kept.get(event.uid)
        if kept is not None and event.box is not None:
            kept.due.update(range(event.box.start[0], event.box.stop[0]))

    def _forget(self, _event: StudyClosed) -> None:
        known = self._workspace.segmentations
        self._kept = {uid: kept for uid, kept in self._kept.items() if uid in known}


def _counted(volume: Volume, labels: LabelArray, slices: Iterable[int]) -> Mapping[int, _Layer]:
    """On the pool: what each of some slices holds."""
    plain = volume.channels == 1
    return {
        k: _Layer(
            count_voxels(labels[k : k + 1]), slice_statistics(volume, labels, k) if plain else {}
        )
        for k in slices
    }


def _summed(layers: Iterable[_Layer]) -> Mapping[int, Figures]:
    voxels: dict[int, int] = {}
    values: dict[int, Statistics] = {}
    for layer in layers:
        for number, count in layer.voxels.items():
            voxels[number] = voxels.get(number, 0) + count
        merge_into(values, layer.values)
    return {n: Figures(count, values.get(n)) for n, count in voxels.items()}
