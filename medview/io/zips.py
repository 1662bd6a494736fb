"""Members of ZIP archives: stored or deflated ones are read here, others by their library."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import pyzipper

from medview.core.errors import PasswordError, ReadError
from medview.io.members import (
    AGAIN,
    DAMAGED_INSIDE,
    MAX_BYTES,
    MAX_RATIO,
    RATIO_FROM,
    Entry,
    Visit,
    is_inside,
)
from medview.io.unpacking import Bytes, Part, Stream, Unpacked, raw_deflate

#: What the libraries raise at damaged archives.
DAMAGE = (
    zipfile.BadZipFile,
    pyzipper.BadZipFile,
    tarfile.TarError,
    zlib.error,
    EOFError,
    UnicodeError,
    ValueError,
)
_ENCRYPTED = 0x1
_AES = 99
_GIVE = "Give the password and open it again"


@dataclass(frozen=True, eq=False)
class _Member:
    """A member of a ZIP: bytes that are unpacked where they are looked at, and their checksum."""

    unpacked: Bytes
    size: int
    crc: int

    def read_at(self, offset: int, length: int) -> bytes:
        """Unchecked, never beyond the size that the archive declares."""
        return Part(self.unpacked, 0, self.size).read_at(offset, length)

    def checked(self) -> bytes:
        """All of it; ReadError unless size and checksum are those the archive declares."""
        data = self.read_at(0, self.size)
        if len(data) != self.size or zlib.crc32(data) != self.crc:
            raise ReadError(DAMAGED_INSIDE, AGAIN)
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

    def checked(self) -> bytes:
        """All of it; ReadError unless its checksum, or seal, is that of the archive."""
        data = self._read(self.size + 1)
        if len(data) != self.size:
            raise ReadError(DAMAGED_INSIDE, AGAIN)
        return data

    def _read(self, count: int) -> bytes:
        if not self.password and self.info.flag_bits & _ENCRYPTED:
            raise PasswordError("The archive asks for a password", _GIVE)
        try:
            with self.archive.open(self.info, pwd=self.password.encode() or None) as member:
                return member.read(count)
        except NotImplementedError as error:
            raise ReadError("The archive uses a packing that is not read here", AGAIN) from error
        except RuntimeError as error:
            raise PasswordError("The password does not open the archive", _GIVE) from error
        except (*DAMAGE, OSError) as error:
            if self.info.flag_bits & _ENCRYPTED:  # one wrong password in 256 passes ZipCrypto
                words = "The password does not open the archive, or it is damaged"
                raise PasswordError(words, _GIVE) from error
            raise ReadError(DAMAGED_INSIDE, AGAIN, str(error)) from error


def zip_entries(source: Bytes, visit: Visit, outer: frozenset[str] | None) -> Iterator[Entry]:
    """Members of a ZIP in the order of its list: all, or those whose names are `outer`."""
    stream = io.BufferedReader(Stream(source), 1 << 16)
    with zipfile.ZipFile(stream) as archive:
        listed = archive.infolist()
        visit.allowance.take_entries(len(listed))
        # This library knows AES; its list of members is its own.
        sealed = any(info.compress_type == _AES for info in listed)
        library = pyzipper.AESZipFile(stream) if sealed else archive
        known = {info.filename: info for info in library.infolist()}
        wanted = [one for one in listed if outer is None or one.filename in outer]
        wanted = [one for one in wanted if not one.is_dir()]
        visit.allowance.take(sum(one.file_size for one in wanted if not _refused_in_zip(one)))
        for info in wanted:
            if refused := _refused_in_zip(info):
                yield Entry(info.filename, refused=refused)
                continue
            if info.flag_bits & _ENCRYPTED or info.compress_type not in (0, 8):
                packed = _ByLibrary(library, known[info.filename], visit.password)
                yield Entry(info.filename, packed)
            else:
                yield _zip_entry(source, info)


def _refused_in_zip(info: zipfile.ZipInfo) -> str:
    """Why a member is not read, from what the archive's list says of it."""
    if stat.S_ISLNK(info.external_attr >> 16):
        return "A link in the archive was not followed"
    if not is_inside(info.filename):
        return "The entry points outside the archive and was not read"
    if info.file_size > max(RATIO_FROM, MAX_RATIO * info.compress_size):
        return "The file unpacks to more than 200 times its size and was not read"
    return ""


def _zip_entry(source: Bytes, info: zipfile.ZipInfo) -> Entry:
    """A member that is stored or deflated (APPNOTE 4.3.7: its bytes follow its local header)."""
    local = source.read_at(info.header_offset, 30)
    if len(local) < 30 or local[:4] != b"PK\x03\x04":
        return Entry(info.filename, refused=DAMAGED_INSIDE)
    name, extra = (int.from_bytes(local[at : at + 2], "little") for at in (26, 28))
    begin = info.header_offset + 30 + name + extra
    packed: Bytes = Part(source, begin, info.compress_size)
    if info.compress_type != zipfile.ZIP_STORED:
        packed = Unpacked(packed, raw_deflate, MAX_BYTES, info.file_size)
    return Entry(info.filename, _Member(packed, info.file_size, info.CRC))
