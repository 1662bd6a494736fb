"""Files and members of archives as bytes. Nothing is ever unpacked to disk, or as a whole.

A member is named by its path inside the archive; archives in archives by names joined with `!/`.
Archives that would grow without measure are refused: more than 200 times their size, more than
8 GiB, more than 50,000 entries, nested deeper than three. So is a member that alone unpacks to
more than 200 times its packed size; the others are read.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath

import pyzipper

from medview.core.errors import PasswordError, ReadError
from medview.io.unpacking import (
    UNPACKERS,
    Bytes,
    MemoryBytes,
    Part,
    Stream,
    Unpacked,
    raw_deflate,
)

MAX_RATIO = 200
MAX_BYTES = 8 << 30
MAX_ENTRIES = 50_000
MAX_DEPTH = 3
#: Small archives may compress well: the ratio counts from here on.
_RATIO_FROM = 64 << 20
_NESTED = "!/"
_TAR_ENDS = (".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tbz")
_HEAD = 512
_ENCRYPTED = 0x1
_AES = 99
_AGAIN = "Get it again, or unpack it with another program and open the folder"
_GIVE = "Give the password and open it again"
_DAMAGED_INSIDE = "The file is damaged inside the archive"
_SWOLLEN = "The archive unpacks to more than 200 times its size or 8 GiB"
_IF_TRUSTED = "Unpack it and open the folder if you trust it"
_DAMAGE = (
    zipfile.BadZipFile,
    pyzipper.BadZipFile,
    tarfile.TarError,
    zlib.error,
    EOFError,
    UnicodeError,
    ValueError,
)


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
    return head.startswith(tuple(UNPACKERS)) and lower.endswith(_TAR_ENDS)


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
        if isinstance(self.source, _Member | _ByLibrary):
            return self.source.whole()
        return self.source.read_at(0, self.source.size)


class _Allowance:
    """What an archive and all archives in it may still unpack to."""

    def __init__(self, packed_bytes: int) -> None:
        self.limit = min(MAX_BYTES, max(_RATIO_FROM, MAX_RATIO * packed_bytes))
        self.left = self.limit
        self.entries = MAX_ENTRIES

    def take_entries(self, count: int) -> None:
        """Count entries; ReadError for too many."""
        self.entries -= count
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


def entries(path: Path, password: str = "") -> Iterator[Entry]:
    """Every file of an archive, nested archives included, in order; nothing is read but heads.

    Raises ReadError for a damaged or swollen archive and PasswordError for a locked one; entries
    before that stay good.
    """
    with _opened(path) as source:
        reading = _Reading(password, _Allowance(source.size))
        yield from _walk(_known(path, source, reading), "", reading)


def read_members(path: Path, members: Iterable[str], password: str = "") -> Iterator[Entry]:
    """The named members, in the archive's own order."""
    wanted = set(members)
    with _opened(path) as source:
        reading = _Reading(password, _Allowance(source.size), frozenset(wanted))
        for entry in _walk(_known(path, source, reading), "", reading):
            if entry.member in wanted:
                wanted.discard(entry.member)
                if entry.refused:
                    raise ReadError(entry.refused, _AGAIN)
                yield entry
            if not wanted:
                return


@contextmanager
def _opened(path: Path) -> Iterator[FileBytes]:
    with open_file(path) as source:
        try:
            yield source
        except _DAMAGE as error:
            raise ReadError("The archive is damaged or cut off", _AGAIN, str(error)) from error
        except MemoryError as error:
            raise ReadError("The archive needs more memory than there is") from error


@dataclass(frozen=True)
class _Reading:
    """One reading of an archive: its password, what it may unpack to, which members are wanted."""

    password: str
    allowance: _Allowance
    wanted: frozenset[str] | None = None

    def outer(self, prefix: str) -> frozenset[str] | None:
        """Names on this level that are wanted, or hold what is; None for all."""
        if self.wanted is None:
            return None
        return frozenset(name[len(prefix) :].split(_NESTED)[0] for name in self.wanted)


