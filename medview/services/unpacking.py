"""Model folders put together: copied from a folder, unpacked from a ZIP, or around one file.

Nothing is followed and nothing leads outside: links, devices, names that climb out of the folder,
archives that grow without measure and encrypted ones are refused before a byte is written.
"""

from __future__ import annotations

import lzma
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from medview.core.errors import Cancelled, ModelError
from medview.inference.receipts import regular_files

MAX_FILES = 20_000
MAX_BYTES = 16 << 30
MAX_RATIO = 200
#: Small archives may compress well: the ratio counts from here on.
_RATIO_FROM = 64 << 20
_CHUNK = 1 << 20
_DAMAGE = (
    OSError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    ValueError,
)
_LEFT_OUT = {"__pycache__", ".git", "__MACOSX", ".DS_Store"}

Stop = Callable[[], bool]


def gather(source: Path, name: str, staging: Path, cancelled: Stop = lambda: False) -> Path:
    """A folder under `staging` with the files of a model; ModelError for what is unsafe.

    `source` is a folder, a ZIP, or a file that is itself a network; `name` is what it is called
    where it came from. A ZIP with one folder in it becomes that folder.
    """
    try:
        if source.is_dir():
            return _copied(source, staging / name, cancelled)
        if zipfile.is_zipfile(source) and not _is_network(name):
            return _unpacked(source, Path(name).stem, staging, cancelled)
        target = staging / Path(name).stem
        target.mkdir()
        _refuse_large(source.stat().st_size)
        shutil.copyfile(source, target / name)
    except _DAMAGE as error:
        raise ModelError(
            f"{name} could not be read or copied.",
            "Is it whole, and is there room on the disk?",
            repr(error),
        ) from error
    return target


def _is_network(name: str) -> bool:
    """Whether a file is a network of its own: PyTorch's files are ZIP archives too."""
    return Path(name).suffix.lower() in (".pt", ".pth", ".ts", ".jit", ".onnx", ".safetensors")


def _copied(source: Path, target: Path, cancelled: Stop) -> Path:
    files = [
        path
        for path in regular_files(source)
        if not _LEFT_OUT.intersection(path.relative_to(source).parts)
    ]
    if len(files) > MAX_FILES:
        raise ModelError(f"{source.name} holds {len(files):,} files; that is no model.")
    _refuse_large(sum(path.stat().st_size for path in files))
    target.mkdir()
    for path in files:
        if cancelled():
            raise Cancelled
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return target


def _unpacked(source: Path, stem: str, staging: Path, cancelled: Stop) -> Path:
    with zipfile.ZipFile(source) as archive:
        entries = _safe_entries(archive, source)
        tops = {path.parts[0] for path in entries}
        inside = len(tops) == 1 and all(len(path.parts) > 1 for path in entries)
        target = staging / (tops.pop() if inside else stem)
        target.mkdir()
        for path, info in entries.items():
            parts = path.parts[1:] if inside else path.parts
            _write_entry(archive, info, target.joinpath(*parts), cancelled)
    return target


def _safe_entries(archive: zipfile.ZipFile, source: Path) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """The files of an archive by their path; ModelError if one of them is no plain file inside."""
    infos = archive.infolist()
    if len(infos) > MAX_FILES:
        raise ModelError(f"The archive holds {len(infos):,} entries; that is no model.")
    total = sum(info.file_size for info in infos)
    _refuse_large(total)
    if total > max(_RATIO_FROM, MAX_RATIO * source.stat().st_size):
        raise ModelError(f"The archive unpacks to more than {MAX_RATIO} times its size.")
    entries: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for info in infos:
        _refuse_unsafe(info)
        path = PurePosixPath(info.filename)
        if info.is_dir() or _LEFT_OUT.intersection(path.parts):
            continue
        if path in entries:
            raise ModelError(f"The archive holds {path} twice.")
        entries[path] = info
    if not entries:
        raise ModelError("The archive holds no files.")
    return entries


def _refuse_unsafe(info: zipfile.ZipInfo) -> None:
    name, mode = info.filename, info.external_attr >> 16
    path = PurePosixPath(name)
    climbs = path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name
    if climbs or "\0" in name or not path.parts:
        raise ModelError("The archive wants to write outside its folder; it is refused.")
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ModelError("The archive holds links or devices; models consist of files alone.")
    if info.flag_bits & 0x1:
        raise ModelError("The archive is encrypted.", "Unpack it and add the folder.")


def _write_entry(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, cancelled: Stop
) -> None:
    """Unpack one file, never more of it than its entry states."""
    target.parent.mkdir(parents=True, exist_ok=True)
    left = info.file_size
    with archive.open(info) as packed, target.open("xb") as file:
        while chunk := packed.read(_CHUNK):
            if cancelled():
                raise Cancelled
            left -= len(chunk)
            if left < 0:
                raise ModelError("The archive holds more than it states; it is refused.")
            file.write(chunk)
    if left:
        raise ModelError("The archive is damaged: a file in it is too short.")


def _refuse_large(size: int) -> None:
    if size > MAX_BYTES:
        raise ModelError(f"It would take more than {MAX_BYTES >> 30} GiB; that is no model.")
