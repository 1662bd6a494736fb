"""The first image met in what was dropped: shown while all the others are still being found."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from medview.core.errors import ReadError
from medview.core.study import Study
from medview.io.archives import entries, is_archive, open_file
from medview.io.found import FirstLook, Record, Values
from medview.io.header import is_dicom
from medview.io.identity import IMAGE_KINDS
from medview.io.reading import fill_volume, one_plane, plan
from medview.io.repeats import Headers
from medview.io.tree import Tree
from medview.io.unpacking import Bytes

#: After so many files that are no images, the scan will be as quick.
_FILES = 50

#: A file that has to be read whole for one picture is worth it up to this size.
_LARGEST = 64 << 20


def first_look(paths: Sequence[Path], password: str = "") -> FirstLook | None:
    """The first DICOM image below the given paths, in the order the disk has them.

    None where there is none among the first files; why one cannot be read is for the scan to say.
    """
    headers = Headers()
    for path in islice(_met(paths), _FILES):
        try:
            look = _look_into(path, password, headers)
        except ReadError:
            continue
        if look is not None:
            return look
    return None


def _met(paths: Sequence[Path]) -> Iterator[str]:
    """Files as they are met; folders inside a folder after its files."""
    pending = [os.path.abspath(path) for path in reversed(paths)]  # noqa: PTH100
    while pending:
        here = pending.pop()
        try:
            with os.scandir(here) as listing:
                for entry in listing:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif not entry.is_symlink():
                        yield entry.path
        except NotADirectoryError:
            yield here
        except OSError:
            continue


def _look_into(path: str, password: str, headers: Headers) -> FirstLook | None:
    with open_file(path) as source:
        head = source.read_at(0, headers.look)
        if not is_archive(path, head):
            return _look_at(Path(path), "", source, head, headers, password)
    for entry in islice(entries(Path(path), password), _FILES):
        if entry.refused:
            continue
        look = _look_at(
            Path(path),
            entry.member,
            entry.source,
            entry.source.read_at(0, headers.look),
            headers,
            password,
        )
        if look is not None:
            return look
    return None


def _look_at(
    path: Path, member: str, source: Bytes, head: bytes, headers: Headers, password: str
) -> FirstLook | None:
    if not is_dicom(head):
        return None
    values = headers.read(source, head)
    study = _study_of(path, member, values)
    if study is None:
        return None
    volumes = plan(study.series[0], password).volumes
    one = one_plane(volumes[0], first_frame=True) if volumes else None
    if one is None or (one.planes[0].offset < 0 and source.size > _LARGEST):
        return None
    return FirstLook(study, one, fill_volume(one).voxels)


def _study_of(path: Path, member: str, values: Values) -> Study | None:
    """The study of one file, if it holds an image."""
    tree = Tree(lambda _one, _other: False)
    tree.add(Record(str(path), member, values))
    (study,) = tree.studies()
    return study if study.series[0].kind in IMAGE_KINDS else None
