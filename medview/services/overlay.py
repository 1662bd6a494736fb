"""The segments over a picture: which are drawn and how, and which one is painted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Protocol

from medview.core.findings import ReviewState, SegmentRef
from medview.core.segmentation import Segment, Segmentation
from medview.core.views import SegmentDisplay
from medview.core.volume import Volume
from medview.services.settings import Settings
from medview.services.workspace import Workspace


class Shown(Protocol):
    """What says which volume is on show: `Viewing`."""

    @property
    def workspace(self) -> Workspace:
        """Where segmentations are."""

    @property
    def volume(self) -> Volume | None:
        """The volume on show."""


def never(_segmentation: Segmentation) -> bool:
    """For an overlay that hides nothing."""
    return False


class Overlay:
    """Segments of the volume on show; `changed` is called after every change.

    What was set for a segment stays, also while another series is on show. A segmentation that
    `conceals` holds back is as good as not there.
    """

    def __init__(self, shown: Shown, settings: Settings, changed: Callable[[], None]) -> None:
        self._viewing = shown
        self._settings = settings
        self._changed = changed
        self._active: SegmentRef | None = None
        self._display: dict[SegmentRef, SegmentDisplay] = {}
        self._shown = True
        self.conceals: Callable[[Segmentation], bool] = never

    @property
    def segmentations(self) -> tuple[Segmentation, ...]:
        """The segmentations of the volume on show."""
        volume = self._viewing.volume
        if volume is None:
            return ()
        every = self._viewing.workspace.segmentations_of(volume.uid)
        return tuple(one for one in every if not self.conceals(one))

    @property
    def active(self) -> SegmentRef | None:
        """The segment that the brush paints; None unless it is on the volume on show."""
        for segmentation in self.segmentations:
            for segment in segmentation.segments:
                if SegmentRef(segmentation.uid, segment.number) == self._active:
                    return self._active
        return None

    def select(self, ref: SegmentRef | None) -> None:
        """Choose the segment to paint; KeyError if there is no such segment."""
        if ref is not None:
            self.find(ref)
        if ref != self._active:
            self._active = ref
            self._changed()

    def move(self, ref: SegmentRef, to: SegmentRef) -> None:
        """A segment goes by another reference now: how it is drawn and chosen stays."""
        if ref in self._display:
            self._display[to] = self._display[ref]
        if self._active == ref:
            self.select(to)

    def display(self, ref: SegmentRef) -> SegmentDisplay:
        """How a segment is drawn: as set, else shown, unless it was rejected."""
        known = self._display.get(ref)
        if known is not None:
            return known
        rejected = self.find(ref).review.state is ReviewState.REJECTED
        return SegmentDisplay(not rejected, self._settings.number("segment.opacity"))

    def set_display(self, ref: SegmentRef, **changes: Any) -> None:
        """Change `visible`, `opacity` or `outline` of a segment."""
        display = replace(self.display(ref), **changes)
        if display != self._display.get(ref):
            self._display[ref] = display
            self._changed()

    def displays(self, segmentation: Segmentation) -> Mapping[int, SegmentDisplay]:
        """How each segment is drawn by number, with all of them hidden where `shown` is False."""
        hidden = SegmentDisplay(visible=False)
        seen = self._shown and not self.conceals(segmentation)
        drawn = {
            segment.number: self.display(SegmentRef(segmentation.uid, segment.number))
            if seen
            else hidden
            for segment in segmentation.segments
        }
        return MappingProxyType(drawn)

    def visible_segments(self) -> tuple[Segment, ...]:
        """The segments that are drawn now."""
        return tuple(
            segment
            for segmentation in self.segmentations
            for segment in segmentation.segments
            if self.displays(segmentation)[segment.number].visible
        )

    @property
    def shown(self) -> bool:
        """Whether segments are drawn at all."""
        return self._shown

    def toggle(self) -> None:
        """Hide all segments, or show them again, each as it was."""
        self._shown = not self._shown
        self._changed()

    def find(self, ref: SegmentRef) -> Segment:
        """The segment itself; KeyError if there is none."""
        workspace = self._viewing.workspace
        return workspace.segmentations[ref.segmentation_uid].find_segment(ref.number)
