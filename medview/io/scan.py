"""Folders, files and archives -> studies, reading headers only."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medview.core.errors import ReadError
from medview.core.study import (
    Instance,
    Patient,
    Problem,
    Series,
    SeriesKind,
    Severity,
    Study,
)
from medview.io.archives import entries, is_archive, open_file
from medview.io.dicomdir import missing_files
from medview.io.foreign import Foreign, recognise
from medview.io.header import CHUNK, Bytes, Header, MemoryBytes, Texts, is_dicom, read_header
from medview.io.identity import uid_from
from medview.io.plan import ASK_AGAIN
from medview.io.tree import Tree

#: Files that say by their name that they should be images are named when they are not.
_SHOULD_BE_IMAGES = frozenset(
    (".dcm", ".dicom", ".ima", ".img", ".nii", ".gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".png",
     ".jpg", ".jpeg", ".tif", ".tiff", ".zip", ".tar", ".tgz", ".xz", ".mp4", ".avi", ".mov",
     ".gif", ".svs", ".mgz", ".mnc", ".hdr", ".par", ".v", ".brik")
)  # fmt: skip
_JUNK = ("._", ".DS_Store")
_HASH_WHOLE = 64 << 20
_HASH_PART = 16 << 20


@dataclass(frozen=True)
class ScanResult:
    """What was found, and what could not be read and why."""

    studies: tuple[Study, ...]
    problems: tuple[Problem, ...]


def scan(paths: Sequence[Path], password: str = "") -> ScanResult:
    """Find every image below the given files, folders and archives.

    Links that lead out of a given folder are not followed. A file named DICOMDIR stands for its
    folder. Nothing raises: what cannot be read is a problem that names the file.
    """
    scanner = _Scanner(password)
    for path in dict.fromkeys(Path(os.path.abspath(path)) for path in paths):  # noqa: PTH100
        scanner.take(path)
    return scanner.result()


class _Scanner:
    def __init__(self, password: str) -> None:
        self._password = password
        self._tree = Tree(_same_pixels)
        self._foreign: dict[str, Study] = {}
        self._problems: list[Problem] = []
        self._seen: set[Path] = set()
        self._texts = Texts()

    def take(self, path: Path) -> None:
        before = self._count()
        # os.path answers where pathlib raises: names too long, folders without permission.
        if path.name.upper() == "DICOMDIR" and os.path.isfile(path):  # noqa: PTH113
            path = path.parent
        if os.path.isdir(path):  # noqa: PTH112
            for file in _files(path, self._closed):
                self._file(file, given=False)
        else:
            self._file(path, given=True)
        if self._count() == before:
            self._refuse(path, "No image was found here", "Choose the folder that holds the files")

    def result(self) -> ScanResult:
        studies = (*self._tree.studies(), *self._foreign.values())
        return ScanResult(studies, (*self._problems, *self._tree.problems))

    def _count(self) -> int:
        refused = sum(problem.severity is Severity.REFUSED for problem in self._problems)
        return len(self._seen) + refused

    def _closed(self, folder: str) -> None:
        self._refuse(Path(folder), "The folder cannot be looked into", "Check its permissions")

    def _refuse(self, path: Path, reason: str, hint: str = "") -> None:
        self._problems.append(Problem(path, reason, Severity.REFUSED, hint or ASK_AGAIN))

    def _file(self, path: Path, *, given: bool) -> None:
        if path in self._seen:
            return
        try:
            with open_file(path) as source:
                head = source.read_at(0, CHUNK)
                archive = is_archive(path.name, head)
                if not archive:
                    self._one(path, "", source, head, given=given)
            if archive:
                self._archive(path)
        except ReadError as error:
            self._refuse(path, error.user_text, error.hint)

    def _archive(self, path: Path) -> None:
        for entry in entries(path, self._password):
            inside = path / entry.member
            if entry.refused:
                self._refuse(inside, entry.refused)
                continue
            try:
                source = MemoryBytes(entry.data)
                self._one(path, entry.member, source, entry.data[:CHUNK], given=False)
            except ReadError as error:
                self._refuse(inside, error.user_text, error.hint)

    def _one(self, path: Path, member: str, source: Bytes, head: bytes, *, given: bool) -> None:
        name = (member or path.name).rsplit("/", 1)[-1]
        if name.startswith(_JUNK):
            return
        if is_dicom(head):
            self._dicom(path, member, source, head)
            return
        foreign = recognise(name, head)
        if foreign is not None:
            self._seen.add(path / member)
            study = _foreign_study(path, member, source, foreign)
            self._foreign.setdefault(study.uid, study)
        elif given or Path(name).suffix.lower() in _SHOULD_BE_IMAGES:
            self._refuse(path / member, _why_not(name, head))

    def _directory(self, path: Path) -> None:
        missing = missing_files(path)
        if missing:
            count = "One file" if len(missing) == 1 else f"{len(missing)} files"
            self._problems.append(
                Problem(
                    path,
                    f"{count} of the disk's list of contents cannot be found, first {missing[0]}",
                    Severity.WARNING,
                    "Copy the whole disk and open it again",
                )
            )

    def _dicom(self, path: Path, member: str, source: Bytes, head: bytes) -> None:
        header = read_header(source, head, self._texts)
        if header.values.get("DirectoryRecordSequence"):
            if not member:
                self._directory(path)
            return
        self._seen.add(path / member if member else path)
        if not header.values.get("SOPClassUID") and header.pixel_offset < 0:
            raise ReadError("The file holds no image and does not say what it is")
        self._tree.add(path, member, _values(header), header.notes)


def _why_not(name: str, head: bytes) -> str:
    if not head:
        return "The file is empty"
    suffix = Path(name).suffix.lower()
    if suffix in (".mp4", ".avi", ".mov", ".gif", ".mkv", ".webm"):
        return "Video files are not opened"
    if suffix in (".svs", ".ndpi", ".mrxs"):
        return "Whole-slide pictures are not opened"
    return "This is no image that can be opened"


def _values(header: Header) -> dict[str, str]:
    """Header values with the facts about the file itself; their names begin with _."""
    return header.values | {
        "_TransferSyntax": header.transfer_syntax,
        "_PixelOffset": str(header.pixel_offset),
        "_PixelLength": str(header.pixel_length),
        "_PixelKind": header.pixel_kind,
        "_FileSize": str(header.file_size),
    }


def _files(folder: Path, closed: Callable[[str], None]) -> Iterator[Path]:
    """Every file below a folder, by name; links only where they stay inside and are no folders.

    `closed` is told the folders that cannot be looked into.
    """
    root = os.path.realpath(folder)
    pending = [os.fspath(folder)]
    while pending:
        here = pending.pop()
        try:
            with os.scandir(here) as listing:
                found = sorted(listing, key=lambda entry: entry.name)
        except OSError:
            closed(here)
            continue
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)
            elif not entry.is_symlink() or _stays_inside(entry, root):
                yield Path(entry.path)


def _stays_inside(entry: os.DirEntry[str], root: str) -> bool:
    return os.path.realpath(entry.path).startswith(root + os.sep) and entry.is_file()


def _same_pixels(one: Instance, other: Instance) -> bool:
    """Whether two instances with one identifier are copies: same place, same pixel bytes."""
    keys = ("ImagePositionPatient", "InstanceNumber", "Rows", "Columns", "_PixelLength")
    if any(one.headers.get(key) != other.headers.get(key) for key in keys):
        return False
    if one.member or other.member:
        return one.headers.get("_FileSize") == other.headers.get("_FileSize")
    try:
        with open_file(one.path) as first, open_file(other.path) as second:
            return first.size == second.size and first.read_at(0, first.size) == second.read_at(
                0, second.size
            )
    except ReadError:
        return False


def _foreign_study(path: Path, member: str, source: Bytes, foreign: Foreign) -> Study:
    """Patient, study and series of a file that is not DICOM, named by its content."""
    digest = _digest(source)
    name = (member or path.name).rsplit("/", 1)[-1]
    study_uid, series_uid = uid_from("study", digest), uid_from("series", digest)
    instance = Instance(uid_from("instance", digest), "", path, member=member)
    series = Series(
        uid=series_uid,
        study_uid=study_uid,
        modality="OT",
        description=name,
        instances=(instance,),
        kind=foreign.kind,
        frame_of_reference_uid=uid_from("frame", digest)
        if foreign.kind is SeriesKind.VOLUME
        else "",
        headers={"_Format": foreign.format},
    )
    return Study(study_uid, Patient(id=name, name=name), description=name, series=(series,))


def _digest(source: Bytes) -> str:
    """SHA-256 of the content; of beginning, end and size for very large files."""
    if source.size <= _HASH_WHOLE:
        return hashlib.sha256(source.read_at(0, source.size)).hexdigest()
    digest = hashlib.sha256(str(source.size).encode())
    digest.update(source.read_at(0, _HASH_PART))
    digest.update(source.read_at(source.size - _HASH_PART, _HASH_PART))
    return digest.hexdigest()
