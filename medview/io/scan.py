"""Folders, files and archives -> studies, reading headers only."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import MappingProxyType

from medview.core.errors import PasswordError, ReadError
from medview.core.study import (
    Instance,
    Patient,
    Problem,
    ProblemKind,
    Series,
    SeriesKind,
    Severity,
    Study,
)
from medview.io.archives import entries, is_archive, open_file, read_all
from medview.io.dicomdir import unreachable
from medview.io.foreign import Foreign, is_companion, recognise, why_not
from medview.io.found import Listed, Lost, Reading, Record, ScanResult, Sealed, Step, Survey
from medview.io.header import is_dicom
from medview.io.identity import uid_from
from medview.io.members import Watch
from medview.io.plan import ASK_AGAIN
from medview.io.repeats import Headers
from medview.io.results_format import study_named
from medview.io.tars import TAR_ENDS
from medview.io.tree import Tree
from medview.io.unpacking import Bytes

#: Files that say by their name that they should be images are named when they are not.
_SHOULD_BE_IMAGES = frozenset(
    (".dcm", ".dicom", ".ima", ".img", ".nii", ".gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".png",
     ".jpg", ".jpeg", ".tif", ".tiff", ".zip", ".tar", ".tgz", ".xz", ".mp4", ".avi", ".mov",
     ".gif", ".svs", ".mgz", ".mnc", ".hdr", ".par", ".v", ".brik")
)  # fmt: skip
_JUNK = ("._", ".DS_Store")
#: These may well hold no image; a file that is packed by itself says by its name that it is one.
_ARCHIVES = (".zip", ".tar", *TAR_ENDS)
_HASH_WHOLE = 64 << 20
_HASH_PART = 16 << 20
#: How far into a file of results its study is looked for.
_RESULTS_HEAD = 1 << 20
_NONE_LOST: Lost = MappingProxyType({})

#: So many images cross to the window at once.
_PIECE = 200


def scan(paths: Sequence[Path], password: str = "") -> ScanResult:
    """Find every image below the given files, folders and archives, in this process.

    Links that lead out of a given folder are not followed. A file named DICOMDIR stands for its
    folder. Nothing raises: what cannot be read is a problem that names the file.
    """
    surveyed = survey(paths)
    reading = read(_unmarked, surveyed.files, password, surveyed.roots)
    return _sorted(_unmarked, surveyed, [reading])


def _unmarked(_number: int, _part: int = 0, /) -> None:
    """Nobody follows."""


def survey(paths: Sequence[Path]) -> Survey:
    """Every file below the given ones, found by listing folders only."""
    roots, files, problems = [], [], []
    seen: set[str] = set()

    def closed(folder: str) -> None:
        problems.append(_refused(folder, "The folder cannot be looked into", "Check its rights"))

    def astray(link: str) -> None:
        reason = "A link that leads out of the folder, or nowhere, was not followed"
        problems.append(_refused(link, reason, "Open what it leads to itself"))

    for number, path in enumerate(dict.fromkeys(os.path.abspath(path) for path in paths)):  # noqa: PTH100
        # os.path answers where pathlib raises: names too long, folders without permission.
        root = path
        if os.path.basename(path).upper() == "DICOMDIR" and os.path.isfile(path):  # noqa: PTH113, PTH119
            root = os.path.dirname(path)  # noqa: PTH120
        roots.append(root)
        below = _files(root, closed, astray) if os.path.isdir(root) else iter((root,))  # noqa: PTH112
        for file in below:
            if file not in seen:
                seen.add(file)
                files.append((number, file))
    return Survey(tuple(roots), tuple(files), tuple(problems))


def read(
    step: Step,
    files: Sequence[Listed],
    password: str = "",
    given: Collection[str] = (),
    lost: Lost = _NONE_LOST,
) -> Reading:
    """The headers of files. Files among the `given` ones are refused in words if they are none.

    A member of an archive is told as a part of it. `lost` names, where only one archive is read,
    parts of it that are not to be touched.
    """
    reader = _Reader(step, password, frozenset(given), lost)
    for number, (root, path) in enumerate(files):
        reader.take(number, root, path)
    return reader.reading()


def read_sealed(
    step: Step,
    files: Sequence[Listed],
    password: str = "",
    given: Collection[str] = (),
    lost: Lost = _NONE_LOST,
) -> Sealed:
    """As `read`, for `sort` in another worker."""
    return Sealed.of(read(step, files, password, given, lost))


def sort(
    step: Step, surveyed: Survey, readings: Sequence[Sealed], lost: Lost = _NONE_LOST
) -> Iterator[ScanResult]:
    """Studies and problems of all that was read, in pieces that cross to another process quickly.

    A study of many images comes in several pieces, one after the other. The steps are the DICOM
    files one by one, then the rest; those in `lost` are not touched, and are problems.
    """
    whole = _sorted(step, surveyed, [reading.opened() for reading in readings], lost)
    yield ScanResult((), whole.problems)
    for study in whole.studies:
        for piece in _pieces(study):
            yield ScanResult((piece,), ())


def _pieces(study: Study) -> Iterator[Study]:
    """A study cut into studies of no more than so many images."""
    held: list[Series] = []
    room = _PIECE
    for series in study.series:
        at = 0
        while at < len(series.instances) or not series.instances:
            part = series.instances[at : at + room]
            held.append(replace(series, instances=part))
            at, room = at + len(part), room - len(part)
            if room <= 0:
                yield replace(study, series=tuple(held))
                held, room = [], _PIECE
            if not series.instances:
                break
    if held:
        yield replace(study, series=tuple(held))


def _sorted(
    step: Step, surveyed: Survey, readings: Sequence[Reading], lost: Lost = _NONE_LOST
) -> ScanResult:
    tree = Tree(_same_pixels)
    foreign: dict[str, Study] = {}  # by series: several files of results name one study
    problems = list(surveyed.problems)
    found: set[int] = set()
    numbers = count()
    for reading in readings:
        problems += reading.problems
        found |= reading.found
        for study in reading.foreign:
            foreign.setdefault(study.series[0].uid, study)
        for record, number in zip(reading.records, numbers, strict=False):
            if number in lost:
                problems.append(_refused(record.shown, *lost[number]))
                continue
            step(number)
            tree.add(record)
    step(next(numbers))
    for number, root in enumerate(surveyed.roots):
        closed = any(problem.path.is_relative_to(root) for problem in surveyed.problems)
        # What lies in a folder that was given as well was found with it.
        inside = any(Path(root).is_relative_to(other) for other in surveyed.roots if other != root)
        if number not in found and not closed and not inside:
            problems.append(
                _refused(root, "No image was found here", "Choose the folder that holds the files")
            )
    studies = (*tree.studies(), *foreign.values())
    return ScanResult(studies, (*problems, *tree.problems))


def _refused(path: str | Path, reason: str, hint: str = "") -> Problem:
    return Problem(Path(path), reason, Severity.REFUSED, hint or ASK_AGAIN)


class _Reader:
    """Reads headers file by file and keeps what was found."""

    def __init__(self, step: Step, password: str, given: frozenset[str], lost: Lost) -> None:
        self._step = step
        self._lost = lost
        self._number = 0
        self._password = password
        self._given = given
        self._headers = Headers()
        self._records: list[Record] = []
        self._foreign: list[Study] = []
        self._problems: list[Problem] = []
        self._found: set[int] = set()
        self._root = 0

    def take(self, number: int, root: int, path: str) -> None:
        """Look into one file."""
        self._step(number)
        self._number, self._root = number, root
        try:
            with open_file(path) as source:
                head = source.read_at(0, self._headers.look)
                archive = is_archive(path, head)
                if not archive:
                    self._one(path, "", source, head)
            if archive:
                self._archive(Path(path))
        except PasswordError as error:
            self._refuse(path, error.user_text, error.hint, ProblemKind.PASSWORD)
        except ReadError as error:
            self._refuse(path, error.user_text, error.hint)

    def reading(self) -> Reading:
        """What was found so far."""
        return Reading(
            tuple(self._records),
            tuple(self._foreign),
            tuple(self._problems),
            frozenset(self._found),
        )

    def _refuse(
        self,
        path: str | Path,
        reason: str,
        hint: str = "",
        kind: ProblemKind = ProblemKind.FILE,
    ) -> None:
        self._found.add(self._root)
        self._problems.append(replace(_refused(path, reason, hint), kind=kind))

    def _archive(self, path: Path) -> None:
        before = len(self._records), len(self._foreign), len(self._problems)
        for entry in entries(path, self._password, self._watch()):
            # A member's name may be absolute: it stands behind the archive's all the same.
            inside = f"{path}{os.sep}{entry.member}"
            if entry.refused:
                self._refuse(inside, entry.refused)
                continue
            try:
                head = entry.source.read_at(0, self._headers.look)
                self._one(str(path), entry.member, entry.source, head)
            except ReadError as error:
                self._refuse(inside, error.user_text, error.hint)
        nothing = before == (len(self._records), len(self._foreign), len(self._problems))
        if nothing and _says_image(path.name) and not path.name.lower().endswith(_ARCHIVES):
            self._refuse(path, why_not(path.name, b"packed"))

    def _watch(self) -> Watch:
        """Members as parts of the file, counted from 1; those that were lost before."""

        def look(entry: int) -> None:
            if entry < 0:
                self._step(-1)
            else:
                self._step(self._number, entry + 1)

        return Watch(look, {part - 1: reason for part, (reason, _) in self._lost.items()})

    def _one(self, path: str, member: str, source: Bytes, head: bytes) -> None:
        name = (member or path).rsplit("/", 1)[-1]
        if name.startswith(_JUNK):
            return
        if is_dicom(head):
            self._dicom(path, member, source, head)
            return
        foreign = recognise(name, head)
        if foreign is not None:
            self._found.add(self._root)
            self._foreign.append(_foreign_study(Path(path), member, source, foreign))
        elif not member and is_companion(Path(path)):
            if path in self._given:
                self._refuse(path, "The file holds voxels only", "Open the header beside it")
        elif (not member and path in self._given) or _says_image(name):
            self._refuse(os.path.join(path, member) if member else path, why_not(name, head))  # noqa: PTH118

    def _dicom(self, path: str, member: str, source: Bytes, head: bytes) -> None:
        values = self._headers.read(source, head)
        if values.base.get("DirectoryRecordSequence"):
            if not member:
                self._directory(Path(path))
            return
        self._found.add(self._root)
        nameless = not values.base.get("SOPClassUID") and values.base["_PixelOffset"] == "-1"
        if nameless and head[128:132] != b"DICM":
            raise ReadError("The file holds no image and does not say what it is")
        self._records.append(Record(path, member, values))

    def _directory(self, path: Path) -> None:
        self._found.add(self._root)
        for name, reason in unreachable(path):
            hint = "Copy the whole disk and open it again"
            self._refuse(f"{path.parent}{os.sep}{name}", reason, hint)


def _says_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in _SHOULD_BE_IMAGES  # noqa: PTH122


def _files(
    folder: str, closed: Callable[[str], None], astray: Callable[[str], None]
) -> Iterator[str]:
    """Every file below a folder, by name; links only where they stay inside.

    `closed` is told the folders that cannot be looked into, `astray` the links to files that
    lead out of the folder or in a circle. Links to folders inside are passed by: what they lead
    to is found anyway.
    """
    root = os.path.realpath(folder)
    pending = [folder]
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
            elif not entry.is_symlink():
                yield entry.path
            elif not _stays_inside(entry, root):
                astray(entry.path)
            elif os.path.isfile(entry.path):  # noqa: PTH113
                yield entry.path


def _stays_inside(entry: os.DirEntry[str], root: str) -> bool:
    """Whether a link leads to something below the root, or to the root itself."""
    target = os.path.realpath(entry.path)
    return (target + os.sep).startswith(root.rstrip(os.sep) + os.sep) and os.path.exists(target)  # noqa: PTH110


def _same_pixels(one: Instance, other: Instance) -> bool:
    """Whether two instances with one identifier are copies: same place, same pixel bytes."""
    keys = ("ImagePositionPatient", "InstanceNumber", "Rows", "Columns", "_PixelLength")
    if any(one.headers.get(key) != other.headers.get(key) for key in keys):
        return False
    if one.headers.get("_FileSize") != other.headers.get("_FileSize"):
        return False
    try:
        first, second = (next(read_all(file.path, [file.member])).data for file in (one, other))
    except (ReadError, StopIteration):
        return False
    return first == second


def _foreign_study(path: Path, member: str, source: Bytes, foreign: Foreign) -> Study:
    """Patient, study and series of a file that is not DICOM, named by its content."""
    digest = _digest(source)
    name = (member or path.name).rsplit("/", 1)[-1]
    if foreign.kind is SeriesKind.REPORT:
        return _results_study(path, member, source, foreign, digest)
    study_uid, series_uid = uid_from("study", digest), uid_from("series", digest)
    instance = Instance(uid_from("instance", digest), "", str(path), member=member)
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


def _results_study(path: Path, member: str, source: Bytes, foreign: Foreign, digest: str) -> Study:
    """A file of results as a series of the study that it speaks of."""
    name = (member or path.name).rsplit("/", 1)[-1]
    head = source.read_at(0, min(source.size, _RESULTS_HEAD))
    study_uid = study_named(head, foreign.format) or uid_from("study", digest)
    instance = Instance(uid_from("instance", digest), "", str(path), member=member)
    series = Series(
        uid=uid_from("series", digest),
        study_uid=study_uid,
        modality="OT",
        description=name,
        instances=(instance,),
        kind=foreign.kind,
        headers={"_Format": foreign.format},
    )
    return Study(study_uid, Patient(id="", name=""), description=name, series=(series,))


def _digest(source: Bytes) -> str:
    """SHA-256 of the content; of beginning, end and size for very large files."""
    if source.size <= _HASH_WHOLE:
        return hashlib.sha256(source.read_at(0, source.size)).hexdigest()
    digest = hashlib.sha256(str(source.size).encode())
    digest.update(source.read_at(0, _HASH_PART))
    digest.update(source.read_at(source.size - _HASH_PART, _HASH_PART))
    return digest.hexdigest()
