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

        The box is shrunk to the slices that differ, a large one to the voxels that do. `after`
        has the shape of the box.
        """
        labels = segmentation.labels
        if after.shape != box.shape:
            raise GeometryError(f"New labels {after.shape} do not fit the box {box.shape}")
        old = np.ascontiguousarray(labels[box.slices])  # read once from where it lies apart
        changed = _touched(old != after)
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
            before=packed(old[changed.slices]),
            after=packed(new, at_once=True),
            title=title,
        )

    def labels_before(self) -> LabelArray:
        """Labels in the box before the edit."""
        return unpacked(self.before, self.dtype, self.box.shape)

    def labels_after(self) -> LabelArray:
        """Labels in the box after the edit."""
        return unpacked(self.after, self.dtype, self.box.shape)


#: How packed labels begin: bits compressed, runs, bits. zlib's streams begin with 0x78 (RFC 1950).
_TWO, _RUNS, _BITS = b"\x02", b"\x03", b"\x04"
#: Boxes of more voxels than this are worth a closer look, and never kept as plain bits.
_MOST_BITS = 1 << 20
#: Labels with runs longer than this on average are kept as runs.
_LONG_RUN = 8


def packed(labels: npt.NDArray[Any], *, at_once: bool = False) -> bytes:
    """Labels compressed: as runs in C order where they hold long ones, as drawn labels do.

    Others are compressed by zlib; where only two numbers occur, a bit for each voxel. `at_once`
    leaves the bits as they are: longer than runs, and there and back in a fifth of the time.
    """
    flat = np.ascontiguousarray(labels).reshape(-1)
    if not flat.any():
        numbers = bytes(flat.dtype.itemsize)
        return (
            _RUNS + b"\x08" + (1).to_bytes(8, "little") + flat.size.to_bytes(8, "little") + numbers
        )
    two = _bits_of_two(flat) if at_once and flat.size <= _MOST_BITS else b""
    if two:
        return _BITS + two
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    if ends.size * _LONG_RUN <= flat.size:
        return _packed_runs(flat, ends)
    two = _bits_of_two(flat)
    if two:
        return _TWO + two[:4] + zlib.compress(two[4:], 1)
    return zlib.compress(flat.tobytes(), 1)


def _touched(changed: npt.NDArray[np.bool_]) -> Box | None:
    """The box of what changed; None for nothing. In small ones whole slices, which lie together."""
    if changed.size > _MOST_BITS:
        return Box.of(changed)
    slices = np.asarray(changed.reshape(len(changed), -1).any(axis=1))
    first, last = int(slices.argmax()), len(slices) - int(slices[::-1].argmax())
    return Box((first, 0, 0), (last, *changed.shape[1:])) if slices[first] else None


def _bits_of_two(flat: npt.NDArray[Any]) -> bytes:
    """Two numbers and, for each voxel, whether it has the higher; "" where there are others."""
    low, high = int(flat.min()), int(flat.max())
    upper = flat == high
    if low == high or np.count_nonzero(flat == low) + np.count_nonzero(upper) != flat.size:
        return b""
    numbers = low.to_bytes(2, "little") + high.to_bytes(2, "little")
    return numbers + np.packbits(upper).tobytes()


def _packed_runs(flat: npt.NDArray[Any], ends: npt.NDArray[np.intp]) -> bytes:
    """How long each run is, then its number; of numbers that take turns the first two."""
    lengths = np.empty(ends.size + 1, dtype=np.int64)
    lengths[0] = flat.size if ends.size == 0 else ends[0] + 1
    np.subtract(ends[1:], ends[:-1], out=lengths[1:-1])
    lengths[-1] = flat.size - 1 - ends[-1] if ends.size else flat.size
    numbers = np.append(flat[ends], flat[-1])
    if (numbers[2:] == numbers[:-2]).all():
        numbers = numbers[:2]
    longest = int(lengths.max())
    size = 1 if longest < 1 << 8 else 2 if longest < 1 << 16 else 4 if longest < 1 << 32 else 8
    head = _RUNS + bytes([size]) + lengths.size.to_bytes(8, "little")
    return head + lengths.astype(f"<u{size}").tobytes() + numbers.tobytes()


def unpacked(data: bytes, dtype: str, shape: tuple[int, int, int]) -> LabelArray:
    """The labels again, read-only where they were packed whole."""
    if data[:1] == _RUNS:
        return _unpacked_runs(data, dtype).reshape(shape)
    if data[:1] in (_TWO, _BITS):
        low, high = (int.from_bytes(data[n : n + 2], "little") for n in (1, 3))
        if low == high:  # so written before there were runs
            return np.full(shape, low, dtype=dtype)
        whole = data if data[:1] == _BITS else data[:5] + zlib.decompress(data[5:])
        bits = np.frombuffer(whole, dtype=np.uint8, offset=5)
        upper = np.unpackbits(bits, count=math.prod(shape))
        return _of_two(upper, low, high, dtype).reshape(shape)
    flat: npt.NDArray[Any] = np.frombuffer(zlib.decompress(data), dtype=dtype)
    return flat.reshape(shape)


def _unpacked_runs(data: bytes, dtype: str) -> npt.NDArray[Any]:
    size, count = data[1], int.from_bytes(data[2:10], "little")
    lengths = np.frombuffer(data, dtype=f"<u{size}", count=count, offset=10)
    numbers = np.frombuffer(data, dtype=dtype, offset=10 + size * count)
    if count == 1:
        return np.full(int(lengths[0]), numbers[0])
    if numbers.size == count:
        return np.repeat(numbers, lengths)
    # Numbers that take turns: every other run is of the second, and parity tells which.
    ends = np.add.accumulate(lengths, dtype=np.intp)
    turns = np.zeros(int(ends[-1]), dtype=np.uint8)
    turns[ends[:-1]] = 1
    np.add.accumulate(turns, out=turns)
    turns &= 1
    first, second = numbers.tolist()
    return _of_two(turns, first, second, dtype)


def _of_two(upper: npt.NDArray[np.uint8], first: int, second: int, dtype: str) -> npt.NDArray[Any]:
    """The first number where `upper` is 0, the second where it is 1; `upper` may become that."""
    if np.dtype(dtype).itemsize > 1:
        return np.array([first, second], dtype=dtype)[upper]
    upper *= np.uint8(first ^ second)
    if first:
        upper ^= np.uint8(first)
    return upper
