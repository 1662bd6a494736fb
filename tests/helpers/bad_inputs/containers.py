"""Archives, file systems, foreign formats and disks that set traps (lines Z of the list)."""

from __future__ import annotations

import gzip
import io
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pyzipper
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from tests.helpers.bad_inputs.case import Case, file_case, write
from tests.helpers.bad_inputs.headers import deflated_zeros
from tests.helpers.bad_inputs.seeds import part10, slice_elements

PASSWORD = "only-in-tests"  # noqa: S105
#: Put into files outside of what is opened; none of it may ever be read.
SECRET = b"canary: root:x:0:0"


def _zip(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return out.getvalue()


def _tar(members: dict[str, bytes], mode: str = "w:gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _slice(number: int = 1) -> bytes:
    return part10(slice_elements(number, 2.0 * number))


def zip_of(
    packed: bytes, size: int, name: str = "bomb.dcm", *, crc: int = 1, flags: int = 0
) -> bytes:
    """A ZIP of one member whose deflate stream, declared size and checksum are given."""
    common = struct.pack("<5H3L", 20, flags, 8, 0, 0, crc, len(packed), size)
    local = b"PK\3\4" + common + struct.pack("<2H", len(name), 0)
    central = b"PK\1\2" + struct.pack("<H", 20) + common
    central += struct.pack("<5H2L", len(name), 0, 0, 0, 0, 0, 0)
    start, middle = local + name.encode() + packed, central + name.encode()
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(middle), len(start), 0)
    return start + middle + end


def _bomb() -> bytes:
    return zip_of(deflated_zeros(4095), 4095 << 20)


def _lying_bomb() -> bytes:
    """Four GiB in a member that declares a hundred kB."""
    return zip_of(deflated_zeros(4095), 100_000)


def _many_bombs() -> bytes:
    """Each member is small enough, all of them are not."""
    block = deflated_zeros(60)
    return _joined([zip_of(block, 60 << 20, f"{n:03}.dcm") for n in range(200)])


def _joined(archives: list[bytes]) -> bytes:
    """One ZIP of the members of several of one member each."""
    starts, middles, at = [], [], 0
    for archive in archives:
        *_, size, offset, _ = struct.unpack("<4s4H2LH", archive[-22:])
        start, middle = archive[:offset], bytearray(archive[offset : offset + size])
        middle[42:46] = struct.pack("<L", at)
        starts.append(start)
        middles.append(bytes(middle))
        at += len(start)
    body = b"".join(middles)
    count = len(archives)
    return (
        b"".join(starts)
        + body
        + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(body), at, 0)
    )


def _overlapping() -> bytes:
    """A thousand entries that share one piece of packed data."""
    one = zip_of(deflated_zeros(30), 30 << 20)
    *_, size, offset, _ = struct.unpack("<4s4H2LH", one[-22:])
    middle = one[offset : offset + size] * 1000
    return (
        one[:offset]
        + middle
        + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1000, 1000, len(middle), offset, 0)
    )


def _slip() -> bytes:
    outside = ("../../../../tmp/pwned.dcm", "/tmp/pwned.dcm", "..\\..\\pwned.dcm", "C:\\pwned.dcm")
    return _zip({name: _slice(n) for n, name in enumerate(outside, 2)} | {"ok.dcm": _slice()})


def _linked() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("passwd.dcm")
        info.create_system = 3
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
        archive.writestr("ok.dcm", _slice())
    return out.getvalue()


