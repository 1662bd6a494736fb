"""The store's write-ahead log, looked into before SQLite reads it.

SQLite replays the log up to the first frame whose checksum is wrong and says nothing of what lies
behind it: one damaged byte silently takes every later save with it. Here such a log is told from
one that merely ends in an unfinished save, and written anew without its damaged frames. Format:
sqlite.org/fileformat2.html, section 4.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from medview.core.paths import sync_folder

_HEADER = struct.Struct(">8I")  # magic, version, page size, sequence, salts, checksums
_FRAME = struct.Struct(">6I")  # page, pages after a commit or 0, salts, checksums
_MAGIC = 0x377F0682  # plus one where checksums are of big-endian words
_VERSION = 3007000
_PAGE_SIZES = [1 << bits for bits in range(9, 17)]
#: Where a database keeps the size of its pages: 16 bits, 1 for 65536.
_PAGE_SIZE_AT = 16
#: And its user version, 32 bits.
_VERSION_AT = 60

Sums = tuple[int, int]


@dataclass(frozen=True)
class Frame:
    """One page as a save left it; `ends_save` where the save was complete with it.

    `is_good` says that its checksum fits the frame before it.
    """

    head: bytes
    page: bytes
    ends_save: bool
    is_good: bool

    @property
    def is_first(self) -> bool:
        """Whether it is the page with the header of the database."""
        return int.from_bytes(self.head[:4], "big") == 1


@dataclass(frozen=True)
class Log:
    """What a log holds of its last generation: frames before it was begun anew are left out.

    `header` is valid, whatever the one in the file is; `has_header` says whether that was.
    """

    header: bytes
    has_header: bool
    frames: tuple[Frame, ...]

    @property
    def is_damaged(self) -> bool:
        """Whether SQLite would leave a complete save out.

        A frame that a kill left half written ends no save, and nothing comes after it.
        """
        whole = self.has_header
        for frame in self.frames:
            whole = whole and frame.is_good and frame.head[8:16] == self.header[16:24]
            if frame.ends_save and not whole:
                return True
        return False

    @property
    def saves(self) -> tuple[int, int]:
        """How many complete saves it holds, and how many of them are damaged themselves."""
        count = damaged = 0
        is_good = True
        for frame in self.frames:
            is_good = is_good and frame.is_good
            if frame.ends_save:
                count, damaged, is_good = count + 1, damaged + (not is_good), True
        return count, damaged

    def mended(self) -> bytes:
        """The log without its damaged frames, as SQLite reads it to its end."""
        order = _order(self.header)
        sums = _sums_in(self.header)
        parts = [self.header]
        for frame in self.frames:
            if frame.is_good:
                sums = _sums(frame.head[:8] + frame.page, sums, order)
                parts += [frame.head[:8], self.header[16:24], struct.pack(">2I", *sums), frame.page]
        return b"".join(parts)


def read_log(store: Path) -> Log | None:
    """The log beside a store; None where there is none, or nothing of one can be made out."""
    path = store.with_name(store.name + "-wal")
    try:
        data = path.read_bytes()
        with store.open("rb") as file:
            head = file.read(_PAGE_SIZE_AT + 2)
    except OSError:
        return None
    page_size = int.from_bytes(head[_PAGE_SIZE_AT:], "big")
    page_size = 1 << 16 if page_size == 1 else page_size
    step = _FRAME.size + page_size
    if page_size not in _PAGE_SIZES or len(data) < _HEADER.size + step:
        return None
    kept = data[: _HEADER.size]
    header = _valid_header(data, page_size)
    pieces = [data[at : at + step] for at in range(_HEADER.size, len(data) - step + 1, step)]
    frames = _frames(pieces, header, {_sums_in(kept), _sums_in(header)})
    return Log(header, kept == header, frames)


def version_of(store: Path, log: Log | None) -> int:
    """The user version of a store, its log included, without SQLite; 0 where it has none."""
    try:
        with store.open("rb") as file:
            first = file.read(_VERSION_AT + 4)
    except FileNotFoundError:
        return 0
    if not first.startswith(b"SQLite format 3\0"):
        return 0
    pages = [] if log is None else [one.page for one in log.frames if one.is_good and one.is_first]
    return int.from_bytes([first, *pages][-1][_VERSION_AT : _VERSION_AT + 4], "big")


def replace_log(store: Path, log: Log) -> None:
    """Write the mended log in one step, which SQLite then replays in full; OSError if it fails."""
    path = store.with_name(store.name + "-wal")
    new = path.with_name(path.name + ".mended")
    new.touch(mode=0o600)
    with new.open("wb") as file:
        file.write(log.mended())
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync_folder(path.parent)


def _valid_header(data: bytes, page_size: int) -> bytes:
    """The header, made again from the database and the first frame where it is damaged."""
    kept = data[: _HEADER.size]
    magic, version, size, sequence, *_ = _HEADER.unpack(kept)
    if (
        (magic, version, size) in {(_MAGIC, _VERSION, page_size), (_MAGIC | 1, _VERSION, page_size)}
        and _sums(kept[:24], (0, 0), _order(kept)) == _sums_in(kept)
    ):  # fmt: skip
        return kept
    salts = _FRAME.unpack(data[_HEADER.size : _HEADER.size + _FRAME.size])[2:4]
    bare = struct.pack(">6I", _MAGIC, _VERSION, page_size, sequence, *salts)
    return bare + struct.pack(">2I", *_sums(bare, (0, 0), "<"))


def _frames(pieces: list[bytes], header: bytes, before: set[Sums]) -> tuple[Frame, ...]:
    """The frames of this generation; `before` is what the sums of the first may start from.

    Each is held against the sums that stand in the frame before it, so that a damaged frame does
    not make those behind it doubtful. Where its salts are damaged, its sums still tell whose it is.
    """
    frames: list[Frame] = []
    last, follows = 0, True
    for piece in pieces:
        head, page = piece[: _FRAME.size], piece[_FRAME.size :]
        belongs, stated = head[8:16] == header[16:24], _sums_in(head)
        found: set[Sums] = set()
        if belongs or follows:
            found = {_sums(head[:8] + page, start, _order(header)) for start in before}
        is_good = stated in found
        before = {stated, *found} if follows else {stated}
        ends_save = int.from_bytes(head[4:8], "big") > 0
        frames.append(Frame(head, page, ends_save, is_good))
        follows = is_good
        if is_good or belongs:
            last = len(frames)
    return tuple(frames[:last])


def _order(header: bytes) -> str:
    return ">" if int.from_bytes(header[:4], "big") & 1 else "<"


def _sums_in(head: bytes) -> Sums:
    first, second = struct.unpack(">2I", head[-8:])
    return first, second


def _sums(data: bytes, start: Sums, order: str) -> Sums:
    """SQLite's checksum of 32-bit words, two at a time."""
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    first, second = start
    pairs = iter(words)
    for one, other in zip(pairs, pairs, strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second
