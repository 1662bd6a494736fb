"""Tar archives, and files that are packed by themselves; of those read last, what is known is kept.

A compressed file that is no tar is an archive of one member, named as the file without its ending.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import PurePosixPath

from medview.io.members import Entry, Visit, is_inside
from medview.io.unpacking import UNPACKERS, Bytes, MemoryBytes, Part, Stream, Unpacked

TAR_ENDS = (".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tbz")
_PACKED_ENDS = (".gz", ".bz2", ".xz")
_HEAD = 512
#: Archives and archives in them, whose members are being read at one time.
_KEPT = 4

#: An archive on disk, as long as it is the same, and the member that is the tar; "" for itself.
Stamp = tuple[object, ...]


class Tar:
    """A tar archive, compressed or not, whose list of members is kept once it is complete.

    `name` is that of the file, `start` how it begins if compressed, "" for a plain one; `limit`
    is what it may unpack to. Its bytes come with `reopen`.
    """

    def __init__(self, name: str, start: bytes, limit: int) -> None:
        nothing = MemoryBytes(b"")
        self._name = name
        self._unpacked: Bytes = Unpacked(nothing, UNPACKERS[start], limit) if start else nothing
        self._members: list[tuple[str, int, int, str]] = []
        self._complete = False

    def reopen(self, source: Bytes, go_on: Callable[[], object]) -> None:
        """The bytes of the archive, opened once more; `go_on` hears that unpacking goes on."""
        if isinstance(self._unpacked, Unpacked):
            self._unpacked.source = source
            self._unpacked.on_piece = go_on
        else:
            self._unpacked = source

    def entries(self, visit: Visit, outer: frozenset[str] | None) -> Iterator[Entry]:
        """Members in order; the list is made on the way where it is not there yet."""
        for name, begin, size, refused in self._members if self._complete else self._listed():
            visit.allowance.take_entries(1)
            if outer is not None and name not in outer:
                continue
            if refused:
                yield Entry(name, refused=refused)
            elif size > visit.allowance.limit:
                yield Entry(name, refused="The file unpacks to more than is allowed")
            else:
                yield Entry(name, self._unpacked if size < 0 else Part(self._unpacked, begin, size))

    def _listed(self) -> Iterator[tuple[str, int, int, str]]:
        if self._is_alone():
            # Of unknown size: unpacked to its end by whoever wants all of it.
            self._members, self._complete = [(_unpacked_name(self._name), 0, -1, "")], True
            yield from self._members
            return
        members = []
        stream = io.BufferedReader(Stream(self._unpacked), 1 << 16)
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            for info in archive:
                # The library keeps every member it has seen.
                archive.members = []  # type: ignore[attr-defined]
                if info.isdir():
                    continue
                member = (info.name, info.offset_data, info.size, _refused_in_tar(info))
                members.append(member)
                yield member
        # To the end of the stream, where its checksum is.
        assert self._unpacked.size >= 0  # noqa: S101
        self._members, self._complete = members, True

    def _is_alone(self) -> bool:
        """Whether this is one packed file: neither named as a tar nor with a tar's first block."""
        if not isinstance(self._unpacked, Unpacked) or self._name.lower().endswith(TAR_ENDS):
            return False
        return self._unpacked.read_at(0, _HEAD)[257:262] != b"ustar"


def _unpacked_name(name: str) -> str:
    """What a packed file is called once it is unpacked."""
    last = PurePosixPath(name).name
    return last.rsplit(".", 1)[0] if last.lower().endswith(_PACKED_ENDS) else last


def _refused_in_tar(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "A link in the archive was not followed"
    if not info.isreg() or info.issparse():
        return "This is a device or a pipe, not a file"
    return "" if is_inside(info.name) else "The entry points outside the archive and was not read"


def _tar_start(source: Bytes) -> bytes | None:
    """How a tar begins if it is compressed, "" if it is not; None for a ZIP."""
    head = source.read_at(0, _HEAD)
    if head[257:262] == b"ustar":
        return b""
    return next((start for start in UNPACKERS if head.startswith(start)), None)


@lru_cache(maxsize=_KEPT)
def _tar_at(stamp: Stamp, name: str, start: bytes, limit: int) -> Tar:
    """What is known of the tars that were read last, as long as the file is the same."""
    del stamp
    return Tar(name, start, limit)


def tar_of(name: str, stamp: Stamp, source: Bytes, visit: Visit) -> Tar | None:
    """The tar that a file of that name is, its list and the places in it known from before.

    None for a ZIP.
    """
    start = _tar_start(source)
    if start is None:
        return None
    tar = _tar_at(stamp, name, start, visit.allowance.limit)
    tar.reopen(source, visit.go_on)
    return tar
