"""Previews: what an edit would do, drawn over the slices before it is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

from medview.core.findings import ModelAuthor, SegmentRef
from medview.core.geometry import Box
from medview.imaging.edit import Patch, has_values, sliced
from medview.imaging.reslice import PlaneFrame
from medview.services.rules import Ground

Labels = npt.NDArray[Any]


class Preview(Protocol):
    """Labels of one segmentation, or of all where none is named, as they would be."""

    @property
    def segmentation_uid(self) -> str:
        """Whose labels, "" for all on the image."""

    @property
    def key(self) -> object:
        """Another object for another picture."""

    def over(self, labels: Labels, frame: PlaneFrame, number: int) -> Labels:
        """A slice of the labels, (down, right), as it would be after the edit."""


@dataclass(frozen=True, eq=False)
class StrokePreview:
    """Voxels that a stroke under way will give to a segment, or clear (`number` 0)."""

    segmentation_uid: str
    number: int
    patch: Patch

    def joined(self, more: StrokePreview) -> StrokePreview:
        """The stroke, gone on."""
        return StrokePreview(self.segmentation_uid, self.number, self.patch.union(more.patch))

    @property
    def key(self) -> object:
        """The patch grows by becoming another."""
        return self.patch

    def over(self, labels: Labels, frame: PlaneFrame, number: int) -> Labels:
        """The labels with the stroke."""
        box = self.patch.box
        if not frame.meets(box, number):
            return labels
        mask = frame.pixels(self.patch.mask, number - box.start[frame.normal])
        result = labels.copy()
        result[_pixels(frame, box)][mask] = self.number
        return result


@dataclass(frozen=True, eq=False)
class RangePreview:
    """A segment as it would be with all voxels whose values lie in a range, worked out by slice."""

    ground: Ground
    ref: SegmentRef
    low: float
    high: float

    @property
    def segmentation_uid(self) -> str:
        """Where the segment is."""
        return self.ref.segmentation_uid

    @property
    def key(self) -> object:
        """The preview itself."""
        return self

    def over(self, labels: Labels, frame: PlaneFrame, number: int) -> Labels:
        """The labels of the slice after the edit."""
        del labels
        box = sliced(Box.whole(frame.geometry.shape), frame.normal, number)
        fits = has_values(self.ground.volume, box, self.low, self.high)
        after, _ = self.ground.after(self.ref, Patch(box, fits))
        return frame.pixels(after, 0)


@dataclass(frozen=True, eq=False)
class LabelsPreview:
    """Labels of a box as they would be."""

    segmentation_uid: str
    box: Box
    labels: Labels

    @property
    def key(self) -> object:
        """The preview itself."""
        return self

    def over(self, labels: Labels, frame: PlaneFrame, number: int) -> Labels:
        """The labels with those of the box."""
        if not frame.meets(self.box, number):
            return labels
        result = labels.copy()
        part = frame.pixels(self.labels, number - self.box.start[frame.normal])
        result[_pixels(frame, self.box)] = part
        return result


@dataclass(frozen=True, eq=False)
class PatchPreview(LabelsPreview):
    """A segment as it would be within a box: the mask of a patch, under the rules.

    `aids` are the models that had a part in the patch.
    """

    ref: SegmentRef
    patch: Patch
    aids: tuple[ModelAuthor, ...] = ()

    @staticmethod
    def of(
        ground: Ground, ref: SegmentRef, patch: Patch, aids: tuple[ModelAuthor, ...] = ()
    ) -> PatchPreview:
        """What the rules leave of a patch."""
        after, _ = ground.after(ref, patch)
        return PatchPreview(ref.segmentation_uid, patch.box, after, ref, patch, aids)


def _pixels(frame: PlaneFrame, box: Box) -> tuple[slice, slice]:
    """Where a box lies in a slice of the frame."""
    down, right = frame.down_axis, frame.right_axis
    return slice(box.start[down], box.stop[down]), slice(box.start[right], box.stop[right])
