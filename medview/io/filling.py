"""Planes of a planned volume, from their files into an array: the quick way where there is one."""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from medview.core.errors import ReadError
from medview.core.study import Problem, Severity
from medview.io.archives import FileBytes, open_file, read_members
from medview.io.header import EXPLICIT_LITTLE, IMPLICIT_LITTLE, Texts
from medview.io.pixels import Doubtful, cleaned, decode, decode_direct
from medview.io.plan import VIDEO_SYNTAXES, PlanePlan, VolumePlan
from medview.io.raster import decode_picture
from medview.io.spelled import SPELLED, spelled_pictures
from medview.io.video_files import VIDEO, video_pictures

Voxels = npt.NDArray[Any]

_AS_IT_LIES = frozenset((EXPLICIT_LITTLE, IMPLICIT_LITTLE, "raw"))
_AGAIN = "Get the file again from its source"


def _no_step(_number: int) -> None:
    """Nobody counts the steps."""


class Planes(Protocol):
    """What takes planes: an array, or memory of another process."""

    def __setitem__(self, number: int, values: Voxels | float) -> None:
        """Put a plane, or one value all over it."""


#: Called before work on a plane begins, with how many planes of the plan stand before it.
Step = Callable[[int], object]


class Filling:
    """One filling of a volume, or of a part of it that begins with plane `first`.

    `plan.planes` are those of the part. The `problems`, and the numbers of the `lost` planes,
    stand in it afterwards.
    """

    def __init__(
        self, plan: VolumePlan, voxels: Planes, first: int = 0, step: Step = _no_step
    ) -> None:
        self._plan = plan
        self._voxels = voxels
        self._first = first
        self._step = step
        self._texts = Texts()
        self._buffer: Voxels = np.empty(plan.shape[1:], dtype=plan.dtype)
        self.problems: list[Problem] = []
        self.lost: set[int] = set()

    @property
    def notes(self) -> tuple[str, ...]:
        """The first few problems, for the notes of the volume."""
        return tuple(problem.reason for problem in self.problems[:5])

    def run(self) -> None:
        """Fill all planes of the plan."""
        for _ in self.progress():
            pass

    def progress(self) -> Iterator[int]:
        """Fill file by file, and give the number of each plane when it is done.

        A plane that cannot be read is left at the plan's blank value.
        """
        numbered = enumerate(self._plan.planes, self._first)
        for file, group in groupby(numbered, key=lambda pair: pair[1].file):
            places = dict(group)
            self._step(next(iter(places)) - self._first)
            if file is None:
                self._blank(places)
                yield from places
                continue
            try:
                yield from self._from_file(file, places)
            except ReadError as error:
                self._lose(file, error, list(places))
                yield from places

    def _plane(self, number: int) -> PlanePlan:
        return self._plan.planes[number - self._first]

    def _blank(self, places: Sequence[int] | dict[int, PlanePlan]) -> None:
        for k in places:
            self._voxels[k] = self._plan.blank
        self.lost.update(places)

    def _lose(self, file: str, error: ReadError, places: Sequence[int]) -> None:
        self._blank(places)
        shown, place = self._where(file, places, ", shown empty")
        self.problems.append(
            Problem(shown, error.user_text + place, Severity.REFUSED, error.hint or _AGAIN)
        )

    def _where(self, file: str, places: Sequence[int], fate: str) -> tuple[Path, str]:
        """The file or member to name, and which slices of the volume it is about."""
        member = self._plane(places[0]).member
        total = self._plan.shape[0]
        numbers = ", ".join(str(k + 1) for k in places[:5]) + (", ..." if len(places) > 5 else "")
        noun = "slice" if len(places) == 1 else "slices"
        place = f" ({noun} {numbers} of {total}{fate})" if total > 1 else ""
        if self._plan.is_clip:  # its lost frames are left out, and counted by whoever shows it
            place = ""
        return (Path(file) / member if member else Path(file)), place

    def _doubt(self, file: str, reason: str, places: Sequence[int]) -> None:
        """Name planes that were decoded although something was odd about them."""
        shown, where = self._where(file, places, "")
        self.problems.append(Problem(shown, reason + where, Severity.WARNING, _AGAIN))

    def _from_file(self, file: str, places: dict[int, PlanePlan]) -> Iterator[int]:
        """Planes of one file, or of members of one archive."""
        members: dict[str, list[int]] = {}
        for k, plane in places.items():
            members.setdefault(plane.member, []).append(k)
        if "" not in members:
            yield from self._from_archive(file, members)
            return
        with open_file(file) as source:
            # A file that was cut goes the way that says what is missing.
            end = max(plane.offset + plane.format.plane_bytes for plane in places.values())
            if end <= source.size and all(map(self._lies_as_kept, places.values())):
                for k, plane in places.items():
                    self._step(k - self._first)
                    self._voxels[k] = self._as_it_lies(source, plane)
                    yield k
                return
            data = source.read_at(0, source.size)
        yield from self._from_data(file, data, list(places))

    def _from_archive(self, file: str, members: dict[str, list[int]]) -> Iterator[int]:
        missing = dict(members)
        for entry in read_members(Path(file), members, self._plan.password):
            places = missing.pop(entry.member)
            try:
                data = entry.data
            except ReadError as error:
                self._lose(file, error, places)
                yield from places
                continue
            yield from self._from_data(file, data, places)
        for places in missing.values():
            self._lose(file, ReadError("The archive has changed", "Open it again"), places)
            yield from places

    def _lies_as_kept(self, plane: PlanePlan) -> bool:
        """Whether the plane's bytes in the file are its bytes in memory."""
        form = plane.format
        return (
            plane.offset >= 0
            and plane.tile is None
            and plane.component is None
            and form.encoding in _AS_IT_LIES
            and form.lut is None
            and form.samples in (1, 3)
            and not self._plan.real_values
            and np.dtype(form.dtype) == np.dtype(self._plan.dtype)
        )

    def _as_it_lies(self, source: FileBytes, plane: PlanePlan) -> Voxels:
        """A plane straight from its place in the file; the next one takes its memory."""
        buffer = self._buffer
        view = buffer.reshape(-1).view(np.uint8).data
        done = 0
        while done < len(view):
            got = os.preadv(source.descriptor, [view[done:]], plane.offset + done)
            if got == 0:
                raise ReadError("The pixel data are cut short", _AGAIN)
            done += got
        if plane.format.bits_stored in (0, buffer.dtype.itemsize * 8):
            return buffer
        return cleaned(buffer, plane.format)

    def _from_data(self, file: str, data: bytes, places: Sequence[int]) -> Iterator[int]:
        """Planes out of a whole file in memory."""
        planes = [self._plane(k) for k in places]
        bad: dict[str, tuple[ReadError, list[int]]] = {}
        doubts: dict[str, list[int]] = {}
        for k, plane, picture in zip(places, planes, self._stepped(data, places), strict=True):
            if isinstance(picture, Doubtful):
                doubts.setdefault(picture.reason, []).append(k)
                self._voxels[k] = self._kept(plane, picture.pixels)
            elif isinstance(picture, ReadError):
                bad.setdefault(picture.user_text, (picture, []))[1].append(k)
                continue
            else:
                self._voxels[k] = self._kept(plane, picture)
            yield k
        for error, lost in bad.values():
            self._lose(file, error, lost)
            yield from lost
        for reason, doubted in doubts.items():
            self._doubt(file, reason, doubted)

    def _stepped(
        self, data: bytes, places: Sequence[int]
    ) -> Iterator[Voxels | Doubtful | ReadError]:
        """The pictures of planes, each announced before it is decoded."""
        decoded = pictures(data, [self._plane(k) for k in places], self._texts)
        for k in places:
            self._step(k - self._first)
            yield next(decoded)

    def _kept(self, plane: PlanePlan, stored: Voxels) -> Voxels:
        """Stored values as the volume keeps them."""
        plan, form = self._plan, plane.format
        if form.lut is not None:
            first, table = form.lut
            outputs = table[np.clip(stored.astype(np.int64) - first, 0, len(table) - 1)]
            if not plan.real_values:
                return outputs
            values = outputs.astype(np.float32)
        elif not plan.real_values:
            return stored[..., :3] if stored.ndim == 3 else stored
        else:
            values = (stored.astype(np.float64) * plane.slope + plane.intercept).astype(np.float32)
        if plan.padding is not None and form.padding is not None:
            low, high = form.padding
            values[(stored >= low) & (stored <= high)] = plan.padding[0]
        return values


