"""Members of archives: what each is, and what an archive may unpack to.

Archives that would grow without measure are refused: more than 200 times their size, more than
8 GiB, more than 50,000 entries. So is a member that alone unpacks to more than 200 times its
packed size; the others are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from medview.core.errors import ReadError
from medview.io.unpacking import Bytes, MemoryBytes

MAX_RATIO = 200
MAX_BYTES = 8 << 30
MAX_ENTRIES = 50_000
#: Small archives may compress well: the ratio counts from here on.
RATIO_FROM = 64 << 20
NESTED = "!/"
AGAIN = "Get it again, or unpack it with another program and open the folder"
DAMAGED_INSIDE = "The file is damaged inside the archive"
_SWOLLEN = "The archive unpacks to more than 200 times its size or 8 GiB"
_IF_TRUSTED = "Unpack it and open the folder if you trust it"


@runtime_checkable
class Checked(Protocol):
    """Bytes that the archive has a checksum, or a seal, of."""

    def checked(self) -> bytes:
        """All of it; ReadError unless it is what the archive says."""
        ...


@dataclass(frozen=True)
class Entry:
    """One file inside an archive: its member name and its bytes, or why it was left out.

    `source` can be read while the archive is open, that is until the next entry is asked for.
    """

    member: str
    source: Bytes = field(default=MemoryBytes(b""), repr=False)
    refused: str = ""

    @property
    def data(self) -> bytes:
        """All of it, checked; ReadError where it is damaged."""
        if isinstance(self.source, Checked):
            return self.source.checked()
        return self.source.read_at(0, self.source.size)


class Allowance:
    """What an archive and all archives in it may still unpack to."""

    def __init__(self, packed_bytes: int) -> None:
        self.limit = min(MAX_BYTES, max(RATIO_FROM, MAX_RATIO * packed_bytes))
        self.left = self.limit
        self.entries = MAX_ENTRIES

    def take_entries(self, number: int) -> None:
        """Count entries; ReadError for too many."""
        self.entries -= number
        if self.entries < 0:
            raise ReadError(
                f"The archive has more than {MAX_ENTRIES:,} entries",
                "Unpack it and open the folder",
            )

    def take(self, size: int) -> None:
        """Count bytes that a member says it unpacks to; it is never read beyond them."""
        self.left -= size
        if self.left < 0:
            raise ReadError(_SWOLLEN, _IF_TRUSTED)


def _unwatched(_number: int) -> None:
    """Nobody follows."""


@dataclass(frozen=True)
class Watch:
    """Who follows the reading of an archive.

    `look` is told the number of each entry before anything of it is touched, those of nested
    archives included, and -1 while work on it goes on. Entries in `lost`, by number, are not
    touched but refused, with the reason given.
    """

    look: Callable[[int], object] = _unwatched
    lost: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))


class Visit:
    """One reading of an archive: its password, what it may unpack to, which members are wanted."""

    def __init__(
        self,
        password: str,
        packed_bytes: int,
        wanted: frozenset[str] | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.password = password
        self.allowance = Allowance(packed_bytes)
        self.wanted = wanted
        self.watch = Watch() if watch is None else watch
        self._numbers = count()

    def outer(self, prefix: str) -> frozenset[str] | None:
        """Names on this level that are wanted, or hold what is; None for all."""
        if self.wanted is None:
            return None
        return frozenset(name[len(prefix) :].split(NESTED)[0] for name in self.wanted)

    def next_number(self) -> int:
        """The number of the entry that comes next, which whoever watches is told."""
        number = next(self._numbers)
        self.watch.look(number)
        return number

    def go_on(self) -> None:
        """Say that work on an entry goes on."""
        self.watch.look(-1)


def is_inside(member: str) -> bool:
    """Whether an entry's name stays below the place it is unpacked at."""
    parts = PurePosixPath(member.replace("\\", "/")).parts
    return bool(parts) and parts[0] != "/" and ".." not in parts and ":" not in parts[0]