def _walk(source: Bytes | _Tar, prefix: str, reading: _Reading) -> Iterator[Entry]:
    """Entries of an archive and of the archives inside it."""
    outer = reading.outer(prefix)
    if isinstance(source, _Tar):
        found = source.entries(reading, outer)
    else:
        found = _zip_entries(source, reading, outer)
    for entry in found:
        member = prefix + entry.member
        if entry.refused or not is_archive(entry.member, _head_of(entry)):
            yield Entry(member, entry.source, entry.refused)
        elif member.count(_NESTED) >= MAX_DEPTH:
            yield Entry(member, refused="Archives are nested too deep")
        else:
            yield from _inside(entry, member, reading)


def _head_of(entry: Entry) -> bytes:
    try:
        return entry.source.read_at(0, _HEAD)
    except PasswordError:
        raise
    except ReadError:
        return b""


def _inside(entry: Entry, member: str, reading: _Reading) -> Iterator[Entry]:
    """Entries of an archive in an archive; one that is damaged costs only itself."""
    try:
        start = _tar_start(entry.source)
        if start is None:
            inner: Bytes | _Tar = entry.source
        else:
            inner = _Tar(start, reading.allowance.limit)
            inner.reopen(entry.source)
        yield from _walk(inner, member + _NESTED, reading)
    except PasswordError:
        raise
    except (*_DAMAGE, ReadError) as error:
        told = error.user_text if isinstance(error, ReadError) else ""
        yield Entry(member, refused=told or "The archive inside the archive is damaged")


# ZIP


@dataclass(frozen=True, eq=False)
class _Member:
    """A member of a ZIP: bytes that are unpacked where they are looked at, and their checksum."""

    unpacked: Bytes
    size: int
    crc: int

    def read_at(self, offset: int, length: int) -> bytes:
        """Unchecked, never beyond the size that the archive declares."""
        return Part(self.unpacked, 0, self.size).read_at(offset, length)

    def whole(self) -> bytes:
        """All of it; ReadError unless size and checksum are those the archive declares."""
        data = self.read_at(0, self.size)
        if len(data) != self.size or zlib.crc32(data) != self.crc:
            raise ReadError(_DAMAGED_INSIDE, _AGAIN)
        return data


@dataclass(frozen=True, eq=False)
class _ByLibrary:
    """A member of a ZIP that is encrypted or packed in a rarer way: the library unpacks it."""

    archive: zipfile.ZipFile
    info: zipfile.ZipInfo
    password: str

    @property
    def size(self) -> int:
        """What the archive declares."""
        return self.info.file_size

    def read_at(self, offset: int, length: int) -> bytes:
        """Unchecked; PasswordError where the password does not fit."""
        return self._read(min(self.size, offset + length))[offset:]

    def whole(self) -> bytes:
        """All of it; ReadError unless its checksum, or seal, is that of the archive."""
        data = self._read(self.size + 1)
        if len(data) != self.size:
            raise ReadError(_DAMAGED_INSIDE, _AGAIN)
        return data

    def _read(self, count: int) -> bytes:
        if not self.password and self.info.flag_bits & _ENCRYPTED:
            raise PasswordError("The archive asks for a password", _GIVE)
        try:
            with self.archive.open(self.info, pwd=self.password.encode() or None) as member:
                return member.read(count)
        except NotImplementedError as error:
            raise ReadError("The archive uses a packing that is not read here", _AGAIN) from error
        except RuntimeError as error:
            raise PasswordError("The password does not open the archive", _GIVE) from error
        except (*_DAMAGE, OSError) as error:
            raise ReadError(_DAMAGED_INSIDE, _AGAIN, str(error)) from error


def _zip_entries(source: Bytes, reading: _Reading, outer: frozenset[str] | None) -> Iterator[Entry]:
    stream = io.BufferedReader(Stream(source), 1 << 16)
    with zipfile.ZipFile(stream) as archive:
        listed = archive.infolist()
        reading.allowance.take_entries(len(listed))
        # This library knows AES; its list of members is its own.
        sealed = any(info.compress_type == _AES for info in listed)
        library = pyzipper.AESZipFile(stream) if sealed else archive
        known = {info.filename: info for info in library.infolist()}
        wanted = [one for one in listed if outer is None or one.filename in outer]
        wanted = [one for one in wanted if not one.is_dir()]
        reading.allowance.take(sum(one.file_size for one in wanted if not _refused_in_zip(one)))
        for info in wanted:
            if refused := _refused_in_zip(info):
                yield Entry(info.filename, refused=refused)
                continue
            if info.flag_bits & _ENCRYPTED or info.compress_type not in (0, 8):
                packed = _ByLibrary(library, known[info.filename], reading.password)
                yield Entry(info.filename, packed)
            else:
                yield _zip_entry(source, info)


