"""Files and members of archives as bytes. Nothing is ever unpacked to disk.

A member is named by its path inside the archive; archives in archives by names joined with `!/`.
Archives that would grow without measure are refused: more than 200 times their size, more than
8 GiB, more than 50,000 entries, nested deeper than three.
"""

from __future__ import annotations

import io
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from medview.core.errors import ReadError

MAX_RATIO = 200
MAX_BYTES = 8 << 30
MAX_ENTRIES = 50_000
MAX_DEPTH = 3
#: Small archives may compress well: the ratio counts from here on.
_RATIO_FROM = 64 << 20
_NESTED = "!/"
_TAR_STARTS = (b"\x1f\x8b", b"\xfd7zXZ\0", b"BZh")
_TAR_ENDS = (".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tbz")


@dataclass(frozen=True)
class FileBytes:
    """An open file as something to read at places."""

    descriptor: int
    size: int

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`."""
        parts = []
        while length > 0:
            try:
                part = os.pread(self.descriptor, min(length, 1 << 30), offset)
            except (MemoryError, OSError) as error:
                raise ReadError("The file cannot be read", detail=str(error)) from error
            if not part:
                break
            parts.append(part)
            offset, length = offset + len(part), length - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


@contextmanager
def open_file(path: str | Path) -> Iterator[FileBytes]:
    """A regular file, opened for reading; ReadError for anything else, without ever waiting."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError) as error:
        raise ReadError(_why(error), "Check the file and its permissions", str(error)) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ReadError("This is a device or a pipe, not a file")
        yield FileBytes(descriptor, status.st_size)
    finally:
        os.close(descriptor)


def _why(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "No permission to read the file"
    if isinstance(error, FileNotFoundError):
        return "The file is no longer there"
    return "The file cannot be opened"


def is_archive(name: str, head: bytes) -> bool:
    """Whether a file of that name that begins so (265 bytes or more) is a ZIP or tar archive."""
    lower = name.lower()
    if lower.endswith((".nii.gz", ".hdr.gz", ".img.gz")):
        return False
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06") or head[257:262] == b"ustar":
        return True
    return head.startswith(_TAR_STARTS) and lower.endswith(_TAR_ENDS)


@dataclass(frozen=True)
class Entry:
    """One file inside an archive: its member name and its bytes, or why it was left out."""

    member: str
    data: bytes = b""
    refused: str = ""


class _Allowance:
    """What an archive and all archives in it may still unpack to."""

    def __init__(self, packed_bytes: int) -> None:
        self.left = min(MAX_BYTES, max(_RATIO_FROM, MAX_RATIO * packed_bytes))
        self.entries = MAX_ENTRIES

    def take_entry(self) -> None:
        self.entries -= 1
        if self.entries < 0:
            raise ReadError(
                f"The archive has more than {MAX_ENTRIES:,} entries",
                "Unpack it and open the folder",
            )

    def read(self, stream: IO[bytes]) -> bytes:
        """All of a member, never more than is allowed, whatever its header declares."""
        data = stream.read(self.left + 1)
        self.left -= len(data)
        if self.left < 0:
            raise ReadError(
                "The archive unpacks to more than 200 times its size or 8 GiB",
                "Unpack it and open the folder if you trust it",
            )
        return data


def entries(path: Path, password: str = "") -> Iterator[Entry]:
    """Every file of an archive, nested archives included, each read once, in order.

    Raises ReadError for a damaged, locked or swollen archive; entries before that stay good.
    """
    with _opened(path) as stream:
        yield from _walk(stream, "", password, _Allowance(path.stat().st_size))


def read_members(path: Path, members: Iterable[str], password: str = "") -> Iterator[Entry]:
    """The bytes of the named members, in the archive's own order."""
    wanted = set(members)
    with _opened(path) as stream:
        allowance = _Allowance(path.stat().st_size)
        if zipfile.is_zipfile(stream):
            yield from _zip_members(stream, wanted, password, allowance)
            return
        stream.seek(0)
        for entry in _walk(stream, "", password, allowance):
            if entry.member in wanted and not entry.refused:
                wanted.discard(entry.member)
                yield entry
            if not wanted:
                return


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as stream:
            yield stream
    except (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError) as error:
        raise ReadError("The archive is damaged or cut off", "Get it again", str(error)) from error
    except MemoryError as error:
        raise ReadError("The archive needs more memory than there is") from error
    except NotImplementedError as error:
        raise ReadError(
            "The archive uses a packing that is not read here",
            "Unpack it and open the folder",
            str(error),
        ) from error
    except OSError as error:
        raise ReadError(_why(error), "Check the file", str(error)) from error


def _zip_members(
    stream: IO[bytes], wanted: set[str], password: str, allowance: _Allowance
) -> Iterator[Entry]:
    """Named members of a ZIP directly, without unpacking the others."""
    outer: dict[str, set[str]] = {}
    for member in wanted:
        first, _, rest = member.partition(_NESTED)
        outer.setdefault(first, set()).add(rest)
    with zipfile.ZipFile(stream) as archive:
        for info in archive.infolist():
            rests = outer.get(info.filename)
            if rests is None:
                continue
            data = _zip_data(archive, info, password, allowance)
            if "" in rests:
                yield Entry(info.filename, data)
            if rests != {""}:
                prefix = info.filename + _NESTED
                for entry in _walk(io.BytesIO(data), prefix, password, allowance):
                    if entry.member in wanted:
                        yield entry


def _walk(stream: IO[bytes], prefix: str, password: str, allowance: _Allowance) -> Iterator[Entry]:
    found = _zip_entries if zipfile.is_zipfile(stream) else _tar_entries
    stream.seek(0)
    for entry in found(stream, password, allowance):
        member = prefix + entry.member
        if entry.refused or not is_archive(entry.member, entry.data[:265]):
            yield Entry(member, entry.data, entry.refused)
        elif member.count(_NESTED) >= MAX_DEPTH:
            yield Entry(member, refused="Archives are nested too deep")
        else:
            inner = io.BytesIO(entry.data)
            try:
                yield from _walk(inner, member + _NESTED, password, allowance)
            except (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError):
                yield Entry(member, refused="The archive inside the archive is damaged")


def _zip_entries(stream: IO[bytes], password: str, allowance: _Allowance) -> Iterator[Entry]:
    with zipfile.ZipFile(stream) as archive:
        for info in archive.infolist():
            allowance.take_entry()
            if info.is_dir():
                continue
            if stat.S_ISLNK(info.external_attr >> 16):
                yield Entry(info.filename, refused="A link in the archive was not followed")
            elif not is_inside(info.filename):
                yield Entry(info.filename, refused="The entry points outside the archive")
            else:
                yield Entry(info.filename, _zip_data(archive, info, password, allowance))


def _zip_data(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, password: str, allowance: _Allowance
) -> bytes:
    try:
        with archive.open(info, pwd=password.encode() or None) as member:
            return allowance.read(member)
    except RuntimeError as error:
        asked = "The password does not open it" if password else "The archive asks for a password"
        raise ReadError(asked, "Give the password and open it again", str(error)) from error


def _tar_entries(stream: IO[bytes], password: str, allowance: _Allowance) -> Iterator[Entry]:
    del password
    with tarfile.open(fileobj=stream, mode="r|*") as archive:
        for info in archive:
            allowance.take_entry()
            if info.issym() or info.islnk():
                yield Entry(info.name, refused="A link in the archive was not followed")
            elif not info.isfile():
                continue
            elif not is_inside(info.name):
                yield Entry(info.name, refused="The entry points outside the archive")
            elif (member := archive.extractfile(info)) is not None:
                yield Entry(info.name, allowance.read(member))


def is_inside(member: str) -> bool:
    """Whether an entry's name stays below the place it is unpacked at."""
    parts = PurePosixPath(member.replace("\\", "/")).parts
    return bool(parts) and parts[0] != "/" and ".." not in parts and ":" not in parts[0]


def read_all(path: Path, members: Sequence[str], password: str = "") -> Iterator[Entry]:
    """The bytes of a plain file (`members` is one empty name) or of members of an archive."""
    if any(members):
        yield from read_members(path, members, password)
        return
    with open_file(path) as source:
        yield Entry("", source.read_at(0, source.size))
