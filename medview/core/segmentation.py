"""Segmentations: labelled voxels, what each label means, and edits to them."""

from __future__ import annotations

import math
import zlib
from collections import deque
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

    A few kB for a stroke, tens of kB for an organ, instead of a copy of the volume.
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
        small = math.prod(box.shape) <= _LARGE
        # Read once from where it lies apart. A small copy is kept as it is, of a large one a part.
        old = np.array(labels[box.slices], order="C", copy=True if small else None)
        changed = _touched(old != after)
        if changed is None:
            return None
        earlier = old[changed.slices] if small else np.array(old[changed.slices])
        later = np.array(after[changed.slices], labels.dtype)
        (k, j, i), (low, high) = box.start, (changed.start, changed.stop)
        inner = Box((k + low[0], j + low[1], i + low[2]), (k + high[0], j + high[1], i + high[2]))
        return LabelEdit(
            segmentation_uid=segmentation.uid,
            box=inner,
            dtype=labels.dtype.str,
            before=_packed_for_now(earlier),
            after=_packed_for_now(later),
            title=title,
        )

    def labels_before(self) -> LabelArray:
        """Labels in the box before the edit."""
        return unpacked(self.before, self.dtype, self.box.shape)

    def labels_after(self) -> LabelArray:
        """Labels in the box after the edit."""
        return unpacked(self.after, self.dtype, self.box.shape)


#: How packed labels begin: bits compressed, runs, thinned bits; bits alone were written once.
#: zlib's streams begin with 0x78 (RFC 1950).
_TWO, _RUNS, _BITS, _THIN = b"\x02", b"\x03", b"\x04", b"\x05"
#: Boxes of more voxels than this are worth a closer look, and are kept as runs.
_LARGE = 1 << 20
#: Of so many bytes of bits less than one is mixed: runs take less room.
_FEW_MIXED = 32
#: What was packed last, and what of: an edit is applied, counted and told of as soon as it is made.
_LATEST: deque[tuple[bytes, LabelArray]] = deque(maxlen=4)
#: Labels with runs longer than this on average are kept as runs.
_LONG_RUN = 8


def _packed_for_now(labels: npt.NDArray[Any]) -> bytes:
    """Small labels packed, and at hand for those who ask for them at once; they must not change."""
    data = packed(labels, at_once=True)
    if labels.size <= _LARGE:
        labels.setflags(write=False)
        _LATEST.append((data, labels))
    return data


def packed(labels: npt.NDArray[Any], *, at_once: bool = False) -> bytes:
    """Labels compressed: as runs in C order where they hold long ones, as drawn labels do.

    Others are compressed by zlib; where only two numbers occur, a bit for each voxel. `at_once`
    keeps a small box of one number beside 0 as bits of which those alike are left out: sometimes
    longer than runs, and made in half of the time.
    """
    flat = np.ascontiguousarray(labels).reshape(-1)
    highest = flat.max()
    if highest == 0:
        return _run_head(1, 8) + flat.size.to_bytes(8, "little") + bytes(flat.dtype.itemsize)
    # 0 less 1 is the highest number there is, so that the least of them tells the least above 0.
    if at_once and flat.size <= _LARGE and (flat - flat.dtype.type(1)).min() == highest - 1:
        thin = _thinned(np.packbits(flat))
        if thin:
            return _THIN + int(highest).to_bytes(2, "little") + thin
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    if ends.size * _LONG_RUN <= flat.size:
        return _packed_runs(flat, ends)
    numbers, bits = _bits_of_two(flat)
    return (
        _TWO + numbers + zlib.compress(bits.tobytes(), 1)
        if numbers
        else zlib.compress(flat.tobytes(), 1)
    )


