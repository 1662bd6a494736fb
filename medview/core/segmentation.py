"""Segmentations: labelled voxels, what each label means, and edits to them."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from medview.core.codes import Code
from medview.core.errors import GeometryError
from medview.core.findings import Provenance, Review, new_uid
from medview.core.geometry import Box, Geometry
from medview.core.plain import LATE

LabelArray = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


def as_labels(numbers: npt.NDArray[Any]) -> LabelArray:
    """Whole numbers from 0 to 65535 as labels, C order: uint8 where they fit in, else uint16."""
    if numbers.max(initial=0) < 256:
        return np.ascontiguousarray(numbers, dtype=np.uint8)
    return np.ascontiguousarray(numbers, dtype=np.uint16)


class SegmentState(StrEnum):
    """How far the work on a segment is, as whoever draws it says."""

    NOT_STARTED = "not started"
    IN_PROGRESS = "in progress"
    DONE = "done"
    FLAGGED = "flagged"


@dataclass(frozen=True)
class Segment:
    """One structure: its number among the labels (1-65535), its name, code, colour and history.

    A `locked` segment neither gains nor loses voxels.
    """

    number: int
    label: str
    category: Code
    type: Code
    color_rgb: tuple[int, int, int]
    provenance: Provenance
    review: Review = field(default_factory=Review)
    probability: float | None = None
    state: SegmentState = field(default=SegmentState.NOT_STARTED, metadata=LATE)
    locked: bool = field(default=False, metadata=LATE)

    def __post_init__(self) -> None:
        if not 1 <= self.number <= 65535:
            raise ValueError(f"Segment numbers run from 1 to 65535, not {self.number}")
        if not self.label.strip():
            raise ValueError("A segment needs a name")


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Labels (slices, rows, columns), uint8 or uint16, on the grid of a volume; 0 is background.

    The label array is shared between revisions and written in one place only, the workspace,
    which hands out a new Segmentation with a higher `revision` after every change.
    Structures that overlap go in separate segmentations.
    """

    volume_uid: str
    geometry: Geometry
    labels: LabelArray
    segments: tuple[Segment, ...]
    title: str = ""
    revision: int = 0
    uid: str = field(default_factory=new_uid)

    def __post_init__(self) -> None:
        if self.labels.shape != self.geometry.shape:
            raise GeometryError(
                f"Labels {self.labels.shape} do not fit the grid {self.geometry.shape}"
            )
        if self.labels.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"Labels are uint8 or uint16, not {self.labels.dtype}")
        numbers = [segment.number for segment in self.segments]
        if len(set(numbers)) != len(numbers):
            raise ValueError("Two segments share a number")

    def find_segment(self, number: int) -> Segment:
        """The segment with that number; KeyError if there is none."""
        for segment in self.segments:
            if segment.number == number:
                return segment
        raise KeyError(number)

    def with_segments(self, segments: tuple[Segment, ...]) -> Segmentation:
        """The next revision with other segments, the labels shared."""
        return replace(self, segments=segments, revision=self.revision + 1)

    def revised(self) -> Segmentation:
        """The next revision, the labels shared."""
        return replace(self, revision=self.revision + 1)


@dataclass(frozen=True, eq=False)
class LabelEdit:
    """A change of labels inside one box, kept compressed both ways (`packed`, C order).

    Under 1 kB for a stroke, about 0.3 MB for an organ, instead of a copy of the volume.
    """

    segmentation_uid: str
    box: Box
    dtype: str
    before: bytes
    after: bytes
    title: str

    @property
    def cost_bytes(self) -> int:
        """What keeping it for undo costs."""
        return len(self.before) + len(self.after)

    @staticmethod
    def between(
        segmentation: Segmentation, box: Box, after: npt.NDArray[Any], title: str
    ) -> LabelEdit | None:
        """The edit that turns the labels in `box` into `after`; None if nothing changes.

        The box is shrunk to the voxels that differ. `after` has the shape of the box.
        """
        labels = segmentation.labels
        old = labels[box.slices]
        if after.shape != old.shape:
            raise GeometryError(f"New labels {after.shape} do not fit the box {old.shape}")
        changed = Box.of(old != after)
        if changed is None:
            return None
        new = np.ascontiguousarray(after[changed.slices], dtype=labels.dtype)
        start = tuple(a + b for a, b in zip(box.start, changed.start, strict=True))
        stop = tuple(a + b for a, b in zip(box.start, changed.stop, strict=True))
        inner = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
        return LabelEdit(
            segmentation_uid=segmentation.uid,
            box=inner,
            dtype=labels.dtype.str,
            before=packed(labels[inner.slices]),
            after=packed(new),
            title=title,
        )

    def labels_before(self) -> LabelArray:
        """Labels in the box before the edit."""
        return unpacked(self.before, self.dtype, self.box.shape)

    def labels_after(self) -> LabelArray:
        """Labels in the box after the edit."""
        return unpacked(self.after, self.dtype, self.box.shape)


#: How labels of two numbers begin; zlib's own streams begin with 0x78 (RFC 1950).
_TWO = b"\x02"


def packed(labels: npt.NDArray[Any]) -> bytes:
    """Labels compressed: by zlib, where only two numbers occur a bit for each voxel.

    Most edits hold two numbers or one; a bit a voxel is eight times less for zlib to look at.
    """
    low, high = int(labels.min()), int(labels.max())
    numbers = low.to_bytes(2, "little") + high.to_bytes(2, "little")
    if low == high:
        return _TWO + numbers
    upper = labels == high
    if np.count_nonzero(labels == low) + np.count_nonzero(upper) == labels.size:
        return _TWO + numbers + zlib.compress(np.packbits(upper).tobytes(), 1)
    return zlib.compress(np.ascontiguousarray(labels).tobytes(), 1)


def unpacked(data: bytes, dtype: str, shape: tuple[int, int, int]) -> LabelArray:
    """The labels again, read-only where they were packed whole."""
    if data[:1] == _TWO:
        low, high = (int.from_bytes(data[n : n + 2], "little") for n in (1, 3))
        if low == high:
            return np.full(shape, low, dtype=dtype)
        bits = np.frombuffer(zlib.decompress(data[5:]), dtype=np.uint8)
        upper = np.unpackbits(bits, count=math.prod(shape)).reshape(shape)
        kind = np.dtype(dtype).type
        labels: LabelArray = upper * kind(high - low)
        labels += kind(low)
        return labels
    flat: npt.NDArray[Any] = np.frombuffer(zlib.decompress(data), dtype=dtype)
    return flat.reshape(shape)
