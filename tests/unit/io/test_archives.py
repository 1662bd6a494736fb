"""Archives read where they are looked at: the same bytes as the programs that wrote them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medview.core.errors import PasswordError, ReadError
from medview.io import archives, unpacking
from medview.io.archives import entries, read_members
from medview.io.members import is_inside
from medview.io.unpacking import UNPACKERS, MemoryBytes, Stream, Unpacked, raw_deflate
from tests.helpers.bad_inputs.containers import PASSWORD, encrypted_zip


def _content() -> bytes:
    """Ten MB that compress like a scan: smooth, with noise."""
    steps = np.random.default_rng(3).integers(-3, 4, 5_000_000)
    return np.cumsum(steps).astype("<i2").tobytes()


CONTENT = _content()
GZIP = gzip.compress(CONTENT, 1)


def _gzip(data: bytes) -> Unpacked:
    return Unpacked(MemoryBytes(data), UNPACKERS[b"\x1f\x8b"], 1 << 30)


@given(
    places=st.lists(st.tuples(st.integers(0, len(CONTENT)), st.integers(0, 300_000)), max_size=8)
)
@settings(max_examples=20, deadline=None)
def test_a_packed_stream_can_be_read_anywhere_in_any_order(places: list[tuple[int, int]]) -> None:
    unpacked = _gzip(GZIP)
    for offset, length in places:
        assert unpacked.read_at(offset, length) == CONTENT[offset : offset + length]
    assert unpacked.size == len(CONTENT)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_every_packing_gives_what_was_packed(pack: Callable[[bytes], bytes]) -> None:
    start = CONTENT[:700_000]
    # Two streams one after the other are one file, as the programs have it.
    packed = pack(start[:100_000]) + pack(start[100_000:])
    make = next(make for mark, make in UNPACKERS.items() if packed.startswith(mark))
    unpacked = Unpacked(MemoryBytes(packed), make, 1 << 30)
    assert unpacked.read_at(600_000, 50) == start[600_000:600_050]
    assert unpacked.read_at(50, 200_000) == start[50:200_050]
    assert unpacked.size == len(start)


class Counted:
    """Bytes that count how often they were read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)
        self.read = 0

    def read_at(self, offset: int, length: int) -> bytes:
        part = self.data[offset : offset + length]
        self.read += len(part)
        return part


@pytest.mark.parametrize("mark", [b"BZh", b"\xfd7zXZ\0"])
@pytest.mark.parametrize("room", [1 << 40, 1_000_000])
def test_going_back_unpacks_nothing_again_while_there_is_room(
    monkeypatch: pytest.MonkeyPatch, mark: bytes, room: int
) -> None:
    monkeypatch.setattr(unpacking.shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * room))
    start = CONTENT[:2_000_000]
    source = Counted({b"BZh": bz2.compress, b"\xfd7zXZ\0": lzma.compress}[mark](start))
    pieces: list[int] = []
    unpacked = Unpacked(source, UNPACKERS[mark], 1 << 30)
    unpacked.on_piece = lambda: pieces.append(1)
    assert unpacked.size == len(start)
    once = source.read, len(pieces)
    for offset in (1_900_000, 100, 1_000_000, 990_000, 0):
        assert unpacked.read_at(offset, 50_000) == start[offset : offset + 50_000]
    assert unpacked.read_at(0, 3_000_000) == start
    if room > len(start):
        assert (source.read, len(pieces)) == once
    else:  # what found no room is unpacked again, and right
        assert source.read > once[0]


def test_a_disk_that_fills_costs_speed_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError

    monkeypatch.setattr(unpacking.tempfile, "TemporaryFile", lambda **_: full())
    start = CONTENT[:700_000]
    unpacked = Unpacked(MemoryBytes(lzma.compress(start)), lzma.LZMADecompressor, 1 << 30)
    assert unpacked.size == len(start)
    assert unpacked.read_at(10, 600_000) == start[10:600_010]


def test_what_swells_is_refused_where_it_passes_the_limit() -> None:
    packed = gzip.compress(b"\0" * 5_000_000)
    unpacked = Unpacked(MemoryBytes(packed), UNPACKERS[b"\x1f\x8b"], 1_000_000)
    assert unpacked.read_at(100_000, 10) == b"\0" * 10
    with pytest.raises(ReadError, match="200 times"):
        unpacked.read_at(4_000_000, 10)