def _refused_in_zip(info: zipfile.ZipInfo) -> str:
    """Why a member is not read, from what the archive's list says of it."""
    if stat.S_ISLNK(info.external_attr >> 16):
        return "A link in the archive was not followed"
    if not is_inside(info.filename):
        return "The entry points outside the archive and was not read"
    if info.file_size > max(_RATIO_FROM, MAX_RATIO * info.compress_size):
        return "The file unpacks to more than 200 times its size and was not read"
    return ""


def _zip_entry(source: Bytes, info: zipfile.ZipInfo) -> Entry:
    """A member that is stored or deflated (APPNOTE 4.3.7: its bytes follow its local header)."""
    local = source.read_at(info.header_offset, 30)
    if len(local) < 30 or local[:4] != b"PK\x03\x04":
        return Entry(info.filename, refused=_DAMAGED_INSIDE)
    name, extra = (int.from_bytes(local[at : at + 2], "little") for at in (26, 28))
    begin = info.header_offset + 30 + name + extra
    packed: Bytes = Part(source, begin, info.compress_size)
    if info.compress_type != zipfile.ZIP_STORED:
        packed = Unpacked(packed, raw_deflate, MAX_BYTES, info.file_size)
    return Entry(info.filename, _Member(packed, info.file_size, info.CRC))


def is_inside(member: str) -> bool:
    """Whether an entry's name stays below the place it is unpacked at."""
    parts = PurePosixPath(member.replace("\\", "/")).parts
    return bool(parts) and parts[0] != "/" and ".." not in parts and ":" not in parts[0]


# tar


class _Tar:
    """A tar archive, compressed or not, whose list of members is kept once it is complete.

    `start` is how the compressed file begins, "" for a plain one; `limit` is what it may unpack
    to. Its bytes come with `reopen`.
    """

    def __init__(self, start: bytes, limit: int) -> None:
        nothing = MemoryBytes(b"")
        self._unpacked: Bytes = Unpacked(nothing, UNPACKERS[start], limit) if start else nothing
        self._members: list[tuple[str, int, int, str]] = []
        self._complete = False

    def reopen(self, source: Bytes) -> None:
        """The bytes of the archive, opened once more."""
        if isinstance(self._unpacked, Unpacked):
            self._unpacked.source = source
        else:
            self._unpacked = source

    def entries(self, reading: _Reading, outer: frozenset[str] | None) -> Iterator[Entry]:
        """Members in order; the list is made on the way where it is not there yet."""
        for name, begin, size, refused in self._members if self._complete else self._listed():
            reading.allowance.take_entries(1)
            if outer is not None and name not in outer:
                continue
            if refused:
                yield Entry(name, refused=refused)
            elif size > reading.allowance.limit:
                yield Entry(name, refused="The file unpacks to more than is allowed")
            else:
                yield Entry(name, Part(self._unpacked, begin, size))

    def _listed(self) -> Iterator[tuple[str, int, int, str]]:
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


@lru_cache(maxsize=1)
def _tar_at(path: Path, stamp: tuple[int, ...], start: bytes, limit: int) -> _Tar:
    """What is known of the tar that was read last, as long as the file is the same."""
    del path, stamp
    return _Tar(start, limit)


def _known(path: Path, source: FileBytes, reading: _Reading) -> Bytes | _Tar:
    """An archive; of the tar that was read last its list, and the places in it, are known."""
    start = _tar_start(source)
    if start is None:
        return source
    status = os.fstat(source.descriptor)
    stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
    tar = _tar_at(path, stamp, start, reading.allowance.limit)
    tar.reopen(source)
    return tar


def read_all(path: Path, members: Sequence[str], password: str = "") -> Iterator[Entry]:
    """The bytes of a plain file (`members` is one empty name) or of members of an archive."""
    if any(members):
        yield from read_members(path, members, password)
        return
    with open_file(path) as source:
        yield Entry("", MemoryBytes(source.read_at(0, source.size)))
