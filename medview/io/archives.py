"""Files and members of archives as bytes. Nothing is ever unpacked to a file with a name.

A member is named by its path inside the archive; archives in archives by names joined with `!/`,
no deeper than three. A file that is packed by itself is an archive of one member.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medview.core.errors import PasswordError, ReadError
from medview.io.members import AGAIN, NESTED, Entry, Visit, Watch
from medview.io.tars import Stamp, Tar, tar_of
from medview.io.unpacking import UNPACKERS, Bytes, MemoryBytes
from medview.io.zips import DAMAGE, zip_entries

MAX_DEPTH = 3
#: Packed files that are read as they are, by those who know their formats.
_READ_PACKED = (".nii.gz", ".hdr.gz", ".img.gz", ".mgz", ".brik.gz", ".raw.gz")
_HEAD = 512


@dataclass(frozen=True)
class FileBytes:
    """An open file as something to read at places; closed at the end of its `with`."""

    descriptor: int
    size: int

    def __enter__(self) -> FileBytes:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`."""
        parts: list[bytes] = []
        while length > 0:
            try:
                part = os.pread(self.descriptor, min(length, 1 << 30), offset)
            except (MemoryError, OSError) as error:
                raise ReadError("The file cannot be read", detail=str(error)) from error
            if not part:
                break
            offset, length = offset + len(part), length - len(part)
            if not parts and (length == 0 or offset >= self.size):
                return part
            parts.append(part)
        return b"".join(parts)


def open_file(path: str | Path) -> FileBytes:
    """A regular file, opened for reading; ReadError for anything else, without ever waiting."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError) as error:
        raise ReadError(_why(error), "Check the file and its permissions", str(error)) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise ReadError("This is a device or a pipe, not a file")
    return FileBytes(descriptor, status.st_size)


def _why(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "No permission to read the file"
    if isinstance(error, FileNotFoundError):
        return "The file is no longer there"
    return "The file cannot be opened"


def is_archive(name: str, head: bytes) -> bool:
    """Whether a file of that name that begins so (265 bytes or more) is an archive, or packed."""
    if head.startswith(b"\0"):
        return False  # the preamble of most DICOM files; archives begin with a sign or a name
    if name.lower().endswith(_READ_PACKED):
        return False
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06") or head[257:262] == b"ustar":
        return True
    return head.startswith(tuple(UNPACKERS))


def entries(path: Path, password: str = "", watch: Watch | None = None) -> Iterator[Entry]:
    """Every file of an archive, nested archives included, in order; nothing is read but heads.

    Raises ReadError for a damaged or swollen archive and PasswordError for a locked one; entries
    before that stay good.
    """
    with _opened(path) as source:
        yield from _walk(path, source, Visit(password, source.size, watch=watch))


def read_members(
    path: Path, members: Iterable[str], password: str = "", watch: Watch | None = None
) -> Iterator[Entry]:
    """The named members, in the archive's own order."""
    wanted = set(members)
    with _opened(path) as source:
        for entry in _walk(path, source, Visit(password, source.size, frozenset(wanted), watch)):
            if entry.member in wanted:
                wanted.discard(entry.member)
                if entry.refused:
                    raise ReadError(entry.refused, AGAIN)
                yield entry
            if not wanted:
                return


def read_all(
    path: Path, members: Sequence[str], password: str = "", watch: Watch | None = None
) -> Iterator[Entry]:
    """The bytes of a plain file (`members` is one empty name) or of members of an archive."""
    if any(members):
        yield from read_members(path, members, password, watch)
        return
    with open_file(path) as source:
        yield Entry("", MemoryBytes(source.read_at(0, source.size)))


@contextmanager
def _opened(path: Path) -> Iterator[FileBytes]:
    with open_file(path) as source:
        try:
            yield source
        except DAMAGE as error:
            raise ReadError("The archive is damaged or cut off", AGAIN, str(error)) from error
        except MemoryError as error:
            raise ReadError("The archive needs more memory than there is") from error


def _walk(path: Path, source: FileBytes, visit: Visit) -> Iterator[Entry]:
    """Entries of an archive on disk and of the archives inside it."""
    status = os.fstat(source.descriptor)
    stamp = (path, status.st_ino, status.st_size, status.st_mtime_ns)
    archive = tar_of(path.name, (*stamp, ""), source, visit) or source
    yield from _entries(archive, "", stamp, visit)


def _entries(archive: Bytes | Tar, prefix: str, stamp: Stamp, visit: Visit) -> Iterator[Entry]:
    outer = visit.outer(prefix)
    if isinstance(archive, Tar):
        found = archive.entries(visit, outer)
    else:
        found = zip_entries(archive, visit, outer)
    while True:
        number = visit.next_number()
        entry = next(found, None)
        if entry is None:
            return
        member = prefix + entry.member
        if number in visit.watch.lost:
            yield Entry(member, refused=visit.watch.lost[number])
        elif entry.refused or not is_archive(entry.member, _head_of(entry)):
            yield Entry(member, entry.source, entry.refused)
        elif member.count(NESTED) >= MAX_DEPTH:
            yield Entry(member, refused="Archives are nested too deep")
        else:
            yield from _inside(entry, member, stamp, visit)


def _head_of(entry: Entry) -> bytes:
    try:
        return entry.source.read_at(0, _HEAD)
    except PasswordError:
        raise
    except ReadError:
        return b""


def _inside(entry: Entry, member: str, stamp: Stamp, visit: Visit) -> Iterator[Entry]:
    """Entries of an archive in an archive; one that is damaged costs only itself."""
    try:
        tar = tar_of(entry.member, (*stamp, member), entry.source, visit)
        yield from _entries(tar or entry.source, member + NESTED, stamp, visit)
    except PasswordError:
        raise
    except (*DAMAGE, ReadError) as error:
        told = error.user_text if isinstance(error, ReadError) else ""
        yield Entry(member, refused=told or "The archive inside the archive is damaged")
