"""DICOMDIR, the list of contents of a disk: the files are read themselves, it tells what lacks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from pydicom import dcmread

from medview.io.members import is_inside
from medview.io.multiframe import damage_refused

#: More records than any disk has; a list beyond it is not gone through.
_MOST_RECORDS = 200_000


def unreachable(path: Path) -> Iterator[tuple[str, str]]:
    """Files that a DICOMDIR names but that cannot be read, each with the reason.

    Those that are not on the disk, and those that would lie outside of it, which are not looked
    for. Only the file names in the records are used, never their offsets, which may lead in
    circles. Raises ReadError for a damaged directory.
    """
    with damage_refused("The list of contents (DICOMDIR) is damaged"):
        records = dcmread(path, force=True).get("DirectoryRecordSequence") or ()
        named = [record.get("ReferencedFileID") for record in records[:_MOST_RECORDS]]
    names = ["/".join([name] if isinstance(name, str) else name) for name in named if name]
    listing = cache(_listing)
    for name in dict.fromkeys(names):
        if not is_inside(name):
            yield name, "The disk's list of contents (DICOMDIR) points outside of the disk"
        elif not _exists(path.parent, name.split("/"), listing):
            yield name, "The disk's list of contents (DICOMDIR) names this file; it is not there"


def _listing(folder: Path) -> dict[str, str]:
    """Names in a folder by their spelling in small letters; discs are read in all spellings."""
    try:
        return {_plain(name): name for name in os.listdir(folder)}  # noqa: PTH208
    except OSError:
        return {}


def _plain(name: str) -> str:
    """A name without what systems add to it: case, `.` at the end, `;1` of ISO 9660."""
    return name.lower().split(";")[0].rstrip(".")


def _exists(
    folder: Path, parts: Sequence[str], listing: Callable[[Path], Mapping[str, str]]
) -> bool:
    """Whether the file is there, whatever the case its names are read in."""
    for part in parts:
        name = listing(folder).get(_plain(part))
        if name is None:
            return False
        folder = folder / name
    return folder.is_file()