def test_a_stream_that_is_cut_or_damaged_says_so() -> None:
    assert _gzip(GZIP[:1_000_000]).size < len(CONTENT)
    broken = bytearray(GZIP)
    broken[len(broken) // 2 :][:50] = b""
    broken[len(broken) // 2] ^= 0xFF
    with pytest.raises(ReadError, match="damaged"):
        assert _gzip(bytes(broken)).size
    with pytest.raises(ReadError, match="damaged"):
        Unpacked(MemoryBytes(b"\xff" * 100), raw_deflate, 1 << 20).read_at(0, 10)


def test_a_stream_serves_as_a_file_for_libraries() -> None:
    stream = Stream(_gzip(GZIP))
    assert stream.seek(-4, io.SEEK_END) == len(CONTENT) - 4
    assert stream.read(10) == CONTENT[-4:]
    stream.seek(7)
    stream.seek(3, io.SEEK_CUR)
    assert (stream.tell(), stream.read(2)) == (10, CONTENT[10:12])


def _members() -> dict[str, bytes]:
    return {f"a/{n}.bin": CONTENT[n * 70_000 : n * 70_000 + 60_000 + n] for n in range(40)}


def _zipped(path: Path, method: int) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in _members().items():
            archive.writestr(name, data)
    return path


def _tarred(path: Path, mode: str) -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in _members().items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize(
    "make",
    [
        *(
            pytest.param(lambda path, m=method: _zipped(path / "a.zip", m), id=f"zip{method}")
            for method in (0, 8, 12, 14)
        ),
        *(
            pytest.param(lambda path, m=mode: _tarred(path / f"a.t{m[2:]}", m), id=mode)
            for mode in ("w:", "w:gz", "w:bz2", "w:xz")
        ),
    ],
)
def test_members_are_found_and_read_as_they_were_written(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    path = make(tmp_path)
    for _ in range(2):
        assert {entry.member: entry.data for entry in entries(path)} == _members()
    some = ["a/30.bin", "a/2.bin"]
    found = [(entry.member, entry.data) for entry in read_members(path, some)]
    # In the archive's own order, whatever was asked for first.
    assert found == [(name, _members()[name]) for name in reversed(some)]


def test_heads_are_read_without_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _zipped(tmp_path / "a.zip", zipfile.ZIP_DEFLATED)
    read: list[int] = []
    original = archives.os.pread

    def counted(descriptor: int, length: int, offset: int) -> bytes:
        data: bytes = original(descriptor, length, offset)
        read.append(len(data))
        return data

    monkeypatch.setattr(archives.os, "pread", counted)
    heads = {entry.member: entry.source.read_at(0, 512) for entry in entries(path)}
    assert heads == {name: data[:512] for name, data in _members().items()}
    assert zlib.crc32(b"") == 0
    assert max(read) <= 1 << 16


def test_a_tar_that_changed_is_listed_anew(tmp_path: Path) -> None:
    path = _tarred(tmp_path / "a.tgz", "w:gz")
    assert len(list(entries(path))) == 40
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("other.bin")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    assert [(entry.member, entry.data) for entry in entries(path)] == [("other.bin", b"abc")]


def test_a_checksum_that_does_not_fit_is_told_when_all_is_read(tmp_path: Path) -> None:
    path = _zipped(tmp_path / "a.zip", zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.index(b"a/3.bin") + 5000] ^= 1
    path.write_bytes(data)
    bad = {}
    for entry in entries(path):
        try:
            assert entry.data == _members()[entry.member]
        except ReadError as error:
            bad[entry.member] = error.user_text
    assert set(bad) == {"a/3.bin"}
    assert "damaged" in bad["a/3.bin"]


@pytest.mark.parametrize("aes", [False, True], ids=["ZipCrypto", "AES"])
def test_a_locked_archive_asks_for_its_password(tmp_path: Path, *, aes: bool) -> None:
    path = tmp_path / "locked.zip"
    path.write_bytes(encrypted_zip(aes=aes))
    with pytest.raises(PasswordError, match="asks for a password"):
        [entry.data for entry in entries(path)]
    with pytest.raises(PasswordError, match="does not open"):
        [entry.data for entry in entries(path, "wrong")]
    plain = {entry.member: entry.data for entry in entries(path, PASSWORD)}
    assert set(plain) == {"a.dcm", "b.dcm"}
    assert all(data[128:132] == b"DICM" for data in plain.values())


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("a/b.dcm", True),
        ("a/../b.dcm", False),
        ("/etc/passwd", False),
        ("..\\b", False),
        ("C:\\b", False),
        ("", False),
        ("...", True),
    ],
)
def test_names_that_lead_outside_are_known(name: str, *, inside: bool) -> None:
    assert is_inside(name) is inside