def pictures(
    data: bytes, planes: Sequence[PlanePlan], texts: Texts | None = None
) -> Iterator[Voxels | Doubtful | ReadError]:
    """Stored values of planes of one file held in memory, an error in the place of a bad one."""
    encoding = planes[0].format.encoding
    if encoding in _STREAMS:
        return _packed_pictures(data, planes)
    if encoding == "picture":
        return decode_picture(data, planes)
    if encoding == VIDEO or encoding in VIDEO_SYNTAXES:
        return video_pictures(data, planes)
    if encoding in SPELLED:
        return spelled_pictures(data, planes)
    if encoding == "guest":
        # nibabel takes a second to import, and few ever need it.
        guests = importlib.import_module("medview.io.guests")
        return cast("Iterator[Voxels | ReadError]", guests.guest_pictures(planes))
    return decode(data, planes, texts)


class _Inflated(io.RawIOBase):
    """A zlib stream as something to read from, piece by piece."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._unpacker = zlib.decompressobj()
        self._rest = data

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Up to the size of the buffer; 0 at the end."""
        piece = self._unpacker.decompress(self._rest, len(buffer))
        self._rest = self._unpacker.unconsumed_tail
        buffer[: len(piece)] = piece
        return len(piece)


_STREAMS: dict[str, Callable[[bytes], io.BufferedIOBase]] = {
    "gzip": lambda data: gzip.GzipFile(fileobj=io.BytesIO(data)),
    "bzip2": lambda data: bz2.BZ2File(io.BytesIO(data)),
    "zlib": lambda data: io.BufferedReader(_Inflated(data), 1 << 20),
}


def _packed_pictures(
    data: bytes, planes: Sequence[PlanePlan]
) -> Iterator[Voxels | Doubtful | ReadError]:
    """Planes of a packed file in one pass; never unpacks beyond the last of them."""
    form = planes[0].format
    with _STREAMS[form.encoding](data[form.packed_at :]) as stream:
        at = 0
        for plane in planes:
            try:
                at = _forward(stream, plane.offset - at) + at
                raw = stream.read(form.plane_bytes)
            except (EOFError, OSError, zlib.error) as error:
                yield ReadError("The packed image is damaged or cut short", detail=str(error))
                continue
            at += len(raw)
            yield decode_direct(raw, replace(plane, offset=0))


def _forward(stream: io.BufferedIOBase, count: int) -> int:
    """Skip that many bytes; fewer at the end."""
    done = 0
    while done < count and (piece := stream.read(min(1 << 22, count - done))):
        done += len(piece)
    return done
