"""Bytes to read at places: memory, a part of something, a compressed stream.

A compressed stream is unpacked piece by piece where somebody looks and is never held in memory as
a whole: what unpacks without measure costs time up to its limit, but no memory.
"""

from __future__ import annotations

import bz2
import io
import lzma
import os
import shutil
import tempfile
import weakref
import zlib
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from medview.core.errors import ReadError

_PIECE_IN = 1 << 16
_PIECE_OUT = 1 << 18
#: What came last is kept: those who list an archive read ahead of those who look into it.
_BEHIND = 1 << 18
#: Distance of the places from which unpacking can start again; it doubles when there are many.
_SPACING = 2 << 20
_MOST_PLACES = 512
_DAMAGE = (zlib.error, lzma.LZMAError, OSError, EOFError)


class Bytes(Protocol):
    """Something to read at places: a file, a member of an archive, memory."""

    @property
    def size(self) -> int:
        """Bytes in all."""
        ...

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`; fewer only at the end."""
        ...


@dataclass(frozen=True)
class MemoryBytes:
    """A buffer as something to read at places."""

    data: bytes

    @property
    def size(self) -> int:
        """Bytes in all."""
        return len(self.data)

    def read_at(self, offset: int, length: int) -> bytes:
        """A slice of the buffer."""
        return self.data[offset : offset + length]


@dataclass(frozen=True)
class Part:
    """A part of something, as something of its own."""

    whole: Bytes
    begin: int
    size: int

    def read_at(self, offset: int, length: int) -> bytes:
        """Never beyond the part."""
        length = min(length, self.size - offset)
        return self.whole.read_at(self.begin + offset, length) if length > 0 else b""


class Unpacker(Protocol):
    """What the decompressors of the standard library have in common."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What came after its end."""
        ...

    def decompress(self, data: bytes, /, max_length: int = ...) -> bytes:
        """Some of what follows."""
        ...


def raw_deflate() -> Unpacker:
    """A deflate stream without header: in ZIP members and deflated DICOM files."""
    return zlib.decompressobj(-zlib.MAX_WBITS)


#: How compressed files begin -> what unpacks them.
UNPACKERS: dict[bytes, Callable[[], Unpacker]] = {
    b"\x1f\x8b": lambda: zlib.decompressobj(zlib.MAX_WBITS | 16),
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": lzma.LZMADecompressor,
}


@dataclass
class _Cursor:
    """How far unpacking has come: bytes taken from the source, bytes given."""

    unpacker: Unpacker
    taken: int = 0
    given: int = 0

    def copy(self) -> _Cursor | None:
        """A second cursor at the same place, where the method can be copied."""
        make = getattr(self.unpacker, "copy", None)
        return None if make is None else _Cursor(make(), self.taken, self.given)


class _Spool:
    """What a stream has given so far, in a temporary file without a name, read again from there.

    It grows to half of the room that was free when it began, and no further; what comes then has
    to be unpacked again. The file is gone with whoever holds it, also if it is killed.
    """

    def __init__(self) -> None:
        self.size = 0
        try:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
            weakref.finalize(self, self._file.close)
            self._room = shutil.disk_usage(tempfile.gettempdir()).free // 2
        except OSError:
            self._room = 0

    def put(self, offset: int, piece: bytes) -> None:
        """Keep what stands at a place, if it is the next that is wanted and there is room."""
        if offset != self.size or offset + len(piece) > self._room:
            return
        try:
            self.size += self._file.write(piece)
        except OSError:
            self._room = 0

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`, of what is kept."""
        length = min(length, self.size - offset)
        return os.pread(self._file.fileno(), length, offset) if length > 0 else b""


def _nobody() -> None:
    """Nobody is told."""


class Unpacked:
    """A compressed stream as what it unpacks to, readable anywhere.

    Deflate streams are unpacked from the nearest of places remembered on the way. bzip2 and xz
    know no such places: what they gave is spooled, so that the way back costs no second pass.
    ReadError as soon as more than `limit` bytes come out, or where the stream is damaged; reading
    behind a cut gives what there is. `source` may be exchanged for the same bytes opened again;
    `on_piece` is called for each piece that is unpacked.
    """

    def __init__(
        self, source: Bytes, make: Callable[[], Unpacker], limit: int, size: int | None = None
    ) -> None:
        self.source = source
        self._make = make
        self._limit = limit
        self._size = size
        self._cursor = _Cursor(make())
        self._piece = b""  # what ends at the cursor
        self._places: list[_Cursor] = []
        self._spacing = _SPACING
        self._spool = _Spool() if self._cursor.copy() is None else None
        self.on_piece: Callable[[], object] = _nobody

    @property
    def size(self) -> int:
        """Bytes in all; where nobody has said so, found by unpacking once, keeping nothing."""
        if self._size is None:
            while self._step():
                pass
            self._size = self._cursor.given
        return self._size

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`."""
        parts: list[bytes] = []
        while length > 0:
            part = self._kept(offset, length)
            if part:
                parts.append(part)
                offset, length = offset + len(part), length - len(part)
            elif not self._step():
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _kept(self, offset: int, length: int) -> bytes:
        """Some of what is wanted without unpacking more; otherwise goes where it is near."""
        if self._spool is not None and offset < self._spool.size:
            return self._spool.read_at(offset, length)
        self._seek(offset)
        begin = self._cursor.given - len(self._piece)
        return self._piece[max(0, offset - begin) :][:length]

    def _seek(self, offset: int) -> None:
        """Go back if need be, or jump ahead to a place that is known."""
        place = bisect_right(self._places, offset, key=lambda place: place.given) - 1
        known = self._places[place] if place >= 0 else None
        if offset < self._cursor.given - len(self._piece):
            self._piece = b""
            again = known.copy() if known is not None else None
            self._cursor = again or _Cursor(self._make())
        elif known is not None and known.given > self._cursor.given:
            self._piece = b""
            self._cursor = known.copy() or self._cursor

    def _step(self) -> bool:
        """Unpack one more piece; whether there was one."""
        cursor = self._cursor
        data = self.source.read_at(cursor.taken, _PIECE_IN)
        if cursor.unpacker.eof:
            # What follows a bare deflate stream is padding; gzip, bzip2 and xz may follow another.
            if self._make is raw_deflate or not data.strip(b"\0"):
                return False
            cursor.unpacker = self._make()
        try:
            needs = bool(getattr(cursor.unpacker, "needs_input", True))
            piece = cursor.unpacker.decompress(data if needs else b"", _PIECE_OUT)
        except _DAMAGE as error:
            raise ReadError("The compressed data are damaged", _AGAIN, str(error)) from error
        if cursor.unpacker.eof:
            cursor.taken += len(data) * needs - len(cursor.unpacker.unused_data)
        elif needs:
            cursor.taken += len(data) - len(getattr(cursor.unpacker, "unconsumed_tail", b""))
        if not piece and not data and not cursor.unpacker.eof:
            return False
        if self._spool is not None:
            self._spool.put(cursor.given, piece)
        cursor.given += len(piece)
        self._piece = self._piece[-_BEHIND:] + piece
        self.on_piece()
        if cursor.given > self._limit:
            raise ReadError(_TOO_MUCH, _IF_TRUSTED)
        self._remember()
        return True

    def _remember(self) -> None:
        last = self._places[-1].given if self._places else 0
        if self._cursor.given - last < self._spacing or self._cursor.unpacker.eof:
            return
        place = self._cursor.copy()
        if place is None:
            return
        self._places.append(place)
        if len(self._places) > _MOST_PLACES:
            del self._places[::2]
            self._spacing *= 2


_AGAIN = "Get the file again from its source"
_TOO_MUCH = "It unpacks to more than 200 times its size and was not opened"
_IF_TRUSTED = "Unpack it with another program and open the folder if you trust it"


class Stream(io.RawIOBase):
    """Something to read at places as a file object, for libraries that want one."""

    def __init__(self, source: Bytes) -> None:
        super().__init__()
        self._source = source
        self._at = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """The new position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at}.get(whence)
        self._at = max(0, offset + (self._source.size if base is None else base))
        return self._at

    def tell(self) -> int:
        """The position."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """As much as there is; 0 at the end."""
        piece = self._source.read_at(self._at, len(buffer))
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)
