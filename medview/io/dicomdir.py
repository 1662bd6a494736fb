"""DICOMDIR, the list of contents of a disk: the files are read themselves, it tells what lacks."""

from __future__ import annotations

from pathlib import Path

from pydicom import dcmread

from medview.io.archives import is_inside
from medview.io.multiframe import damage_refused


def missing_files(path: Path) -> list[str]:
    """Files that a DICOMDIR names but that are not on the disk, or lie outside of it.

    Only the records' file names are used, never their offsets, which may lead in circles.
    Raises ReadError for a damaged directory.
    """
    with damage_refused("The list of contents (DICOMDIR) is damaged"):
        records = dcmread(path, force=True).get("DirectoryRecordSequence") or ()
        named = [record.get("ReferencedFileID") for record in records]
    names = ["/".join([name] if isinstance(name, str) else name) for name in named if name]
    return [name for name in names if not is_inside(name) or not _exists(path.parent, name)]


def _exists(folder: Path, name: str) -> bool:
    """Whether the file is there, under its name or, as some disks are read, in small letters."""
    return any((folder / spelling).is_file() for spelling in (name, name.lower()))
