"""Compressed pictures inside pixel data: fragments, offset tables, which belong to which frame.

PS3.5 A.4: an item with the Basic Offset Table, then items with pieces of the pictures. Nothing is
allocated by a declared length, and a table that contradicts the items is not believed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise

from medview.core.errors import ReadError
from medview.io.codestream import AGAIN

_ITEM, _DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\xff\x0a", b"\0\0\0\x0c")


@dataclass(frozen=True)
class Fragments:
    """The pieces in their order: (begin, end) in the file, and what the offset table says.

    `offsets` count from the first piece's item; `closed` is False where the file ends before the
    pixel data do.
    """

    places: tuple[tuple[int, int], ...]
    offsets: tuple[int, ...]
    closed: bool

    @property
    def numbers_by_offset(self) -> dict[int, int]:
        """Number of the piece whose item begins at an offset."""
        first = self.places[0][0] if self.places else 0
        return {begin - first: k for k, (begin, _) in enumerate(self.places)}


def fragments_of(data: bytes, start: int) -> Fragments:
    """The pieces of encapsulated pixel data whose value begins at `start`.

    Raises ReadError where no item stands there.
    """
    if data[start : start + 4] != _ITEM:
        raise ReadError("The pixel data are not compressed, as the file says they are", AGAIN)
    places = []
    pos, closed = start, False
    while pos + 8 <= len(data):
        if data[pos : pos + 4] != _ITEM:
            # An odd piece may have been padded without being counted.
            if data[pos + 1 : pos + 5] in (_ITEM, _DELIMITER):
                pos += 1
                continue
            closed = data[pos : pos + 4] == _DELIMITER
            break
        (length,) = struct.unpack_from("<L", data, pos + 4)
        places.append((pos + 8, min(pos + 8 + length, len(data))))
        pos += 8 + length
    if not places:
        raise ReadError("The pixel data hold no picture: the file is cut short", AGAIN)
    table, pieces = places[0], places[1:]
    count = (table[1] - table[0]) // 4
    offsets = struct.unpack_from(f"<{count}L", data, table[0])
    return Fragments(tuple(pieces), offsets, closed)


def frames_in(data: bytes, fragments: Fragments, frames: int) -> list[tuple[int, ...]]:
    """For each frame the numbers of its pieces; an empty tuple for a frame that is missing.

    Raises ReadError where nothing tells which pieces belong together.
    """
    count = len(fragments.places)
    if count == 0:
        raise ReadError("The pixel data hold no picture", AGAIN)
    if frames == 1:
        return [tuple(range(count))]
    if count == frames:
        return [(k,) for k in range(count)]
    firsts = _by_table(fragments, frames) or _by_content(data, fragments, frames)
    if firsts is None:
        raise ReadError(
            f"The file holds {count:,} piece{'s' * (count > 1)} for {frames:,} pictures, "
            "and nothing tells which belong together",
            AGAIN,
        )
    ends = [*firsts[1:], count]
    found = [tuple(range(a, b)) for a, b in zip(firsts, ends, strict=True)]
    return found + [()] * (frames - len(found))


def _by_table(fragments: Fragments, frames: int) -> list[int] | None:
    """The first piece of each frame by the offset table, if every offset is that of a piece.

    A file cut at its end has fewer: the frames whose offsets lie beyond it are missing.
    """
    if len(fragments.offsets) != frames:
        return None
    numbers = fragments.numbers_by_offset
    last = fragments.places[-1][1] - fragments.places[0][0]
    offsets = [n for n in fragments.offsets if fragments.closed or n < last]
    firsts = [numbers.get(offset, -1) for offset in offsets]
    rising = all(a < b for a, b in pairwise(firsts))
    return firsts if firsts and firsts[0] == 0 and rising else None


def _by_content(data: bytes, fragments: Fragments, frames: int) -> list[int] | None:
    """The pieces that begin as a picture does, if there is one for each frame.

    With fewer pictures than frames only a file cut at its end tells which are missing: the last.
    """
    firsts = [k for k, (begin, _) in enumerate(fragments.places) if data.startswith(_STARTS, begin)]
    if not firsts or firsts[0] != 0:
        return None
    if len(firsts) == frames or (len(firsts) < frames and not fragments.closed):
        return firsts
    return None


def stream_of(data: bytes, fragments: Fragments, pieces: tuple[int, ...]) -> bytes:
    """The compressed picture in these pieces; ReadError for a frame that is missing."""
    if not pieces:
        raise ReadError("The picture is missing: the file is cut short", AGAIN)
    return b"".join(data[slice(*fragments.places[k])] for k in pieces)