def _touched(changed: npt.NDArray[np.bool_]) -> Box | None:
    """The box of what changed; None for nothing. In small ones whole slices, which lie together."""
    if changed.size > _LARGE:
        return Box.of(changed)
    if changed[0].any() and changed[-1].any():
        return Box.whole((len(changed), *changed.shape[1:]))
    marks = changed.tobytes()  # searched for a byte in a fraction of the time of a reduction
    if (first := marks.find(1)) < 0:
        return None
    area = changed[0].size
    return Box((first // area, 0, 0), (marks.rfind(1) // area + 1, *changed.shape[1:]))


def _bits_of_two(flat: npt.NDArray[Any]) -> tuple[bytes, npt.NDArray[np.uint8]]:
    """Two numbers and, for each voxel, whether it has the higher; b"" where there are others."""
    low, high = int(flat.min()), int(flat.max())
    upper = flat == high
    if low == high or not ((flat == low) | upper).all():
        return b"", np.empty(0, np.uint8)
    return low.to_bytes(2, "little") + high.to_bytes(2, "little"), np.packbits(upper)


def _thinned(bits: npt.NDArray[np.uint8]) -> bytes:
    """Bytes of bits: which of them are 255, which neither 0 nor 255, and those.

    b"" where so few are mixed that runs are shorter. Nothing else here depends on the labels,
    which makes it twice as fast as looking for runs.
    """
    mixed = bits + np.uint8(1) > 1  # uint8 wraps: 255 becomes 0
    at = np.flatnonzero(mixed)
    if at.size * _FEW_MIXED < bits.size:
        return b""
    return np.packbits(bits == 255).tobytes() + np.packbits(mixed).tobytes() + bits[at].tobytes()


def _thickened(thin: bytes, count: int) -> npt.NDArray[np.uint8]:
    """The bits of `count` voxels, in bytes, from what `_thinned` made of them."""
    size = -(-count // 8)
    marks = -(-size // 8)
    full, mixed, rest = (
        np.frombuffer(part, np.uint8)
        for part in (thin[:marks], thin[marks:][:marks], thin[2 * marks :])
    )
    bits: npt.NDArray[np.uint8] = np.negative(np.unpackbits(full, count=size))
    bits[np.flatnonzero(np.unpackbits(mixed, count=size).view(np.bool_))] = rest
    return bits


def _packed_runs(flat: npt.NDArray[Any], ends: npt.NDArray[np.intp]) -> bytes:
    """How long each run is, then its number; of numbers that take turns the first two."""
    edges = np.empty(ends.size + 2, dtype=np.intp)
    edges[0], edges[1:-1], edges[-1] = -1, ends, flat.size - 1
    lengths = edges[1:] - edges[:-1]
    numbers = flat[edges[1:]]
    if (numbers[2:] == numbers[:-2]).all():
        numbers = numbers[:2]
    longest = int(lengths.max())
    size = 1 if longest < 1 << 8 else 2 if longest < 1 << 16 else 4 if longest < 1 << 32 else 8
    head = _run_head(lengths.size, size)
    return head + lengths.astype(f"<u{size}").tobytes() + numbers.tobytes()


def _run_head(count: int, size: int) -> bytes:
    return _RUNS + bytes([size]) + count.to_bytes(8, "little")


def unpacked(data: bytes, dtype: str, shape: tuple[int, int, int]) -> LabelArray:
    """The labels again, to be read only."""
    for known, labels in tuple(_LATEST):
        if known is data and labels.dtype.str == dtype:
            return labels.reshape(shape)
    if data[:1] == _RUNS:
        return _unpacked_runs(data, dtype).reshape(shape)
    if data[:1] == _THIN:
        held = np.unpackbits(_thickened(data[3:], math.prod(shape)), count=math.prod(shape))
        whole_numbers = held.astype(dtype, copy=False)
        whole_numbers *= whole_numbers.dtype.type(int.from_bytes(data[1:3], "little"))
        return whole_numbers.reshape(shape)
    if data[:1] in (_TWO, _BITS):
        low, high = (int.from_bytes(data[n : n + 2], "little") for n in (1, 3))
        if low == high:  # so written before there were runs
            return np.full(shape, low, dtype=dtype)
        whole = data[5:] if data[:1] == _BITS else zlib.decompress(data[5:])
        bits = np.unpackbits(np.frombuffer(whole, dtype=np.uint8), count=math.prod(shape))
        return np.array([low, high], dtype=dtype)[bits].reshape(shape)
    flat: npt.NDArray[Any] = np.frombuffer(zlib.decompress(data), dtype=dtype)
    return flat.reshape(shape)


def _unpacked_runs(data: bytes, dtype: str) -> npt.NDArray[Any]:
    size, count = data[1], int.from_bytes(data[2:10], "little")
    lengths = np.frombuffer(data, dtype=f"<u{size}", count=count, offset=10)
    numbers = np.frombuffer(data, dtype=dtype, offset=10 + size * count)
    if numbers.size < count:  # they take turns
        numbers = np.tile(numbers, count // 2 + 1)[:count]
    return np.repeat(numbers, lengths.astype(np.intp, copy=False))