def _tar_traps() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, kind, target in (
            ("link.dcm", tarfile.SYMTYPE, "/etc/passwd"),
            ("hard.dcm", tarfile.LNKTYPE, "/etc/passwd"),
            ("null.dcm", tarfile.CHRTYPE, ""),
            ("pipe.dcm", tarfile.FIFOTYPE, ""),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
        for name in ("../../outside.dcm", "/tmp/outside.dcm", "ok.dcm"):
            info = tarfile.TarInfo(name)
            info.size = len(_slice())
            archive.addfile(info, io.BytesIO(_slice()))
    return out.getvalue()


def _forged_size() -> bytes:
    data = bytearray(_zip({"small.dcm": _slice()}))
    for mark, at in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        start = bytes(data).index(mark)
        data[start + at : start + at + 4] = b"\xfe\xff\xff\xff"
    return bytes(data)


def _wrong_checksum() -> bytes:
    data = bytearray(_zip({"bad.dcm": _slice(), "ok.dcm": _slice(2)}, zipfile.ZIP_STORED))
    data[2000] ^= 0xFF
    return bytes(data)


def _nested(depth: int) -> bytes:
    data = _zip({"deep.dcm": _slice()})
    for n in range(depth):
        data = _zip({f"level{n}.zip": data})
    return data


def _many(count: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for n in range(count):
            archive.writestr(zipfile.ZipInfo(f"{n:06}"), b"")
    return out.getvalue()


def encrypted_zip(*, aes: bool, password: str = PASSWORD) -> bytes:
    """Two slices behind a password: sealed by AES, or by the older ZipCrypto."""
    members = {"a.dcm": _slice(), "b.dcm": _slice(2)}
    if not aes:
        return _joined([_zip_crypto(name, data, password) for name, data in members.items()])
    out = io.BytesIO()
    with pyzipper.AESZipFile(out, "w", compression=zipfile.ZIP_DEFLATED) as archive:
        archive.setpassword(password.encode())
        archive.setencryption(pyzipper.WZ_AES, nbits=256)
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def _zip_crypto(name: str, data: bytes, password: str) -> bytes:
    """A ZIP of one deflated member under traditional encryption (APPNOTE 6.1)."""
    crc = zlib.crc32(data)
    packed = zlib.compress(data, wbits=-zlib.MAX_WBITS)
    keys = _CryptoKeys(password.encode())
    sealed = keys.encrypt(bytes(range(11)) + bytes([crc >> 24]) + packed)
    return zip_of(sealed, len(data), name, crc=crc, flags=1)


class _CryptoKeys:
    def __init__(self, password: bytes) -> None:
        self._keys = [0x12345678, 0x23456789, 0x34567890]
        for byte in password:
            self._update(byte)

    def _update(self, byte: int) -> None:
        one, two, three = self._keys
        one = _crc_step(byte, one)
        two = ((two + (one & 255)) * 134775813 + 1) & 0xFFFFFFFF
        self._keys = [one, two, _crc_step(two >> 24, three)]

    def encrypt(self, data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            mixed = (self._keys[2] | 2) & 0xFFFF
            out.append(byte ^ ((mixed * (mixed ^ 1)) >> 8 & 255))
            self._update(byte)
        return bytes(out)


def _crc_step(byte: int, crc: int) -> int:
    """One byte into a CRC without its inversions."""
    return zlib.crc32(bytes([byte]), crc ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def _nifti(shape: tuple[int, int, int], data: bytes = b"") -> bytes:
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *shape, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352.0)
    header[344:348] = b"n+1\0"
    return bytes(header) + data


def _nifti_bomb() -> bytes:
    """1024 x 1024 x 1024 zeros of 16 bits, in two MB."""
    head = gzip.compress(_nifti((1024, 1024, 1024)))
    tail = b"\x1f\x8b\x08\0\0\0\0\0\0\3" + deflated_zeros(2048) + b"\0" * 8
    return head + tail


def _nrrd(size: str, lines: str, data: bytes = b"") -> bytes:
    return (
        f"NRRD0004\ntype: short\ndimension: 3\nsizes: {size}\nencoding: raw\nendian: little\n"
        f"{lines}\n\n"
    ).encode() + data


def _mhd(file: str) -> bytes:
    return (
        "ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_SHORT\n"
        f"ElementSpacing = 1 1 1\nElementDataFile = {file}\n"
    ).encode()


def _outside(name: str, text: Callable[[str], bytes], form: str) -> Case:
    """A header that names a file outside of its folder: absolute, by .., or through a link."""

    def make(folder: Path) -> None:
        secret = folder.parent / "secret.raw"
        secret.write_bytes(SECRET * 20)
        target = {"absolute": str(secret), "above": "../../secret.raw", "link": "inner.raw"}[form]
        write(folder / name / f"a{Path(name).suffix}", text(target))
        if form == "link":
            (folder / name / "inner.raw").symlink_to(secret)

    return Case(name, "X", make, twin=False)


def _pointed(name: str, target: str) -> Case:
    def make(folder: Path) -> None:
        (folder / name).symlink_to(target)

    return Case(name, "R", make, twin=False)


def _fifo(folder: Path) -> None:
    os.mkfifo(folder / "Z13_fifo.dcm")


def _loop(folder: Path) -> None:
    (folder / "Z15_loop.dcm").symlink_to("Z15_loop.dcm")


def _folder_loop(folder: Path) -> None:
    inside = folder / "Z16_dirloop"
    write(inside / "ok.dcm", _slice())
    (inside / "again").symlink_to(inside)
    (inside / "up").symlink_to(folder)


def _named(name: bytes, expected: str = "L") -> Case:
    def make(folder: Path) -> None:
        write(folder / os.fsdecode(name), _slice())

    return Case(repr(name)[2:20], expected, make)


def _forbidden(folder: Path) -> None:
    write(folder / "Z20_noperm.dcm", _slice())
    (folder / "Z20_noperm.dcm").chmod(0)


def dicomdir(names: list[list[str]], *, next_of_first: int = 0) -> bytes:
    """A DICOMDIR of one record for each file name; offsets lead from each to the next."""
    ds = Dataset()
    ds.FileSetID = "TEST"
    ds.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = 0
    ds.OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity = 0
    ds.FileSetConsistencyFlag = 0
    records = []
    for name in names:
        record = Dataset()
        record.OffsetOfTheNextDirectoryRecord = next_of_first
        record.RecordInUseFlag = 0xFFFF
        record.OffsetOfReferencedLowerLevelDirectoryEntity = next_of_first
        record.DirectoryRecordType = "IMAGE"
        record.ReferencedFileID = name
        records.append(record)
    ds.DirectoryRecordSequence = DicomSequence(records)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _disk(name: str, expected: str, content: Callable[[], bytes], *, whole: bool = True) -> Case:
    """A disk with this DICOMDIR; its one image is there unless `whole` is false."""

    def make(folder: Path) -> None:
        (folder.parent / "secret.raw").write_bytes(SECRET)
        write(folder / name / "DICOMDIR", content())
        if whole:
            write(folder / name / "IMAGES" / "IM1", _slice())

    return Case(name, expected, make)


def _traversing_disk() -> bytes:
    return dicomdir([["..", "..", "secret.raw"], ["", "etc", "passwd"], ["IMAGES", "IM1"]])


def _circling_disk() -> bytes:
    """Every record leads to the first one, which leads to itself."""
    data = dicomdir([["IMAGES", "IM1"]] * 3)
    first = dcmread(io.BytesIO(data)).DirectoryRecordSequence[0].seq_item_tell
    return dicomdir([["IMAGES", "IM1"]] * 3, next_of_first=int(first or 0))


def _tar_bomb() -> bytes:
    info = tarfile.TarInfo("bomb.dcm")
    info.size = 4 << 30
    head = gzip.compress(info.tobuf(tarfile.GNU_FORMAT))
    return head + b"\x1f\x8b\x08\0\0\0\0\0\0\3" + deflated_zeros(4096) + b"\0" * 8


CONTAINERS: tuple[Case, ...] = (
    file_case("Z00_intact.zip", "L", lambda: _zip({"a/b.dcm": _slice()})),
    file_case("Z00_stored.zip", "L", lambda: _zip({"a/b.dcm": _slice()}, zipfile.ZIP_STORED)),
    file_case("Z00_intact.tar", "L", lambda: _tar({"a/b.dcm": _slice()}, "w")),
    file_case("Z00_intact.tar.gz", "L", lambda: _tar({"a/b.dcm": _slice()})),
    file_case("Z00_intact.tar.bz2", "L", lambda: _tar({"a/b.dcm": _slice()}, "w:bz2")),
    file_case("Z00_intact.tar.xz", "L", lambda: _tar({"a/b.dcm": _slice()}, "w:xz")),
    file_case("Z00_tar_in_zip.zip", "L", lambda: _zip({"in.tar.gz": _tar({"b.dcm": _slice()})})),
    file_case("Z01_bomb.zip", "R", _bomb, seconds=10, twin=False),
    file_case("Z01_lying_bomb.zip", "R", _lying_bomb, seconds=10, twin=False),
    file_case("Z01_many_bombs.zip", "R", _many_bombs, seconds=10, twin=False),
    file_case("Z01_overlapping.zip", "R", _overlapping, seconds=10, twin=False),
    file_case("Z01_bomb.tar.gz", "R", _tar_bomb, seconds=10, twin=False),
    file_case("Z02_slip.zip", "R", _slip),
    file_case("Z03_symlink.zip", "R", _linked),
    file_case("Z03_traps.tar.gz", "R", _tar_traps),
    file_case("Z04_trunc.zip", "R", lambda: _zip({"a.dcm": _slice()})[:-3000], twin=False),
    file_case("Z04_trunc.tar.gz", "R", lambda: _tar({"a.dcm": _slice()})[:-3000], twin=False),
    file_case("Z05_forged_size.zip", "R", _forged_size, twin=False),
    file_case("Z05_wrong_checksum.zip", "R", _wrong_checksum),
    file_case("Z06_nested12.zip", "R", lambda: _nested(12), twin=False),
    file_case("Z06_nested2.zip", "L", lambda: _nested(2)),
    file_case("Z07_100k_entries.zip", "RL", lambda: _many(100_000), seconds=30, twin=False),
    file_case("Z08_nifti_bomb.nii.gz", "R", _nifti_bomb, seconds=5, twin=False),
    file_case("Z09_nifti_hugedims.nii", "R", lambda: _nifti((32767, 32767, 32767)), twin=False),
    _outside("Z10_nrrd_absolute.nhdr", lambda to: _nrrd("4 4 4", f"data file: {to}"), "absolute"),
    _outside("Z10_nrrd_above.nhdr", lambda to: _nrrd("4 4 4", f"data file: {to}"), "above"),
    _outside("Z10_nrrd_link.nhdr", lambda to: _nrrd("4 4 4", f"data file: {to}"), "link"),
    _outside("Z11_mhd_absolute.mhd", _mhd, "absolute"),
    _outside("Z11_mhd_above.mhd", _mhd, "above"),
    _outside("Z11_mhd_link.mhd", _mhd, "link"),
    file_case("Z12_nrrd_sizes.nrrd", "R", lambda: _nrrd("1000000 1000000 1000000", "", b"\0" * 99),
              twin=False),
    Case("Z13_fifo.dcm", "R", _fifo, twin=False),
    _pointed("Z14_devzero.dcm", "/dev/zero"),
    _pointed("Z14_outside.dcm", "/etc/passwd"),
    Case("Z15_loop.dcm", "R", _loop, twin=False),
    Case("Z16_dirloop", "L", _folder_loop),
    _named(b"Z17_\xff\xfe_badutf8.dcm"),
    _named(b"Z18_new\nline.dcm"),
    _named(b"Z19_" + b"n" * 244 + b".dcm"),
    Case("Z20_noperm.dcm", "R", _forbidden, twin=False),
    _disk("Z21_dicomdir", "X", _traversing_disk),
    _disk("Z22_dicomdir_cycle", "RLW", _circling_disk),
    _disk("Z23_dicomdir_missing", "R", lambda: dicomdir([["IMAGES", "IM1"]]), whole=False),
    _disk("Z23_dicomdir_cut", "WR", lambda: dicomdir([["IMAGES", "IM1"]])[:-40]),
    file_case("Z24_aes.zip", "R", lambda: encrypted_zip(aes=True), twin=False),
)  # fmt: skip
